"""The process: where it listens, who may read its token, how it says it is there, and how it ends."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import GOOD, TOKEN, Client, Linear, served

from lineshaft.core.admit import Limits
from lineshaft.errors import Refused, StorageError, UsageError
from lineshaft.serve.app import App
from lineshaft.serve.guard import Guard, token_file
from lineshaft.serve.server import run_in_background, serve

PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from serving import TOKEN, Linear, served
from lineshaft.core.admit import Limits
from lineshaft.serve.server import serve
slow = Linear(seconds=float(sys.argv[2]))
serve({"m": served(slow)}, token=TOKEN, host=sys.argv[4], limits=Limits(drain_seconds=float(sys.argv[3])))
"""


def start(seconds, drain=30, host="127.0.0.1"):
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(seconds), str(drain), host]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.fullmatch(r"serving m@live on (http://127\.0\.0\.\d:\d+)\n", line)
    assert found, line + process.stderr.read()
    return process, found[1]


def metric(url, name):
    page = Client(url).ask("GET", "/metrics").content.decode()
    return float(re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)[1])


def test_sigterm_finishes_what_is_queued_refuses_the_new_and_exits_0():
    process, url = start(0.8)
    with ThreadPoolExecutor() as pool:
        idle = Client(url)
        assert idle.ask("GET", "/readyz").status == 200
        asked = [pool.submit(lambda: Client(url).predict([GOOD], "m")) for _ in range(6)]
        while metric(url, 'lineshaft_queue_rows{model="m@live"}') < 4:
            pass
        process.send_signal(signal.SIGTERM)
        late = []
        try:
            while len(late) < 200:
                late.append(idle.predict([GOOD], "m"))
        except (ConnectionError, OSError):
            pass  # the idle connection was closed: nothing new gets in
        answers = [work.result() for work in asked]
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) >= 5  # one was running and four waited; the sixth may have come too late
    assert set(statuses) <= {200, 503}
    assert all(answer.status in {200, 503} for answer in late)
    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 2)


def test_a_model_that_never_returns_does_not_keep_the_process():
    process, url = start(600, drain=1)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(lambda: Client(url).predict([GOOD], "m"))
        while metric(url, 'lineshaft_queue_rows{model="m@live"}') > 0 or not asked.running():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert asked.exception(20) is not None or asked.result().status >= 500


def test_not_ready_while_draining():
    app = App({"m": served()}, TOKEN)
    with run_in_background(app) as url:
        client = Client(url)
        app.drain()
        for path in ("/readyz", "/v2/health/ready", "/v2/models/m/ready"):
            reply = client.ask("GET", path)
            assert (reply.status, reply.error["code"]) == (503, "draining")
        assert client.ask("GET", "/healthz").status == 200
        assert client.predict([GOOD], "m").error["code"] == "draining"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_listening_for_other_machines_has_to_be_asked_for(host):
    with pytest.raises(UsageError, match="only the loopback is served unless remote_hosts"):
        serve({"m": served()}, token=TOKEN, host=host)


def test_a_port_in_use_is_said_clearly():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1"),
    ):
        serve({"m": served()}, token=TOKEN, port=taken.getsockname()[1])


def test_remote_hosts_are_answered_and_others_still_refused():
    with run_in_background(App({"m": served()}, TOKEN, hosts=("127.0.0.1", "models.example"))) as url:
        port = url.rsplit(":", 1)[1]
        assert Client(url).ask("GET", "/healthz", headers={"Host": f"models.example:{port}"}).status == 200
        assert Client(url).ask("GET", "/healthz", headers={"Host": f"localhost:{port}"}).status == 403


def asked_for(guard, host, origin=None, port=8000):
    """What a guard says of a request: the refusal's code, or None."""
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    refusal = guard.place(headers, port)
    return refusal.code if refusal else None


REMOTE = Guard(TOKEN, ("127.0.0.1", "[::1]", "Api.Example", "proxy.example:8443", "[2001:DB8::1]"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8000", "[::1]:8000", "api.example:8000", "API.EXAMPLE:8000", "api.example", "proxy.example:8443",
     "[2001:db8::1]:8000", "[2001:db8::1]"],
)  # fmt: skip
def test_a_host_is_known_in_any_case_at_its_ports(host):
    assert asked_for(REMOTE, host) is None


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:80", "[::1]", "localhost:8000", "api.example:8443", "api.example:", "proxy.example",
     "proxy.example:8000", "evil.example", "api.example.evil", "evil.api.example:8000", "api.example:8000:8000",
     "2001:db8::1", "", ":8000", "user@api.example", "api.example\\@evil"],
)  # fmt: skip
def test_another_host_or_port_is_refused(host):
    assert asked_for(REMOTE, host) == "host"


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://127.0.0.1:8000", None), ("https://api.example", None), ("http://api.example:8000", None),
        ("HTTPS://Api.Example", None), ("https://proxy.example:8443", None), ("https://127.0.0.1:8000", "origin"),
        ("http://127.0.0.1", "origin"), ("https://evil.example", "origin"), ("null", "origin"), ("ftp://api.example", "origin"),
        ("https://api.example:9999", "origin"), ("api.example", "origin"), ("https://", "origin"),
    ],
)  # fmt: skip
def test_pages_of_the_servers_own_hosts_may_ask(origin, code):
    assert asked_for(REMOTE, "api.example", origin) == code


def test_port_80_needs_no_name():
    assert asked_for(REMOTE, "127.0.0.1", "http://127.0.0.1", port=80) is None


@pytest.mark.parametrize("host", ["https://api.example", "api.example/", "a b", "", "*", "2001:db8::1", "a:b"])
def test_what_is_no_host_is_refused_at_start(host):
    with pytest.raises(UsageError, match="is not a host"):
        Guard(TOKEN, (host,))


def test_the_announced_address_is_answered_wherever_on_the_loopback():
    process, url = start(0, host="127.0.0.2")
    try:
        assert url.startswith("http://127.0.0.2:")
        assert Client(url).predict([GOOD], "m").status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_ipv6_loopback():
    try:
        with run_in_background(App({"m": served()}, TOKEN), host="::1") as url:
            assert url.startswith("http://[::1]:")
            assert Client(url).predict([GOOD], "m").status == 200
    except UsageError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_two_servers_in_one_process_do_not_share_anything():
    with run_in_background(App({"a": served()}, TOKEN)) as one, run_in_background(App({"b": served()}, TOKEN)) as two:
        assert Client(one).ask("GET", "/v2").json["models"] == ["a@live"]
        assert Client(two).ask("GET", "/v2").json["models"] == ["b@live"]
        assert "a@live" not in Client(two).ask("GET", "/metrics").content.decode()


def test_closing_in_the_background_waits_for_answers():
    model = Linear(gate=threading.Event())
    with ThreadPoolExecutor() as pool:
        with run_in_background(App({"m": served(model)}, TOKEN, Limits(drain_seconds=20))) as url:
            asked = pool.submit(lambda: Client(url).predict([GOOD], "m"))
            model.entered.acquire()
            threading.Timer(0.3, model.gate.set).start()
        assert asked.result().status == 200


def test_a_token_file_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "token"
    token = token_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) >= 40
    assert token_file(str(path)) == token
    assert [p.name for p in tmp_path.iterdir()] == ["token"]


def test_many_who_make_the_token_file_at_once_agree(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: token_file(tmp_path / "token"), range(32)))) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_token_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "token"
    token_file(path)
    path.chmod(mode)
    with pytest.raises(Refused, match=f"mode {mode:04o}"):
        token_file(path)


@pytest.mark.parametrize("content", ["", "short", "two words that are long enough", "ä" * 30, "x" * 600])
def test_a_file_without_a_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="holds no token"):
        token_file(path)


def test_a_token_file_that_cannot_be(tmp_path):
    with pytest.raises(StorageError, match="cannot make the token file"):
        token_file(tmp_path / "absent" / "token")
    os.mkfifo(tmp_path / "pipe", 0o600)
    threading.Thread(target=lambda: (tmp_path / "pipe").open("wb").close(), daemon=True).start()
    with pytest.raises(UsageError, match="not a file"):
        token_file(tmp_path / "pipe")


def test_a_guard_does_not_show_its_token():
    assert TOKEN not in repr(Guard(TOKEN))
    with pytest.raises(UsageError, match="16 to 512"):
        Guard("short")


def test_the_answer_is_json_for_every_status(client):
    replies = [client.ask("GET", "/v2"), client.ask("PUT", "/v2"), client.ask("GET", "/none"), client.predict([])]
    for reply in replies:
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
        json.loads(reply.content)

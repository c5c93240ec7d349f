"""``lineshaft serve`` as a process of its own: announced, guarded, drained, refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from lineshaft.core import names
from lineshaft.run import run
from small_project import EVIL, forget_scripts

ROWS = [{"size": 9, EVIL: f"delayed {EVIL} 1"}, {"size": 1, EVIL: f"fine {EVIL} 2"}]


def begin(project, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "lineshaft", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project.folder,
        env={**os.environ, "LINESHAFT_HOME": str(project.home.folder), **environment},
    )  # fmt: skip


@contextmanager
def serving(project, *arguments, **environment):
    """A server that answers: process, what it announced. Ends it if the test did not."""
    process = begin(project, *arguments, **environment)
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, line
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(url, path, token=None, body=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def server(project, tmp_path_factory):
    """One server for the tests that only ask it."""
    token = tmp_path_factory.mktemp("server") / "token"
    with serving(project, "late@live", "--port", "0", "--token-file", token, "--json") as (_, line):
        found = json.loads(line)
        assert found["serving"] == ["late@live"]
        yield found["url"], token


def test_the_token_is_for_its_owner_alone(server):
    _, token = server
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 40


def test_health_needs_no_token_and_all_else_does(server):
    url, token = server
    assert ask(url, "/healthz")[0] == ask(url, "/readyz")[0] == ask(url, "/v2/health/ready")[0] == 200
    for path in ("/metrics", "/v2/models/late"):
        status, answer = ask(url, path)
        assert (status, answer["error"]["code"]) == (401, "token")
    assert ask(url, "/v1/models/late/predict", "x" * 40, {"rows": ROWS})[0] == 401
    assert ask(url, "/v2/models/late", token.read_text().strip())[0] == 200


def test_v1_and_v2_answer_the_same(server, project):
    url, token = server[0], server[1].read_text().strip()
    status, one = ask(url, "/v1/models/late/predict", token, {"rows": ROWS})
    assert status == 200
    assert one["model"] == names.look_up(project.home.catalog, "late@live").digest
    assert [found["label"] for found in one["predictions"]] == ["yes", "no"]
    columns = [
        {"name": "size", "datatype": "INT64", "shape": [2], "data": [row["size"] for row in ROWS]},
        {"name": EVIL, "datatype": "BYTES", "shape": [2], "data": [row[EVIL] for row in ROWS]},
    ]
    for path in ("/v2/models/late/infer", "/v2/models/late/versions/live/infer"):
        status, two = ask(url, path, token, {"inputs": columns})
        assert status == 200, two
        outputs = {tensor["name"]: tensor["data"] for tensor in two["outputs"]}
        flat = [share for found in one["predictions"] for share in found["probabilities"].values()]
        (numbers,) = [data for data in outputs.values() if len(data) == 4]
        assert numbers == pytest.approx(flat, abs=1e-5)


def test_rows_that_break_the_schema_are_422_and_leak_nothing(server):
    url, token = server[0], server[1].read_text().strip()
    for row in ({"size": "big", EVIL: "fine"}, {"size": 1}, {"size": 1, EVIL: f"fine {EVIL} 1", "id": "o1"}):
        status, answer = ask(url, "/v1/models/late/predict", token, {"rows": [row]})
        assert (status, answer["error"]["code"]) == (422, "schema")
        assert "Traceback" not in str(answer) and "/work" not in str(answer) and "/tmp" not in str(answer)
    assert ask(url, "/v1/models/nonesuch/predict", token, {"rows": ROWS})[0] == 404


def test_a_signal_ends_it_with_0_and_the_default_token_lies_in_the_home(copied):
    with serving(copied, "late@live", "--port", "0") as (process, line):
        url = line.rsplit(" ", 1)[1].strip()
        assert line.startswith("serving late@live on http://127.0.0.1:")
        token = copied.home.folder / "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert ask(url, "/v1/models/late/predict", token.read_text().strip(), {"rows": ROWS})[0] == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    with pytest.raises(OSError):
        urllib.request.urlopen(url + "/healthz", timeout=5)


def test_what_the_script_prints_does_not_touch_the_announcement(copied):
    text = copied.script.read_text()
    copied.script.write_text(text.replace("FLOOR = 0.5", 'FLOOR = 0.5\nprint("loaded", end="")'))
    run(copied.script, copied.home)  # the home learns where this copy lies
    forget_scripts()
    with serving(copied, "late@live", "--port", "0", "--json") as (process, line):
        assert json.loads(line)["serving"] == ["late@live"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "loaded")


def test_a_port_in_use_is_2_and_one_line(project, tmp_path, lineshaft):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["serve", "late@live", "--port", port, "--token-file", tmp_path / "token"]
        said = lineshaft(*command, home=project.home).refused(2, f"UsageError: cannot listen on 127.0.0.1 port {port}")
        assert "choose another, or 0 for any" in said


def test_an_unknown_name_is_2_before_anything_is_loaded(project, tmp_path, lineshaft):
    said = "UsageError: nothing is published as 'late@next'; there are late@live"
    lineshaft("serve", "late@live", "late@next", "--token-file", tmp_path / "token", home=project.home).refused(2, said)
    assert not (tmp_path / "token").exists()


def test_other_machines_have_to_be_asked_for(project, tmp_path, lineshaft):
    command = ["serve", "late@live", "--host", "0.0.0.0", "--token-file", tmp_path / "token"]
    lineshaft(*command, home=project.home).refused(2, "UsageError: 0.0.0.0 can be reached from other machines")


def test_a_token_that_others_can_read_is_refused(project, tmp_path, lineshaft):
    (tmp_path / "token").write_text("t" * 40)
    (tmp_path / "token").chmod(0o644)
    command = ["serve", "late@live", "--token-file", tmp_path / "token"]
    lineshaft(*command, home=project.home).refused(1, "Refused: token has mode 0644")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("return nn.Linear(inputs, classes)", "return nn.Linear(inputs, classes, bias=True)", "builder head"),
        ("size / 10", "size / 11", "features function numbers"),
    ],
)
def test_a_model_whose_code_changed_is_refused_with_both_fingerprints(old, new, what, copied, tmp_path, lineshaft):
    run(copied.script, copied.home)
    text = copied.script.read_text()
    copied.script.write_text(text.replace(old, new))
    command = ["serve", "late@live", "--port", "0", "--token-file", tmp_path / "token"]
    said = lineshaft(*command, home=copied.home).refused(1, f"Refused: the {what} has changed since ")
    was, now = said.partition("it was ")[2][:12], said.partition("it is ")[2][:12]
    assert was != now and all(set(digest) <= set("0123456789abcdef") for digest in (was, now))


def test_a_script_that_is_gone_is_said(copied, tmp_path, lineshaft):
    run(copied.script, copied.home)
    copied.script.unlink()
    command = ["serve", "late@live", "--port", "0", "--token-file", tmp_path / "token"]
    done = lineshaft(*command, home=copied.home)
    assert done.code in {1, 2}
    assert "orders_of_cli.py" in done.err and done.err.count("\n") == 1

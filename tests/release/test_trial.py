"""A trial asks the real server; a model that answers otherwise there does not pass."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tried_models import centred, line, model_of, orders, schema_of, sizes, sizes_by_batch

from lineshaft.core.codec import Tensors
from lineshaft.errors import DataError, Refused, StepFailed, UsageError
from lineshaft.release import trial as module
from lineshaft.release.trial import trial
from lineshaft.serve.stored import StoredModel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return model_of(line, sizes)


@pytest.fixture
def requests(monkeypatch):
    """What went over HTTP: the rows of every request."""
    asked = []
    real = module._ask

    def ask(url, token, rows):
        assert url.startswith("http://127.0.0.1:")
        answer = real(url, token, rows)
        asked.append(len(rows))
        return answer

    monkeypatch.setattr(module, "_ask", ask)
    return asked


def test_a_good_model_passes_together_and_alone(model, requests):
    found = trial(*model, orders(), schema_of(), count=5)
    assert found["passed"] is True
    assert found["rows"] == 5
    assert found["difference"] <= 1e-5
    assert found["said"].startswith("5 rows over HTTP, together and alone, are answered as offline")
    assert requests == [5, 1, 1, 1, 1, 1]


def test_fewer_rows_than_asked_for_are_all_tried(model, requests):
    assert trial(*model, orders(2), schema_of(), count=16)["rows"] == 2
    assert requests == [2, 1, 1]


@pytest.mark.parametrize(("builder", "features"), [(centred, sizes), (line, sizes_by_batch)])
def test_a_model_that_looks_at_the_rows_beside_a_row_fails(builder, features):
    found = trial(*model_of(builder, features), orders(), schema_of(), count=8)
    assert found["passed"] is False
    assert found["difference"] > 1e-3
    assert "are NOT answered as offline" in found["said"]


def test_a_model_that_answers_another_thing_every_time_fails(model, monkeypatch):
    generator = np.random.default_rng(0)

    def restless(self, batch):
        share = generator.random(len(batch))
        return np.stack([share, 1 - share], 1).astype(np.float32)

    monkeypatch.setattr(StoredModel, "predict", restless)
    assert trial(*model, orders(), schema_of(), count=4)["passed"] is False


def test_a_hairs_breadth_between_two_classes_is_a_difference(model, monkeypatch):
    """Within the tolerance, and yet another label."""
    calls = iter(range(100))

    def wavering(self, batch):
        lean = 1e-7 if next(calls) == 0 else -1e-7
        return np.full((len(batch), 2), 0.5, np.float32) + np.array([lean, -lean], np.float32)

    monkeypatch.setattr(StoredModel, "predict", wavering)
    found = trial(*model, orders(), schema_of(), count=3)
    assert found["difference"] <= 1e-5
    assert found["passed"] is False


def test_rows_that_json_has_no_word_for_are_passed_over(model, requests):
    rows = orders(6, sizes=[float("nan"), float("inf"), 0.5])
    schema = schema_of(rows)
    assert trial(*model, rows, schema, count=3)["rows"] == 3
    assert requests[0] == 3
    with pytest.raises(DataError, match="none of the 2 rows can be asked about"):
        trial(*model, orders(2, sizes=[float("nan")] * 2), schema, count=3)


def test_without_rows_there_is_nothing_to_try(model):
    with pytest.raises(DataError, match="none of the 0 rows"):
        trial(*model, orders().filter([False] * 40), schema_of(), count=3)


def test_a_schema_that_forbids_the_rows_is_told_in_the_servers_words(model):
    strict = schema_of().replace("{min = 1.0}", "{min = 9.0}")
    assert strict != schema_of()
    with pytest.raises(StepFailed, match=r"the server refused the trial's rows: 422 .*does not fit the schema"):
        trial(*model, orders(), strict, count=16)


def test_a_model_without_a_schema_is_not_tried(model):
    with pytest.raises(UsageError, match="no schema had checked"):
        trial(*model, orders(), None, count=3)


def test_a_model_whose_code_is_another_now_is_not_tried(model):
    payload, digest = model
    spec = payload.header | {"builder": payload.header["builder"] | {"qualname": "centred"}}
    with pytest.raises(Refused, match="the builder centred has changed"):
        trial(Tensors(payload.values, spec), digest, orders(), schema_of(), count=3)


class _Mute(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.connection.close()


def test_a_server_that_does_not_answer_is_a_failure():
    with http.server.HTTPServer(("127.0.0.1", 0), _Mute) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(StepFailed, match="did not answer the trial"):
            module._ask(f"http://127.0.0.1:{server.server_port}/", "t", [{}])
        thread.join()


TRIAL = "from lineshaft.release.trial import _ask; answer = _ask(url, 't', [{}])"
EXAMPLE = f"import runpy; answer = runpy.run_path({str(ROOT / 'examples' / 'ask.py')!r})['ask'](url, 't', [{{}}])[1]"


@pytest.mark.parametrize("asking", [TRIAL, EXAMPLE], ids=["trial", "example"])
def test_a_proxy_of_the_environment_is_not_asked(asking):
    """In a process of its own, for Python may have looked at the environment before."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        found = subprocess.run(
            [sys.executable, "-c", SERVER + f"    {asking}\n    print(answer)", str(proxy.getsockname()[1])],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert (found.returncode, found.stdout) == (0, "{'answered': True}\n"), found.stderr


SERVER = """
import http.server, os, sys, threading
os.environ.update({name: f"http://127.0.0.1:{sys.argv[1]}" for name in ("http_proxy", "HTTP_PROXY", "all_proxy")})
os.environ.pop("no_proxy", None)

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"answered": true}')

    def log_message(self, *_):
        pass

with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
    threading.Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
"""

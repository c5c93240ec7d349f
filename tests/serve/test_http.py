"""The server over real HTTP: both protocols, their agreement, tokens, metrics, and the reasons for a no."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import GOOD, TOKEN, TYPES, Client, Linear, served

from lineshaft.core.admit import Limits
from lineshaft.errors import UsageError
from lineshaft.serve.app import App, route_of
from lineshaft.serve.model import Served
from lineshaft.serve.server import run_in_background
from lineshaft.serve.tensors import to_bytes

row = st.fixed_dictionaries(
    {
        "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
            lambda t: t not in {"nan", "short"}
        ),
        "stars": st.integers(0, 5),
        "score": st.none() | st.floats(-3, 3),
    }
)


def probabilities(reply):
    return np.array([[p["probabilities"][c] for c in ("rotten", "fresh")] for p in reply.json["predictions"]])


def tensors(rows):
    kinds = {"text": "BYTES", "stars": "INT64", "score": "FP64"}
    return [{"name": n, "shape": [len(rows)], "datatype": kinds[n], "data": [r[n] for r in rows]} for n in TYPES]


def binary(rows, **request):
    parts = [
        to_bytes([r["text"] for r in rows]),
        np.array([r["stars"] for r in rows], "<i8").tobytes(),
        np.array([r["score"] for r in rows], "<f8").tobytes(),
    ]
    inputs = tensors(rows)
    for tensor, part in zip(inputs, parts, strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(part)}
    head = json.dumps({"inputs": inputs, **request}).encode()
    return head + b"".join(parts), {
        "Inference-Header-Content-Length": str(len(head)),
        "Content-Type": "application/octet-stream",
    }


def test_a_prediction_for_people(client):
    reply = client.predict([GOOD, {**GOOD, "stars": 0}])
    assert reply.status == 200
    first, second = reply.json["predictions"]
    assert reply.json["model"] == "d" * 64
    assert (first["label"], second["label"]) == ("rotten", "fresh")
    assert set(first["probabilities"]) == {"rotten", "fresh"}
    p = 1 / (1 + np.exp(-Linear.logit(**GOOD)))
    assert first["probabilities"]["fresh"] == pytest.approx(p, abs=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, min_size=1, max_size=5))
def test_together_and_alone_agree(client, rows):
    together = probabilities(client.predict(rows))
    alone = np.concatenate([probabilities(client.predict([r])) for r in rows])
    assert np.abs(together - alone).max() <= 1e-5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row.map(lambda r: {**r, "score": r["score"] or 0.0}), min_size=1, max_size=5))
def test_json_binary_and_plain_rows_give_equal_answers(client, rows):
    plain = client.predict(rows)
    reply = client.ask("POST", "/v2/models/reviews/infer", {"id": "7", "inputs": tensors(rows)})
    outputs = {tensor["name"]: tensor for tensor in reply.json["outputs"]}
    assert outputs["label"]["data"] == [p["label"] for p in plain.json["predictions"]]
    wanted = probabilities(plain).astype("<f4")
    assert np.array_equal(np.array(outputs["probabilities"]["data"], "<f4").reshape(-1, 2), wanted)
    assert reply.json["id"] == "7"

    body, headers = binary(rows, parameters={"binary_data_output": True})
    raw = client.ask("POST", "/v2/models/reviews/versions/live/infer", body, headers)
    length = int(raw.headers["inference-header-content-length"])
    label, p = json.loads(raw.content[:length])["outputs"]
    size = label["parameters"]["binary_data_size"]
    assert raw.content[length : length + size] == to_bytes(outputs["label"]["data"])
    assert np.array_equal(np.frombuffer(raw.content[length + size :], "<f4").reshape(p["shape"]), wanted)


def test_outputs_can_be_chosen_each_in_its_form(client):
    asked = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    body, headers = binary([GOOD], outputs=asked)
    reply = client.ask("POST", "/v2/models/reviews/infer", body, headers)
    p, label = json.loads(reply.content[: int(reply.headers["inference-header-content-length"])])["outputs"]
    assert (p["name"], p["parameters"]) == ("probabilities", {"binary_data_size": 8})
    assert label == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["rotten"]}


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": None}, {"inputs": []}, {"inputs": [1]}, {"inputs": [{}]}, {"outputs": []}, {"outputs": [{"name": "x"}]},
        {"outputs": [{"name": "label"}] * 2}, {"id": 7}, {"id": "x" * 300}, {"parameters": {"timeout": 0}},
        {"parameters": {"timeout": "soon"}}, {"parameters": [1]}, {"inputs": tensors([GOOD]) + tensors([GOOD])[:1]},
        {"inputs": tensors([GOOD])[:2] + tensors([GOOD, GOOD])[2:]}, {"inputs": [{**t, "datatype": 3} for t in tensors([GOOD])]},
        {"inputs": [{**t, "parameters": {"binary_data_size": 3}} for t in tensors([GOOD])]},
    ],
)  # fmt: skip
def test_malformed_inference_requests(client, change):
    reply = client.ask("POST", "/v2/models/reviews/infer", {"inputs": tensors([GOOD]), **change})
    assert (reply.status, reply.error["code"]) == (400, "malformed")


def test_tensors_that_are_not_the_models_columns_are_told_once(client):
    wrong = [{**t, "name": "other"} if t["name"] == "text" else t for t in tensors([GOOD] * 50)]
    reply = client.ask("POST", "/v2/models/reviews/infer", {"inputs": wrong})
    assert reply.status == 422
    assert [(r["row"], r["column"], r["reason"]) for r in reply.error["reasons"]] == [
        (None, "text", "missing_column"),
        (None, "other", "unknown_column"),
    ]


def test_a_model_that_reads_lists_gets_lists_even_of_one():
    import pyarrow as pa

    class Sums(Linear):
        def predict(self, batch):
            total = np.array([sum(v) for v in batch.column("v").to_pylist()], np.float32)
            return np.stack([total, -total], axis=1)

    app = App({"sums": Served(Sums(reads=("v",)), {"v": pa.list_(pa.float32())})}, TOKEN)
    with run_in_background(app) as url:
        client = Client(url)
        for width in (1, 3):
            tensor = {"name": "v", "shape": [2, width], "datatype": "FP32", "data": [[1] * width, [2] * width]}
            reply = client.ask("POST", "/v2/models/sums/infer", {"inputs": [tensor]})
            assert reply.json["outputs"][1]["data"] == [width, -width, 2 * width, -2 * width]
        assert client.ask("GET", "/v2/models/sums").json["inputs"] == [
            {"name": "v", "datatype": "FP32", "shape": [-1, -1]}
        ]


def test_metadata_and_health(client):
    assert client.ask("GET", "/v2").json["models"] == ["reviews@live", "reviews@next", "plain@live"]
    about = client.ask("GET", "/v2/models/reviews").json
    assert about["inputs"][1] == {"name": "stars", "datatype": "INT64", "shape": [-1]}
    assert about["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert about["parameters"] == {"digest": "d" * 64, "classes": ["rotten", "fresh"]}
    assert client.ask("GET", "/v2/models/reviews/ready").json == {"ready": True}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_token(url, path):
    assert Client(url, token=None).ask("GET", path).status == 200


@pytest.mark.parametrize(
    "path", ["/v2", "/metrics", "/v2/models/reviews", "/v2/models/reviews/ready", "/nothing", "/v2/models/no"]
)
def test_everything_else_needs_one(url, path):
    for token in (None, "wrong-token-0123456789", TOKEN[:-1], TOKEN + "x"):
        reply = Client(url, token).ask("GET", path)
        assert (reply.status, reply.error["code"]) == (401, "token")
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("name", "digest"),
    [("reviews", "d"), ("reviews@live", "d"), ("reviews@next", "e"), ("reviews%40next", "e"), ("reviews/versions/next", "e"),
     ("reviews@next/versions/next", "e")],
)  # fmt: skip
def test_names_and_versions(client, name, digest):
    assert client.ask("GET", f"/v2/models/{name}").json["parameters"]["digest"] == digest * 64


@pytest.mark.parametrize(
    "name", ["review", "reviews@old", "reviews/versions/old", "reviews@live/versions/next", "reviews@", "@live"]
)
def test_what_is_not_served_is_not_found(client, name):
    assert client.ask("GET", f"/v2/models/{name}").status == 404


def test_a_name_given_twice_or_wrongly_is_refused_at_start():
    with pytest.raises(UsageError, match="given twice"):
        App({"a": served(), "a@live": served()}, TOKEN)
    for name in ("../a", "a@b@c", "A", "@a", "a@", ""):
        with pytest.raises(UsageError, match="does not name a model"):
            App({name: served()}, TOKEN)


def test_metrics_show_requests_batches_queue_and_refusals(client):
    client.predict([GOOD] * 3)
    client.predict([{"x": 1}])
    page = client.ask("GET", "/metrics").content.decode()
    assert 'lineshaft_requests_total{route="predict",status="200"}' in page
    assert 'lineshaft_refused_total{reason="schema"}' in page
    assert 'lineshaft_batch_rows_count{model="reviews@live"}' in page
    assert 'lineshaft_queue_rows{model="reviews@next"} 0.0' in page


@pytest.mark.parametrize("text", ["explode", "nan", "short", "exit", "stop"])
def test_a_failing_model_is_a_500_without_detail_and_the_server_lives(client, caplog, text):
    reply = client.predict([GOOD, {**GOOD, "text": text}])
    assert (reply.status, reply.error["code"]) == (500, "internal")
    assert "secret" not in reply.content.decode()
    assert "Traceback" not in reply.content.decode()
    logged = [r for r in caplog.records if r.name == "lineshaft.serve"]
    assert logged[0].exc_info is not None
    assert logged[0].args[0] in reply.error["message"]
    assert client.predict([GOOD]).status == 200


def test_overload_refuses_with_retry_after_and_the_rest_is_answered():
    model = Linear(gate=threading.Event())
    app = App({"m": served(model)}, TOKEN, Limits(rows=2, queue_rows=2, request_seconds=20))
    with run_in_background(app) as url, ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: Client(url).predict([GOOD], "m"))
        model.entered.acquire()
        waiting = pool.submit(lambda: Client(url).predict([GOOD] * 2, "m"))
        while app._endpoints["m", "live"].batcher.waiting_rows < 2:
            time.sleep(0.001)
        refused = Client(url).predict([GOOD], "m")
        assert (refused.status, refused.error["code"]) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        model.gate.set()
        assert running.result().status == waiting.result().status == 200


def test_a_deadline_is_kept_even_when_the_model_hangs():
    model = Linear(gate=threading.Event())
    with run_in_background(App({"m": served(model)}, TOKEN)) as url:
        body = {"inputs": tensors([GOOD]), "parameters": {"timeout": 50_000}}
        reply = Client(url).ask("POST", "/v2/models/m/infer", body)
        assert (reply.status, reply.error["code"]) == (503, "deadline")
        assert "retry-after" in reply.headers
        model.gate.set()


def test_a_client_that_disconnects_leaves_the_queue():
    model = Linear(gate=threading.Event())
    app = App({"m": served(model)}, TOKEN)
    with run_in_background(app) as url, ThreadPoolExecutor() as pool:
        batcher = app._endpoints["m", "live"].batcher
        running = pool.submit(lambda: Client(url).predict([GOOD], "m"))
        model.entered.acquire()
        leaver = Client(url)
        content = json.dumps({"rows": [GOOD] * 5})
        leaver.connection.request("POST", "/v1/models/m/predict", content, leaver.headers)
        while batcher.waiting_rows < 5:
            time.sleep(0.001)
        leaver.connection.close()
        while batcher.waiting_rows:
            time.sleep(0.001)
        model.gate.set()
        assert running.result().status == 200
        assert model.batches == [1]


def test_many_clients_get_their_own_rows():
    with (
        run_in_background(App({"m": served(model := Linear(seconds=0.002))}, TOKEN)) as url,
        ThreadPoolExecutor(8) as pool,
    ):

        def work(number):
            client, answers = Client(url), []
            for k in range(12):
                rows = [{"text": "x" * number, "stars": k % 5, "score": float(j)} for j in range(1 + (number + k) % 4)]
                wanted = [1 / (1 + np.exp(-Linear.logit(**r))) for r in rows]
                answers.append(np.abs(probabilities(client.predict(rows, "m"))[:, 1] - wanted).max())
            return max(answers)

        assert max(pool.map(work, range(8))) < 1e-6
        assert max(model.batches) > 4


@given(
    st.text(max_size=30), st.lists(st.sampled_from(["v1", "v2", "models", "..", "", "a", "infer", "versions", "ready"]))
)
def test_any_path_is_a_route_of_the_fixed_set(text, parts):
    kinds = {"live", "ready", "metrics", "server", "predict", "model", "model_ready", "infer", "unknown"}
    assert {route_of(text).kind, route_of("/" + "/".join(parts)).kind} <= kinds

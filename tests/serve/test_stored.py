"""From a stored model to one that is served: its schema, its types, its code."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from serving import TOKEN, Client
from torch import nn

import lineshaft as ls
from lineshaft.core.codec import Tensors
from lineshaft.errors import DataError, IntegrityError, Refused, UsageError
from lineshaft.serve.app import App
from lineshaft.serve.server import run_in_background
from lineshaft.serve.stored import open_model, served_model
from lineshaft.train.model import assemble
from lineshaft.train.targets import Targets
from lineshaft.train.trainer import train

TASK = ls.Task("late", classes=["no", "yes"])
SCHEMA = """
format = 1
[dataset]
key = ["id"]
gold = ["truth"]
[columns.id]
type = "string"
[columns.note]
type = "string"
[columns.size]
type = "int"
range = {min = 0, max = 9}
[columns.truth]
type = "string"
"""


@ls.features(reads=["size", "note"], batch_rows=4)
def measures(batch):
    assert batch.schema.names == ["size", "note"]
    assert len(batch) <= 4
    return torch.tensor([batch["size"].to_pylist(), list(map(len, batch["note"].to_pylist()))], dtype=torch.float32).T


def line(inputs: int, classes: int) -> nn.Module:
    return nn.Linear(inputs, classes)


def rows(n):
    return pa.record_batch({"note": ["x" * (k % 5) for k in range(n)], "size": pa.array([k % 10 for k in range(n)])})


@pytest.fixture(scope="module")
def payload():
    recipe = ls.Recipe(line, inputs=measures, batch=16, epochs=1)
    inputs = measures(rows(20))
    model = assemble(recipe, train(recipe, inputs, Targets.of_classes([0, 1] * 10, 2), classes=2), TASK)
    return model.payload()


def with_spec(payload, **changes):
    return Tensors(payload.values, {**payload.header, **changes})


def test_it_carries_what_serving_asks_for(payload):
    served = served_model(payload, "d" * 64, SCHEMA)
    assert served.model.digest == "d" * 64
    assert served.model.reads == ("size", "note")
    assert served.model.classes == ("no", "yes")
    assert served.types == {"size": pa.int64(), "note": pa.string()}
    assert served.schema_digest == ""
    assert served_model(with_spec(payload, schema="a" * 64), "d" * 64, SCHEMA).schema_digest == "a" * 64


def test_it_answers_as_the_model_does_whatever_the_batch(payload):
    served = served_model(payload, "d" * 64, SCHEMA)
    whole = served.model.predict(rows(11))
    assert (whole.shape, whole.dtype) == ((11, 2), np.float32)
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-6)
    alone = np.concatenate([served.model.predict(rows(11).slice(k, 1)) for k in range(11)])
    np.testing.assert_allclose(whole, alone, atol=1e-6)


def test_rows_are_checked_as_requests_are(payload):
    check = served_model(payload, "d" * 64, SCHEMA).check
    assert check({"size": 3, "note": "fine"}) == []  # neither key nor gold is asked for
    assert [(a.column, a.severity) for a in check({"size": 77, "note": "fine"})] == [("size", "error")]
    assert [a.column for a in check({"size": 3})] == ["note"]


def test_over_http_it_takes_good_rows_and_refuses_others(payload):
    served = served_model(payload, "d" * 64, SCHEMA)
    with run_in_background(App({"late": served}, TOKEN)) as url:
        client = Client(url)
        found = client.predict(rows(4).slice(3, 1).to_pylist(), "late")
        assert found.status == 200
        online = list(found.json["predictions"][0]["probabilities"].values())
        np.testing.assert_allclose(online, served.model.predict(rows(4).slice(3, 1))[0], atol=1e-5)
        assert client.predict([{"size": 77, "note": "x"}], "late").status == 422
        assert client.predict([{"size": 3, "note": "x", "id": "o1"}], "late").status == 422
        client.close()


def test_without_a_schema_it_is_not_served(payload):
    with pytest.raises(UsageError, match=r"no schema had checked; pass them through run\.check"):
        served_model(payload, "d" * 64, None)


def test_a_schema_without_a_column_that_the_model_reads(payload):
    with pytest.raises(UsageError, match=r"reads 'note', which is not in its schema \(size\)"):
        served_model(payload, "d" * 64, '[columns.size]\ntype = "int"\n')


@pytest.mark.parametrize("part", ["builder", "features"])
def test_changed_code_is_refused_with_both_fingerprints(payload, part):
    was = payload.header[part]["fingerprint"]
    spec = with_spec(payload, **{part: {**payload.header[part], "fingerprint": "0" * 32}})
    with pytest.raises(Refused, match=rf"has changed since .* it was 000000000000, it is {was[:12]}"):
        served_model(spec, "d" * 64, SCHEMA)


def test_weights_that_do_not_fit_are_refused(payload):
    narrow = {**payload.values, "weight": payload.values["weight"][:, :1]}
    with pytest.raises(DataError, match=r"weight 'weight' is float32 \[2, 1\] in the model"):
        served_model(Tensors(narrow, payload.header), "d" * 64, SCHEMA)


def test_from_a_home_with_the_schema_that_its_digest_names(payload, home):
    schema = home.put("Schema", SCHEMA)
    other = home.put("Schema", '[columns.size]\ntype = "int"\n')
    model = home.put("Model", with_spec(payload, schema=schema.digest))
    served = open_model(home, model)
    assert (served.model.digest, served.schema_digest) == (model.digest, schema.digest)
    with pytest.raises(UsageError, match="not in its schema"):
        open_model(home, home.put("Model", with_spec(payload, schema=other.digest)))
    with pytest.raises(UsageError, match="no schema had checked"):
        open_model(home, home.put("Model", payload))


def test_a_schema_that_is_gone_is_said(payload, home):
    model = home.put("Model", with_spec(payload, schema="ab" * 32))
    with pytest.raises(IntegrityError, match="Schema abababababab is missing"):
        open_model(home, model)


def test_only_models_are_served(home):
    with pytest.raises(UsageError, match=r"Value [0-9a-f]{12} is no model"):
        open_model(home, home.put("Value", 3))

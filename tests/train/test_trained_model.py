from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import batch, head, learnable, letters, table

import lineshaft as ls
from lineshaft.core import script
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.errors import DataError, FingerprintError, Refused, UsageError
from lineshaft.train.model import Model, assemble, load
from lineshaft.train.targets import Targets
from lineshaft.train.trainer import train

TASK = ls.Task("verdict", classes=["rotten", "fresh"], gold="expert")
RECIPE = ls.Recipe(head, letters, batch=16, epochs=2, model={"width": 5, "depth": 2})


@pytest.fixture(scope="module")
def model():
    inputs = letters.compute(table(60)).values
    trained = train(RECIPE, inputs, Targets.of_classes([row % 2 for row in range(60)], 2), classes=2)
    return assemble(RECIPE, trained, TASK, schema_digest="ab" * 32)


def through_bytes(model):
    return load(decode("Model", encode("Model", model.payload())[1]))


def changed(model, **changes):
    """The payload with parts of its spec replaced."""
    payload = model.payload()
    spec = {**payload.header}
    for name, value in changes.items():
        spec[name] = {**spec[name], **value} if isinstance(value, dict) else value
    return Tensors(payload.values, spec)


def test_it_comes_back_the_same(model):
    again = through_bytes(model)
    inputs = letters(batch(["abc", "ffff"]))
    assert torch.equal(again.predict(inputs), model.predict(inputs))
    assert (again.classes, again.task, again.schema_digest) == (
        ("rotten", "fresh"),
        ls.Task("verdict", ["rotten", "fresh"]),
        "ab" * 32,
    )
    assert again.features is letters
    assert encode("Model", again.payload()) == encode("Model", model.payload())


def test_from_payload_is_load(model):
    assert Model.from_payload(model.payload()).spec == model.spec


def test_probabilities(model):
    probabilities = model.predict(letters(batch(["abc", "", "fed"])))
    assert probabilities.shape == (3, 2)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    assert not probabilities.is_inference()


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text("abcdef", max_size=9), min_size=1, max_size=40))
def test_equal_rows_equal_answers_whatever_the_batch(model, texts):
    together = model.predict(letters(batch(texts)))
    alone = torch.cat([model.predict(letters(batch([text]))) for text in texts])
    assert torch.allclose(together, alone, atol=1e-5, rtol=0)


def test_rows_of_a_table_and_of_a_batch(model):
    rows = table(40)
    expected = model.predict(letters.compute(rows).values)
    assert torch.allclose(model.predict_rows(rows), expected, atol=1e-6)
    assert torch.allclose(model.predict_rows(rows.arrow.to_batches()[0]), expected, atol=1e-6)
    assert model.predict_rows(rows.filter([False] * 40)).shape == (0, 2)


def test_it_is_in_eval_mode_and_needs_no_gradients(model):
    again = through_bytes(model)
    assert not again.module.training
    assert not any(parameter.requires_grad for parameter in again.module.parameters())


def test_loading_draws_nothing(model):
    before = torch.get_rng_state()
    through_bytes(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_payload_is_a_copy(model):
    before = model.predict(letters(batch(["abc"])))
    for value in model.payload().values.values():
        value.zero_()
    assert torch.equal(model.predict(letters(batch(["abc"]))), before)


@pytest.mark.parametrize(
    "inputs", [{"x": torch.zeros(2, 5)}, {"y": torch.zeros(2, 6)}, {"x": torch.zeros(2, 6, dtype=torch.float64)}, {}]
)
def test_other_features_are_refused(model, inputs):
    with pytest.raises(DataError, match="the model was trained on"):
        model.predict(inputs)


@pytest.mark.parametrize("part", ["builder", "features"])
def test_another_fingerprint_is_refused_and_both_are_shown(model, part):
    now = model.spec[part]["fingerprint"]
    with pytest.raises(Refused) as caught:
        load(changed(model, **{part: {"fingerprint": "c0ffee" * 10}}))
    assert "c0ffeec0ffee" in str(caught.value)
    assert now[:12] in str(caught.value)


def test_code_that_no_run_of_this_home_used_is_refused(model):
    with pytest.raises(Refused, match="which no run of this home has used"):
        load(changed(model, builder={"module": "os", "qualname": "system"}))
    with pytest.raises(Refused, match="no longer defined"):
        load(changed(model, features={"qualname": "gone"}))
    with pytest.raises(Refused, match="head is a function now; the model was trained with a features function"):
        load(changed(model, features={"qualname": "head"}))


SCRIPT = '''
import torch
from torch import nn
import lineshaft as ls

SCALE = {scale}

@ls.features(reads={reads})
def lengths(batch):
    return torch.tensor([[float(len(text))] for text in batch[0].to_pylist()])

def small(classes: int, width: int = 3):
    """{doc}"""
    return nn.Sequential(nn.Linear(1, width), nn.{act}(), nn.Linear(width, classes))

{more}
'''
BASE = {"scale": 1, "reads": '["text"]', "doc": "A head.", "act": "ReLU", "more": ""}


def script_of(path, **changes):
    path.write_text(SCRIPT.format(**(BASE | changes)))
    sys.modules.pop(script.module_name(path), None)
    return script.load(path)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lengths_script.py"
    yield path
    sys.modules.pop(script.module_name(path), None)


def from_script(module):
    recipe = ls.Recipe(module.small, module.lengths, batch=8, epochs=1, model={"width": 4})
    inputs = module.lengths(batch(["a", "bb", "ccc", "dddd"]))
    return assemble(recipe, train(recipe, inputs, Targets.of_classes([0, 0, 1, 1], 2), classes=2), TASK)


@pytest.mark.parametrize("edit", [{"doc": "Another."}, {"more": "def unrelated():\n    return 1"}, {"scale": 2}])
def test_edits_that_do_not_matter(path, edit):
    payload = from_script(script_of(path)).payload()
    script_of(path, **edit)
    assert load(payload).classes == ("rotten", "fresh")


@pytest.mark.parametrize(
    ("edit", "what"),
    [({"act": "Tanh"}, "builder small"), ({"reads": '["text", "title"]'}, "features function lengths")],
)
def test_edits_that_matter_are_refused(path, edit, what):
    payload = from_script(script_of(path)).payload()
    script_of(path, **edit)
    with pytest.raises(Refused, match=f"the {what} has changed since the model was trained"):
        load(payload)


def test_code_without_a_name_makes_no_model():
    inputs, target = learnable()
    recipe = dataclasses.replace(RECIPE, builder=lambda width, depth: head(width, depth))
    trained = train(recipe, inputs, target, classes=2)
    with pytest.raises((UsageError, FingerprintError), match="top level"):
        assemble(recipe, trained, TASK)


def test_a_task_of_other_classes():
    trained = train(RECIPE, *learnable(), classes=2)
    with pytest.raises(DataError, match="task t has 3 classes, the model was trained for 2"):
        assemble(RECIPE, trained, ls.Task("t", ["a", "b", "c"]))


def first(model, value):
    payload = model.payload()
    name = min(payload.values)
    return Tensors({**payload.values, name: value(payload.values[name])}, payload.header), name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda old: old * float("nan"), "is not finite"),
        (lambda old: old / 0, "is not finite"),
        (lambda old: old[:-1], r"is float32 \[4\] in the model, float32 \[5\] in what head builds"),
        (lambda old: old.double(), "is float64"),
    ],
)
def test_weights_that_do_not_belong(model, value, message):
    payload, name = first(model, value)
    assert name == "0.bias"
    with pytest.raises(DataError, match=f"weight '0.bias' {message}"):
        load(payload)


def test_missing_and_extra_weights(model):
    payload = model.payload()
    with pytest.raises(DataError, match=r"'extra' is float32 \[1\] in the model, absent in what head builds"):
        load(Tensors({**payload.values, "extra": torch.ones(1)}, payload.header))
    payload.values.pop("0.bias")
    with pytest.raises(DataError, match=r"'0\.bias' is absent in the model"):
        load(payload)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"format": None}, {"builder": {"module": 3}}, {"builder": None}, {"features": {"reads": "text"}},
        {"task": {"classes": None}}, {"shapes": None}, {"task": "verdict"},
    ],
)  # fmt: skip
def test_a_spec_of_another_form_is_refused(model, change):
    with pytest.raises(DataError, match="the model's spec"):
        load(changed(model, **change))


def test_an_empty_header_is_refused(model):
    with pytest.raises(DataError, match="has format None, this version reads 1"):
        load(Tensors(model.payload().values, {}))


def test_it_reads_well(model):
    assert repr(model) == "Model(head, verdict: rotten, fresh)"

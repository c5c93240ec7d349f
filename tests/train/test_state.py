from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lineshaft as ls
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.errors import IntegrityError, TrainingError
from lineshaft.train.state import pack, unpack

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats(allow_nan=False),
    st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(torch.tensor),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(max_size=4)), inner, max_size=3),
    ),
    max_leaves=12,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(TREES)
def test_any_state_comes_back_through_bytes(tree):
    assert same(unpack(decode("Tensors", encode("Tensors", pack(tree))[1])), tree)


def test_what_json_cannot_say():
    tree = {"inf": math.inf, "low": -math.inf, "nan": math.nan, 3: Counter({7: 2}), "t": (1, (2,))}
    back = unpack(decode("Tensors", encode("Tensors", pack(tree))[1]))
    assert math.isnan(back.pop("nan"))
    assert back == {"inf": math.inf, "low": -math.inf, 3: Counter({7: 2}), "t": (1, (2,))}
    assert isinstance(back[3], Counter)


def test_numpy_numbers_become_plain_ones():
    assert unpack(pack({"a": np.float64(0.5), "b": np.int32(3), "c": np.bool_(True)})) == {"a": 0.5, "b": 3, "c": True}


def test_the_header_is_json():
    json.dumps(pack({"a": torch.ones(2), 1: [math.inf]}).header, allow_nan=False)


@pytest.mark.parametrize("optimizer", [ls.adamw(lr=0.1), ls.adamw(amsgrad=True), ls.sgd(lr=0.1, momentum=0.9)])
def test_an_optimizer_goes_on_where_it_was(optimizer):
    def step(model, made, times):
        for _ in range(times):
            made.zero_grad()
            model(torch.ones(4, 3)).square().sum().backward()
            made.step()

    torch.manual_seed(0)
    straight = nn.Linear(3, 2)
    resumed = nn.Linear(3, 2)
    resumed.load_state_dict(straight.state_dict())
    one, two = optimizer(straight.named_parameters()), optimizer(resumed.named_parameters())
    step(straight, one, 5)
    step(resumed, two, 2)
    stored = encode("Tensors", pack(two.state_dict()))[1]
    three = optimizer(resumed.named_parameters())
    three.load_state_dict(unpack(decode("Tensors", stored)))
    step(resumed, three, 3)
    assert torch.equal(straight.weight, resumed.weight)


def test_packed_tensors_are_copies():
    tensor = torch.zeros(3)
    packed = pack({"t": tensor})
    tensor += 1
    unpack(packed)["t"].add_(5)
    assert torch.equal(unpack(packed)["t"], torch.zeros(3))


def test_tensors_that_share_memory_or_have_strides():
    base = torch.arange(12.0).reshape(3, 4)
    tree = {"a": base, "b": base, "row": base[1], "turned": base.T}
    assert same(unpack(decode("Tensors", encode("Tensors", pack(tree))[1])), tree)


@pytest.mark.parametrize("value", [object(), {1.5: 2}, {"x": {"y": print}}, {1, 2}, b"bytes"])
def test_what_cannot_be_stored_is_refused(value):
    with pytest.raises(TrainingError, match="cannot store"):
        pack({"deep": value})


def test_the_refusal_names_the_place():
    with pytest.raises(TrainingError, match=r"cannot store deep\.0\.inner: a function"):
        pack({"deep": [{"inner": lambda: 0}]})


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Tensors({}, {}), "no state in these tensors"),
        (Tensors({}, {"state": {"tensor": "root.gone"}}), "names a tensor 'root.gone' that is not there"),
        (Tensors({}, {"state": {"pickle": "x"}}), "unknown form 'pickle'"),
        (Tensors({}, {"state": {}}), "unknown form 'nothing'"),
    ],
)
def test_stored_state_of_another_form_is_refused(stored, message):
    with pytest.raises(IntegrityError, match=message):
        unpack(stored)

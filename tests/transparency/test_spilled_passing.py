"""Gradients that wait for all others, and inputs of units, pass through memory objects and the disk: the same bits."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import all_state, assert_same_bits
from torch import nn
from zoo import ZOO, row_loss, spilled

import lineshaft as ls
from lineshaft.train.spill import cutting
from lineshaft.train.spill.together import Together


def through(passing, case, **options):
    with mock.patch.object(cutting, "_passing", lambda load, way: [passing if way == "spilled" else ""]):
        return spilled(case, **options)


def moved(fit):
    return {(span.action.kind, span.action.what) for span in fit.trace.spans if span.action.what}


def same(one, other):
    assert one.losses == other.losses
    assert_same_bits(all_state(one.model, one.optimizer), all_state(other.model, other.optimizer))


@pytest.mark.parametrize("passing", ["x", "g", "gx"])
@pytest.mark.parametrize("name", sorted(ZOO))
def test_equals_the_plain_loop(name, passing):
    case, options = ZOO[name], {"micro_batch": 3, "clip": 0.1, "epochs": 2, "accumulate": 2}
    fit = through(passing, case, memory=1.3 * case.memory, **options)
    same(fit, spilled(case, memory=None, **options))


@pytest.mark.parametrize("passing", ["", "g", "gx"])
@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"precision": "fp16", "clip": 0.05}, {"precision": "bf16"}])
def test_with_scaled_losses(passing, options):
    case = ZOO["mlp"]
    same(through(passing, case, epochs=3, **options), spilled(case, memory=None, epochs=3, **options))


def test_gradients_that_overflow_are_left_out():
    case = ZOO["mlp"]

    def loss(outputs, target):
        return row_loss(outputs, target) * 1e5  # beside the scale, more than half precision holds

    options = {"precision": "fp16", "clip": 1.0, "epochs": 3, "loss": loss}
    fit = through("g", case, **options)
    same(fit, spilled(case, memory=None, **options))


def deep():
    return nn.Sequential(nn.Linear(12, 64), *[nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(10)])


@pytest.mark.parametrize(("passing", "options"), [("g", {"clip": 0.1}), ("x", {}), ("gx", {"clip": 0.1})])
def test_what_has_no_room_goes_below_and_comes_back(tmp_path, passing, options):
    data = [(torch.randn(96, 12), torch.randint(0, 64, (96,))) for _ in range(3)]
    options |= {"micro_batch": 8}
    with mock.patch.object(cutting, "_passing", lambda load, way: [passing if way == "spilled" else ""]):
        least = ls.train.plan(deep, data[0], memory="1GB", **options).least
        fit = ls.train.fit(deep, data, memory=int(1.1 * least), checkpoint=tmp_path, progress=False, **options)
    same(fit, ls.train.fit(deep, data, progress=False, **options))
    for what in passing:
        assert {("L", what), ("W", what)} <= moved(fit)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("lineshaft-spill")]


def test_they_pass_only_where_memory_asks_for_it():
    data = [(torch.randn(64, 12), torch.randint(0, 64, (64,)))]
    options = {"micro_batch": 4, "clip": 1.0}
    wide = ls.train.plan(deep, data[0], memory="20MB", **options)
    tight = ls.train.plan(deep, data[0], memory=wide.least, **options)
    assert {one.cut.passing for one in wide.options} == {""}
    assert tight.chosen.cut.passing == "gx"
    without = mock.patch.object(cutting, "_passing", lambda load, way: [""])
    with without:
        assert ls.train.plan(deep, data[0], memory="20MB", **options).least > 1.3 * wide.least


SHAPES = st.lists(st.lists(st.integers(1, 9), min_size=0, max_size=3), min_size=1, max_size=6)


@given(SHAPES, st.sampled_from([1e-30, 1e-3, 1.0, 1e25]), st.floats(1e-3, 10), st.randoms(use_true_random=False))
def test_the_norm_is_that_of_torch(shapes, size, limit, order):
    generator = torch.Generator().manual_seed(order.randrange(1000))
    model = nn.ParameterList([torch.empty(shape) for shape in shapes])
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * size
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    together = Together(model, torch.amp.GradScaler("cpu", enabled=False), limit)
    one_by_one = [*model.parameters()]
    order.shuffle(one_by_one)
    for parameter in one_by_one:
        together.add([parameter])
    assert together.decide()
    for parameter in one_by_one:
        together.scale([parameter])
    ours = [parameter.grad for parameter in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(model.parameters(), limit)
    assert all(torch.equal(own, other.grad) for own, other in zip(ours, model.parameters(), strict=True))

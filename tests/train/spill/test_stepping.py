"""Optimizers that work parameter by parameter step shard by shard to the same bits; those that couple are refused."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from lineshaft.errors import TrainingError
from lineshaft.train.spill.stepping import Form, kept_forms, only, step_scratch

SHAPES = [(), (1,), (7,), (3, 4), (5, 1), (2, 3, 2), (2, 2, 3, 3)]

OPTIMIZERS = {
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "AdamW per tensor": lambda p: optim.AdamW(p, lr=0.01, foreach=False),
    "AdamW for each": lambda p: optim.AdamW(p, lr=0.01, foreach=True),
    "AdamW fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "AdamW maximizing": lambda p: optim.AdamW(p, lr=0.01, maximize=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "Adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "SGD": lambda p: optim.SGD(p, lr=0.01, weight_decay=0.1),
    "SGD momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, dampening=0.1),
    "SGD nesterov": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "RMSprop centered": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.01),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "Adamax": lambda p: optim.Adamax(p, lr=0.01),
    "ASGD": lambda p: optim.ASGD(p, lr=0.01, t0=2),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
}


def parameters(shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def groups(values):
    return [{"params": values[:3]}, {"params": values[3:], "lr": 0.003}]


def with_gradients(values, step):
    generator = torch.Generator().manual_seed(100 + step)
    for value in values:
        value.grad = torch.randn(value.shape, generator=generator)


def state_of(optimizer, values):
    return [dict(optimizer.state.get(value, {})) for value in values]


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 3), min_size=len(SHAPES), max_size=len(SHAPES)))
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_shard_by_shard_is_all_together(name, cuts):
    """Each parameter belongs to the shard that its number says; two groups run across the shards."""
    one, other = parameters(), parameters()
    together, apart = OPTIMIZERS[name](groups(one)), OPTIMIZERS[name](groups(other))
    for step in range(4):
        with_gradients(one, step)
        with_gradients(other, step)
        together.step()
        for shard in (2, 0, 3, 1):
            with only(apart, [value for value, own in zip(other, cuts, strict=True) if own == shard]):
                apart.step()
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    assert all(same(x, y) for x, y in zip(state_of(together, one), state_of(apart, other), strict=True))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_forms_are_what_the_optimizer_comes_to_keep(name):
    values = parameters()
    optimizer = OPTIMIZERS[name](groups(values))
    forms = kept_forms(optimizer)
    with_gradients(values, 0)
    optimizer.step()
    for value in values:
        kept = {
            what: own for what, own in optimizer.state[value].items() if isinstance(own, torch.Tensor) and own.dim()
        }
        assert {form.name: (form.shape, form.dtype) for form in forms[id(value)]} == {
            what: (tuple(own.shape), own.dtype) for what, own in kept.items()
        }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_finding_the_forms_changes_nothing(name):
    values = parameters()
    optimizer = OPTIMIZERS[name](groups(values))
    before = copy.deepcopy(optimizer.state_dict())
    sure = [value.detach().clone() for value in values]
    random = torch.get_rng_state()
    kept_forms(optimizer)
    assert same_plain(optimizer.state_dict(), before)
    assert all(torch.equal(x, y) for x, y in zip(values, sure, strict=True))
    assert [group["params"] for group in optimizer.param_groups] == [values[:3], values[3:]]
    assert torch.equal(torch.get_rng_state(), random)


def same_plain(one, other):
    return one["param_groups"] == other["param_groups"] and same(one["state"], other["state"])


def test_finding_the_forms_keeps_the_state_of_a_resumed_optimizer():
    values = parameters()
    optimizer = OPTIMIZERS["AdamW"](groups(values))
    with_gradients(values, 0)
    optimizer.step()
    before = copy.deepcopy(state_of(optimizer, values))
    kept_forms(optimizer)
    assert all(same(x, y) for x, y in zip(state_of(optimizer, values), before, strict=True))


def test_adafactor_keeps_a_row_and_a_column_of_a_matrix():
    (value,) = parameters([(30, 50)])
    forms = kept_forms(OPTIMIZERS["Adafactor"]([value]))[id(value)]
    assert forms == (Form("col_var", (1, 50), torch.float32), Form("row_var", (30, 1), torch.float32))


def test_options_of_a_group_decide_what_is_kept_for_it():
    values = parameters([(3,), (4,)])
    optimizer = optim.SGD([{"params": values[:1]}, {"params": values[1:], "momentum": 0.9}], lr=0.1)
    forms = kept_forms(optimizer)
    assert [len(forms[id(value)]) for value in values] == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_is_kept_has_the_parameters_type(dtype):
    value = nn.Parameter(torch.ones(4, dtype=dtype))
    assert {form.dtype for form in kept_forms(optim.AdamW([value]))[id(value)]} == {dtype}


def test_parameters_of_other_types_and_dimensions_are_tried_apart():
    values = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, 5).double()), nn.Parameter(torch.ones(6))]
    forms = kept_forms(optim.AdamW(values))
    assert [forms[id(value)][0] for value in values] == [
        Form("exp_avg", (3,), torch.float32),
        Form("exp_avg", (3, 5), torch.float64),
        Form("exp_avg", (6,), torch.float32),
    ]


def test_a_learning_rate_in_a_tensor_works():
    values = parameters()
    assert len(kept_forms(optim.AdamW(values, lr=torch.tensor(0.01), foreach=False))) == len(values)


class Coupled(optim.Optimizer):
    """Scales all gradients by their common norm."""

    def __init__(self, values):
        super().__init__(values, {"lr": 0.1})

    def step(self, closure=None):
        values = [value for group in self.param_groups for value in group["params"] if value.grad is not None]
        norm = torch.sqrt(sum((value.grad**2).sum() for value in values))
        with torch.no_grad():
            for value in values:
                value -= 0.1 * value.grad / norm


class Counting(optim.Optimizer):
    """Counts its steps in the group: shards that step one after the other count several for one."""

    def __init__(self, values):
        super().__init__(values, {"lr": 0.1, "count": 0})

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                group["count"] += 1
                for value in group["params"]:
                    value -= 0.1 / group["count"] * value.grad


class Remembering(optim.Optimizer):
    """Keeps one number for all parameters on itself."""

    def __init__(self, values):
        super().__init__(values, {"lr": 0.1})
        self.count = 0

    def step(self, closure=None):
        self.count += 1
        with torch.no_grad():
            for value in self.param_groups[0]["params"]:
                value -= 0.1 / self.count * value.grad


@pytest.mark.parametrize("kind", [Coupled, Remembering])
def test_an_optimizer_that_couples_parameters_is_refused_by_name(kind):
    with pytest.raises(TrainingError, match=rf"{kind.__name__} couples parameters: .*AdamW, SGD or Adafactor"):
        kept_forms(kind(parameters()))


def test_an_optimizer_that_changes_its_group_is_refused_by_name_and_option():
    optimizer = Counting(parameters())
    with pytest.raises(TrainingError, match="Counting changes its group's 'count' with every step"):
        kept_forms(optimizer)
    assert optimizer.param_groups[0]["count"] == 0


def test_an_optimizer_that_wants_a_closure_is_refused_by_name():
    with pytest.raises(TrainingError, match=r"LBFGS\.step\(\) cannot be called without a closure"):
        kept_forms(optim.LBFGS(parameters()))


def test_a_refused_optimizer_has_its_parameters_back():
    values = parameters()
    optimizer = Coupled(values)
    with pytest.raises(TrainingError):
        kept_forms(optimizer)
    assert optimizer.param_groups[0]["params"] == values


def test_only_some_parameters_are_in_the_groups_inside():
    values = parameters()
    optimizer = optim.SGD(groups(values), lr=0.1)
    with only(optimizer, [values[1], values[4]]):
        assert [group["params"] for group in optimizer.param_groups] == [[values[1]], [values[4]]]
    assert [group["params"] for group in optimizer.param_groups] == [values[:3], values[3:]]


def test_groups_are_whole_again_when_a_step_fails():
    values = parameters()
    optimizer = optim.SGD(groups(values), lr=0.1)
    lists = [group["params"] for group in optimizer.param_groups]
    with pytest.raises(ZeroDivisionError), only(optimizer, []):
        raise ZeroDivisionError
    assert all(group["params"] is own for group, own in zip(optimizer.param_groups, lists, strict=True))


def test_a_step_of_nothing_changes_nothing():
    values = parameters()
    optimizer = optim.AdamW(values)
    with_gradients(values, 0)
    with only(optimizer, []):
        optimizer.step()
    assert not optimizer.state


class Wasteful(optim.SGD):
    """Takes many times a parameter's memory for the time of its step."""

    def step(self, closure=None):
        copies = [value.clone() for group in self.param_groups for value in group["params"] for _ in range(20)]
        super().step(closure)
        del copies


def test_memory_for_the_time_of_a_step_is_seen():
    values = [nn.Parameter(torch.ones(64, 1024)), nn.Parameter(torch.ones(3))]
    found = step_scratch(Wasteful(values, lr=0.1), 2)
    assert 12 * values[0].nbytes < found < 24 * values[0].nbytes
    assert step_scratch(optim.SGD(values, lr=0.1), 2) == 0
    assert bool((values[0] == 1).all())


def test_nothing_to_step_takes_nothing():
    assert step_scratch(optim.SGD([nn.Parameter(torch.ones(3), requires_grad=False)], lr=0.1), 2) == 0

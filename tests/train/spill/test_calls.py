"""Modules taken over and given back, and tensors found and replaced in what they are called with."""

from __future__ import annotations

import enum
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lineshaft.train.spill.calls import (
    foreign,
    original,
    taken_over,
    tensors_of,
    version,
    with_tensors,
    without_caches,
)


def test_calls_go_to_the_wrapper_inside_and_to_the_class_outside():
    module, seen = nn.Linear(2, 2), []

    def wrapper(*call):
        seen.append(call)
        return "taken"

    with taken_over([module], wrapper):
        assert module(1, bias=2) == "taken"
    assert seen == [(module, (1,), {"bias": 2})]
    assert module(torch.ones(1, 2)).shape == (1, 2)


def test_a_module_is_given_back_as_it_was():
    module = nn.Linear(2, 2)
    before = set(module.__dict__)
    with taken_over([module], original):
        assert set(module.__dict__) != before
    assert set(module.__dict__) == before


def test_a_module_is_given_back_when_the_block_fails():
    module = nn.Linear(2, 2)
    before = set(module.__dict__)
    with pytest.raises(ZeroDivisionError), taken_over([module], original):
        raise ZeroDivisionError
    assert set(module.__dict__) == before


def test_only_the_modules_named_are_taken_over():
    one, other = nn.Identity(), nn.Identity()
    with taken_over([one], lambda *call: "taken"):
        assert one(3) == "taken"
        assert other(3) == 3


def test_the_original_call_runs_all_hooks_once():
    module, seen = nn.Linear(2, 2), []
    module.register_forward_pre_hook(lambda *_: seen.append("before"))
    module.register_forward_hook(lambda *_: seen.append("after"))
    module.register_full_backward_hook(lambda *_: seen.append("backward"))
    with taken_over([module], original):
        module(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == ["before", "after", "backward"]


def test_a_child_called_by_its_parent_is_taken_over_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    with taken_over([model[0]], lambda module, args, kwargs: original(module, args, kwargs) * 0 + 5):
        assert model(torch.ones(1, 2)).tolist() == [[5.0, 5.0]]


def test_tensors_are_found_in_order_and_each_once():
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    assert [id(x) for x in tensors_of(((a, {"k": b, "n": 3}), [c, a, None]))] == [id(a), id(b), id(c)]


def test_what_was_one_tensor_stays_one():
    """Attention looks whether query, key and value are the same tensor."""
    x, y = torch.zeros(1), torch.ones(1)
    (one, other, third), options = with_tensors(((x, x, y), {"mask": y}), [torch.ones(3), torch.ones(4)])
    assert one is other
    assert third is options["mask"]
    assert one.shape == (3,)


def test_too_few_tensors_are_an_error():
    with pytest.raises(ValueError):
        with_tensors((torch.zeros(1), torch.zeros(1)), [torch.zeros(1)])


NESTED = st.recursive(
    st.one_of(st.integers(0, 5), st.none(), st.booleans(), st.text(max_size=2), st.just("tensor")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    ),
    max_leaves=8,
)


def grown(value):
    """Put a new tensor where the word stands."""
    if isinstance(value, dict):
        return {key: grown(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(grown(inner) for inner in value)
    return torch.zeros(1) if value == "tensor" else value


@settings(deadline=None)
@given(NESTED)
def test_replacing_tensors_replaces_them_and_nothing_else(form):
    value = grown(form)
    others = [torch.ones(2) for _ in tensors_of(value)]
    replaced = with_tensors(value, others)
    assert [id(x) for x in tensors_of(replaced)] == [id(x) for x in others]
    back = with_tensors(replaced, tensors_of(value))
    assert repr(back) == repr(value)
    assert foreign(replaced) is None


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [torch.zeros(1), None, True, 3, 2.5, 1j, "text", b"bytes", torch.float16, torch.device("cpu"), Colour.RED, len],
)
def test_tensors_and_plain_values_are_not_foreign(value):
    assert foreign(([value], {"k": value})) is None


def test_an_opaque_object_is_foreign_wherever_it_stands():
    odd = SimpleNamespace(cache=torch.zeros(1))
    assert foreign(((1, [torch.zeros(1), {"past": odd}]), {})) is odd


def test_the_version_counts_changes_in_place():
    value = torch.zeros(3)
    before = version(value)
    value.add_(1)
    value[0] = 5
    assert version(value) == before + 2


def test_the_version_counts_changes_through_a_view():
    value = torch.zeros(3)
    before = version(value)
    value[:1].add_(1)
    assert version(value) == before + 1


def caching(**config):
    model = nn.Sequential(nn.Identity(), nn.Identity())
    model.config = SimpleNamespace(**config)
    model[1].config = model.config
    return model


def test_caches_are_off_inside_and_as_they_were_after():
    model = caching(use_cache=True)
    with without_caches(model):
        assert model.config.use_cache is False
    assert model.config.use_cache is True


def test_caches_that_were_off_stay_off():
    model = caching(use_cache=False)
    with without_caches(model):
        pass
    assert model.config.use_cache is False


def test_caches_come_back_when_the_block_fails():
    model = caching(use_cache=True)
    with pytest.raises(ZeroDivisionError), without_caches(model):
        raise ZeroDivisionError
    assert model.config.use_cache is True


def test_models_with_other_configs_are_left_alone():
    model = caching(width=3)
    with without_caches(model):
        assert vars(model.config) == {"width": 3}

"""Cuts into units cover what is read, stay within limits, keep the order of calls, and change nothing elsewhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shardwise import COARSEST, FINEST, TRANSFORMERS, batches, cut, linear, pilot, tokens, word_loss
from torch import nn

from lineshaft.train.spill.line import Forward, Line
from lineshaft.train.spill.lines import run_forward
from lineshaft.train.spill.units import Limit, paused_at, shared_parameters

X = batches(1)[0]
ONE = 4 * 6 * 7  # bytes of a linear layer of width 6


def names(units):
    return [unit.name for unit in units]


def inside(units):
    return [id(scope) for unit in units for top in unit.scopes for scope in top.all()]


LEAF = st.sampled_from(["linear", "tanh", "relu", "norm", "dropout", "identity"])
TREES = st.recursive(LEAF, lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=10)
LIMITS = st.builds(Limit, st.integers(1, 12 * ONE), st.integers(1, 12 * X.nbytes))


def grown(tree):
    if isinstance(tree, list):
        return nn.Sequential(*[grown(inner) for inner in tree])
    kinds = {"linear": linear, "tanh": nn.Tanh, "relu": nn.ReLU, "norm": lambda: nn.LayerNorm(6)}
    return (kinds | {"dropout": lambda: nn.Dropout(0.5), "identity": nn.Identity})[tree]()


def model_of(tree):
    return nn.Sequential(linear(), grown(tree))


@settings(max_examples=60, deadline=None)
@given(TREES, LIMITS)
def test_every_parameter_is_read_by_the_one_unit_of_its_call(tree, limit):
    model = model_of(tree)
    units = cut(model, X, limit)[1]
    readers = {name: [unit.name for unit in units if name in unit.reads] for name, _ in model.named_parameters()}
    assert all(len(where) == 1 for where in readers.values())


@settings(max_examples=60, deadline=None)
@given(TREES, LIMITS)
def test_units_cover_all_calls_that_read_and_none_twice_in_the_order_of_calls(tree, limit):
    root, units = cut(model_of(tree), X, limit)
    order = {id(scope): place for place, scope in enumerate(root.all())}
    places = [order[number] for number in inside(units)]
    assert all(one < other for one, other in pairwise(places))
    assert {id(scope) for scope in root.all() if scope.reads} <= set(inside(units))


@settings(max_examples=60, deadline=None)
@given(TREES, LIMITS)
def test_a_unit_is_within_the_limit_unless_it_is_one_call_without_parts(tree, limit):
    model = model_of(tree)
    sizes = {name: value.nbytes for name, value in model.named_parameters()}
    for unit in cut(model, X, limit)[1]:
        small = sum(sizes[name] for name in unit.reads) <= limit.state and unit.keeps <= limit.graph
        assert small or (len(unit.scopes) == 1 and not unit.scopes[0].parts)


@settings(max_examples=30, deadline=None)
@given(TREES, LIMITS)
def test_a_line_that_runs_its_units_one_by_one_computes_what_the_model_does(tree, limit):
    model = model_of(tree)
    torch.manual_seed(3)
    wanted = model(X)
    torch.manual_seed(3)
    units, out = cut(model, X, limit)[1], []
    with paused_at(units):
        line = Line(lambda line: out.append(model(X)))
        stop, met = line.go(), []
        while isinstance(stop, Forward):
            met.append(stop.unit)
            stop = line.go(run_forward(stop.unit, stop, [], graph=False)[0])
        line.close()
    assert torch.equal(out[0], wanted)
    assert names(met) == names(units)


@settings(max_examples=30, deadline=None)
@given(TREES)
def test_a_wider_limit_never_gives_more_units(tree):
    model = model_of(tree)
    counts = [len(cut(model, X, Limit(size * ONE, size * X.nbytes))[1]) for size in (1, 2, 4, 8, 16, 32)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


def test_a_model_that_fits_is_one_unit():
    assert names(cut(nn.Sequential(linear(), nn.Tanh(), linear()), X, COARSEST)[1]) == ["model"]


def test_a_model_without_parts_is_one_unit_however_small_the_limit():
    assert names(cut(linear(), X, FINEST)[1]) == ["model"]


def test_a_model_that_reads_nothing_is_one_unit():
    x = X.clone().requires_grad_()
    assert names(cut(nn.Sequential(nn.Identity()), x, COARSEST)[1]) == ["model"]


def test_neighbours_are_taken_together_as_far_as_they_fit():
    model = nn.Sequential(*[linear() for _ in range(5)])
    assert names(cut(model, X, Limit(2 * ONE, 10**6))[1]) == ["0-1", "2-3", "4"]


def test_what_does_not_fit_alone_is_cut_between_its_neighbours():
    model = nn.Sequential(linear(), nn.Sequential(linear(), linear(), linear()), linear(), linear())
    assert names(cut(model, X, Limit(2 * ONE, 10**6))[1]) == ["0", "1.0-1", "1.2", "2-3"]


def test_the_graph_limits_a_unit_as_the_state_does():
    model = nn.Sequential(*[nn.Tanh() for _ in range(4)])
    units = cut(model, X.clone().requires_grad_(), Limit(10**6, 2 * X.nbytes))[1]
    assert names(units) == ["0-1", "2-3"]


class Hooked(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * 2


def test_a_sequence_with_a_forward_of_its_own_is_opened_child_by_child():
    assert names(cut(Hooked(linear(), linear()), X, FINEST)[1]) == ["0", "1"]
    assert cut(Hooked(linear(), linear()), X, FINEST)[1][0].sequence is None


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_sequence_with_hooks_keeps_them(kind):
    model = nn.Sequential(nn.Sequential(linear(), linear()))
    getattr(model[0], kind)(lambda *_: None)
    units = cut(model, X, FINEST)[1]
    assert [unit.sequence for unit in units] == [None, None]


def test_a_sequence_that_repeats_a_child_is_not_grouped():
    act = nn.Tanh()
    model = nn.Sequential(linear(), act, linear(), act)
    assert all(unit.sequence is None for unit in cut(model, X, FINEST)[1])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b, self.flat = linear(), nn.Dropout(0.5), linear(), nn.Flatten()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.flat(self.b(self.drop(self.a(x))) * self.scale)


def test_calls_that_read_and_keep_nothing_of_their_own_stay_glue():
    assert names(cut(Block(), X, FINEST)[1]) == ["a", "b"]


def test_a_parameter_that_glue_reads_is_shared():
    root, units = cut(Block(), X, FINEST)
    assert shared_parameters(root, units) == {"scale"}


def test_nothing_is_shared_where_one_unit_reads_all():
    root, units = cut(Block(), X, COARSEST)
    assert shared_parameters(root, units) == set()


def test_a_parameter_read_by_two_units_is_shared():
    model = nn.Sequential(linear(), linear(), linear())
    model[2].weight = model[0].weight
    root, units = cut(model, X, FINEST)
    assert shared_parameters(root, units) == {"0.weight"}


def test_a_call_that_only_writes_a_buffer_is_a_unit():
    model = nn.Sequential(linear(), nn.BatchNorm1d(6, affine=False), linear())
    units = cut(model, X, FINEST)[1]
    assert [unit.name for unit in units if unit.writes] == ["1"]
    assert units[1].writes == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_unit_of_neighbours_sums_up_what_they_are():
    model = nn.Sequential(linear(), nn.Tanh(), linear(), linear())
    unit = cut(model, X, Limit(2 * ONE, 10**6))[1][0]
    assert unit.reads == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert unit.keeps == sum(scope.all_keeps() for scope in unit.scopes)
    assert unit.takes == X.nbytes
    assert unit.differentiable
    assert unit.seconds > 0


def test_the_last_of_neighbours_says_whether_a_gradient_flows():
    model = nn.Sequential(linear(), linear()).requires_grad_(False)
    model[1].requires_grad_(True)
    assert [unit.differentiable for unit in cut(model, X, FINEST)[1]] == [False, True]


def test_outside_a_line_a_paused_model_is_what_it_was():
    model = nn.Sequential(linear(), nn.Sequential(linear(), nn.Tanh()), linear())
    wanted = model(X)
    with paused_at(cut(model, X, FINEST)[1]):
        assert torch.equal(model(X), wanted)


def test_modules_are_given_back_when_nobody_pauses_any_more():
    model = nn.Sequential(linear(), Block(), linear())
    before = [set(module.__dict__) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), paused_at(cut(model, X, FINEST)[1]):
        raise ZeroDivisionError
    assert [set(module.__dict__) for module in model.modules()] == before


def test_hooks_of_a_unit_run_with_it():
    model, seen = nn.Sequential(linear(), linear()), []
    model[1].register_forward_hook(lambda *_: seen.append("hook"))
    unit = cut(model, X, COARSEST)[1][0]
    seen.clear()
    unit.run((X,), {})
    assert seen == ["hook"]


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_units_and_glue_of_a_model_of_transformers_read_all_parameters(name):
    model = TRANSFORMERS[name]()
    batch = tokens(1)[0]
    whole = sum(value.nbytes for value in model.parameters())
    for parts in (1, 3, 1000):
        root, units = cut(model, batch, Limit(whole // parts, 1 << 40), loss=word_loss)
        number = set(inside(units))
        glue = {name for scope in root.all() if id(scope) not in number for name in scope.reads}
        assert glue.union(*(unit.reads for unit in units)) == {name for name, _ in model.named_parameters()}
        assert len(number) == len(inside(units))


def test_blocks_of_transformers_are_units_where_blocks_fit():
    model = TRANSFORMERS["llama"]()
    block = sum(value.nbytes for value in model.model.layers[0].parameters())
    units = cut(model, tokens(1)[0], Limit(block, 1 << 40), loss=word_loss)[1]
    assert names(units) == [
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
        "lm_head",
    ]


def test_a_tied_embedding_is_shared_where_head_and_embedding_part():
    model = TRANSFORMERS["gpt2"]()
    root, units = cut(model, tokens(1)[0], FINEST, loss=word_loss)
    assert shared_parameters(root, units) == {"transformer.wte.weight"}


def test_the_same_pilot_gives_the_same_units():
    root = pilot(Block(), X).root
    assert [scope.name for scope in root.all()] == ["", "a", "drop", "b", "flat"]
    assert names(cut(Block(), X, FINEST)[1]) == names(cut(Block(), X, FINEST)[1])

"""A cut for a budget: every parameter has one place, what is held fits, and the least budget that is named works."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shardwise import TRANSFORMERS, batches, linear, pilot, tokens, word_loss
from torch import nn

from lineshaft.errors import UsageError
from lineshaft.train.spill import cutting
from lineshaft.train.spill.cutting import WAYS, Load, Weight, least, require_room

X = batches(1, 8, 16)[0]


def weights(model, state=2):
    return {
        name: Weight(value.nbytes, value.nbytes if value.requires_grad else 0, state * value.nbytes)
        for name, value in model.named_parameters()
    }


def load(model, batch=X, micros=1, words=0, all_gradients=False, **options):
    return Load(pilot(model, batch, **options), weights(model), micros, words, all_gradients)


def deep(layers=12, width=64):
    return nn.Sequential(nn.Linear(16, width), *[linear(width) for _ in range(layers)], nn.Linear(width, 3))


def cut(given_load, budget):
    """Cut for spilling, or refuse the budget."""
    made = cutting.cut(given_load, budget)
    require_room(made, budget, given_load)
    return made


DEEP = load(deep())
AMPLE = 1 << 40


def least_of(given_load):
    """Return the least budget that works, by trying."""
    low, high = 0, AMPLE
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cut(given_load, middle)
            high = middle
        except UsageError:
            low = middle
    return high


def test_a_model_that_fits_is_one_unit_and_one_shard():
    made = cut(DEEP, AMPLE)
    assert [unit.name for unit in made.units] == ["model"]
    assert list(made.shards) == [range(1)]
    assert made.shared == []


def test_a_smaller_budget_gives_more_shards_with_fewer_bytes():
    budgets = [AMPLE, 600_000, 300_000, 200_000]
    cuts = [cut(DEEP, budget) for budget in budgets]
    counts = [len(made.shards) for made in cuts]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert cuts[-1].largest < cuts[0].largest


LEAST = least_of(DEEP)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2 * LEAST))
def test_what_a_cut_holds_is_within_the_budget_or_refused(budget):
    try:
        made = cut(DEEP, budget)
    except UsageError:
        assert budget < LEAST
    else:
        assert made.fixed + made.slack + made.largest <= made.least <= budget


@settings(max_examples=40, deadline=None)
@given(st.integers(LEAST, 30 * LEAST))
def test_every_parameter_is_owned_by_one_shard_or_shared(budget):
    made = cut(DEEP, budget)
    names = [name for owned in made.owned for name in owned] + list(made.shared)
    assert sorted(names) == sorted(DEEP.weights)


@settings(max_examples=40, deadline=None)
@given(st.integers(LEAST, 30 * LEAST))
def test_shards_are_runs_that_cover_all_units_in_order(budget):
    made = cut(DEEP, budget)
    assert [number for numbers in made.shards for number in numbers] == list(range(len(made.units)))
    for numbers, owned in zip(made.shards, made.owned, strict=True):
        assert set(owned) == set().union(*(made.units[number].reads for number in numbers)) - set(made.shared)


def test_the_least_budget_works_and_one_byte_less_does_not():
    assert cut(DEEP, LEAST).least == LEAST
    with pytest.raises(UsageError):
        cut(DEEP, LEAST - 1)


def test_a_budget_that_is_too_small_is_refused_with_what_works_and_why():
    with pytest.raises(UsageError) as caught:
        cut(load(deep(), micros=4), 1000)
    assert "a budget of 1 KB is too small: the least that works is" in str(caught.value)
    assert "activations, gradients and shared parameters" in str(caught.value)
    assert "smaller micro_batch (the step tried out had 4 of them)" in str(caught.value)


def test_three_shards_are_in_memory_where_the_budget_allows():
    budget = 250_000
    made = cut(DEEP, budget)
    assert made.fixed + 3 * made.largest <= budget


def test_less_than_three_shards_are_taken_rather_than_none():
    made = cut(DEEP, LEAST)
    assert made.fixed + 3 * made.largest > LEAST


@pytest.mark.parametrize("way", WAYS)
def test_from_its_comfort_on_a_cut_leaves_room_for_all_it_holds_and_some(way):
    made = cutting.cut(DEEP, AMPLE, way)
    assert made.comfort >= made.least
    assert cutting.cut(DEEP, made.comfort, way).shards == made.shards


def test_in_memory_nothing_is_cut_and_nothing_to_move():
    made = cutting.cut(DEEP, 0, "resident")
    assert (len(made.units), len(made.shards)) == (0, 1)
    assert made.largest == 0
    assert made.fixed >= sum(weight.moved + weight.gradient for weight in DEEP.weights.values())


def test_checkpoints_cut_the_graph_and_leave_the_state():
    wide = load(deep(width=16), batches(1, 512, 16)[0])
    whole, apart = cutting.cut(wide, 0, "resident"), cutting.cut(wide, 0, "checkpointed")
    state = sum(weight.moved + weight.gradient for weight in wide.weights.values())
    assert len(apart.shards) > 1
    assert state < apart.fixed < whole.fixed


def test_the_least_of_all_ways_is_that_of_spilling():
    assert least(DEEP).least == LEAST


def test_in_memory_micro_batches_need_no_room_of_their_own():
    for way in ("resident", "checkpointed"):
        few, many = (cutting.cut(load(deep(), micros=micros), 0, way) for micros in (1, 3))
        assert few.fixed == many.fixed


def test_more_micro_batches_hold_more_inputs():
    few, many = (cut(load(deep(), micros=micros), 400_000) for micros in (1, 3))
    assert many.fixed > few.fixed


def test_gradients_that_wait_for_each_other_are_all_held_or_pass_through_objects():
    one, other = (cut(load(deep(), all_gradients=wait), AMPLE) for wait in (False, True))
    assert one.fixed == other.fixed  # one shard has them all
    one, other = (cut(load(deep(), all_gradients=wait), 500_000) for wait in (False, True))
    assert other.passing == "g"  # or they pass through objects, each shard's with its own
    assert (other.fixed, other.largest) > (one.fixed, one.largest)


def test_a_frozen_parameter_weighs_no_gradient():
    model = deep()
    given_load = load(model)
    whole = cut(given_load, AMPLE).fixed
    model[5].requires_grad_(False)
    frozen = Load(given_load.observed, weights(model), 1, 0, all_gradients=False)
    assert cut(frozen, AMPLE).fixed == whole - sum(value.nbytes for value in model[5].parameters())


def test_a_parameter_that_no_call_reads_stays_in_memory():
    model = nn.Sequential(linear(16), linear(16))
    model[0].register_parameter("idle", nn.Parameter(torch.ones(3)))
    assert cut(load(model), AMPLE).shared == ["0.idle"]


def test_a_tied_parameter_stays_in_memory_where_its_readers_part():
    model = nn.Sequential(*[linear(16) for _ in range(4)])
    model[3].weight = model[0].weight
    given_load = load(model)
    assert cut(given_load, AMPLE).shared == []
    assert cut(given_load, least_of(given_load)).shared == ["0.weight"]


def test_a_shared_parameter_weighs_a_gradient_for_every_micro_batch():
    model = nn.Sequential(linear(16))
    model.register_parameter("idle", nn.Parameter(torch.ones(1000)))
    one, three = (cut(load(model, micros=micros), AMPLE) for micros in (1, 3))
    inputs = 2 * X.nbytes  # of the two further micro-batches
    assert three.fixed - one.fixed >= 2 * 4000 + inputs


@pytest.mark.parametrize(("micros", "expected"), [(1, False), (2, True)])
def test_draws_that_cannot_be_foretold_make_micro_batches_follow_each_other(micros, expected):
    assert cut(load(deep(), micros=micros, words=None), AMPLE).by_micro is expected


def test_draws_that_can_be_foretold_do_not():
    assert not cut(load(deep(), micros=2, words=10), AMPLE).by_micro


class Counting(nn.Module):
    """Glue that writes a buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = linear(16), linear(16)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count.add_(1)
        return self.b(self.a(x))


def test_buffers_that_glue_writes_make_micro_batches_follow_each_other():
    given_load = load(Counting(), micros=2)
    assert not cut(given_load, AMPLE).by_micro  # one unit: it keeps its buffers itself
    assert cut(given_load, least_of(given_load)).by_micro


def test_buffers_that_a_unit_writes_do_not():
    model = nn.Sequential(linear(16), nn.BatchNorm1d(16), linear(16))
    given_load = load(model, micros=2)
    assert not cut(given_load, least_of(given_load)).by_micro


def test_what_lies_in_objects_is_value_and_state():
    assert Weight(value=3, gradient=5, state=7).moved == 10


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_models_of_transformers_are_cut_at_every_budget_from_the_least(name):
    model = TRANSFORMERS[name]()
    given_load = load(model, tokens(1)[0], micros=2, loss=word_loss)
    least = least_of(given_load)
    for budget in (least, 2 * least, 8 * least):
        made = cut(given_load, budget)
        names = [own for owned in made.owned for own in owned] + list(made.shared)
        assert sorted(names) == sorted(own for own, _ in model.named_parameters())
        assert made.least <= budget


def test_the_same_load_is_cut_the_same_way():
    one, other = (cut(load(deep()), 300_000) for _ in range(2))
    assert [unit.name for unit in one.units] == [unit.name for unit in other.units]
    assert (one.owned, one.shards, one.fixed, one.largest) == (other.owned, other.shards, other.fixed, other.largest)

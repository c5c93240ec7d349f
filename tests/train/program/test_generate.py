from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import Case, orders, sizes_of

from lineshaft.train.program.actions import Action
from lineshaft.train.program.generate import checkpointed, resident, spilled


def text(order):
    return " ".join(map(str, order))


def test_resident_is_the_plain_loop():
    assert text(resident(1, 2)) == "F0.0+ B0.0 F0.1+ B0.1 S0"


def test_checkpointed_makes_graphs_again_from_the_last_shard_back():
    assert text(checkpointed(3, 2)) == (
        "F0.0 F1.0 F2.0+ B2.0 R1.0 B1.0 R0.0 B0.0 F0.1 F1.1 F2.1+ B2.1 R1.1 B1.1 R0.1 B0.1 S0 S1 S2"
    )


def test_spilled_visits_each_shard_with_the_whole_batch():
    assert text(spilled(3, 2)) == (
        "F0.0 F0.1 F1.0 F1.1 F2.0+ B2.0 F2.1+ B2.1 S2 R1.0 B1.0 R1.1 B1.1 S1 R0.0 B0.0 R0.1 B0.1 S0"
    )


def test_spilled_by_micro_goes_there_once_per_micro_batch():
    assert text(spilled(2, 2, by_micro=True)) == "F0.0 F1.0 F0.1 F1.1 R1.0 B1.0 R1.1 B1.1 S1 R0.0 B0.0 R0.1 B0.1 S0"


def test_one_micro_batch_goes_there_once_anyway():
    assert spilled(4, 1, by_micro=True) == spilled(4, 1)


def test_norm_comes_before_all_steps():
    assert text(resident(1, 1, together=True)) == "F0.0+ B0.0 N S0"
    assert text(checkpointed(2, 1, together=True)).endswith("B0.0 N S0 S1")
    assert text(spilled(2, 1, together=True)) == "F0.0 F1.0+ B1.0 R0.0 B0.0 N S0 S1"


def test_no_backward_below_the_first_shard_with_a_gradient():
    assert text(spilled(3, 1, first=1, trained=(2,))) == "F0.0 F1.0 F2.0+ B2.0 S2 R1.0 B1.0"


def test_frozen_shards_are_not_stepped():
    assert text(spilled(3, 1, trained=(0, 2))) == "F0.0 F1.0 F2.0+ B2.0 S2 R1.0 B1.0 R0.0 B0.0 S0"
    assert "S" not in text(spilled(3, 1, trained=()))


@pytest.mark.parametrize("micros", [1, 2, 5])
def test_one_shard_spilled_is_resident(micros):
    assert spilled(1, micros) == resident(1, micros)
    assert spilled(1, micros, together=True) == resident(1, micros, together=True)
    assert checkpointed(1, micros) == resident(1, micros)


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(st.just(k), orders(k, 3))))
def test_every_order_is_a_step(made):
    shards, (order, trained, first) = made
    sizes = {**sizes_of(shards + 1, 0, 0), **sizes_of(shards)}
    case = Case(order, sizes, 3 * shards, trained, first)
    case.validate(case.place())


@given(st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_the_order_of_micro_batches_never_turns(shards, micros, by_micro):
    order = spilled(shards, micros, by_micro=by_micro)
    for k in range(shards):
        for kind in "FRB":
            own = [action.micro for action in order if action.kind == kind and action.shard == k]
            assert own == sorted(own)


@given(st.integers(1, 6), st.integers(1, 4))
def test_spilled_changes_its_shard_two_times_a_shard(shards, micros):
    """Weights cross once per visit, not once per micro-batch."""
    order = [action.shard for action in spilled(shards, micros)]
    assert sum(one != other for one, other in pairwise(order)) == 2 * (shards - 1)


def test_names_of_actions():
    assert str(Action("F", 12, 3, graph=True)) == "F12.3+"
    assert str(Action("N")) == "N"
    assert str(Action("C")) == "C"

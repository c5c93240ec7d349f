"""Votes made ready: merged where they repeat, in an order of their own, gold dealt to folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse import patterns
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.patterns import FOLDS, prepared

VOTES = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.integers(0, 5)), elements=st.integers(-1, 2))


def ready(L, k=3, gold=None, kinds=None):
    L = np.asarray(L)
    return prepared(matrix(L, k), k, kinds or ["rule"] * L.shape[1], gold_of(gold, len(L), k))


def same(one, other):
    """Say whether two problems hold the same numbers in the same order."""
    assert (one.k, one.kinds) == (other.k, other.kinds)
    for name in ("counts", "gold"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert one.said().tobytes() == other.said().tobytes()
    assert one.votes.tobytes() == other.votes.tobytes()


@settings(max_examples=100, deadline=None)
@given(VOTES, st.data())
def test_no_row_and_no_vote_is_lost(L, data):
    gold = data.draw(hnp.arrays(np.int64, len(L), elements=st.integers(-1, 2)))
    found = ready(L, gold=gold)
    assert found.counts.sum() == len(L)
    expected = np.stack([(L == c).sum(axis=0) for c in range(3)], axis=1)[found.order]
    assert (found.votes == expected).all() if L.shape[1] else found.m == 0
    assert (np.bincount(found.gold + 1, found.counts, 4) == np.bincount(gold + 1, minlength=4)).all()
    assert sum(group.width for group in found.groups) == L.shape[1] * 3


@settings(max_examples=60, deadline=None)
@given(VOTES)
def test_rows_merge_exactly_where_at_least_half_repeat(L):
    found = ready(L)
    distinct = len(np.unique(L, axis=0))
    assert len(found.counts) == (distinct if distinct <= len(L) // 2 and L.shape[1] else len(found.counts))
    if distinct > max(len(L) // 2, 3):
        assert len(found.counts) == len(L)


@settings(max_examples=60, deadline=None)
@given(VOTES, st.randoms(use_true_random=False))
def test_the_order_of_the_sources_makes_no_difference(L, random):
    shuffle = list(range(L.shape[1]))
    random.shuffle(shuffle)
    same(ready(L), ready(L[:, shuffle]))


@settings(max_examples=60, deadline=None)
@given(VOTES, st.sampled_from([1, 2, 7]))
def test_small_groups_say_what_one_large_group_says(L, words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "WORDS", words)
        cut = ready(L)
    same(ready(L), cut)
    assert all(group.size <= max(words, 4) for group in cut.groups)


def test_folds_are_dealt_evenly_to_rows_with_gold_alone():
    gold = np.where(np.arange(100) % 3 == 0, 1, -1)
    found = ready(np.zeros((100, 2), int), 2, gold=gold)
    known = found.gold >= 0
    assert np.bincount(found.fold[known], found.counts[known], FOLDS).tolist() == [7, 7, 7, 7, 6]
    assert (found.fold[~known] == -1).all() and (ready(np.zeros((9, 2), int)).fold == -1).all()


def test_sources_of_one_kind_stand_together():
    L = np.array([[0, 1, 0, 1], [1, 1, -1, 0], [0, 0, 0, 0]])
    kinds = ["rule", "person", "rule", "expert"]
    found = ready(L, 2, kinds=kinds)
    assert found.kinds == ("expert", "person", "rule", "rule")
    assert [kinds[j] for j in found.order] == list(found.kinds)


def test_many_wide_columns_do_not_overflow_the_code():
    L = np.random.default_rng(0).integers(-1, 9, (300, 200))
    L[150:] = L[:150]
    found = ready(L, 9)
    assert (found.counts == 2).all() and len(found.counts) == 150
    wide = ready(np.random.default_rng(0).integers(-1, 30_000, (50, 20)), 30_000)
    assert len(wide.counts) == 50 and wide.given.sum() == pytest.approx(1000, abs=2)

"""Votes made ready for fusion: what is refused, and that merging equal rows changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse.patterns import FOLDS, confidence_of, gold_of, kinds_of, matrix, problem
from lineshaft.errors import DataError, UsageError

VOTES = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.integers(0, 4)), elements=st.integers(-1, 2))


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([1, 2], "rows x sources"),
        (np.zeros((2, 2, 2), int), "3 dimension"),
        ([[0, 3]], "a vote of 3 among 3 classes"),
        ([[-2, 0]], "a vote of -2"),
        ([[0.5, 1]], "integers, got"),
        ([[np.nan, 1]], "NaN; write -1"),
        ([[np.inf, 1]], "integers"),
        ([["a", "b"]], "class names into numbers"),
        ([[None, 1]], "integers, got object"),
        ([[True, False]], "integers, got bool"),
    ],
)
def test_what_is_no_vote_is_refused_with_what_was_seen(votes, message):
    with pytest.raises(DataError, match=message):
        matrix(votes, 3)


def test_whole_floats_and_any_integer_width_are_votes():
    for dtype in (np.int8, np.int64, np.uint8, np.float32):
        assert matrix(np.array([[0, 2], [1, 1]], dtype), 3).tolist() == [[0, 2], [1, 1]]


def test_gold_kinds_and_confidences_are_checked():
    assert gold_of(None, 3, 2).tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match=r"shape \(2,\) for 3 rows"):
        gold_of([0, 1], 3, 2)
    with pytest.raises(DataError, match="among 2 classes"):
        gold_of([0, 1, 2], 3, 2)
    with pytest.raises(DataError, match="NaN"):
        gold_of([0, np.nan, 1], 3, 2)
    assert kinds_of("rule", 2) == ["rule", "rule"]
    with pytest.raises(UsageError, match="'human' is not a kind"):
        kinds_of(["rule", "human"], 2)
    with pytest.raises(UsageError, match="1 kinds for 2"):
        kinds_of(["rule"], 2)
    assert confidence_of(np.full((2, 2), np.nan), (2, 2)) is None
    with pytest.raises(DataError, match="probabilities"):
        confidence_of([[1.5]], (1, 1))
    with pytest.raises(DataError, match="shape"):
        confidence_of([[0.5]], (1, 2))


@settings(max_examples=100, deadline=None)
@given(VOTES, st.data())
def test_patterns_keep_every_row_and_every_vote(L, data):
    gold = data.draw(hnp.arrays(np.int64, len(L), elements=st.integers(-1, 2)))
    found = problem(matrix(L, 3), 3, ["rule"] * L.shape[1], gold)
    assert found.counts.sum() == len(L)
    votes = np.zeros((L.shape[1], 3))
    np.add.at(votes, (found.key // 3, found.key % 3), found.counts[found.row])
    expected = np.stack([(L == c).sum(axis=0) for c in range(3)], axis=1)[found.order]
    assert (votes == expected).all()
    assert ((found.gold >= 0) * found.counts).sum() == (gold >= 0).sum()
    assert len(found.counts) <= FOLDS * len(np.unique(np.column_stack([L, gold]), axis=0))


@settings(max_examples=60, deadline=None)
@given(VOTES, st.randoms(use_true_random=False))
def test_the_order_of_the_sources_makes_no_difference(L, random):
    shuffle = list(range(L.shape[1]))
    random.shuffle(shuffle)
    gold = gold_of(None, len(L), 3)
    one = problem(matrix(L, 3), 3, ["rule"] * L.shape[1], gold)
    other = problem(matrix(L[:, shuffle], 3), 3, ["rule"] * L.shape[1], gold)
    assert one.row.tolist() == other.row.tolist() and one.key.tolist() == other.key.tolist()
    assert one.counts.tolist() == other.counts.tolist()


def test_many_wide_columns_do_not_overflow_the_code():
    L = np.random.default_rng(0).integers(-1, 9, (300, 200))
    L[150:] = L[:150]
    found = problem(matrix(L, 9), 9, ["rule"] * 200, gold_of(None, 300, 9))
    assert (found.counts == 2).all() and len(found.counts) == 150


def test_a_soft_vote_is_spread_over_the_classes():
    L, soft = np.array([[0, 1]]), np.array([[0.7, np.nan]])
    found = problem(matrix(L, 3), 3, ["model", "rule"], gold_of(None, 1, 3), soft)
    spread = np.zeros(6)
    spread[found.key] = found.amount
    assert spread.tolist() == pytest.approx([0.7, 0.15, 0.15, 0, 1, 0])
    assert found.given.tolist() == [2]


def test_rows_that_differ_in_confidence_alone_stay_apart():
    L, soft = np.zeros((3, 1), int), np.array([[0.7], [0.9], [0.7]])
    found = problem(matrix(L, 2), 2, ["model"], gold_of(None, 3, 2), soft)
    assert sorted(found.counts.tolist()) == [1, 2]


def test_forgetting_a_fold_forgets_its_gold_only():
    gold = np.arange(20) % 2
    found = problem(matrix(np.zeros((20, 1)), 2), 2, ["rule"], gold)
    for fold in range(FOLDS):
        rest = found.without(fold)
        assert (rest.counts * (rest.gold >= 0)).sum() == 16

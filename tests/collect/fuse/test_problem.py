"""The two sums of every model over words: the same as vote by vote, for any votes, groups included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse import patterns, problem
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.patterns import prepared

K = 3
VOTES = hnp.arrays(np.int64, st.tuples(st.integers(1, 20), st.integers(1, 6)), elements=st.integers(-1, K - 1))


@st.composite
def problems(draw):
    """A problem with groups of few or many words, its votes one-hot ``[n, m, k]``, and gold."""
    L = draw(VOTES)
    gold = draw(hnp.arrays(np.int64, len(L), elements=st.integers(-1, K - 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "WORDS", draw(st.sampled_from([1, 4, 4096])))
        found = prepared(matrix(L, K), K, ["rule"] * L.shape[1], gold_of(gold, len(L), K), 5.0)
        return found, np.eye(K)[L] * (L >= 0)[:, :, None], gold


def ordered(rows):
    """Sort the rows of a matrix."""
    return rows[np.lexsort(np.round(rows, 9).T)]


@settings(max_examples=80, deadline=None)
@given(problems(), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 16_384]))
def test_sums_over_a_rows_votes_are_those_vote_by_vote(case, seed, piece):
    found, amount, _ = case
    values = np.random.default_rng(seed).normal(size=(2, found.m, K))
    expected = np.einsum("rmk,nmk->nr", values, amount[:, found.order])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "PIECE", piece)
        sums = np.repeat(found.per_row(values).T, found.counts.astype(int), axis=0)
    assert np.abs(ordered(sums) - ordered(expected)).max() < 1e-9


@settings(max_examples=80, deadline=None)
@given(problems())
def test_sums_over_the_rows_behind_each_vote_are_those_row_by_row(case):
    found, amount, gold = case
    weight = np.where(gold >= 0, 5.0, 1.0)
    assert found.votes == pytest.approx(amount[:, found.order].sum(axis=0))
    assert found.per_vote(found.weight[None])[0] == pytest.approx(
        np.einsum("n,nmk->mk", weight, amount[:, found.order])
    )
    given = (amount.sum(axis=2) > 0.5).sum(axis=1)
    checked = weight * ((given > 1) | (gold >= 0))
    assert found.per_vote(found.checked[None])[0] == pytest.approx(
        np.einsum("n,nmk->mk", checked, amount[:, found.order])
    )


@settings(max_examples=60, deadline=None)
@given(problems())
def test_counts_of_votes_and_classes(case):
    found, amount, gold = case
    given = (amount.sum(axis=2) > 0.5).sum(axis=1)
    assert sorted(np.repeat(found.given, found.counts.astype(int)).tolist()) == sorted(given.tolist())
    assert found.said() @ found.counts == pytest.approx(amount.sum(axis=(0, 1)))
    assert found.counts[found.known].sum() == (gold >= 0).sum()
    voted = found.voted(np.arange(found.m) == 0)
    assert found.counts[voted].sum() == (amount[:, found.order[0]].sum(axis=1) > 0).sum()
    assert not found.voted(np.zeros(found.m, bool)).any()


@settings(max_examples=60, deadline=None)
@given(VOTES, st.sampled_from([1, 4, 4096]))
def test_votes_meet_as_often_as_they_do_on_the_rows(L, words):
    before, patterns.WORDS = patterns.WORDS, words
    try:
        found = prepared(matrix(L, K), K, ["rule"] * L.shape[1], gold_of(None, len(L), K))
    finally:
        patterns.WORDS = before
    ones = np.stack([L[:, found.order] == c for c in range(K)], axis=2).reshape(len(L), -1).astype(int)
    keys = np.flatnonzero(ones.sum(axis=0))
    assert (found.together(keys) == (ones.T @ ones)[np.ix_(keys, keys)]).all()
    assert found.together(keys[:0]).shape == (0, 0)


def test_forgetting_a_fold_forgets_its_gold_and_nothing_else():
    L, gold = np.random.default_rng(0).integers(-1, K, (60, 4)), np.arange(60) % 3
    found = prepared(matrix(L, K), K, ["rule"] * 4, gold_of(gold, 60, K))
    held = 0
    for fold in range(patterns.FOLDS):
        rest = found.without(fold)
        hidden = (found.gold >= 0) & (rest.gold < 0)
        assert (found.fold[hidden] == fold).all() and found.counts[hidden].sum() == 12
        assert (rest.gold[~hidden] == found.gold[~hidden]).all() and (rest.counts == found.counts).all()
        assert rest.weight[hidden] == pytest.approx(found.weight[hidden] / found.gold_weight)
        held += hidden.astype(int)
    assert (held[found.gold >= 0] == 1).all()


def test_a_sample_keeps_gold_and_an_even_share_of_the_rest():
    random = np.random.default_rng(0)
    L, gold = random.integers(-1, K, (1000, 12)), np.where(np.arange(1000) % 50 == 7, 1, -1)
    found = prepared(matrix(L, K), K, ["rule"] * 12, gold_of(gold, 1000, K))
    part = found.sample(100)
    assert found.sample(1000) is found and found.sample(5000) is found
    kept = (np.arange(1000) % 10 == 0) | (gold >= 0)
    assert 100 <= kept.sum() == len(part.counts) <= 120
    assert (part.said() == found.said()[:, kept]).all()
    assert (part.gold == gold[kept]).all() and (part.fold == found.fold[kept]).all()


def test_kinds_are_asked_for_in_the_problems_order():
    L = np.array([[1, 0, 0], [1, -1, 0]])
    found = prepared(matrix(L, 2), 2, ["rule", "person", "expert"], gold_of(None, 2, 2))
    assert [found.kinds[j] for j in np.flatnonzero(found.of_kind("rule", "person"))] == ["person", "rule"]
    assert sorted(found.order.tolist()) == [0, 1, 2] and found.m == 3
    assert not found.of_kind("model").any()

"""Majority vote: shares, ties, rows without a vote."""

import numpy as np
import pytest
from generated import one_sided_rules, pooled, rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import MajorityVote, equal_scores, tally
from lineshaft.collect.fuse.patterns import prepared
from lineshaft.errors import DataError, UsageError


def test_shares_ties_and_uncovered_rows():
    L = [[0, 0, 1], [1, -1, -1], [0, 1, -1], [-1, -1, -1]]
    model = MajorityVote(2).fit(L)
    assert model.predict_proba(L)[:3].tolist() == pytest.approx(np.array([[2 / 3, 1 / 3], [0, 1], [0.5, 0.5]]))
    assert model.predict_proba(L)[3].tolist() == pytest.approx([(2 / 3 + 0.5) / 3, (1 / 3 + 1.5) / 3])
    assert model.predict(L).tolist() == [0, 1, 0, 1]
    assert model.predict(L, abstain=True).tolist() == [0, 1, 0, -1]
    assert model.tied(L).tolist() == [False, False, True, False]
    assert model.covered(L).tolist() == [True, True, True, False]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0)])
def test_nothing_to_vote_on(shape):
    L = np.full(shape, -1)
    assert np.allclose(MajorityVote(3).fit(L).predict_proba(L), np.full((shape[0], 3), 1 / 3))


def test_it_must_be_fitted_and_needs_two_classes():
    with pytest.raises(UsageError, match="fit"):
        MajorityVote(2).predict_proba([[0]])
    for k in (1, 0, True, "2", 2.5):
        with pytest.raises(UsageError, match="two or more"):
            MajorityVote(k)
    with pytest.raises(DataError, match="a vote of 5"):
        MajorityVote(2).fit([[5]])


def test_gold_and_confidences_play_no_part():
    L = [[0, 1, 1], [1, -1, 0]]
    plain = MajorityVote(2).fit(L).predict_proba(L)
    assert (MajorityVote(2).fit(L, gold=[0, 0], confidence=np.full((2, 3), 0.1)).predict_proba(L) == plain).all()


@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 9), st.integers(0, 5)), elements=st.integers(-1, 2)))
def test_votes_are_counted(L):
    counts = tally(L, 3)
    assert counts.shape == (len(L), 3)
    assert all(counts[i, c] == (L[i] == c).sum() for i in range(len(L)) for c in range(3))


def weight_of(L, k, kinds, gold=None):
    found = prepared(matrix(np.asarray(L), k), k, kinds, gold_of(gold, len(L), k))
    scores = equal_scores(found, ~found.of_kind("expert"))
    weights = {kind: np.diag(score).tolist() for kind, score in zip(found.kinds, scores, strict=True)}
    assert all((score == np.diag(np.diag(score))).all() for score in scores)
    return weights


def by_hand(L, k, gold=None, counted=None):
    """The log-odds of the precision with which each vote agrees with the others of its row."""
    right, votes = 50 * 0.8, 50.0
    for i, row in enumerate(np.asarray(L)):
        said = [c for j, c in enumerate(row) if c >= 0 and (counted is None or counted[j])]
        known = gold is not None and gold[i] >= 0
        for place, c in enumerate(said):
            others = said[:place] + said[place + 1 :]
            if known or others:
                votes += 5 if known else 1
                right += 5 * (c == gold[i]) if known else np.mean([other == c for other in others])
    precision = max(right / votes, 1 / k + 0.01)
    return np.log(precision * (k - 1) / (1 - precision))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.integers(-1, 2)), st.data())
def test_the_one_weight_is_that_of_agreement_among_the_votes(L, data):
    gold = data.draw(hnp.arrays(np.int64, len(L), elements=st.integers(-1, 2)))
    weights = weight_of(L, 3, ["rule"] * L.shape[1], gold)
    assert weights["rule"] == pytest.approx([by_hand(L, 3, gold)] * 3)


def test_experts_have_no_say_in_the_one_weight_and_get_none():
    L, _ = one_sided_rules(0, n=400, m=5)
    weights = weight_of(L, 2, ["rule", "rule", "rule", "person", "expert"])
    assert weights["expert"] == [0, 0]
    assert weights["rule"] == weights["person"] == pytest.approx([by_hand(L, 2, counted=[1, 1, 1, 1, 0])] * 2)


def test_rules_that_always_contradict_each_other_still_count_for_themselves():
    weights = weight_of([[0, 1], [1, 0]] * 2000, 2, ["rule", "rule"])
    assert 0 < weights["rule"][0] < 0.1


def test_the_equal_fallback_gives_the_majoritys_labels():
    L, _ = rules(1, (0.9, 0.1), copies=True)
    fallback, majority = LabelModel(2).fit(L), MajorityVote(2).fit(L)
    assert fallback.report["choice"] == "equal"
    covered = majority.covered(L)
    assert (fallback.predict(L) == majority.predict(L))[covered].all()
    tied = majority.tied(L)
    assert np.ptp(fallback.predict_proba(L)[tied], axis=1).max() < 1e-12


@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "accuracy"), [("youtube", 85.88), ("semeval", 78.35), ("trec", 54.55)])
def test_reference_sets(shared, name, accuracy):
    L, y, k = pooled(shared, name)
    model = MajorityVote(k).fit(L)
    covered = model.covered(L)
    q, y = model.predict_proba(L)[covered], y[covered]
    best = q == q.max(axis=1, keepdims=True)
    chance = best[np.arange(len(y)), y] / best.sum(axis=1)
    # The published figures break ties by a hash of the row: a draw around what a fair tie break expects.
    spread = np.sqrt((chance * (1 - chance)).sum()) / len(y) * 100
    assert abs(chance.mean() * 100 - accuracy) < max(0.3, 2 * spread)

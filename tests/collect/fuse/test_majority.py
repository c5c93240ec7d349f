"""Majority vote: shares, ties, rows without a vote."""

import numpy as np
import pytest
from generated import one_sided_rules, pooled

from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import MajorityVote
from lineshaft.errors import UsageError


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
    with pytest.raises(UsageError, match="two or more"):
        MajorityVote(1)


def test_the_equal_fallback_gives_the_majoritys_labels():
    L, _ = one_sided_rules(0, 0.9)
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

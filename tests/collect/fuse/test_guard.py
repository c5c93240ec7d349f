"""The guard: agreement without gold, cross-fitted accuracy with it."""

import numpy as np
import pytest
from generated import one_sided_rules

from lineshaft.collect.fuse.em import Fit
from lineshaft.collect.fuse.guard import judge
from lineshaft.collect.fuse.patterns import gold_of, matrix, problem


def fit_of(q):
    """A candidate that says ``q`` whatever it is given."""
    return Fit(np.zeros((1, 2, 2)), np.zeros(2), np.full(2, 0.5), np.asarray(q, float), 1, True)


def decide(q, reference, gold=None, votes=None, floor=0.9):
    votes = [[0]] * len(q) if votes is None else votes
    found = problem(matrix(np.arange(len(q))[:, None] * 0 + votes, 2), 2, ["rule"], gold_of(gold, len(q), 2))
    fits = fit_of(q), fit_of(reference)
    return judge(found, found, fits, lambda part: fits[0], lambda part: fits[1], floor)


def test_agreement_counts_rows_not_patterns():
    # Two patterns: 0 (nine rows) and 1 (one row); the candidates differ on the rare one.
    votes = np.array([[0]] * 9 + [[1]])
    found = problem(matrix(votes, 2), 2, ["rule"], gold_of(None, 10, 2))
    fits = fit_of([[0.9, 0.1], [0.9, 0.1]]), fit_of([[0.9, 0.1], [0.1, 0.9]])
    verdict = judge(found, found, fits, lambda part: fits[0], lambda part: fits[1], 0.95)
    assert verdict.agreement == pytest.approx(0.9) and not verdict.weighted
    assert judge(found, found, fits, lambda part: fits[0], lambda part: fits[1], 0.9).weighted


def test_either_side_of_a_tie_agrees():
    assert decide([[0.9, 0.1]], [[0.5, 0.5]]).agreement == 1
    assert decide([[0.1, 0.9]], [[0.5, 0.5]]).agreement == 1
    assert decide([[0.1, 0.9]], [[0.6, 0.4]]).agreement == 0


def test_gold_is_never_judged_by_a_fit_that_saw_it():
    L, y = one_sided_rules(0, n=200)
    gold = np.where(np.arange(200) < 50, y, -1)
    found = problem(matrix(L, 2), 2, ["rule"] * 12, gold)
    held = []

    def spy(part):
        hidden = (found.gold >= 0) & (part.gold < 0)
        held.append((hidden * found.counts).sum())
        return fit_of(np.full((len(part.counts), 2), 0.5))

    whole = fit_of(np.full((len(found.counts), 2), 0.5))
    verdict = judge(found, found, (whole, whole), spy, spy)
    assert held == [10] * 10
    assert verdict.gold_difference == 0 and verdict.gold_rows == (L[:50] >= 0).any(axis=1).sum()


def test_a_few_gold_rows_decide_nothing():
    L, y = one_sided_rules(0)
    gold = np.where(np.arange(len(y)) < 5, y, -1)
    found = problem(matrix(L, 2), 2, ["rule"] * 12, gold)
    right, wrong = fit_of(np.eye(2)[np.maximum(found.gold, 0)]), fit_of(np.eye(2)[1 - np.maximum(found.gold, 0)])
    verdict = judge(found, found, (wrong, right), lambda part: wrong, lambda part: right)
    assert "floor" in verdict.reason


def test_no_rows_agree_with_everything():
    found = problem(matrix(np.zeros((0, 1), int), 2), 2, ["rule"], gold_of(None, 0, 2))
    empty = fit_of(np.zeros((0, 2)))
    assert judge(found, found, (empty, empty), lambda part: empty, lambda part: empty).weighted

"""Expectation maximisation: clamping, the prior's place, the first round, and when it stops."""

import numpy as np
import pytest

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.patterns import gold_of, matrix, problem


class Fixed:
    """An M step that learns nothing and remembers what it saw."""

    def __init__(self, weight):
        self.weight, self.seen = weight, []

    def scores(self, problem, state):
        self.seen.append(state)
        return self.weight * np.tile(np.eye(problem.k), (problem.m, 1, 1))


def run(L, k=2, gold=None, informed=None, weight=1.0, **options):
    L = np.asarray(L)
    found = problem(matrix(L, k), k, ["rule"] * L.shape[1], gold_of(gold, len(L), k))
    step = Fixed(weight)
    told = np.zeros(L.shape[1], bool) if informed is None else np.asarray(informed)[found.order]
    settings = {"gold_weight": 3.0, "rounds": 20, "tolerance": 1e-6} | options
    return found, step, em.run(found, [step], told, **settings)


def test_scores_add_up_and_probabilities_are_their_softmax():
    _, _, fit = run([[0, 0, 1]])
    assert fit.q[0] == pytest.approx(np.exp([2, 1]) / np.exp([2, 1]).sum())


def test_gold_stays_where_it_is_and_counts_more():
    found, step, fit = run([[0, 0], [0, 0]], gold=[1, -1])
    known = found.gold >= 0
    assert fit.q[known].tolist() == [[0, 1]]
    assert sorted(step.seen[0].weight.tolist()) == [1, 3]
    agreement = step.seen[0].agreement[known[found.row]]
    assert agreement.tolist() == [0, 0]


def test_the_first_round_leaves_the_own_vote_out():
    _, step, _ = run([[0, 0, 1]])
    assert sorted(step.seen[0].agreement.tolist()) == [0, 0.5, 0.5]
    _, step, _ = run([[0, -1, -1]])
    assert step.seen[0].agreement.tolist() == [0.5]


def test_the_prior_enters_only_where_an_informed_source_voted():
    L = [[0, -1]] * 30 + [[-1, 0]] * 30 + [[-1, 1]] * 5
    found, _, fit = run(L, informed=[False, True])
    by_vote = {
        (int(found.order[found.key[e] // 2]), int(found.key[e] % 2)): fit.q[found.row[e]] for e in range(len(found.row))
    }
    assert by_vote[0, 0] == pytest.approx(em.softmax(np.array([1.0, 0.0])))
    assert by_vote[1, 0][0] > by_vote[0, 0][0]
    assert by_vote[1, 0] == pytest.approx(em.softmax(np.array([1.0, 0.0]) + fit.prior), abs=1e-4)


def test_it_stops_when_nothing_moves_and_says_so():
    _, step, fit = run([[0, 1], [1, 1]])
    assert fit.converged and fit.rounds == len(step.seen) < 20
    _, step, fit = run([[0, 0], [1, 1]], rounds=1)
    assert not fit.converged and fit.rounds == 1


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (3, 0), (3, 2)])
def test_nothing_to_learn_from(shape):
    _, _, fit = run(np.full(shape, -1), k=3)
    assert fit.converged and fit.rounds == 0
    assert fit.balance.tolist() == pytest.approx([1 / 3] * 3)


def test_the_balance_is_of_covered_and_known_rows_and_never_zero():
    _, _, fit = run([[0]] * 10 + [[-1]] * 90, weight=50.0)
    assert fit.balance[0] > 0.99 and fit.balance[1] > 0
    assert fit.balance.sum() == pytest.approx(1)


def test_softmax_of_large_scores_is_finite():
    assert em.softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])).tolist() == [[1, 0], [0.5, 0.5]]

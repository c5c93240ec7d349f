"""Expectation maximisation: clamping, the prior's place, the first round, and when it stops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.patterns import prepared


class Watching:
    """An M step that learns nothing and remembers what it saw."""

    def __init__(self, weight, prior):
        self.weight, self.prior, self.seen = weight, prior, []

    def learn(self, problem, state):
        self.seen.append(em.State(state.q.copy(), state.agreement.copy(), state.total.copy()))
        prior = np.log(em.balanced(state.total)) if self.prior else np.zeros(problem.k)
        return self.weight * np.tile(np.eye(problem.k), (problem.m, 1, 1)), prior


def run(L, k=2, gold=None, informed=None, weight=1.0, gold_weight=3.0, prior=False, **options):
    L = np.asarray(L)
    found = prepared(matrix(L, k), k, ["rule"] * L.shape[1], gold_of(gold, len(L), k), gold_weight=gold_weight)
    step = Watching(weight, prior)
    told = np.zeros(L.shape[1], bool) if informed is None else np.asarray(informed)[found.order]
    return found, step, em.run(found, [step], told, **({"rounds": 20, "tolerance": 1e-6} | options))


def answer(found, fit, *row):
    """The probabilities of the row that holds these votes, by column of the caller; None for gold rows."""
    votes = np.stack([found.per_row(one)[0] for one in _cells(found)]).round().astype(int)
    wanted = np.zeros(len(votes), int)
    for j, c in enumerate(row):
        if c >= 0:
            wanted[found.order.tolist().index(j) * found.k + c] = 1
    (place,) = np.flatnonzero((votes == wanted[:, None]).all(axis=0) & (found.gold < 0))
    return fit.q[:, place]


def _cells(found):
    for cell in range(found.m * found.k):
        one = np.zeros(found.m * found.k)
        one[cell] = 1
        yield one.reshape(1, found.m, found.k)


def test_scores_add_up_and_probabilities_are_their_softmax():
    _, _, fit = run([[0, 0, 1]])
    assert fit.q[:, 0] == pytest.approx(np.exp([2, 1]) / np.exp([2, 1]).sum())


def test_gold_stays_where_it_is_and_counts_more():
    found, step, fit = run([[0, 0], [0, 0]], gold=[1, -1])
    assert fit.q[:, found.known].T.tolist() == [[0, 1]]
    assert sorted(found.weight.tolist()) == [1, 3]
    assert step.seen[0].agreement[:, found.known].T.tolist() == [[0, 1]]


def test_the_first_round_leaves_the_own_vote_out():
    _, step, _ = run([[0, 0, 1]])
    assert step.seen[0].agreement[:, 0].tolist() == [0.5, 0]
    _, step, _ = run([[0, -1, -1]])
    assert step.seen[0].agreement[:, 0].tolist() == [0.5, 0.5]
    assert (step.seen[1].agreement == step.seen[1].q).all()


def test_the_prior_enters_only_where_an_informed_source_voted():
    L = [[0, -1]] * 30 + [[-1, 0]] * 30 + [[-1, 1]] * 5 + [[-1, -1]] * 5
    found, _, fit = run(L, informed=[False, True], prior=True)
    assert answer(found, fit, 0, -1) == pytest.approx(em.softmax(np.array([1.0, 0.0])))
    assert answer(found, fit, -1, 0)[0] > answer(found, fit, 0, -1)[0]
    assert answer(found, fit, -1, 0) == pytest.approx(em.softmax(np.array([1.0, 0.0]) + fit.prior), abs=1e-4)
    assert answer(found, fit, -1, -1) == pytest.approx([0.5, 0.5])


def test_everywhere_rows_without_a_vote_take_part_and_get_the_prior():
    L = [[0, 0]] * 30 + [[1, 1]] * 10 + [[-1, -1]] * 20
    found, step, fit = run(L, informed=[True, True], prior=True, everywhere=True)
    assert step.seen[0].total.sum() == pytest.approx(60)
    assert answer(found, fit, -1, -1) == pytest.approx(em.softmax(fit.prior), abs=1e-4)
    assert answer(found, fit, -1, -1)[0] > 0.7
    _, step, _ = run(L, informed=[True, True], prior=True)
    assert step.seen[0].total.sum() == pytest.approx(40)


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
    _, _, fit = run([[-1]] * 10, gold=[0] * 3 + [1] * 7)
    assert fit.balance == pytest.approx([0.3, 0.7], abs=1e-3)


def test_fixed_scores_need_one_round():
    L = np.random.default_rng(0).integers(-1, 2, (50, 4))
    found, _, fit = run(L, weight=0.7)
    once = em.once(found, 0.7 * np.tile(np.eye(2), (4, 1, 1)))
    assert (once.q == fit.q).all() and once.rounds == 1 and once.converged


@given(hnp.arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(0, 6)), elements=st.floats(-1e4, 1e4)))
def test_softmax_is_probabilities_whatever_the_scores(scores):
    q = em.softmax(scores)
    assert np.isfinite(q).all() and (q >= 0).all()
    assert np.abs(q.sum(axis=0) - 1).max(initial=0) < 1e-12
    assert (np.take_along_axis(q, scores.argmax(axis=0)[None], axis=0) == q.max(axis=0)).all()


def test_softmax_of_large_scores_is_finite():
    assert em.softmax(np.array([[1e4, -1e4], [0.0, -1e4]])).T.tolist() == [[1, 0], [0.5, 0.5]]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, 3, elements=st.floats(0, 1e6)))
def test_class_shares_sum_to_one_and_none_is_zero(total):
    shares = em.balanced(total)
    assert shares.sum() == pytest.approx(1) and (shares > 0).all()

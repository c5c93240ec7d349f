"""Redundancy: copies weigh as much as one, independent rules keep their weight, noise is no redundancy."""

import numpy as np
import pytest
from generated import one_sided_rules, rules

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Scores
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.patterns import prepared
from lineshaft.collect.fuse.rates import ROUNDS, TOLERANCE, RatesStep
from lineshaft.collect.fuse.redundancy import NOISE, Redundancy


def problem(L, k=2):
    return prepared(matrix(L, k), k, ["rule"] * L.shape[1], gold_of(None, len(L), k))


def fitted(L, discounted=True):
    """Rates: the probabilities of every row, and how much of each vote is news, by the caller's column."""
    found = problem(L)
    everybody = np.ones(found.m, bool)
    redundancy = Redundancy.of(found, everybody)
    step = RatesStep(everybody, redundancy=redundancy if discounted else None)
    fit = em.run(found, [step], ~everybody, rounds=ROUNDS, tolerance=TOLERANCE)
    news = redundancy.news(found, fit.q, np.einsum("jcc->jc", fit.scores))[np.argsort(found.order)]
    return em.softmax(Scores.of(fit, found.order).sums(matrix(L, 2))).T, news


def test_news_is_by_the_formula():
    L, _ = rules(3, (0.6, 0.4), n=3000, m=4, copies=True)
    found = problem(L)
    fit = em.once(found, np.ones((4, 1, 1)) * np.eye(2))
    news = Redundancy.of(found, np.ones(4, bool)).news(found, fit.q, np.ones((4, 2)))
    voted = L[:, found.order]
    q = em.softmax(np.stack([(voted == c).sum(axis=1) for c in range(2)]).astype(float))
    pi = q.mean(axis=1)

    def correlation(a, b):
        ta, tb = (q * a).mean(axis=1) / pi, (q * b).mean(axis=1) / pi
        spread = (a.mean() - pi @ ta**2) * (b.mean() - pi @ tb**2)
        return ((a & b).mean() - pi @ (ta * tb)) / np.sqrt(spread)

    for j, c in np.argwhere(found.votes >= 5):
        others = [other for other in range(4) if other != j and found.votes[other, c] >= 5]
        r = np.array([correlation(voted[:, j] == c, voted[:, other] == c) for other in others])
        assert news[j, c] == pytest.approx(1 / (1 + (np.clip(r - NOISE / np.sqrt(3000), 0, 1) ** 2).sum()))
    assert news.min() < 0.9


@pytest.mark.parametrize("copies", [2, 4])
def test_copies_weigh_as_much_as_the_one_they_are_of(copies):
    L, _ = one_sided_rules(0, n=6000)
    again = np.hstack([L, *[L[:, :1]] * (copies - 1)])
    once, _ = fitted(L)
    often, news = fitted(again)
    counted, _ = fitted(again, discounted=False)
    assert news[0].min() == pytest.approx(1 / copies, rel=0.1)
    assert np.abs(often - once).mean() < 0.5 * np.abs(counted - once).mean()


def test_a_negated_copy_is_a_copy():
    L, y = one_sided_rules(1, n=6000)
    random = np.random.default_rng(1)
    vote = np.where(random.random(6000) < 0.4, np.where(random.random(6000) < 0.8, y, 1 - y), -1)
    _, news = fitted(np.column_stack([L, vote, np.where(vote >= 0, 1 - vote, -1)]))
    assert news[-2:].max() < 0.6


@pytest.mark.parametrize("seed", range(4))
def test_independent_rules_keep_their_weight(seed):
    _, news = fitted(one_sided_rules(seed, n=4000)[0])
    assert news.min() > 0.97


def test_rare_votes_and_other_sources_are_left_alone():
    L = np.array([[0, 0]] * 4 + [[1, 1]] * 50 + [[-1, -1]] * 100)
    found = problem(L)
    assert (Redundancy.of(found, np.ones(2, bool)).cells % 2 == 1).all()  # class 0 occurs on four rows only
    assert not len(Redundancy.of(found, np.zeros(2, bool)).cells)

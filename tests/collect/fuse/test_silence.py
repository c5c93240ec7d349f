"""Silence as evidence: the recipe by hand, what it reaches on independent rules, and how the votes betray others."""

import numpy as np
import pytest
from generated import credit, pooled, rules, two_sided_rules

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Scores
from lineshaft.collect.fuse.checks import gold_of, matrix
from lineshaft.collect.fuse.patterns import prepared
from lineshaft.collect.fuse.silence import LEAST, MOST, ROUNDS, TOLERANCE, Meetings, SilenceStep


def fitted(L, k, gold=None, sources=None):
    L = np.asarray(L)
    found = prepared(matrix(L, k), k, ["rule"] * L.shape[1], gold_of(gold, len(L), k))
    step = SilenceStep(np.ones(found.m, bool) if sources is None else sources[found.order])
    everybody = np.ones(found.m, bool)
    return found, em.run(found, [step], everybody, rounds=ROUNDS, tolerance=TOLERANCE, everywhere=True)


def recipe(L, k, o=0.01, rounds=ROUNDS):
    """Dawid-Skene over the alphabet abstain, 0..k-1, row by row and source by source."""
    n, m = L.shape
    Q = np.array(
        [[(row == c).sum() / max((row >= 0).sum(), 1) if (row >= 0).any() else 1 / k for c in range(k)] for row in L]
    )
    for _ in range(rounds):
        pi = (Q.sum(axis=0) + 0.01) / (n + 0.01 * k)
        theta = np.full((m, k, k + 1), o)
        for i in range(n):
            for j in range(m):
                theta[j, :, L[i, j] + 1] += Q[i]
        theta /= theta.sum(axis=2, keepdims=True)
        log = np.array([np.log(pi) + sum(np.log(theta[j, :, row[j] + 1]) for j in range(m)) for row in L])
        before, Q = Q, np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
        if np.abs(Q - before).max() < TOLERANCE:
            break
    return Q


@pytest.mark.parametrize(("k", "seed"), [(2, 0), (3, 1)])
def test_it_is_the_recipe(k, seed):
    L, _ = rules(seed, [1 / k] * k, n=200, m=5)
    found, fit = fitted(L, k)
    scores = Scores.of(fit, found.order)
    ours = em.softmax(scores.sums(matrix(L, k))).T
    Q, covered = recipe(L, k), (L >= 0).any(axis=1)
    assert np.abs(ours - Q)[covered].max() < 1e-6


def bayes(L, y, k):
    """The best that can be done: naive Bayes over votes and abstains by the true classes."""
    log = np.log(np.bincount(y, minlength=k) / len(y))[None].repeat(len(L), axis=0)
    for column in L.T:
        rates = np.stack([np.bincount(column[y == c] + 1, minlength=k + 1) + 0.5 for c in range(k)], axis=1)
        log += np.log(rates / rates.sum(axis=0))[column + 1]
    return log


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.3), (0.9, 0.1), (0.6, 0.3, 0.1)])
def test_on_independent_rules_it_is_as_good_as_knowing_them(shares):
    L, y = two_sided_rules(0, shares, n=20_000, m=15)
    found, fit = fitted(L, len(shares))
    ours = Scores.of(fit, found.order).sums(matrix(L, len(shares))).T
    assert credit(ours, y).mean() > credit(bayes(L, y, len(shares)), y).mean() - 0.003


def test_skew_that_collapses_rates_helps_it():
    L, y = rules(0, (0.9, 0.1))
    found, fit = fitted(L, 2)
    q = Scores.of(fit, found.order).sums(matrix(L, 2)).T
    covered = (L >= 0).any(axis=1)
    assert credit(q, y)[covered].mean() > 0.9


def test_sources_that_are_no_rules_say_nothing():
    L, _ = rules(0, (0.5, 0.5), n=500, m=6)
    found, fit = fitted(L, 2, sources=np.arange(6) < 4)
    silent = found.order >= 4
    assert (fit.scores[silent] == 0).all() and (fit.scores[~silent] != 0).all()
    _, alone = fitted(L[:, :4], 2)
    assert fit.prior == pytest.approx(alone.prior, abs=0.2)


def test_gold_shows_what_a_rule_is_for():
    L, y = rules(1, (0.5, 0.5), n=2000)
    _, free = fitted(L, 2)
    _, held = fitted(L, 2, gold=np.where(np.arange(2000) < 500, y, -1))
    assert held.rounds <= free.rounds
    assert (held.balance - free.balance) == pytest.approx(0, abs=0.1)


def strain(L, k):
    found, fit = fitted(L, k)
    return Meetings.of(found).strain(found, fit)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2), (0.5, 0.3, 0.2)])
def test_pairs_of_independent_rules_meet_as_the_model_says(seed, shares):
    pairs, excess = strain(rules(seed, shares)[0], len(shares))
    assert pairs >= 12 and excess < 1.2


@pytest.mark.parametrize("seed", range(4))
def test_pairs_of_copying_rules_do_not(seed):
    pairs, excess = strain(rules(seed, (0.5, 0.5), copies=True)[0], 2)
    assert pairs >= 12 and excess > 5


@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ["youtube", "trec"])
def test_pairs_of_rules_that_people_wrote_do_not(shared, name):
    L, _, k = pooled(shared, name)
    pairs, excess = strain(L, k)
    assert pairs >= 40 and excess > 5


def test_meetings_are_counted_for_votes_of_different_sources_once():
    L = np.array([[0, 0, 1]] * 7 + [[0, 1, -1]] * 6 + [[1, -1, -1]] * 5 + [[-1, -1, 0]] * 4)
    found, _ = fitted(L, 2)
    meetings = Meetings.of(found)
    name = [(int(found.order[cell // 2]), int(cell % 2)) for cell in meetings.cells]
    assert set(name) == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)}  # (2, 0) occurs on four rows only
    met = {frozenset((name[a], name[b])): meetings.met[a, b] for a, b in zip(*np.nonzero(meetings.met), strict=True)}
    assert met == {
        frozenset({(0, 0), (1, 0)}): 7,
        frozenset({(0, 0), (2, 1)}): 7,
        frozenset({(1, 0), (2, 1)}): 7,
        frozenset({(0, 0), (1, 1)}): 6,
    }
    assert meetings.often == 4 and LEAST == 5


def test_strain_is_chi_square_per_pair_that_should_meet_often_enough():
    L, _ = rules(3, (0.5, 0.5), n=600, m=6)
    found, fit = fitted(L, 2)
    ours = L[:, found.order]
    q = em.softmax(Scores.of(fit, found.order).sums(matrix(L, 2)))
    q[:, (L < 0).all(axis=1)] = em.softmax(fit.prior)[:, None]
    excess = []
    for j in range(6):
        for other in range(j + 1, 6):
            for c in range(2):
                for d in range(2):
                    first, second = ours[:, j] == c, ours[:, other] == d
                    expected = sum(q[y] @ first * (q[y] @ second) / q[y].sum() for y in range(2))
                    if expected >= LEAST:
                        excess.append(((first & second).sum() - expected) ** 2 / expected)
    assert strain(L, 2) == (len(excess), pytest.approx(np.mean(excess), rel=1e-3))


@pytest.mark.parametrize(
    "L", [np.zeros((0, 3), int), np.full((9, 3), -1), np.zeros((9, 0), int), np.zeros((3, 2), int)]
)
def test_too_little_to_test_anything(L):
    found, fit = fitted(L, 2)
    assert Meetings.of(found).often == 0
    assert Meetings.of(found).strain(found, fit) == (0, 0.0)


def test_too_many_different_votes_are_not_paired():
    L = np.tile(np.arange(MOST + 1), (5, 1)) % 2
    found, _ = fitted(L, 2)
    assert Meetings.of(found).met.shape == (0, 0)

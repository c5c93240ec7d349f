"""Rates: the recipe by hand, the figures of reference sets, and the collapse that the guard is for."""

import numpy as np
import pytest
from generated import one_sided_rules, pooled

from lineshaft.collect.fuse.majority import MajorityVote
from lineshaft.collect.fuse.rates import Rates


def recipe(L, k, gold=None, a=50, p0=0.8, g=5.0, rounds=50):
    """The recipe written out row by row and vote by vote."""
    n, m = L.shape
    gold = np.full(n, -1) if gold is None else gold
    known = [i for i in range(n) if (L[i] >= 0).any() or gold[i] >= 0]
    entries = [(i, j, L[i, j]) for i in range(n) for j in range(m) if L[i, j] >= 0]
    Q = np.zeros((n, k))
    for i in known:
        if gold[i] >= 0:
            Q[i, gold[i]] = 1
        else:
            for c in L[i][L[i] >= 0]:
                Q[i, c] += 1 / (L[i] >= 0).sum()
    q = {}
    for i, j, c in entries:
        others = [L[i, o] for o in range(m) if o != j and L[i, o] >= 0]
        q[i, j] = float(gold[i] == c) if gold[i] >= 0 else (np.mean([o == c for o in others]) if others else 1 / k)
    for _ in range(rounds):
        T, N = Q[known].sum(axis=0), len(known)
        top, low, votes = np.zeros((m, k)), np.zeros((m, k)), np.zeros((m, k))
        for i, j, c in entries:
            u = ((L[i] >= 0).sum() > 1 or gold[i] >= 0) * (g if gold[i] >= 0 else 1)
            top[j, c] += u * q[i, j]
            low[j, c] += u
            votes[j, c] += 1
        p = (top + a * p0) / (low + a)
        w = np.log((votes * p + 0.5) / (T + 1)) - np.log((votes * (1 - p) + 0.5) / (N - T + 1))
        S = np.zeros((n, k))
        for i, j, c in entries:
            S[i, c] += w[j, c]
        before, Q = Q.copy(), np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
        for i in np.flatnonzero(gold >= 0):
            Q[i] = np.eye(k)[gold[i]]
        q = {(i, j): Q[i, c] for i, j, c in entries}
        if np.abs(Q - before)[known].max() < 1e-4:
            break
    return Q, w


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_gold", [False, True])
def test_it_is_the_recipe(seed, with_gold):
    random = np.random.default_rng(seed)
    L = np.where(random.random((60, 5)) < 0.4, random.integers(0, 3, (60, 5)), -1)
    gold = np.where(random.random(60) < 0.2, random.integers(0, 3, 60), -1) if with_gold else None
    Q, w = recipe(L, 3, gold)
    model = Rates(3).fit(L, gold)
    weights = np.einsum("jcc->jc", model.fitted.scores)
    assert np.abs(weights - w).max() < 1e-9
    free = model.covered(L) & (gold is None or gold < 0)
    assert np.abs(model.predict_proba(L) - Q)[free].max() < 1e-9


def test_merged_rows_weigh_what_separate_rows_weigh():
    L, _ = one_sided_rules(1, n=500)
    merged = Rates(2).fit(np.vstack([L, L, L])).predict_proba(L)
    shuffled = np.random.default_rng(0).permutation(np.vstack([L, L, L]))
    assert np.abs(Rates(2).fit(shuffled).predict_proba(L) - merged).max() < 1e-9


def test_balanced_rules_gain_on_the_majority():
    gains = []
    for seed in range(4):
        L, y = one_sided_rules(seed)
        covered = Rates(2).fit(L).covered(L)
        gains.append(
            (Rates(2).fit(L).predict(L) == y)[covered].mean() - (MajorityVote(2).fit(L).predict(L) == y)[covered].mean()
        )
    assert np.mean(gains) > 0.01


def test_without_a_guard_it_collapses_under_skew():
    L, y = one_sided_rules(0, 0.9)
    covered = MajorityVote(2).fit(L).covered(L)
    assert (Rates(2).fit(L).predict(L) == y)[covered].mean() < (MajorityVote(2).fit(L).predict(L) == y)[
        covered
    ].mean() - 0.2


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("name", "accuracy", "loss"), [("youtube", 87.67, 0.363), ("semeval", 84.21, 0.836), ("trec", 59.31, 1.256)]
)
def test_reference_sets(shared, name, accuracy, loss):
    L, y, k = pooled(shared, name)
    model = Rates(k).fit(L)
    covered = model.covered(L)
    q, y = model.predict_proba(L)[covered], y[covered]
    assert abs((q.argmax(axis=1) == y).mean() * 100 - accuracy) < 0.3
    assert abs(-np.log(np.clip(q[np.arange(len(y)), y], 1e-3, 1)).mean() - loss) < 0.01
    assert model.report["converged"]

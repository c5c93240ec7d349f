"""Dawid-Skene: people of different skill, the recipe by hand, and the reference crowd."""

import numpy as np
import pytest
from generated import people, pooled

from lineshaft.collect.fuse.dawid_skene import DawidSkene
from lineshaft.collect.fuse.majority import MajorityVote


def recipe(L, k, d, o, rounds):
    n, m = L.shape
    Q = np.array([[(L[i] == c).sum() / (L[i] >= 0).sum() for c in range(k)] for i in range(n)])
    for _ in range(rounds):
        pi = (Q.sum(axis=0) + 0.01) / (n + 0.01 * k)
        theta = np.where(np.eye(k, dtype=bool), d, o)[None].repeat(m, axis=0).astype(float)
        for i, j in zip(*np.nonzero(L >= 0), strict=True):
            theta[j, :, L[i, j]] += Q[i]
        theta /= theta.sum(axis=2, keepdims=True)
        log = np.log(pi)[None].repeat(n, axis=0)
        for i, j in zip(*np.nonzero(L >= 0), strict=True):
            log[i] += np.log(theta[j, :, L[i, j]])
        before, Q = Q, np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
        if np.abs(Q - before).max() < 1e-5:
            break
    return Q


@pytest.mark.parametrize(("k", "prior"), [(2, (0.01, 0.01)), (3, (2, 0.5))])
def test_it_is_the_recipe(k, prior):
    y = np.random.default_rng(0).integers(0, k, 80)
    L = people(y, k, 6, seed=1)
    assert np.abs(DawidSkene(k, *prior).fit(L).predict_proba(L) - recipe(L, k, *prior, 300)).max() < 1e-9


def test_it_learns_who_is_worth_listening_to():
    y = np.random.default_rng(0).integers(0, 2, 2000)
    skilled, careless = (
        people(y, 2, 3, 1, answers=2, skill=(0.95, 0.95)),
        people(y, 2, 7, 2, answers=4, skill=(0.5, 0.55)),
    )
    L = np.hstack([skilled, careless])
    ours = (DawidSkene(2).fit(L).predict(L) == y).mean()
    assert ours > (MajorityVote(2).fit(L).predict(L) == y).mean() + 0.1
    assert ours > 0.9


def test_gold_shows_whose_single_answers_to_turn_round():
    y = np.random.default_rng(3).integers(0, 2, 1000)
    honest, contrary = people(y, 2, 4, 4, answers=1, skill=(0.9, 0.9)), people(y, 2, 4, 5, answers=1, skill=(0.1, 0.1))
    L = np.where(
        (np.arange(1000) % 2 == 0)[:, None],
        np.hstack([honest, np.full_like(honest, -1)]),
        np.hstack([np.full_like(contrary, -1), contrary]),
    )
    gold = np.where(np.arange(1000) < 300, y, -1)
    free = gold < 0
    assert (DawidSkene(2).fit(L).predict(L) == y)[free].mean() < 0.6
    assert (DawidSkene(2).fit(L, gold=gold).predict(L) == y)[free].mean() > 0.85


def test_confidences_play_no_part():
    y = np.random.default_rng(0).integers(0, 3, 300)
    L = people(y, 3, 8, 1)
    plain, soft = DawidSkene(3).fit(L), DawidSkene(3).fit(L, confidence=np.where(L >= 0, 0.6, np.nan))
    assert np.abs(plain.predict_proba(L) - soft.predict_proba(L)).max() < 1e-6


@pytest.mark.needs_shared
def test_the_reference_crowd(shared):
    L, y, _ = pooled(shared, "crowd_product")
    found = DawidSkene(2).fit(L).predict(L)
    hits = ((found == 1) & (y == 1)).sum()
    assert abs((found == y).mean() * 100 - 94.0) < 0.3
    assert abs(200 * hits / ((found == 1).sum() + (y == 1).sum()) - 72.17) < 0.3

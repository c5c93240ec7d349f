"""Generators of votes for the tests: rules that fire for one class or for all, rules that copy, people."""

import numpy as np


def one_sided_rules(seed, share=0.5, n=4000, m=12):
    """Rules of precision 0.6-0.95 and coverage 0.05-0.25, alternately for class 0 and 1; ``share`` of rows are class 0."""
    return rules(seed, (share, 1 - share), n, m)


def rules(seed, shares, n=4000, m=12, coverage=(0.05, 0.25), copies=False):
    """One-sided rules in turn for each class, independent given the class unless every second one copies the one before."""
    random, k = np.random.default_rng(seed), len(shares)
    y = np.searchsorted(np.cumsum(shares), random.random(n), side="right").clip(0, k - 1)
    L = np.full((n, m), -1)
    for j in range(m):
        c = j % k
        precision, covered, own = random.uniform(0.6, 0.95), random.uniform(*coverage), (y == c).mean()
        chance = np.where(y == c, covered * precision / own, covered * (1 - precision) / (1 - own))
        L[random.random(n) < chance, j] = c
        if copies and (j // k) % 2:
            copied = random.random(n) < 0.6
            L[copied, j] = L[copied, j - k]
    return L, y


def two_sided_rules(seed, shares, n=4000, m=12, coverage=0.5, accuracy=(0.6, 0.9)):
    """Rules that vote for any class, as often whatever the class: independent, abstains at random."""
    random, k = np.random.default_rng(seed), len(shares)
    y = np.searchsorted(np.cumsum(shares), random.random(n), side="right").clip(0, k - 1)
    right = random.random((n, m)) < random.uniform(*accuracy, m)
    wrong = (y[:, None] + random.integers(1, k, (n, m))) % k
    return np.where(random.random((n, m)) < coverage, np.where(right, y[:, None], wrong), -1), y


def people(y, k, m, seed, asked=1.0, answers=3, skill=(0.55, 0.95)):
    """``answers`` of m people per asked row, each with an accuracy of its own, wrong answers uniform."""
    random = np.random.default_rng(seed)
    accuracy = random.uniform(*skill, m)
    L = np.full((len(y), m), -1)
    for i in np.flatnonzero(random.random(len(y)) < asked):
        for j in random.choice(m, answers, replace=False):
            wrong = [c for c in range(k) if c != y[i]]
            L[i, j] = y[i] if random.random() < accuracy[j] else random.choice(wrong)
    return L


def credit(q, y):
    """How right each row is: ties among t classes earn 1/t."""
    best = q >= q.max(axis=1, keepdims=True) - 1e-9
    return best[np.arange(len(y)), y] / best.sum(axis=1)


def pooled(shared, name):
    """All splits of one reference set: votes, gold, number of classes."""
    data = np.load(shared / "data" / "collect" / name / "votes.npz")
    splits = [split for split in ("train", "valid", "test") if f"L_{split}" in data]
    y = np.concatenate([data[f"y_{split}"] for split in splits]).astype(int)
    return np.vstack([data[f"L_{split}"] for split in splits]).astype(int), y, int(y.max()) + 1

"""Generators of votes for the tests: rules that fire for one class, and people who answer about some rows."""

import numpy as np


def one_sided_rules(seed, share=0.5, n=4000, m=12):
    """Rules of precision 0.6-0.95 and coverage 0.05-0.25, alternately for class 0 and 1; ``share`` of rows are class 0."""
    random = np.random.default_rng(seed)
    y = (random.random(n) >= share).astype(int)
    L = np.full((n, m), -1)
    for j in range(m):
        c = j % 2
        precision, coverage, own = random.uniform(0.6, 0.95), random.uniform(0.05, 0.25), (y == c).mean()
        chance = np.where(y == c, coverage * precision / own, coverage * (1 - precision) / (1 - own))
        L[random.random(n) < chance, j] = c
    return L, y


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


def pooled(shared, name):
    """All splits of one reference set: votes, gold, number of classes."""
    data = np.load(shared / "data" / "collect" / name / "votes.npz")
    splits = [split for split in ("train", "valid", "test") if f"L_{split}" in data]
    y = np.concatenate([data[f"y_{split}"] for split in splits]).astype(int)
    return np.vstack([data[f"L_{split}"] for split in splits]).astype(int), y, int(y.max()) + 1

"""Skewed classes: in the mean of a setting the default never falls more than a point below the majority.

A sample, at fresh seeds, of the settings that the guard was held against: 5 to 40 rules, sparse to broad, two to four
classes, from even shares to nine in ten. Ties earn their share on both sides.
"""

import numpy as np
import pytest
from generated import credit, rules, two_sided_rules

from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import MajorityVote
from lineshaft.collect.fuse.rates import Rates

SPARSE, MID, BROAD = (0.02, 0.1), (0.05, 0.25), (0.2, 0.5)
SETTINGS = [
    ((0.5, 0.5), 12, MID),
    ((0.6, 0.4), 12, MID),
    ((0.7, 0.3), 12, MID),
    ((0.8, 0.2), 12, MID),
    ((0.9, 0.1), 12, MID),
    ((0.9, 0.1), 40, SPARSE),
    ((0.8, 0.2), 5, BROAD),
    ((0.7, 0.3), 20, SPARSE),
    ((0.5, 0.3, 0.2), 20, MID),
    ((0.6, 0.3, 0.1), 8, BROAD),
    ((0.8, 0.15, 0.05), 12, MID),
    ((0.25, 0.25, 0.25, 0.25), 5, BROAD),
    ((0.7, 0.1, 0.1, 0.1), 40, SPARSE),
    ((0.7, 0.1, 0.1, 0.1), 12, MID),
    ((0.55, 0.25, 0.15, 0.05), 20, MID),
]


def gain(model, L, y):
    """Accuracy on covered rows above the majority's, in points."""
    covered, majority = model.covered(L), MajorityVote(model.k).fit(L)
    ours, theirs = credit(model.predict_proba(L), y), credit(majority.predict_proba(L), y)
    return 100 * (ours - theirs)[covered].mean()


@pytest.mark.parametrize(("shares", "m", "coverage"), SETTINGS)
def test_never_a_point_below_the_majority(shares, m, coverage):
    gains = []
    for seed in range(900, 904):
        L, y = rules(seed, shares, m=m, coverage=coverage)
        gains.append(gain(LabelModel(len(shares)).fit(L), L, y))
    assert np.mean(gains) > -1.0


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.8, 0.15, 0.05), (0.7, 0.1, 0.1, 0.1)])
def test_rules_for_every_class_are_no_trouble_either(shares):
    gains = []
    for seed in range(900, 904):
        L, y = two_sided_rules(seed, shares, m=12, coverage=0.3, accuracy=(0.6, 0.95))
        gains.append(gain(LabelModel(len(shares)).fit(L), L, y))
    assert np.mean(gains) > 1


def test_the_same_rules_without_the_guard_lose_ten_points_and_more():
    L, y = rules(900, (0.9, 0.1))
    assert gain(Rates(2).fit(L), L, y) < -10 < -1 < gain(LabelModel(2).fit(L), L, y)


def test_over_the_grid_it_gains_two_points():
    gains = []
    for shares, m, coverage in SETTINGS[:5]:
        for seed in range(904, 908):
            L, y = rules(seed, shares, m=m, coverage=coverage)
            gains.append(gain(LabelModel(2).fit(L), L, y))
    assert np.mean(gains) > 1.5

"""Do the intervals cover what they say, and do they cost no more memory than they may?"""

import numpy as np
import pytest

from lineshaft.release import bootstrap
from lineshaft.release.bootstrap import groups_of, interval, sums_of


def test_the_first_row_is_the_data():
    table = np.random.default_rng(0).normal(size=(20, 3))
    sums = sums_of(table, groups_of(None, 20), seed=1, resamples=7)
    assert sums.shape == (8, 3)
    np.testing.assert_array_equal(sums[0], table.sum(0))


def test_blocks_do_not_change_the_draws(monkeypatch):
    table = np.random.default_rng(0).normal(size=(20, 3))
    whole = sums_of(table, groups_of(None, 20), seed=1, resamples=50)
    for block in (1, 20, 130, 999):
        monkeypatch.setattr(bootstrap, "BLOCK", block)
        np.testing.assert_allclose(sums_of(table, groups_of(None, 20), seed=1, resamples=50), whole, rtol=1e-12)


def test_draws_are_those_of_their_seed():
    table = np.ones((5, 1))
    one, again, other = (sums_of(table, groups_of(None, 5), seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_groups_are_drawn_together():
    # Two rows of a group that cancel out: whatever is drawn, the sum is 0.
    table = np.array([[1.0], [-1.0]])
    assert (sums_of(table, groups_of(["a", "a"], 2), seed=0) == 0).all()
    assert (sums_of(table, groups_of(["a", "b"], 2), seed=0) != 0).any()


def test_groups_are_numbered_by_name_whatever_the_order_of_rows():
    assert groups_of(["b", None, "a", "b"], 4).tolist() == [2, 0, 1, 2]
    assert groups_of(None, 3).tolist() == [0, 1, 2]


def test_resamples_have_the_size_of_the_data_on_average():
    counts = sums_of(np.ones((400, 1)), groups_of(None, 400), seed=0)[1:, 0]
    assert counts.mean() == pytest.approx(400, rel=0.01)
    assert counts.std() == pytest.approx(20, rel=0.1)


def test_intervals_cover_as_often_as_they_say():
    """250 samples of 150 rows from a known mean: 95 % intervals miss it 12 times, give or take."""
    generator, missed = np.random.default_rng(11), 0
    for seed in range(250):
        right = (generator.random(150) < 0.7).astype(float)
        sums = sums_of(np.stack([right, np.ones(150)], 1), groups_of(None, 150), seed, resamples=400)
        found = interval(sums[:, 0] / sums[:, 1])
        missed += not found["low"] <= 0.7 <= found["high"]
    assert 4 <= missed <= 25


def test_rows_of_a_group_that_agree_widen_the_interval_as_they_should():
    """40 groups of 10 equal rows tell as much as 40 rows: ignoring that misses the truth far too often."""
    generator, missed = np.random.default_rng(3), {"by group": 0, "by row": 0}
    groups = np.repeat(np.arange(40), 10)
    for seed in range(150):
        right = np.repeat((generator.random(40) < 0.6).astype(float), 10)
        table = np.stack([right, np.ones(400)], 1)
        for name, members in (("by group", groups_of(groups, 400)), ("by row", groups_of(None, 400))):
            sums = sums_of(table, members, seed, resamples=300)
            found = interval(sums[:, 0] / sums[:, 1])
            missed[name] += not found["low"] <= 0.6 <= found["high"]
    assert missed["by group"] <= 20
    assert missed["by row"] >= 60


def test_undefined_resamples_are_left_out_and_an_undefined_value_has_no_interval():
    assert interval(np.array([0.5, np.nan, 0.4, 0.6])) == {"value": 0.5, "low": 0.405, "high": 0.595}
    nothing = {"value": None, "low": None, "high": None}
    assert interval(np.array([np.nan, 0.4])) == interval(np.array([0.4, np.nan])) == nothing

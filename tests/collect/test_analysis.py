"""The analysis table: its figures by hand, with and without gold, and how it prints."""

import numpy as np
import polars as pl
import pytest
from generated import one_sided_rules
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.collect.analysis import analyze, wilson
from lineshaft.collect.votes import Votes

L = [[0, 0, -1], [0, 1, -1], [-1, 1, -1], [-1, -1, -1]]
VOTES = Votes.from_dense(L, ["a", "b", "c"], kinds=["rule", "rule", "person"], classes=["no", "yes"])


def test_figures_by_hand():
    table = analyze(VOTES, gold={"0": "no", "1": "yes", "2": 1, "elsewhere": 0})
    a, b, c = table
    assert (a.votes, a.coverage, a.overlap, a.conflict, a.polarity) == (2, 0.5, 0.5, 0.25, ("no",))
    assert (b.coverage, b.overlap, b.conflict, b.polarity) == (0.75, 0.5, 0.25, ("no", "yes"))
    assert (a.correct, a.judged, a.accuracy) == (1, 2, 0.5)
    assert b.accuracy == 1 and (b.low, b.high) == wilson(3, 3)
    assert (c.votes, c.coverage, c.accuracy, c.low, c.polarity, c.weight) == (0, 0, None, None, (), 0)
    assert (table.rows, table.covered, len(table)) == (4, 3, 3)
    assert table["b"] is b


def test_without_gold_nothing_is_judged():
    assert all(row.accuracy is None and row.judged == 0 for row in analyze(VOTES))


def test_gold_by_row_is_gold_by_id():
    by_row = analyze(VOTES, gold=[0, 1, 1, -1])
    assert by_row == analyze(VOTES, gold={"0": 0, "1": 1, "2": 1})


def test_better_rules_weigh_more():
    votes, y = one_sided_rules(0)
    rows = list(analyze(Votes.from_dense(votes), gold=y))
    accuracy, weight = [row.accuracy for row in rows], [row.weight for row in rows]
    assert np.corrcoef(accuracy, weight)[0, 1] > 0.7


@given(st.integers(1, 1000), st.data())
def test_the_interval_holds_the_share_and_narrows(total, data):
    correct = data.draw(st.integers(0, total))
    low, high = wilson(correct, total)
    assert 0 <= low <= correct / total + 1e-12 and correct / total - 1e-12 <= high <= 1
    wider = wilson(correct, total)
    narrower = wilson(correct * 10, total * 10)
    assert narrower[1] - narrower[0] < wider[1] - wider[0]


def test_the_interval_is_wilsons():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_it_prints_aligned_and_exports():
    table = analyze(VOTES, gold=[0, 1, 1, -1])
    lines = str(table).splitlines()
    assert lines[0].split()[:3] == ["source", "kind", "polarity"]
    assert "0.500" in lines[1] and "(n=2)" in lines[1]
    assert lines[-1] == "3 of 4 rows covered"
    assert "<td>a</td>" in table._repr_html_()
    frame = pl.DataFrame(table)
    assert frame["source"].to_list() == ["a", "b", "c"] and frame["accuracy"].to_list() == [0.5, 1.0, None]


def test_nothing_to_analyse():
    empty = analyze(Votes.from_dense(np.zeros((0, 2), int)))
    assert [row.coverage for row in empty] == [0, 0]
    assert str(analyze(Votes.from_dense(np.zeros((3, 0), int)))).endswith("0 of 3 rows covered")

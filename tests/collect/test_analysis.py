"""The analysis table: its figures by hand, with and without gold, and how it prints."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from generated import one_sided_rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.analysis import analyze, wilson
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.rates import Rates
from lineshaft.collect.votes import Faults, Votes

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


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 15), st.integers(1, 5)), elements=st.integers(-1, 2)), st.data())
def test_figures_are_those_counted_row_by_row(L, data):
    gold = data.draw(hnp.arrays(np.int64, len(L), elements=st.integers(-1, 2)))
    table = analyze(Votes.from_dense(L, classes=["a", "b", "c"]), gold=gold)
    n = max(len(L), 1)
    for j, row in enumerate(table):
        spoke = [i for i in range(len(L)) if L[i, j] >= 0]
        others = {i: [c for o, c in enumerate(L[i]) if o != j and c >= 0] for i in spoke}
        assert row.votes == len(spoke) and row.coverage == len(spoke) / n
        assert row.overlap == sum(bool(others[i]) for i in spoke) / n
        assert row.conflict == sum(any(c != L[i, j] for c in others[i]) for i in spoke) / n
        assert row.polarity == tuple("abc"[c] for c in sorted({int(L[i, j]) for i in spoke}))
        assert row.judged == sum(gold[i] >= 0 for i in spoke)
        assert row.correct == sum(gold[i] == L[i, j] for i in spoke)
        assert row.accuracy == (row.correct / row.judged if row.judged else None)
    assert table.covered == (L >= 0).any(axis=1).sum() and table.rows == len(L)


def test_a_fitted_model_lends_its_weights():
    L_, _ = one_sided_rules(0, n=500)
    votes = Votes.from_dense(L_)
    fresh = analyze(votes)
    assert [row.weight for row in analyze(votes, model=LabelModel(2).fit(L_))] == [row.weight for row in fresh]
    other = analyze(votes, model=Rates(2, strength=500.0).fit(L_))
    assert [row.weight for row in other] != [row.weight for row in fresh]
    assert [row.votes for row in other] == [row.votes for row in fresh]


def test_the_weight_is_what_a_vote_adds_to_its_class_against_the_others():
    L_, _ = one_sided_rules(3, n=800, m=4)
    model = LabelModel(2).fit(L_)
    for j, row in enumerate(analyze(Votes.from_dense(L_), model=model)):
        c = j % 2
        assert row.weight == pytest.approx(model.fitted.scores[j, c, c] - model.fitted.scores[j, c, 1 - c])


def test_gold_of_a_class_that_nobody_votes_for_is_no_trouble():
    table = analyze(Votes.from_dense([[0], [1]]), gold=[2, 1])
    assert next(iter(table)).accuracy == 0.5


def test_an_unknown_source_is_a_key_error():
    with pytest.raises(KeyError):
        analyze(VOTES)["nobody"]


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


def test_sources_that_failed_are_shown_with_count_first_row_and_error():
    faults = (Faults("s0", 3, (("r7", "ValueError: <no>"),)), Faults("s1", 1, (("r9", "KeyError: 'x'"),)))
    table = analyze(replace(Votes.from_dense([[0, -1], [-1, 1], [-1, -1]], ["s0", "s1"]), faults=faults))
    assert str(table).splitlines()[-3:] == [
        "2 of 3 rows covered",
        "source s0 failed on 3 of 3 rows, first on r7: ValueError: <no>",
        "source s1 failed on 1 of 3 rows, first on r9: KeyError: 'x'",
    ]
    shown = table._repr_html_()
    assert "source s0 failed on 3 of 3 rows" in shown and "&lt;no&gt;" in shown and "<no>" not in shown


def test_no_failure_no_word_of_it():
    assert "failed" not in str(analyze(Votes.from_dense([[0], [1]])))

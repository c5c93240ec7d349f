"""Labels: who gets one, what it weighs, why it is what it is, and the stored form."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from generated import one_sided_rules, people, rules
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.analysis import analyze
from lineshaft.collect.fuse.dawid_skene import DawidSkene
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import MajorityVote
from lineshaft.collect.labels import WEAK_WEIGHT, Labels, fuse, gold_numbers
from lineshaft.collect.reasons import TOP
from lineshaft.collect.votes import Faults, Votes
from lineshaft.core.codec import decode, encode
from lineshaft.core.task import Task
from lineshaft.errors import DataError, UsageError

TASK = Task("verdict", ["rotten", "fresh"])


def votes(L, kinds="rule", **options):
    return Votes.from_dense(L, kinds=kinds, classes=TASK.classes, **options)


def test_covered_rows_and_gold_rows_only():
    labels = fuse(votes([[0, 0], [-1, -1], [1, -1], [-1, -1]]), TASK, gold={"1": "fresh", "2": 0})
    assert labels.row_ids == ("0", "1", "2")
    assert labels.tiers == ("fused", "expert", "expert")
    assert labels.hard().tolist() == [0, 1, 0]
    assert labels.probabilities[1:].tolist() == [[0, 1], [1, 0]]
    assert labels.report["rows_asked"] == 4 and labels.report["rows_labelled"] == 3


def test_experts_weigh_one_and_weak_rows_less():
    labels = fuse(votes([[0, 0], [1, -1]]), TASK, gold={"1": 1})
    assert labels.weights[1] == 1
    assert labels.weights[0] == pytest.approx(WEAK_WEIGHT * labels.probabilities[0].max())
    assert labels.report["weak_weight"] == 0.3 and "public sets" in labels.report["weak_weight_reason"]
    heavy = fuse(votes([[0, 0]]), TASK, weak_weight=1.0)
    assert heavy.weights[0] == pytest.approx(heavy.probabilities[0].max())
    assert heavy.report["weak_weight_reason"] == "given"
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(UsageError, match="between 0 and 1"):
            fuse(votes([[0]]), TASK, weak_weight=wrong)


def test_gold_of_rows_that_were_not_asked_never_enters():
    labels = fuse(votes([[0, 0]]), TASK, gold={"test-row": "fresh", "0": "rotten"})
    assert labels.row_ids == ("0",)
    assert labels.report["gold_not_asked"] == 1 and labels.report["gold_rows"] == 1


def test_gold_shows_that_two_copies_of_a_bad_rule_are_bad():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 1500)
    good, bad = (np.where(random.random(1500) < right, y, 1 - y) for right in (0.9, 0.45))
    gold = {str(i): int(y[i]) for i in range(500)}
    without, with_gold = (
        fuse(votes(np.stack([good, bad, bad], 1)), TASK),
        fuse(votes(np.stack([good, bad, bad], 1)), TASK, gold),
    )
    hits = [(labels.hard() == y)[500:].mean() for labels in (without, with_gold)]
    assert hits[0] < 0.6 and hits[1] > 0.8
    assert with_gold.tiers.count("expert") == 500


def test_experts_among_the_sources_are_experts():
    L = [[0, 1, -1], [0, 1, 0], [0, -1, -1], [-1, 1, 1]]
    labels = fuse(votes(L, ["rule", "expert", "expert"]), TASK)
    assert labels.tiers == ("expert", "fused", "fused", "expert")
    assert labels.hard()[[0, 3]].tolist() == [1, 1]
    assert labels.report["fit"]["expert_conflicts"] == 1


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.integers(0, 12)), elements=st.integers(-1, 2)), st.data())
def test_reasons_sum_to_the_log_odds_and_survive_storage(L, data):
    task = Task("t", ["a", "b", "ç d"])
    gold = {str(i): data.draw(st.integers(0, 2)) for i in data.draw(st.sets(st.integers(0, 12))) if i < len(L)}
    labels = fuse(Votes.from_dense(L, classes=task.classes), task, gold)
    for place, row_id in enumerate(labels.row_ids):
        p = float(labels.probabilities[place].max())
        if labels.tiers[place] == "fused" and p < 0.999:  # beyond, float32 probabilities say too little of log-odds
            assert sum(labels.explain(row_id).values()) == pytest.approx(np.log(p / (1 - p)), abs=1e-3)
        assert len(labels.reasons[place]) <= TOP + 1
    _, content = encode("Labels", labels.payload())
    back = Labels.from_payload(decode("Labels", content))
    assert encode("Labels", back.payload())[1] == content
    assert back.row_ids == labels.row_ids and back.tiers == labels.tiers and back.reasons.equals(labels.reasons)
    assert (
        back.probabilities.tobytes() == labels.probabilities.tobytes()
        and back.weights.tobytes() == labels.weights.tobytes()
    )
    assert back.report == json.loads(json.dumps(labels.report))


def test_a_row_without_a_label_has_no_explanation():
    with pytest.raises(DataError, match="row '1' has no label"):
        fuse(votes([[0], [-1]]), TASK).explain("1")


@pytest.mark.parametrize("model", [MajorityVote(2), DawidSkene(2), LabelModel(2)])
def test_any_label_model_will_do(model):
    L, _ = one_sided_rules(0, n=300)
    labels = fuse(votes(L), TASK, gold={"0": 1}, model=model)
    assert labels.report["model"] == type(model).__name__
    assert len(labels) == len(set(np.flatnonzero((L >= 0).any(axis=1))) | {0})
    assert np.abs(labels.probabilities.sum(axis=1) - 1).max() < 1e-6


def test_soft_votes_are_used():
    L, y = one_sided_rules(1, n=2000)
    random = np.random.default_rng(1)
    sure = random.uniform(0.5, 1, 2000)
    vote = np.where(random.random(2000) < sure, y, 1 - y)
    soft = np.full((2000, 13), np.nan)
    soft[:, 0] = sure
    labels = fuse(votes(np.column_stack([vote, L]), ["model"] + ["rule"] * 12, confidence=soft), TASK)
    alone = (L < 0).all(axis=1) & (vote == 1)
    assert np.corrcoef(sure[alone], labels.probabilities[alone, 1])[0, 1] > 0.9


def test_the_same_votes_give_the_same_bytes():
    L, _ = one_sided_rules(5, n=500)
    contents = {encode("Labels", fuse(votes(L), TASK, gold={"3": 1, "4": 0}).payload())[1] for _ in range(3)}
    assert len(contents) == 1


def test_other_classes_are_refused():
    with pytest.raises(UsageError, match="a model of 3 classes for task 'verdict' of 2"):
        fuse(votes([[0]]), TASK, model=LabelModel(3))
    with pytest.raises(DataError, match="a vote of 4 among 2 classes"):
        fuse(Votes.from_dense([[4]]), TASK)
    with pytest.raises(DataError, match="votes are about"):
        fuse(Votes.from_dense([[0]], classes=["a", "b"]), TASK)
    with pytest.raises(DataError, match="gold of row '0': 'sour' is not one of the classes"):
        fuse(votes([[0]]), TASK, gold={"0": "sour"})


def test_no_rows_give_no_labels():
    labels = fuse(votes(np.full((3, 2), -1)), TASK)
    assert len(labels) == 0 and labels.payload().num_rows == 0
    assert len(Labels.from_payload(decode("Labels", encode("Labels", labels.payload())[1]))) == 0
    assert len(fuse(votes(np.zeros((0, 0), int)), TASK)) == 0


@pytest.mark.parametrize(
    "sources", [["rule"], ["rule", "person"], ["person"] * 3, ["model", "rule"], ["expert", "rule"]]
)
@pytest.mark.parametrize("copies", [False, True])
def test_reasons_add_up_whatever_the_model_chose(sources, copies):
    L, y = rules(1, (0.5, 0.5), n=1500, copies=copies)
    extra = people(y, 2, len(sources), 0, answers=1, skill=(0.7, 0.9))
    labels = fuse(votes(np.hstack([L, extra]), ["rule"] * 12 + sources), TASK)
    for row_id in labels.row_ids[:40]:
        place = labels.places[row_id]
        p = float(labels.probabilities[place].max())
        if labels.tiers[place] == "fused" and p < 0.999:
            assert sum(labels.explain(row_id).values()) == pytest.approx(np.log(p / (1 - p)), abs=1e-3)


def test_the_order_of_rows_and_sources_changes_no_label():
    L, y = rules(2, (0.6, 0.4), n=400, m=8)
    ids, names = [f"r{i}" for i in range(400)], [f"s{j}" for j in range(8)]
    gold = {f"r{i}": int(y[i]) for i in range(0, 400, 40)}
    one = fuse(votes(L, sources=names, row_ids=ids), TASK, gold)
    rows, columns = np.random.default_rng(0).permutation(400), np.random.default_rng(1).permutation(8)
    moved = votes(L[rows][:, columns], sources=[names[j] for j in columns], row_ids=[ids[i] for i in rows])
    other = fuse(moved, TASK, dict(reversed(gold.items())))
    assert set(other.row_ids) == set(one.row_ids)
    for row_id in one.row_ids:
        here, there = one.places[row_id], other.places[row_id]
        assert np.abs(one.probabilities[here] - other.probabilities[there]).max() < 1e-5
        assert one.tiers[here] == other.tiers[there]
        assert one.explain(row_id) == pytest.approx(other.explain(row_id), abs=1e-5)


def test_gold_of_every_row_leaves_nothing_to_fuse():
    labels = fuse(votes([[0, 1], [1, -1], [-1, -1]]), TASK, gold={"0": 1, "1": 1, "2": 0})
    assert labels.tiers == ("expert",) * 3 and labels.hard().tolist() == [1, 1, 0]
    assert labels.weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("gold", [{}, None, {"0": None}, {"0": -1}])
def test_gold_that_says_nothing_changes_nothing(gold):
    labels = fuse(votes([[0, 0], [1, -1]]), TASK, gold=gold)
    assert labels.tiers == ("fused", "fused")
    assert (labels.probabilities == fuse(votes([[0, 0], [1, -1]]), TASK).probabilities).all()


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ({"0": "sour"}, "gold of row '0': 'sour' is not one of the classes"),
        ({"0": 2}, "2 is no vote among 2"),
        ({"0": True}, "True is no vote"),
        ({"0": 0.5}, "0.5 is no vote"),
        ([0, 1, 1], "3 gold labels for 2 rows"),
    ],
)
def test_gold_that_is_no_class_names_its_row(gold, message):
    with pytest.raises(DataError, match=message):
        gold_numbers(votes([[0], [1]]), gold, TASK.classes)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (
            {"zzz": "fresh"},
            "none of the 1 row ids of gold, such as 'zzz', is among the 2 rows, the first of which is '0'",
        ),
        ({0: "fresh", 1: "rotten"}, "such as 0, .*; row ids are strings, 0 is of type int; name rows by their row_id"),
    ],
)
def test_gold_that_matches_no_row_is_refused(gold, message, fused):
    asked = votes([[0], [1]])
    with pytest.raises(DataError, match=message):
        fuse(asked, TASK, gold=gold) if fused else analyze(asked, gold)


def test_gold_where_no_row_was_asked_is_refused_too():
    with pytest.raises(DataError, match="is among the rows, for there are none"):
        fuse(Votes.from_dense(np.empty((0, 1), int), classes=TASK.classes), TASK, gold={"0": "fresh"})


def test_gold_by_number_is_refused_where_class_names_look_like_numbers():
    stars = Task("stars", ["1", "2", "3"])
    asked = Votes.from_dense([[0], [1]], classes=stars.classes)
    for gold in ({"0": 1}, [1, 2]):
        with pytest.raises(DataError, match="gold of row '0': the integer 1 could be a class name or a class number"):
            gold_numbers(asked, gold, stars.classes)
    for gold in ({"0": "1"}, ["1", None], stars.encode(["1", None]), [stars.index("1"), -1]):
        assert gold_numbers(asked, gold, stars.classes).tolist() == [0, -1]


def test_unknown_gold_by_row_is_no_class_even_where_one_is_called_minus_one():
    signs = Task("sign", ["-1", "0", "1"])
    asked = Votes.from_dense([[0], [1]], classes=signs.classes)
    assert gold_numbers(asked, [-1, signs.index("0")], signs.classes).tolist() == [-1, 1]


def test_gold_comes_by_id_or_by_row_by_name_or_by_number():
    asked = votes([[0], [1], [0]])
    for gold in ({"0": "fresh", "2": np.int64(0)}, ["fresh", None, "rotten"], [1, -1, 0], np.array([1, -1, 0])):
        assert gold_numbers(asked, gold, TASK.classes).tolist() == [1, -1, 0]
    assert gold_numbers(asked, None, TASK.classes).tolist() == [-1, -1, -1]


def test_ids_and_classes_of_any_script_survive():
    task = Task("t", ["да", "非"])
    labels = fuse(Votes.from_dense([[0], [1]], classes=task.classes, row_ids=["ключ", "a\nb"]), task)
    back = Labels.from_payload(decode("Labels", encode("Labels", labels.payload())[1]))
    assert back.row_ids == ("ключ", "a\nb") and back.classes == ("да", "非")
    assert back.payload().column_names == ["row_id", "p_да", "p_非", "weight", "tier", "sources"]


def test_faults_are_in_the_report():
    asked = replace(votes([[0]]), faults=(Faults("source_0", 3, (("0", "E: x"),)),))
    assert fuse(asked, TASK).report["faults"] == {"source_0": 3}


def test_it_exports_and_shows_itself():
    labels = fuse(votes([[0, 0], [1, -1]]), TASK, gold={"1": 1})
    assert pl.DataFrame(labels).columns == ["row_id", "p_rotten", "p_fresh", "weight", "tier", "sources"]
    assert repr(labels) == "Labels(2 rows: 1 expert, 1 fused)"
    assert "<td>rotten</td>" in labels._repr_html_()

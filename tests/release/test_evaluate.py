"""Evaluation: what is measured, on which rows, and what is refused."""

import json
import warnings

import numpy as np
import pytest

import lineshaft as ls
from lineshaft.errors import DataError, UsageError
from lineshaft.release.evaluate import Report, evaluate, shown

CLASSES = ["no", "yes"]


def answers(n=60, k=2, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, k, n)
    scores = generator.normal(size=(n, k)) + 1.5 * np.eye(k)[truth]
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True), truth


def test_it_is_public():
    assert ls.evaluate is evaluate


def test_rows_without_gold_are_left_out():
    probabilities, truth = answers()
    half = np.where(np.arange(60) % 2, truth, -1)
    whole = evaluate(probabilities, half, CLASSES)
    alone = evaluate(probabilities[1::2], truth[1::2], CLASSES)
    assert whole == alone
    assert whole.content["rows"] == 30


def test_slices_are_measured_as_if_alone():
    probabilities, truth = answers(90, 3)
    inside = probabilities[:, 0] > 0.4
    part = evaluate(probabilities, truth, "abc", slices={"sure": inside}).content["slices"]["sure"]
    alone = evaluate(probabilities[inside], truth[inside], "abc").content
    assert part["rows"] == alone["rows"] == inside.sum()
    for name, found in part["metrics"].items():
        assert found["value"] == pytest.approx(alone["metrics"][name]["value"], abs=1e-6)
        assert found["low"] <= found["value"] <= found["high"]


def test_an_empty_slice_and_one_without_gold_are_undefined_and_quiet():
    probabilities, truth = answers(40, 3)
    truth[:5] = -1
    slices = {"nobody": [False] * 40, "unknown": [True] * 5 + [False] * 35, "one": [False] * 39 + [True]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = evaluate(probabilities, truth, "abc", slices=slices)
    for name in ("nobody", "unknown"):
        assert report.content["slices"][name]["rows"] == 0
        assert all(report.metric(m, name)["value"] is None for m in report.content["metrics"])
    assert report.content["slices"]["one"]["rows"] == 1
    assert report.metric("accuracy", "one")["value"] in {0.0, 1.0}


@pytest.mark.parametrize("k", [2, 3])
def test_one_class_only(k):
    probabilities, _ = answers(20, k)
    report = evaluate(probabilities, np.zeros(20, int), "abc"[:k])
    assert report.metric("accuracy")["value"] == report.metric("balanced_accuracy")["value"]
    assert report.content["confusion"][1:] == [[0] * k] * (k - 1)


def test_confusion_and_reliability_add_up():
    probabilities, truth = answers(200, 3)
    content = evaluate(probabilities, truth, "abc").content
    confusion = np.array(content["confusion"])
    assert confusion.sum() == sum(bin_["rows"] for bin_ in content["reliability"]) == 200
    assert np.trace(confusion) / 200 == pytest.approx(content["metrics"]["accuracy"]["value"])
    assert (confusion.sum(1) == np.bincount(truth)).all()
    for bin_ in content["reliability"]:
        assert 1 / 3 <= bin_["confidence"] <= 1
        assert 0 <= bin_["accuracy"] <= 1


def test_groups_widen_intervals_of_rows_that_go_together():
    probabilities, truth = np.tile([[0.9, 0.1]], (200, 1)), np.repeat(np.arange(20) % 2, 10)
    rows = evaluate(probabilities, truth, CLASSES).metric("accuracy")
    groups = evaluate(probabilities, truth, CLASSES, groups=np.repeat(np.arange(20), 10)).metric("accuracy")
    assert rows["value"] == groups["value"] == 0.5
    assert groups["high"] - groups["low"] > 2 * (rows["high"] - rows["low"])


def test_groups_of_rows_without_gold_do_not_count():
    probabilities, truth = answers()
    truth[:30] = -1
    names = [f"left out {n}" for n in range(30)] + list("abc") * 10
    assert evaluate(probabilities, truth, CLASSES, groups=names) == evaluate(
        probabilities[30:], truth[30:], CLASSES, groups=names[30:]
    )


def test_equal_input_gives_equal_bytes_whatever_the_seed_was_before():
    probabilities, truth = answers()
    np.random.seed(1)
    one = json.dumps(evaluate(probabilities, truth, CLASSES, seed=5).payload())
    np.random.seed(2)
    assert one == json.dumps(evaluate(probabilities.tolist(), truth.tolist(), CLASSES, seed=5).payload())
    assert one != json.dumps(evaluate(probabilities, truth, CLASSES, seed=6).payload())


def test_a_report_is_json_and_comes_back():
    report = evaluate(*answers(), CLASSES, slices={"none": [False] * 60})
    text = json.dumps(report.payload(), allow_nan=False)
    assert Report.from_payload(json.loads(text)) == report


def test_a_report_reads_as_a_table():
    lines = str(evaluate(*answers(), CLASSES, slices={"nobody at all": [False] * 60})).splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["rows", "accuracy", "f1", "log_loss", "ece"]
    assert lines[1].startswith("all") and "[" in lines[1]
    assert lines[2].startswith("nobody at all") and lines[2].count("undefined") == 4
    assert shown({"value": 0.5, "low": 0.25, "high": 1.0}) == "0.500 [0.250, 1.000]"


def test_asking_for_what_is_not_there_says_what_is():
    report = evaluate(*answers(), CLASSES, slices={"short": [True] * 60})
    assert report.metric("accuracy", "short")["value"] == report.metric("accuracy")["value"]
    with pytest.raises(UsageError, match="no slice 'long'; there are short"):
        report.metric("accuracy", "long")
    with pytest.raises(UsageError, match="no metric 'acuracy'; there are accuracy,"):
        report.metric("acuracy")


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("probabilities", "truth", "said"),
    [
        (HALF, [0, 1, 0], r"\[4, 2\], true classes \[3\]"),
        (HALF, [[0, 1, 0, 1]], r"true classes \[1, 4\]"),
        (np.full((4, 3), 1 / 3), [0, 1, 0, 1], "2 class names"),
        (np.full(4, 0.5), [0, 1, 0, 1], r"probabilities \[4\]"),
        (
            [[0.5, 0.5], [np.nan, 0.5], [np.inf, 0], [1, 0]],
            [0, 1, 0, 1],
            "2 rows have a probability that is not finite",
        ),
        ([[3.0, -2.0], [0.5, 0.5], [0.5, 0.5], [1, 0]], [0, 1, 0, 1], "row 0 is no probabilities: .*softmax"),
        ([[0.5, 0.5], [0.2, 0.2], [0.5, 0.5], [1, 0]], [0, 1, 0, 1], "row 1 is no probabilities"),
        (HALF, [0, 2, 0, 1], "true classes run from 0 to 2, there are 2"),
        (HALF, [0, -2, 0, 1], "true classes run from -2 to 1"),
        (HALF, [0.0, 1.0, np.nan, 1.0], "true classes are float64; give class numbers"),
        (HALF, [0, None, 0, 1], "true classes are object"),
        (HALF, ["no", "yes", "no", "no"], "give class numbers"),
        (HALF, [-1, -1, -1, -1], "no row has gold"),
        (np.empty((0, 2)), [], "no row has gold"),
    ],
)
def test_what_cannot_be_measured_is_refused(probabilities, truth, said):
    with pytest.raises(DataError, match=said):
        evaluate(probabilities, truth, CLASSES)


def test_one_class_name_tells_nothing_apart():
    with pytest.raises(DataError, match="nothing to tell apart"):
        evaluate(np.ones((3, 1)), [0, 0, 0], ["only"])


@pytest.mark.parametrize("mask", [[True] * 3, [1, 0, 1, 0], [[True] * 4], ["a"] * 4])
def test_a_slice_is_one_boolean_per_row(mask):
    with pytest.raises(DataError, match=r"slice 'odd' is .*4 booleans are wanted"):
        evaluate(HALF, [0, 1, 0, 1], CLASSES, slices={"odd": mask})


def test_one_group_per_row():
    with pytest.raises(DataError, match="3 groups for 4 rows"):
        evaluate(HALF, [0, 1, 0, 1], CLASSES, groups=["a", "b", "c"])

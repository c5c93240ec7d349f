"""Metrics against scikit-learn, and by hand where it has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from lineshaft.release.metrics import BINS, METRICS, Layout, from_sums, higher_is_better, per_row


def random_answers(k, n, seed):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(k, 0.7), n), generator.integers(0, k, n)


def measured(probabilities, truth):
    found = from_sums(per_row(probabilities, truth).sum(0, keepdims=True), probabilities.shape[1])
    assert tuple(found) == METRICS
    return {name: values[0] for name, values in found.items()}


@pytest.mark.parametrize(("k", "n", "seed"), [(2, 300, 0), (2, 7, 1), (3, 300, 2), (3, 5, 3), (6, 400, 4)])
def test_they_agree_with_scikit_learn(k, n, seed):
    probabilities, truth = random_answers(k, n, seed)
    found, said = measured(probabilities, truth), probabilities.argmax(1)
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(
        peer.recall_score(truth, said, average="macro", labels=np.unique(truth))
    )
    f1 = peer.f1_score(truth, said) if k == 2 else peer.f1_score(truth, said, average="macro")
    assert found["f1"] == pytest.approx(f1)
    assert found["log_loss"] == pytest.approx(peer.log_loss(truth, probabilities, labels=range(k)))
    assert found["brier"] == pytest.approx(((probabilities - np.eye(k)[truth]) ** 2).sum(1).mean())


def test_the_brier_score_of_two_classes_is_twice_that_of_one():
    probabilities, truth = random_answers(2, 200, 5)
    assert measured(probabilities, truth)["brier"] == pytest.approx(
        2 * peer.brier_score_loss(truth, probabilities[:, 1])
    )


def test_the_calibration_error_by_hand():
    # Bin [.9, 1]: confidence .9 and 1 against one right of two; bin [.6, .7): .6 against right.
    probabilities = np.array([[0.9, 0.1], [1.0, 0.0], [0.4, 0.6]])
    assert measured(probabilities, np.array([0, 1, 1]))["ece"] == pytest.approx((abs(1.9 - 1) + abs(0.6 - 1)) / 3)


def test_answers_as_sure_as_they_are_right_have_no_calibration_error():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert measured(probabilities, np.array([0, 0, 0, 1]))["ece"] == pytest.approx(0)


def test_a_sure_wrong_answer_costs_much_and_not_infinitely():
    assert measured(np.array([[1.0, 0.0]]), np.array([1]))["log_loss"] == pytest.approx(-np.log(1e-7))


def test_without_rows_nothing_is_defined():
    for k in (2, 3):
        found = measured(np.empty((0, k)), np.empty(0, np.int64))
        assert all(np.isnan(value) for value in found.values())


def test_classes_that_do_not_occur_do_not_count():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    found = measured(probabilities, np.array([0, 0, 0]))
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx((0.8 + 0) / 2)  # class 0, and class 1 that was said in vain; class 2 is nowhere


def test_one_class_only_leaves_the_f1_of_the_other_undefined():
    found = measured(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 0]))
    assert np.isnan(found["f1"])
    assert found["accuracy"] == found["balanced_accuracy"] == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 10_000), st.integers(0, 30))
def test_sums_of_parts_are_the_sums_of_the_whole(k, n, seed, cut):
    table = per_row(*random_answers(k, n, seed))
    whole, parts = table.sum(0), table[:cut].sum(0) + table[cut:].sum(0)
    assert table.shape[1] == Layout(k).width
    for name, values in from_sums(parts[None], k).items():
        np.testing.assert_allclose(values, from_sums(whole[None], k)[name])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 10_000))
def test_every_row_stands_in_one_class_and_one_bin(k, n, seed):
    table, layout = per_row(*random_answers(k, n, seed)), Layout(k)
    for part in (layout.classes(0), layout.classes(1), layout.bins(0)):
        assert (table[:, part].sum(1) == 1).all()
    assert (table[:, layout.classes(2)].sum(1) == table[:, layout.right]).all()
    assert table[:, layout.bins(0)].shape == (n, BINS)


def test_which_way_is_good():
    assert [name for name in METRICS if not higher_is_better(name)] == ["log_loss", "brier", "ece"]

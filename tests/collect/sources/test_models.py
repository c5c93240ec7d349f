"""Model sources: thresholds, confidences, features of any library, and faults found row by row."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lineshaft.collect.sources import model_source
from lineshaft.collect.sources.models import SLICE
from lineshaft.core.table import read_table
from lineshaft.errors import DataError, UsageError
from lineshaft.train.features import features

CLASSES = ("no", "yes")
TABLE = read_table([{"id": str(i), "x": x} for i, x in enumerate([0.05, 0.5, 0.95, 0.85])], key="id")


def both(x):
    x = np.asarray(x, dtype=float).reshape(-1)
    return np.column_stack([1 - x, x])


@features(reads=["x"])
def one_tensor(batch):
    return torch.tensor(batch["x"].to_pylist()).unsqueeze(1)


@features(reads=["x"])
def two_tensors(batch):
    x = torch.tensor(batch["x"].to_pylist())
    return {"a": x, "b": x.to(torch.bfloat16)}


def test_it_votes_for_its_best_class_where_sure_enough():
    source = model_source(["x"], name="m")(lambda batch: both(batch["x"].to_pylist()))
    votes = source.vote(TABLE, CLASSES)
    assert votes.to_dense().ravel().tolist() == [0, -1, 1, 1]
    assert votes.kinds == ["model"] and source.reads == ("x",)
    assert votes.to_confidence().ravel().tolist() == pytest.approx([0.95, np.nan, 0.95, 0.85], nan_ok=True)


@pytest.mark.parametrize("inputs", [one_tensor, two_tensors])
def test_votes_from_features_made_before_are_the_same(inputs):
    def judge(given):
        return both(given if inputs is one_tensor else given["b"])

    source = model_source(inputs, threshold=0.6)(judge)
    fresh = source.vote(TABLE, CLASSES)
    made = {name: value.float().numpy() for name, value in inputs(TABLE.arrow.to_batches()[0]).items()}
    again = source.vote_from(TABLE.row_ids, made, CLASSES)
    assert again.payload().equals(fresh.payload(), check_metadata=True)
    assert not fresh.faults


def test_it_takes_any_callable_that_says_what_it_reads():
    @dataclass
    class Doubled:
        reads = ("x",)

        def __call__(self, batch):
            return np.array(batch["x"].to_pylist()) / 2

    source = model_source(Doubled(), threshold=0.9, name="m")(both)
    assert source.vote(TABLE, CLASSES).to_dense().ravel().tolist() == [0, -1, -1, -1]


def test_slices_and_chunks_do_not_change_the_votes():
    n = 2 * SLICE + 17
    x = np.random.default_rng(0).random(n)
    lengths = []

    def judge(given):
        lengths.append(len(given))
        return both(given)

    source = model_source(one_tensor)(judge)
    votes = source.vote_from([str(i) for i in range(n)], {"x": x}, CLASSES)
    assert max(lengths) <= SLICE and sum(lengths) == n
    assert (votes.to_dense().ravel() == np.where(x >= 0.8, 1, np.where(x <= 0.2, 0, -1))).all()


def test_rows_that_break_the_function_are_found():
    broken = {3, 700, 701, 1500}
    x = np.arange(2000.0)

    def judge(given):
        if broken & set(given.astype(int).tolist()):
            raise RuntimeError(f"cannot judge {given[0]:.0f}")
        return np.tile([0.0, 1.0], (len(given), 1))

    votes = model_source(one_tensor)(judge).vote_from([str(i) for i in range(2000)], {"x": x}, CLASSES)
    assert set(np.flatnonzero(votes.to_dense().ravel() < 0)) == broken
    assert votes.faults[0].count == 4
    row, error = votes.faults[0].examples[0]
    assert row == "3" and error.startswith("RuntimeError: cannot judge 3")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.ones((n, 3)) / 3, "wanted (1, 2)"),
        (lambda n: np.ones(n), "gave shape (1,)"),
        (lambda n: np.ones((n + 1, 2)) / 2, "gave shape (2, 2)"),
        (lambda n: np.ones((n, 2)), "are no probabilities"),
        (lambda n: np.tile([-0.5, 1.5], (n, 1)), "are no probabilities"),
        (lambda n: np.tile([np.nan, 1], (n, 1)), "are no probabilities"),
        (lambda n: [["a", "b"]] * n, "ValueError"),
    ],
)
def test_answers_that_are_no_probabilities_are_faults(answer, message):
    votes = model_source(["x"], name="m")(lambda batch: answer(len(batch))).vote(TABLE, CLASSES)
    assert not len(votes.row) and votes.faults[0].count == 4
    assert message in votes.faults[0].examples[0][1]


def test_one_bad_row_of_many_costs_that_row():
    def judge(batch):
        answer = both(batch["x"].to_pylist())
        answer[1] = np.nan
        return answer

    votes = model_source(["x"], name="m", threshold=0)(judge).vote(TABLE, CLASSES)
    assert votes.to_dense().ravel().tolist() == [0, -1, 1, 1]
    assert votes.faults[0].examples[0][0] == "1"


def test_without_classes_the_width_says_how_many():
    votes = model_source(["x"], name="m")(lambda batch: np.tile([0, 0, 1.0], (len(batch), 1))).vote(TABLE)
    assert votes.classes is None and votes.k == 3


def test_no_rows_are_no_trouble():
    source = model_source(one_tensor)(both)
    assert len(source.vote(TABLE.filter([False] * 4), CLASSES)) == 0
    assert len(source.vote_from([], {}, CLASSES)) == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="has 3 rows for 2 row ids"):
        model_source(one_tensor)(both).vote_from(["a", "b"], {"x": np.zeros(3)}, CLASSES)
    with pytest.raises(UsageError, match="features object or a list"):
        model_source(inputs="text")
    with pytest.raises(UsageError, match="features object or a list"):
        model_source(inputs=lambda batch: batch)
    with pytest.raises(UsageError, match="threshold is a probability"):
        model_source(one_tensor, threshold=80)


def test_its_meaning_covers_the_features_function():
    source = model_source(one_tensor)(both)
    assert one_tensor.function in source.meaning()[5]
    assert source.where not in source.meaning()
    assert "model source both (model, from 0.8, test_models.py:" in repr(source)


def test_an_error_in_the_function_names_file_and_line():
    def judge(given):
        return given["x"]

    votes = model_source(one_tensor)(judge).vote_from(["a"], {"x": np.zeros((1, 2))}, CLASSES)
    line = judge.__code__.co_firstlineno + 1
    assert votes.faults[0].examples[0][1].endswith(f"(test_models.py:{line})")


def test_tensors_come_as_numpy_arrays():
    seen = []

    def judge(given):
        seen.append(given)
        return np.tile([0.0, 1.0], (2, 1))

    x = torch.zeros(2, 3)
    model_source(one_tensor)(judge).vote_from(["a", "b"], {"x": x}, CLASSES)
    model_source(one_tensor)(judge).vote_from(["a", "b"], {"x": x, "y": x}, CLASSES)
    alone, named = seen
    assert type(alone) is np.ndarray
    assert {name: type(value) for name, value in named.items()} == {"x": np.ndarray, "y": np.ndarray}

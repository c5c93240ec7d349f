from __future__ import annotations

import pytest
import torch

from lineshaft.errors import DataError
from lineshaft.train.targets import Targets


def test_class_numbers_are_sure_and_weigh_one():
    target = Targets.of_classes([2, 0], 3)
    assert target.probabilities.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert target.weights.tolist() == [1, 1]
    assert len(target) == 2


def test_no_rows_are_fine():
    assert len(Targets.of_classes([], 3)) == 0


def test_everything_becomes_float32():
    target = Targets(torch.tensor([[0.25, 0.75]], dtype=torch.float64), torch.tensor([2]))
    assert target.probabilities.dtype == target.weights.dtype == torch.float32


def test_rows_by_number_and_by_mask():
    target = Targets.of_classes([0, 1, 2], 3)
    assert target[torch.tensor([2, 0])].probabilities.argmax(1).tolist() == [2, 0]
    assert len(target[torch.tensor([True, False, False])]) == 1


@pytest.mark.parametrize(
    ("probabilities", "weights", "message"),
    [
        ([0.5, 0.5], [1.0, 1.0], r"probabilities \[2\] and weights \[2\] do not fit"),
        ([[0.5, 0.5]], [1.0, 1.0], r"probabilities \[1, 2\] and weights \[2\]"),
        ([[1.0, 0.0], [0.5, 0.6]], [1.0, 1.0], "row 1 has the class probabilities"),
        ([[1.5, -0.5]], [1.0], "row 0 has the class probabilities"),
        ([[float("nan"), 1.0]], [1.0], "they must sum to 1"),
        ([[0.5, 0.5]], [-1.0], "row 0 has the weight -1"),
        ([[0.5, 0.5]], [float("nan")], "row 0 has the weight nan"),
        ([[0.5, 0.5]], [float("inf")], "row 0 has the weight inf"),
    ],
)
def test_what_is_no_target_is_refused(probabilities, weights, message):
    with pytest.raises(DataError, match=message):
        Targets(torch.tensor(probabilities), torch.tensor(weights))


@pytest.mark.parametrize("numbers", [[0, 3], [-1, 0]])
def test_class_numbers_out_of_range(numbers):
    with pytest.raises(DataError, match="there are 3 classes"):
        Targets.of_classes(numbers, 3)

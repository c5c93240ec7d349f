from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import lineshaft as ls
from lineshaft.errors import TrainingError


def test_one_number_per_row():
    outputs, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    rows = ls.cross_entropy(outputs, target)
    assert rows.shape == (5,)
    assert torch.equal(rows, functional.cross_entropy(outputs, target, reduction="none"))


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 1000))
def test_one_hot_probabilities_equal_class_numbers(n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    outputs = 5 * torch.randn(n, k, generator=generator)
    target = torch.randint(0, k, (n,), generator=generator)
    soft = functional.one_hot(target, k).float()
    assert torch.allclose(ls.cross_entropy(outputs, soft), ls.cross_entropy(outputs, target), atol=1e-5)


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 1000))
def test_soft_targets_mix_the_hard_ones(n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, k, generator=generator)
    soft = torch.rand(n, k, generator=generator)
    soft /= soft.sum(1, keepdim=True)
    by_class = torch.stack([ls.cross_entropy(outputs, torch.full((n,), c)) for c in range(k)], dim=1)
    assert torch.allclose(ls.cross_entropy(outputs, soft), (soft * by_class).sum(1), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32(dtype):
    outputs, target = torch.randn(4, 3).to(dtype), torch.tensor([0, 1, 2, 0])
    assert torch.equal(ls.cross_entropy(outputs, target), ls.cross_entropy(outputs.float(), target))


def test_double_stays_double():
    soft = torch.full((2, 3), 1 / 3)
    assert ls.cross_entropy(torch.randn(2, 3, dtype=torch.float64), soft).dtype == torch.float64


def test_other_integer_types_are_class_numbers():
    outputs = torch.randn(3, 3)
    numbers = torch.tensor([0, 1, 2])
    assert torch.equal(ls.cross_entropy(outputs, numbers.to(torch.int32)), ls.cross_entropy(outputs, numbers))


@pytest.mark.parametrize(
    ("outputs", "target"),
    [
        (torch.randn(4, 3), torch.zeros(4, 2)),
        (torch.randn(4, 3), torch.zeros(5, dtype=torch.int64)),
        (torch.randn(4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        (torch.randn(4), torch.zeros(4)),
        (torch.randn(4, 3, 2), torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(outputs, target):
    with pytest.raises(TrainingError) as caught:
        ls.cross_entropy(outputs, target)
    assert str(list(outputs.shape)) in str(caught.value)
    assert str(list(target.shape)) in str(caught.value)


def test_a_class_number_past_the_outputs_is_named():
    with pytest.raises(TrainingError, match=r"class numbers 0 to 7, but the outputs have classes 0 to 2"):
        ls.cross_entropy(torch.randn(2, 3), torch.tensor([0, 7]))

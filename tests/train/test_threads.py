"""Small models train in one thread, larger ones in the caller's number, and the choice is a function of the recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lineshaft.train import threads
from lineshaft.train.builder import describe


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def shapes(*tensors):
    return describe({f"x{number}": tensor for number, tensor in enumerate(tensors)})


def test_a_small_model_gets_one_thread_and_the_caller_keeps_his():
    with threads.fitting(nn.Linear(384, 2), shapes(torch.zeros(3, 384)), batch=256):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_a_large_model_keeps_the_callers_threads():
    with threads.fitting(nn.Linear(1000, 1000), shapes(torch.zeros(3, 1000)), batch=256):
        assert torch.get_num_threads() == 2


def test_threads_come_back_when_training_fails():
    with pytest.raises(RuntimeError), threads.fitting(nn.Linear(2, 2), shapes(torch.zeros(1, 2)), batch=1):
        raise RuntimeError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("tensor", "positions"),
    [
        (torch.zeros(5, 384), 1),  # one vector a row
        (torch.zeros(5), 1),  # one number a row
        (torch.zeros(5, 12, 64), 12),  # a sequence of vectors
        (torch.zeros(5, 12, dtype=torch.int64), 12),  # a sequence of tokens
        (torch.zeros(5, 3, 8, 8), 24),  # an image
    ],
)
def test_work_counts_the_places_of_a_row(tensor, positions):
    model = nn.Linear(10, 10, bias=False)
    assert threads.work(model, shapes(tensor), batch=7) == 100 * 7 * positions


def test_the_largest_input_counts():
    model = nn.Linear(10, 1, bias=False)
    assert threads.work(model, shapes(torch.zeros(2, 4), torch.zeros(2, 9, 4)), batch=1) == 90

"""A model whose instance would exceed the budget is made, trained and given back without ever exceeding it."""

from __future__ import annotations

import pytest
import torch
from held import apart
from large_factory import MICRO_BATCH, batches, deep

import lineshaft as ls


@pytest.fixture(scope="module")
def trained(request):
    """113 MB of parameters, 450 MB with what AdamW keeps and gradients; as a whole 202 MB of parameters."""
    whole = request.config.getoption("--whole")
    (found,) = apart("large_factory.py", *(("60MB", 48, 1024) if whole else ("36MB", 48, 768)))
    assert (found["way"], found["steps"], found["finite"]) == ("spilled", 2, True)
    assert found["parameters"] > 3 * found["budget"]
    return found


@pytest.mark.slow
def test_memory_never_rises_above_the_budget(trained):
    assert trained["peak"] <= 1.05 * trained["budget"]


@pytest.mark.slow
def test_the_model_comes_back_mapped(trained):
    assert trained["mapped"] > 0.99 * trained["parameters"]  # biases are in the same objects as weights
    assert trained["held"] < 0.01 * trained["parameters"]
    assert trained["touched"] > 0.99 * trained["parameters"]


def test_a_smaller_one_has_the_bits_that_it_has_in_memory():
    options = {"optimizer": ls.adamw(lr=1e-3), "micro_batch": MICRO_BATCH, "progress": False}
    factory = deep(6, 256)  # parameters of 256 KB: they are made in a file
    in_memory = ls.train.fit(factory, batches(), **options)
    fit = ls.train.fit(factory, batches(), memory="3MB", **options)
    assert fit.plan.way == "spilled"
    assert fit.losses == in_memory.losses
    for one, other in zip(fit.model.parameters(), in_memory.model.parameters(), strict=True):
        assert torch.equal(one, other)

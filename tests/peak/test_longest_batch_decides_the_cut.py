"""Lengths vary from batch to batch, and the last batch is shorter: the cut is for the longest, wherever it stands."""

from __future__ import annotations

import pytest
import torch
from held import apart
from lengths import Reader, given

import lineshaft as ls
from lineshaft.errors import UsageError

THREAD, THREADS = 256 << 10, 7


LOADER = pytest.param("loader", marks=pytest.mark.xfail(reason="of a loader only the first batch is looked at"))


@pytest.mark.parametrize("how", ["list", LOADER])
def test_peak_is_within_the_budget(how):
    (found,) = apart("lengths.py", how)
    assert found["way"] != "resident"
    assert found["peak"] <= 1.05 * found["budget"] + THREADS * THREAD


@pytest.mark.parametrize("how", ["list", "loader"])
def test_bits_are_those_of_memory(how):
    options = {"micro_batch": 4, "epochs": 2, "progress": False}
    in_memory = ls.train.fit(Reader, given(how), **options)  # a loader draws for its order
    fit = ls.train.fit(Reader, given(how), memory="60MB", **options)
    assert fit.losses == in_memory.losses
    for one, other in zip(fit.model.parameters(), in_memory.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("how", ["list", LOADER])
def test_the_least_is_that_of_the_longest(how):
    """A budget between what the first batch asks for and what the longest does is refused before training."""
    first, longest = given("list")[0], max(given("list"), key=lambda batch: batch[0].numel())
    plans = [ls.train.plan(Reader, batch, micro_batch=4, memory="1GB") for batch in (first, longest)]
    assert plans[0].least < plans[1].least
    with pytest.raises(UsageError, match="the least that works is"):
        ls.train.fit(Reader, given(how), micro_batch=4, memory=(plans[0].least + plans[1].least) // 2, progress=False)

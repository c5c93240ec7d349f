"""How many threads a training is worth: a small model loses more to threads that wait for each other than it gains.

The choice follows from the model and its batch alone, so that it cannot change a training's bits from run to run on one
machine; `lineshaft.train.fit` keeps the caller's number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

SMALL = 50_000_000  # multiply-adds per batch: below it, a step is over before a second thread has woken up


@contextmanager
def fitting(model: nn.Module, shapes: Mapping[str, Mapping[str, Any]], batch: int) -> Iterator[None]:
    """Use one thread for a small model, the caller's number for any other.

    Parameters
    ----------
    model
        What is trained.
    shapes
        Its inputs, as `lineshaft.train.builder.describe` gives them.
    batch
        Rows per step.

    """
    before = torch.get_num_threads()
    if work(model, shapes, batch) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work(model: nn.Module, shapes: Mapping[str, Mapping[str, Any]], batch: int) -> int:
    """Estimate the multiply-adds of one step's forward pass: every weight meets every position of every row."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return weights * batch * max(_positions(shape) for shape in shapes.values())


def _positions(shape: Mapping[str, Any]) -> int:
    """Count the places of a row that a layer works on: all of a row of token numbers, else all but the channels."""
    sizes = shape["shape"]
    return math.prod(sizes if "int" in shape["dtype"] else sizes[:-1])

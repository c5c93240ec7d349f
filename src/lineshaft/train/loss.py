"""Losses, unreduced: one number per row, so that row weights can enter before anything is summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from lineshaft.errors import TrainingError

Loss = Callable[[Any, Any], torch.Tensor]


def cross_entropy(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of every row; half precision outputs are raised to float32 first.

    Parameters
    ----------
    outputs
        ``[rows, classes]``, logits.
    target
        ``[rows]`` class numbers, or ``[rows, classes]`` class probabilities (soft labels).

    Returns
    -------
    torch.Tensor
        ``[rows]``, unreduced.

    Raises
    ------
    TrainingError
        The shapes do not fit each other, or a class number is out of range.

    """
    soft = target.is_floating_point()
    wanted = list(outputs.shape) if soft else list(outputs.shape[:1])
    if outputs.dim() != 2 or list(target.shape) != wanted:
        raise TrainingError(
            f"cross_entropy got outputs {list(outputs.shape)} and target {list(target.shape)}; it takes outputs "
            f"[rows, classes] with target [rows] (class numbers) or [rows, classes] (probabilities)"
        )
    logits = outputs.float() if outputs.dtype in {torch.float16, torch.bfloat16} else outputs
    try:
        return functional.cross_entropy(logits, target.to(logits.dtype) if soft else target.long(), reduction="none")
    except IndexError as error:
        low, high = int(target.min()), int(target.max())
        raise TrainingError(
            f"target holds class numbers {low} to {high}, but the outputs have classes 0 to {outputs.shape[1] - 1}; "
            f"give the model {high + 1} outputs or correct the labels"
        ) from error

"""What a model learns from: class probabilities per row, and how much each row counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from lineshaft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

SUM_TOLERANCE = 1e-3  # what float32 probabilities may miss 1 by


@dataclass(frozen=True)
class Targets:
    """Soft labels with row weights.

    Attributes
    ----------
    probabilities
        ``[rows, classes]`` float32, rows sum to 1.
    weights
        ``[rows]`` float32, finite, 0 or more; rows of weight 0 are left out of training.

    """

    probabilities: torch.Tensor
    weights: torch.Tensor

    def __post_init__(self) -> None:
        shares, weights = self.probabilities, self.weights
        if shares.dim() != 2 or list(weights.shape) != [len(shares)]:
            raise DataError(
                f"probabilities {list(shares.shape)} and weights {list(weights.shape)} do not fit: [rows, classes] and "
                f"[rows] are wanted"
            )
        object.__setattr__(self, "probabilities", shares.to(torch.float32))
        object.__setattr__(self, "weights", weights.to(torch.float32))
        off = (self.probabilities.sum(1) - 1).abs()
        wrong = ~((off <= SUM_TOLERANCE) & (self.probabilities >= 0).all(1))
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise DataError(f"row {row} has the class probabilities {shares[row].tolist()}; they must sum to 1")
        bad = ~(torch.isfinite(self.weights) & (self.weights >= 0))
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise DataError(f"row {row} has the weight {float(weights[row])}; weights are finite and 0 or more")

    @classmethod
    def of_classes(cls, numbers: Sequence[int] | torch.Tensor, classes: int) -> Targets:
        """Make targets of class numbers that are sure, each of weight 1."""
        tensor = torch.as_tensor(numbers, dtype=torch.int64)
        low, high = (int(tensor.min()), int(tensor.max())) if len(tensor) else (0, 0)
        if low < 0 or high >= classes:
            raise DataError(f"class numbers run from {low} to {high}, there are {classes} classes")
        return cls(functional.one_hot(tensor, classes).float(), torch.ones(len(tensor)))

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: torch.Tensor) -> Targets:
        """Return the targets of some rows, by number or by a mask."""
        return Targets(self.probabilities[rows], self.weights[rows])

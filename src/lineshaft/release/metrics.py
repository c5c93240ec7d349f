"""Metrics as functions of sums over rows, so that one matrix product gives them for every bootstrap resample.

Legend: n rows, k classes, s statistics, B resamples::

    F [n, s]   per row: right or wrong, log-loss, Brier, cell of the confusion matrix, bin of the confidence
    W [B, n]   how often each row is drawn in each resample; the first row of W is all ones: the rows themselves
    W @ F      the sums; every metric is computed from a row of these
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10  # of the reliability plot and the expected calibration error
CLIP = 1e-7  # probabilities are clipped here before a logarithm

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Where each statistic stands among the columns of F, for k classes."""

    k: int

    @property
    def right(self) -> int:
        """Column: the answer is right."""
        return 0

    @property
    def loss(self) -> int:
        """Column: minus the logarithm of the truth's probability."""
        return 1

    @property
    def brier(self) -> int:
        """Column: squared distance of the probabilities to the truth."""
        return 2

    @property
    def confusion(self) -> slice:
        """Columns: one per pair (truth, answer), row-major."""
        return slice(3, 3 + self.k**2)

    def binned(self, part: int) -> slice:
        """Columns per confidence bin: 0 rows, 1 confidence, 2 right."""
        start = 3 + self.k**2 + part * BINS
        return slice(start, start + BINS)


def per_row(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """Compute F, float64 [n, s], from probabilities [n, k] and true class numbers [n]."""
    n, k = probabilities.shape
    layout = Layout(k)
    table = np.zeros((n, 3 + k**2 + 3 * BINS))
    answer, confidence = probabilities.argmax(1), probabilities.max(1)
    rows = np.arange(n)
    right = answer == truth
    table[:, layout.right] = right
    table[:, layout.loss] = -np.log(np.clip(probabilities[rows, truth], CLIP, 1.0))
    table[:, layout.brier] = ((probabilities - np.eye(k)[truth]) ** 2).sum(1)
    table[rows, layout.confusion.start + truth * k + answer] = 1.0
    bin_ = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for part, value in enumerate((np.ones(n), confidence, right)):
        table[rows, layout.binned(part).start + bin_] = value
    return table


def from_sums(sums: Floats, k: int) -> dict[str, Floats]:
    """Compute every metric from sums [B, s]; each is an array [B]. Undefined ones (no rows) are NaN."""
    layout = Layout(k)
    confusion = sums[:, layout.confusion].reshape(-1, k, k)
    n = confusion.sum((1, 2))
    true, said, hit = confusion.sum(2), confusion.sum(1), np.diagonal(confusion, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = hit / true, 2 * hit / (true + said)
        held, confidence, right = (sums[:, layout.binned(part)] for part in range(3))
        gap = np.where(held > 0, np.abs(confidence - right), 0.0)
        return {
            "accuracy": sums[:, layout.right] / n,
            "balanced_accuracy": np.nanmean(np.where(true > 0, recall, np.nan), axis=1) if n.any() else n * np.nan,
            "f1": f1[:, 1] if k == 2 else np.nan_to_num(f1).mean(1),
            "log_loss": sums[:, layout.loss] / n,
            "brier": sums[:, layout.brier] / n,
            "ece": gap.sum(1) / n,
        }


def higher_is_better(metric: str) -> bool:
    """Say which way a metric is good."""
    return metric not in {"log_loss", "brier", "ece"}

"""Metrics as functions of sums over rows, so that one matrix product gives them for every bootstrap resample.

Legend: n rows, k classes, s statistics, B resamples::

    F [n, s]   per row: right or wrong, log-loss, Brier, class by truth and by answer, bin of the confidence
    W [B, n]   how often each row is drawn in each resample
    W @ F      the sums; every metric is computed from a row of these
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("accuracy", "balanced_accuracy", "f1", "log_loss", "brier", "ece")
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

    def classes(self, part: int) -> slice:
        """Columns per class: 0 it is the truth, 1 it is the answer, 2 it is both."""
        start = 3 + part * self.k
        return slice(start, start + self.k)

    def bins(self, part: int) -> slice:
        """Columns per bin of the confidence: 0 rows, 1 confidence, 2 right."""
        start = 3 + 3 * self.k + part * BINS
        return slice(start, start + BINS)

    @property
    def width(self) -> int:
        """The number of columns, s."""
        return 3 + 3 * self.k + 3 * BINS


def per_row(probabilities: Floats, truth: NDArray[np.int64]) -> Floats:
    """Compute F, float64 [n, s], from probabilities [n, k] and true class numbers [n]."""
    n, k = probabilities.shape
    layout, rows = Layout(k), np.arange(n)
    table = np.zeros((n, layout.width))
    answer, confidence = probabilities.argmax(1), probabilities.max(1)
    right = answer == truth
    table[:, layout.right] = right
    table[:, layout.loss] = -np.log(np.clip(probabilities[rows, truth], CLIP, 1.0))
    table[:, layout.brier] = ((probabilities - np.eye(k)[truth]) ** 2).sum(1)
    for part, (class_, value) in enumerate(((truth, 1.0), (answer, 1.0), (truth, right))):
        table[rows, layout.classes(part).start + class_] = value
    bin_ = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for part, value in enumerate((np.ones(n), confidence, right)):
        table[rows, layout.bins(part).start + bin_] = value
    return table


def from_sums(sums: Floats, k: int) -> dict[str, Floats]:
    """Compute every metric from sums [B, s]; each is an array [B], NaN where it is undefined (no rows, say).

    ``f1`` is that of the second of two classes, the mean over the classes that occur (as truth or answer) where there
    are more; ``balanced_accuracy`` is the mean recall of the classes that occur as truth; ``brier`` runs from 0 to 2
    (Brier, 1950); ``ece`` is the expected calibration error over ten bins of the confidence (Guo et al., 2017).
    """
    layout = Layout(k)
    true, said, hit = (sums[:, layout.classes(part)] for part in range(3))
    held, confidence, right = (sums[:, layout.bins(part)] for part in range(3))
    n = true.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = hit / true, 2 * hit / (true + said)
        return {
            "accuracy": sums[:, layout.right] / n,
            "balanced_accuracy": _mean_of_defined(recall),
            "f1": f1[:, 1] if k == 2 else _mean_of_defined(f1),
            "log_loss": sums[:, layout.loss] / n,
            "brier": sums[:, layout.brier] / n,
            "ece": np.where(held > 0, np.abs(confidence - right), 0.0).sum(1) / n,
        }


def higher_is_better(metric: str) -> bool:
    """Say which way a metric is good."""
    return metric not in {"log_loss", "brier", "ece"}


def _mean_of_defined(values: Floats) -> Floats:
    """Average each row over what is not NaN."""
    defined = ~np.isnan(values)
    mean: Floats = np.where(defined, values, 0.0).sum(1) / defined.sum(1)
    return mean

"""Sums that merge: count, mean and centred squares of numbers; count, sum and bounds of lengths.

The moments merge pairwise (Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances, 1979)::

    d = mean_b - mean_a,  n = n_a + n_b
    mean = mean_a + d * n_b / n
    m2   = m2_a + m2_b + d^2 * n_a * n_b / n

Lengths are whole numbers, so that theirs merge exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Ints, Numbers


@dataclass(frozen=True)
class Moments:
    """The first two moments of finite numbers.

    Attributes
    ----------
    n
        How many numbers.
    mean
        Their mean, 0 if there are none.
    m2
        The sum of squared distances from the mean; infinite where that is past float64.

    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @property
    def std(self) -> float:
        """The population standard deviation (divided by n), NaN without numbers."""
        return math.sqrt(self.m2 / self.n) if self.n else math.nan

    @classmethod
    def of(cls, values: Numbers) -> Moments:
        """Compute the moments of finite numbers in two passes, with the rounding of the first corrected."""
        n = len(values)
        if not n:
            return cls()
        floats = values.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(np.sum(floats)) / n
            if not math.isfinite(mean):  # the sum is past float64, the mean is not
                mean = float(np.sum(floats / n))
            centred = floats - mean
            drift = float(np.sum(centred))
            m2 = float(np.sum(centred * centred)) - drift * drift / n
        return cls(n, mean, math.inf if math.isnan(m2) else max(m2, 0.0))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both together."""
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        share = other.n / n
        d = other.mean - self.mean
        mean = self.mean + d * share
        if not math.isfinite(mean):  # d is past float64, the mean is not
            mean = self.mean * (self.n / n) + other.mean * share
        return Moments(n, mean, self.m2 + other.m2 + d * d * self.n * share)

    def payload(self) -> Any:
        """Return the state as a JSON value; an infinite ``m2`` is null there."""
        return [self.n, self.mean, self.m2 if math.isfinite(self.m2) else None]

    @classmethod
    def from_payload(cls, payload: Any) -> Moments:
        """Read the state back."""
        n, mean, m2 = payload
        return cls(n, float(mean), math.inf if m2 is None else float(m2))


@dataclass(frozen=True)
class Extent:
    """How long things were: how many of them, the sum of their lengths, the shortest and the longest."""

    n: int = 0
    total: int = 0
    min: int | None = None
    max: int | None = None

    @property
    def mean(self) -> float | None:
        """The mean length; None without any."""
        return self.total / self.n if self.n else None

    @classmethod
    def of(cls, lengths: Ints, weights: Ints | None = None) -> Extent:
        """Measure lengths, each standing for ``weights`` things (default 1)."""
        if not len(lengths):
            return cls()
        n = len(lengths) if weights is None else int(weights.sum())
        total = int(lengths.sum() if weights is None else (lengths * weights).sum())
        return cls(n, total, int(lengths.min()), int(lengths.max()))

    def merge(self, other: Extent) -> Extent:
        """Return the extent of both together."""
        if self.min is None or self.max is None or other.min is None or other.max is None:
            return self if self.n else other
        low, high = min(self.min, other.min), max(self.max, other.max)
        return Extent(self.n + other.n, self.total + other.total, low, high)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return [self.n, self.total, self.min, self.max]

    @classmethod
    def from_payload(cls, payload: Any) -> Extent:
        """Read the state back."""
        return cls(*payload)

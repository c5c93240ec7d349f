"""Count, mean and centred squares, merged pairwise.

Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979::

    d = mean_b - mean_a,  n = n_a + n_b
    mean = mean_a + d * n_b / n
    m2   = m2_a + m2_b + d^2 * n_a * n_b / n
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.verify.statistics.pack import from_json, to_json

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Numbers


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
        """Return the state as a JSON value."""
        return [self.n, to_json(self.mean), to_json(self.m2)]

    @classmethod
    def from_payload(cls, payload: Any) -> Moments:
        """Read the state back."""
        return cls(payload[0], float(from_json(payload[1])), float(from_json(payload[2])))

"""How far data of a finite size can be trusted: bounds with slack, unseen values, shares with noise.

A schema inferred from n rows should let as many fresh rows of the same kind pass. The greatest of n values is exceeded
by the greatest of n fresh ones with probability 1/2, so bounds at what was seen alarm every second time; each bound
here is placed so that it is exceeded with probability `RISK` instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Numbers

RISK = 0.01  # chance that as many fresh rows of the same kind break one bound
ENOUGH = 30  # rows below which no range and no share is inferred: a tail of three values is no tail
_MOST_EXCESSES = 250
_HEAVIEST = 0.8  # towards 1 a tail has no mean, and a bound for it would be no bound


def upper_bound(sample: Numbers, seen: float, rows: int) -> float | None:
    """Return a bound that the greatest of ``rows`` fresh values exceeds with probability `RISK`, None if none is sound.

    Peaks over threshold (Pickands 1975; Davison, Smith 1990): the excesses of the greatest k values over the next one
    follow a generalised Pareto law with scale s and shape x, here by probability-weighted moments (Hosking, Wallis
    1987)::

        bound = threshold + s / x * ((rows * tail share / RISK)^x - 1)

    Parameters
    ----------
    sample
        A uniform sample of the finite values.
    seen
        The greatest value seen; the bound is never below it.
    rows
        How many values there are, in the sample or not.

    """
    ordered = np.sort(sample.astype(np.float64))
    k = min(_MOST_EXCESSES, max(5, len(ordered) // 10))
    if len(ordered) < ENOUGH:
        return None
    threshold = ordered[-k - 1]
    excesses = ordered[-k:] - threshold
    scale, shape = _pareto(excesses)
    if scale <= 0:
        return seen
    if not math.isfinite(scale) or shape >= _HEAVIEST:
        return None
    exceedances = rows * k / len(ordered) / RISK
    growth = math.log(exceedances) if abs(shape) < 1e-6 else (exceedances**shape - 1) / shape
    return max(seen, float(threshold + scale * growth))


def lower_bound(sample: Numbers, seen: float, rows: int) -> float | None:
    """Return the mirror image of `upper_bound`; what was seen comes back exactly, an int as an int."""
    mirrored = upper_bound(-sample.astype(np.float64), -seen, rows)
    return None if mirrored is None else -mirrored


def _pareto(excesses: Numbers) -> tuple[float, float]:
    """Fit scale and shape; the shape is kept from saying that there is an end, for too few values say where."""
    k = len(excesses)
    first = float(excesses.mean())
    if not math.isfinite(first) or first <= 0:
        return 0.0 if first <= 0 else math.inf, 0.0
    weights = (k - np.arange(1, k + 1)) / (k - 1)
    second = float((weights * excesses).sum()) / k
    shape = 2 - first / (first - 2 * second) if first > 2 * second else math.inf
    if shape < 0:
        return first, 0.0
    return 2 * first * second / (first - 2 * second) if math.isfinite(shape) else math.inf, shape


def unseen_share(counts: list[int], values: int) -> float:
    """Return an upper bound for the share of fresh values that were not among those seen.

    Good-Turing: the share is about f1 / n, f1 the number of values seen once, with a standard error of about
    sqrt(f1 + 2 f2) / n (Good 1953; Esty 1983). Two standard errors are added, and 0 stays 0: where every value was seen
    several times there is no sign of others.
    """
    once, twice = (sum(count == times for count in counts) for times in (1, 2))
    return min(1.0, (once + 2 * math.sqrt(once + 2 * twice)) / values) if values else 1.0


def least_share(part: int, rows: int) -> float:
    """Return a share that fresh rows fall below with a probability well under `RISK`: four standard errors less."""
    share = part / rows
    noise = 4 * math.sqrt(share * (1 - share) * 2 / rows)  # twice the variance: both sides are samples
    return max(0.0, share - noise - 1 / rows)

"""Intervals by a Poisson bootstrap: each row, or each group of rows, is drawn Poisson(1) times, all metrics at once.

::

    F [n, s] ── summed by group ──► G [g, s]      W [B, g] Poisson(1)      W @ G ──► B resamples of every sum

Chamandy, Muralidharan, Najmi and Naidu, "Estimating uncertainty for massive data streams", 2012. The resamples are made
in blocks, so that memory stays bounded however many rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lineshaft.release.metrics import Floats

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 1 << 22  # draws held at once: 32 MiB


def groups_of(values: Sequence[Any] | None, n: int) -> NDArray[np.int64]:
    """Number the groups [n] that rows belong to; None: each row is its own."""
    if values is None:
        return np.arange(n)
    names = [str(value) for value in values]
    number = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], dtype=np.int64)


def sums_of(table: Floats, members: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> Floats:
    """Sum statistics over the rows, and over each resample of the groups.

    Parameters
    ----------
    table
        Statistics per row, float64 [n, s].
    members
        Group numbers [n], from 0 without a gap.
    seed, resamples
        Of the draws, B of them.

    Returns
    -------
    Floats
        [B + 1, s]; the first is that of the rows themselves.

    """
    grouped = np.zeros((int(members.max(initial=-1)) + 1, table.shape[1]))
    np.add.at(grouped, members, table)
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // max(1, len(grouped)))
    counts = [min(size, resamples - start) for start in range(0, resamples, size)]
    drawn = [generator.poisson(1.0, (count, len(grouped))).astype(np.float64) @ grouped for count in counts]
    return np.concatenate([table.sum(0, keepdims=True), *drawn])


def interval(values: Floats) -> dict[str, float | None]:
    """Return the value (the first) with the percentile interval of the others; null where it is undefined."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": round(float(values[0]), 6), "low": round(float(low), 6), "high": round(float(high), 6)}

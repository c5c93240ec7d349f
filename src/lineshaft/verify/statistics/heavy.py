"""The most frequent values: exact counts up to a capacity, then Misra-Gries with a stated error.

Misra, Gries: Finding Repeated Elements, 1982; the merge is Agarwal, Cormode, Huang, Phillips, Wei, Yi: Mergeable
Summaries, 2012: add the counts, then take the (C + 1)-th largest count off all of them and drop what is not above 0.
For every value, ``count <= true count <= count + error``, and ``error <= n / (C + 1)``. A value not listed was seen at
most ``error`` times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lineshaft.verify.arrays import Ints, texts, value_of
from lineshaft.verify.statistics.hashing import hash_text

CAPACITY = 1024
SHOWN = 200  # characters of a long text that stand for it, followed by its hash


@dataclass(frozen=True)
class Heavy:
    """Values with a lower bound of their counts.

    Attributes
    ----------
    counts
        At most `CAPACITY` values and how often each was seen at least.
    error
        How much each count may be too low; 0: all values are listed, exactly.

    """

    counts: dict[Any, int] = field(default_factory=dict)
    error: int = 0

    @property
    def exact(self) -> bool:
        """Whether every value seen is listed with its true count."""
        return not self.error

    @classmethod
    def of(cls, values: pa.Array, counts: Ints, kind: str) -> Heavy:
        """Keep the most frequent of different values with their counts."""
        cut = _cut(counts)
        if cut:
            keep = np.flatnonzero(counts > cut)
            values, counts = values.take(pa.array(keep)), counts[keep] - cut
        listed: dict[Any, int] = {}
        for key, count in zip(_keys(values, kind), counts.tolist(), strict=True):
            listed[key] = listed.get(key, 0) + count
        return cls(listed, cut)

    def merge(self, other: Heavy) -> Heavy:
        """Return the heavy hitters of both together."""
        counts = dict(self.counts)
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        cut = _cut(np.fromiter(counts.values(), np.int64, len(counts)))
        if cut:
            counts = {value: count - cut for value, count in counts.items() if count > cut}
        return Heavy(counts, self.error + other.error + cut)

    def top(self, n: int) -> list[tuple[Any, int]]:
        """Return the ``n`` most frequent values, ties by value."""
        return self._ordered()[:n]

    def as_floats(self) -> Heavy:
        """Return the same with the values as floats: an int column that turned out to be a float column."""
        return Heavy({float(value): count for value, count in self.counts.items()}, self.error)

    def _ordered(self) -> list[tuple[Any, int]]:
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return {"error": self.error, "counts": [[value, count] for value, count in self._ordered()]}

    @classmethod
    def from_payload(cls, payload: Any) -> Heavy:
        """Read the state back."""
        return cls(dict(payload["counts"]), payload["error"])


def _cut(counts: Ints) -> int:
    """Return the (C + 1)-th largest count, 0 if there are no more than C."""
    if len(counts) <= CAPACITY:
        return 0
    return int(np.partition(counts, -CAPACITY - 1)[-CAPACITY - 1])


def _keys(values: pa.Array, kind: str) -> list[Any]:
    """Return what stands for each value: numbers as they are, dates as numbers, texts cut if long."""
    if kind == "string":
        return [_short(text) for text in texts(values)]
    if kind in {"date", "datetime"}:
        return [int(value) for value in values.to_pylist()]
    return [value_of(value, kind) for value in values.to_pylist()]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…{hash_text(text):016x}"


def is_short(text: str) -> bool:
    """Tell whether a listed text is the value itself, not the beginning of a longer one."""
    return len(text) <= SHOWN

"""The most frequent values: exact counts up to a capacity, then Misra-Gries with a stated error.

Misra, Gries: Finding Repeated Elements, 1982; the merge is Agarwal, Cormode, Huang, Phillips, Wei, Yi: Mergeable
Summaries, 2012: add the counts, then take the (C + 1)-th largest count off all of them and drop what is not above 0.
For every value, ``count <= true count <= count + error``, and ``error <= n / (C + 1)``. A value not listed was seen at
most ``error`` times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.verify.arrays import Ints, Numbers, texts
from lineshaft.verify.statistics.hashing import hash_text

if TYPE_CHECKING:
    import pyarrow as pa

CAPACITY = 1024
SHOWN = 200  # characters of a long text that stand for it, followed by its hash


@dataclass(frozen=True)
class Heavy:
    """Values with a lower bound of their counts.

    Attributes
    ----------
    counts
        At most `CAPACITY` values (numbers, dates and moments as `arrays.numbers` has them; texts, cut if long) and how
        often each was seen at least.
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
    def of(cls, values: Numbers | pa.Array, counts: Ints) -> Heavy:
        """Keep the most frequent of different values (numpy numbers or Arrow texts) with their counts."""
        cut = _cut(counts)
        keep = np.flatnonzero(counts > cut)
        kept = values.take(keep)
        keys = kept.tolist() if isinstance(kept, np.ndarray) else [_short(text) for text in texts(kept)]
        # Texts may repeat here: one that is not UTF-8 can come to look like another.
        return cls(_summed(zip(keys, (counts[keep] - cut).tolist(), strict=True)), cut)

    def merge(self, other: Heavy) -> Heavy:
        """Return the heavy hitters of both together."""
        counts = _summed(chain(self.counts.items(), other.counts.items()))
        cut = _cut(np.fromiter(counts.values(), np.int64, len(counts)))
        if cut:
            counts = {value: count - cut for value, count in counts.items() if count > cut}
        return Heavy(counts, self.error + other.error + cut)

    def top(self, n: int | None = None) -> list[tuple[Any, int]]:
        """Return the ``n`` most frequent values (default: all), ties by value."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:n]

    def as_floats(self) -> Heavy:
        """Return the same with the values as floats: an int column that turned out to be a float column."""
        return Heavy(_summed((float(value), count) for value, count in self.counts.items()), self.error)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return {"error": self.error, "counts": [[value, count] for value, count in self.top()]}

    @classmethod
    def from_payload(cls, payload: Any) -> Heavy:
        """Read the state back."""
        return cls(dict(payload["counts"]), payload["error"])


def _summed(pairs: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    sums: dict[Any, int] = {}
    for value, count in pairs:
        sums[value] = sums.get(value, 0) + count
    return sums


def _cut(counts: Ints) -> int:
    """Return the (C + 1)-th largest count, 0 if there are no more than C."""
    if len(counts) <= CAPACITY:
        return 0
    return int(np.partition(counts, -CAPACITY - 1)[-CAPACITY - 1])


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…{hash_text(text):016x}"


def is_short(text: str) -> bool:
    """Tell whether a listed text is the value itself, not the beginning of a longer one."""
    return len(text) <= SHOWN

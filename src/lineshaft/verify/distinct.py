"""The different values of a column, exactly: for ``unique`` and ``distinct``, the only checks that remember values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Ints, Mask
    from lineshaft.verify.findings import Names


@dataclass(frozen=True)
class Part:
    """The values of one chunk with their row numbers in it."""

    values: Any
    rows: Ints
    start: int
    names: Names


@dataclass
class Remembered:
    """The values of a column, chunk by chunk."""

    parts: list[Part] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """Remember a chunk."""
        self.parts.append(part)

    def count(self) -> int:
        """Return how many different values there are."""
        return len(np.unique(self._codes()))

    def repeats(self) -> Iterator[tuple[Part, Mask]]:
        """Yield each chunk with a mask of the values that stand in an earlier row already."""
        codes = self._codes()
        again = np.ones(len(codes), dtype=bool)
        again[np.unique(codes, return_index=True)[1]] = False
        begin = 0
        for part in self.parts:
            yield part, again[begin : begin + len(part.rows)]
            begin += len(part.rows)

    def _codes(self) -> np.ndarray[Any, Any]:
        """Return numbers that are equal where the values are."""
        values = [part.values for part in self.parts]
        if not values:
            return np.array([], np.int64)
        if isinstance(values[0], np.ndarray):
            return np.concatenate(values)
        encoded = pa.chunked_array(values).combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False))

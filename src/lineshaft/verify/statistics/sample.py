r"""A uniform sample of whole rows that merges: the `K` rows with the smallest pseudo-random priorities.

A row's priority is a hash of its chunk's content and its number in the chunk, so the sample does not depend on the
order in which chunks come or states merge, and merged equals one pass bit for bit::

    chunk A  rows 0 1 2 3   priorities  .91 .02 .40 .77  \
    chunk B  rows 0 1 2     priorities  .13 .55 .08       >  the K smallest:  A1 B2 B0 A2 ...

A row is kept as one 64-bit cell per column: numbers as they are, texts by hash, lists by length. With as many rows as
the default the standard error of a quantile's rank is 0.4 %; up to `K` rows the sample is the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Mask, Numbers, numbers, plain, storage
from lineshaft.verify.statistics.hashing import NO_HASHES, Hashes, hash_texts, mix, mix_one, pack, unpack
from lineshaft.verify.types import COUNTED, NULL, TEXT, is_list, type_of_arrow

K = 16_384
_PROBES = 64


@dataclass(frozen=True, eq=False)
class Cells:
    """One column of the sampled rows.

    Attributes
    ----------
    kind
        ``"int"`` (int64 bits; also bool, dates, lengths), ``"float"`` (float64 bits), ``"hash"``, or ``"null"`` where
        no row has a value.
    bits
        uint64, one per sampled row; 0 where missing.
    missing
        Whether the row has no value.

    """

    kind: str
    bits: Hashes
    missing: Mask

    @classmethod
    def of(cls, array: pa.Array, rows: pa.Array) -> Cells:
        """Make the cells of some rows of an array."""
        array = _cell_values(array, rows)
        missing = array.is_null().to_numpy(zero_copy_only=False)
        bits = np.zeros(len(array), np.uint64)
        values = array.drop_null()
        if not len(values):
            return cls("null", bits, missing)
        kind, bits[~missing] = _bits(values)
        return cls(kind, bits, missing)

    @classmethod
    def absent(cls, rows: int) -> Cells:
        """Make the cells of a column that these rows do not have."""
        return cls("null", np.zeros(rows, np.uint64), np.ones(rows, dtype=bool))

    def numbers(self) -> Numbers:
        """Return the values that are there, of an int or float column."""
        bits = self.bits[~self.missing]
        return bits.view(np.float64 if self.kind == "float" else np.int64)

    def take(self, order: Any) -> Cells:
        """Return some rows."""
        return Cells(self.kind, self.bits[order], self.missing[order])

    def join(self, other: Cells) -> Cells:
        """Put other rows below these; null gives way to any kind, ints become floats beside floats."""
        kinds = {self.kind, other.kind} - {"null"} or {"null"}
        kind = "float" if len(kinds) > 1 else kinds.pop()
        bits = np.concatenate([self._bits_as(kind), other._bits_as(kind)])
        return Cells(kind, bits, np.concatenate([self.missing, other.missing]))

    def _bits_as(self, kind: str) -> Hashes:
        if (self.kind, kind) != ("int", "float"):
            return self.bits
        return self.bits.view(np.int64).astype(np.float64).view(np.uint64)


@dataclass(frozen=True, eq=False)
class Sample:
    """The sampled rows, ascending by priority."""

    priorities: Hashes = field(default_factory=lambda: NO_HASHES)
    columns: dict[str, Cells] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: pa.RecordBatch, limit: int | None = None) -> Sample:
        """Sample one chunk; ``limit`` is a priority above which rows are known to fall out later."""
        key = _chunk_key(batch)
        priorities = mix(np.arange(batch.num_rows, dtype=np.uint64) + np.uint64(key))
        if limit is None and len(priorities) > K:
            limit = int(np.partition(priorities, K - 1)[K - 1])
        chosen = np.arange(len(priorities)) if limit is None else np.flatnonzero(priorities <= np.uint64(limit))
        return _smallest(priorities[chosen], _cells(batch, chosen))

    @property
    def limit(self) -> int | None:
        """The priority that a further row must not exceed to enter; None while there is room."""
        return int(self.priorities[-1]) if len(self.priorities) >= K else None

    def merge(self, other: Sample) -> Sample:
        """Return the sample of both sets of rows together."""
        a, b = len(self.priorities), len(other.priorities)
        columns = {
            name: self.columns.get(name, Cells.absent(a)).join(other.columns.get(name, Cells.absent(b)))
            for name in {**self.columns, **other.columns}
        }
        return _smallest(np.concatenate([self.priorities, other.priorities]), columns)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        columns = {
            name: {"kind": cells.kind, "bits": pack(cells.bits), "missing": pack(np.packbits(cells.missing))}
            for name, cells in self.columns.items()
        }
        return {"priorities": pack(self.priorities), "columns": columns}

    @classmethod
    def from_payload(cls, payload: Any) -> Sample:
        """Read the state back."""
        priorities = unpack(payload["priorities"])
        columns = {}
        for name, cells in payload["columns"].items():
            missing = np.unpackbits(unpack(cells["missing"], np.uint8), count=len(priorities)).astype(bool)
            columns[name] = Cells(cells["kind"], unpack(cells["bits"]), missing)
        return cls(priorities, columns)


def _cells(batch: pa.RecordBatch, rows: Any) -> dict[str, Cells]:
    taken = pa.array(rows)
    return {name: Cells.of(batch.column(at), taken) for at, name in enumerate(batch.schema.names)}


def _cell_values(array: pa.Array, rows: pa.Array) -> pa.Array:
    """Return what cells hold: scalars as they are, the length of a list, true for what is only present or not."""
    array = storage(array)
    if is_list(array.type):
        array = pc.list_value_length(array)
    elif type_of_arrow(array.type) not in {*COUNTED, *TEXT, NULL}:
        array = pc.if_else(array.is_valid(), pa.scalar(value=True), None)
    # What a dictionary spares is decoding the other rows.
    return plain(array.take(rows)) if pa.types.is_dictionary(array.type) else plain(array).take(rows)


def _chunk_key(batch: pa.RecordBatch) -> int:
    """Hash what is in a chunk: its size and some evenly spaced rows. Two chunks with one key would only share luck."""
    rows = batch.num_rows
    probes = np.unique(np.linspace(0, max(rows - 1, 0), _PROBES, dtype=np.int64))[:rows]
    places, columns = mix(probes.astype(np.uint64)), _cells(batch, probes)
    names = hash_texts(pa.array(list(columns), pa.large_string()))
    folded = [mix(cells.bits ^ places ^ cells.missing.astype(np.uint64)).sum() for cells in columns.values()]
    # A sum, so that the order of the columns does not count.
    return mix_one(rows ^ int(mix(mix(np.array(folded, np.uint64)) ^ names).sum()))


def _bits(values: pa.Array) -> tuple[str, Hashes]:
    """Turn values without nulls into 64-bit cells."""
    if type_of_arrow(values.type) in TEXT:
        return "hash", hash_texts(values)
    cells = np.ascontiguousarray(numbers(values))
    if cells.dtype == np.uint64:  # saturate, so that a cell is always signed
        cells = np.minimum(cells, np.uint64(2**63 - 1)).astype(np.int64)
    return "float" if cells.dtype == np.float64 else "int", cells.view(np.uint64)


def _smallest(priorities: Hashes, columns: dict[str, Cells]) -> Sample:
    """Order rows by priority and keep `K`; rows of equal chunks tie, and are then ordered by their cells."""
    order = np.argsort(priorities, kind="stable")
    ascending = priorities[order]
    if len(ascending) and (ascending[1:] == ascending[:-1]).any():
        keys = [array for name in sorted(columns) for array in (columns[name].bits, columns[name].missing)]
        order = np.lexsort([*keys, priorities])
    order = order[:K]
    return Sample(priorities[order], {name: cells.take(order) for name, cells in columns.items()})

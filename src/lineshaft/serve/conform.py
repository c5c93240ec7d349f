"""Raw rows of a file become named rows of the schema's types; a value that does not fit costs its row, not the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from lineshaft.core.table import ROW_ID
from lineshaft.errors import DataError
from lineshaft.serve.model import Served, blocking
from lineshaft.serve.stream import LINE
from lineshaft.serve.values import Reader, reader

_SEEN = 200  # characters of an offending value that are kept

REJECTED = pa.schema([(name, pa.string()) for name in (ROW_ID, "column", "reason", "seen", "fix")])


@dataclass(frozen=True)
class Fault:
    """Why one row was not scored."""

    row: int
    column: str | None
    reason: str
    seen: Any
    fix: Any


@dataclass(frozen=True)
class Rows:
    """The rows of one part.

    Attributes
    ----------
    ids
        Identity of every row, the rejected ones too.
    good
        The rows that fit, with exactly the model's columns.
    places
        Position in ``ids`` of each good row.
    faults
        At least one for every other row, in row order.

    """

    ids: list[str]
    good: pa.Table
    places: list[int]
    faults: list[Fault]

    def rejected(self) -> pa.Table:
        """Return one line per fault: row_id, column, reason, seen, fix."""
        lines = [
            {
                ROW_ID: self.ids[fault.row],
                "column": fault.column,
                "reason": fault.reason,
                "seen": None if fault.seen is None else str(fault.seen)[:_SEEN],
                "fix": str(fault.fix or ""),
            }
            for fault in self.faults
        ]
        return pa.Table.from_pylist(lines, schema=REJECTED)


def conform(raw: pa.Table, served: Served, key: Sequence[str], origin: str, first: int) -> Rows:
    """Read raw rows as what the model takes.

    Parameters
    ----------
    raw
        Rows as `lineshaft.serve.stream` yields them.
    served
        The model, the types and the row checker.
    key
        Columns that name a row; none: its ``row_id`` column, else ``origin`` and its number.
    origin
        The source's digest.
    first
        Number of the first row.

    """
    faults: dict[int, list[Fault]] = {}
    if raw.column_names == [LINE]:
        raw_rows = _parsed(raw.column(LINE).to_pylist(), faults)
        columns = [_read(raw_rows, name, served.types[name], faults) for name in served.model.reads]
        named = pa.Table.from_pylist(raw_rows, schema=None) if False else raw_rows
        ids = _ids_of_rows(named, key, origin, first)
    else:
        columns = [_cast(raw.column(name), name, served.types[name], faults) for name in served.model.reads]
        ids = _ids_of_columns(raw, key, origin, first)
    schema = pa.schema([pa.field(name, served.types[name]) for name in served.model.reads])
    table = pa.Table.from_arrays(columns, schema=schema)
    _check(table, served, faults)
    places = [row for row in range(len(ids)) if row not in faults]
    good = table if not faults else table.take(pa.array(places, pa.int64()))
    return Rows(ids, good, places, [fault for row in sorted(faults) for fault in faults[row]])

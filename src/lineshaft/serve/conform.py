"""Raw rows of a file become named rows of the schema's types; a value that does not fit costs its row, not the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.types as kinds

from lineshaft.core.table import ROW_ID
from lineshaft.errors import DataError
from lineshaft.serve.model import Served, advice, blocking
from lineshaft.serve.stream import LINE, Source
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
    fix: str


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
                "fix": fault.fix,
            }
            for fault in self.faults
        ]
        return pa.Table.from_pylist(lines, schema=REJECTED)


def conform(raw: pa.Table, served: Served, source: Source, first: int) -> Rows:
    """Read raw rows of a source, as `lineshaft.serve.stream` yields them, as what the model takes.

    Parameters
    ----------
    raw
        The rows.
    served
        The model, the types and the row checker.
    source
        Where they come from: says what names a row, and whether values are text.
    first
        Number of the first row in its source.

    Raises
    ------
    DataError
        A key column is null: then a row has no name.

    """
    faults: dict[int, list[Fault]] = {}
    columns = dict[str, pa.Array]()
    objects = _parse(raw.column(LINE).to_pylist(), faults) if raw.column_names == [LINE] else None
    for name in served.model.reads:
        target = served.types[name]
        if objects is not None:
            values = [line.get(name) for line in objects]
            columns[name] = _by_value(values, name, target, reader(name, target), faults)
        else:
            columns[name] = _typed(raw.column(name), name, target, faults, text=source.text)
    parts = _names(raw, source.key) if objects is None else _names_in(objects, source.key, faults)
    ids = _identities(parts, raw.num_rows, source, first)
    table = pa.table(columns, schema=pa.schema([(name, served.types[name]) for name in served.model.reads]))
    _check(table, served, faults)
    places = [row for row in range(raw.num_rows) if row not in faults]
    good = table.take(pa.array(places, pa.int64())) if faults else table
    return Rows(ids, good, places, [fault for row in sorted(faults) for fault in faults[row]])


def _parse(lines: Sequence[bytes], faults: dict[int, list[Fault]]) -> list[dict[str, Any]]:
    objects = list[dict[str, Any]]()
    for row, line in enumerate(lines):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            value = str(error)
        if type(value) is not dict:
            seen = line[:_SEEN].decode("utf-8", "replace").strip()
            faults[row] = [Fault(row, None, "malformed", seen, "write one JSON object per line")]
        objects.append(value if type(value) is dict else {})
    return objects


def _typed(
    column: pa.ChunkedArray, name: str, target: pa.DataType, faults: dict[int, list[Fault]], *, text: bool
) -> pa.Array:
    """Cast a column as a whole, or value by value where that fails. Text is parsed, other values never change kind."""
    flat = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if flat.type == target:
        return flat
    if text or _kind(flat.type) == _kind(target) or (_kind(flat.type), _kind(target)) == ("integer", "number"):
        try:
            return flat.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            if text:
                return _by_value(flat.to_pylist(), name, target, _parser(target), faults)
    return _by_value(flat.to_pylist(), name, target, reader(name, target), faults)


def _kind(arrow_type: pa.DataType) -> str:
    if kinds.is_dictionary(arrow_type):
        return _kind(arrow_type.value_type)
    tests = {
        "text": (kinds.is_string, kinds.is_large_string),
        "integer": (kinds.is_integer,),
        "number": (kinds.is_floating,),
    }
    return next((kind for kind, fits in tests.items() if any(fit(arrow_type) for fit in fits)), str(arrow_type.id))


def _parser(target: pa.DataType) -> Reader:
    def parse(value: Any) -> Any:
        try:
            return pa.scalar(value).cast(target).as_py()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
            raise ValueError(f"text that reads as {target}") from error

    return parse


def _by_value(
    values: Sequence[Any], name: str, target: pa.DataType, read: Reader, faults: dict[int, list[Fault]]
) -> pa.Array:
    """Read one value at a time; what does not fit is a fault of its row and null in the column."""
    kept: list[Any] = []
    for row, value in enumerate(values):
        try:
            kept.append(read(value))
        except ValueError as error:
            kept.append(None)
            faults.setdefault(row, []).append(Fault(row, name, "type", value, f"write {error}"))
    return pa.array(kept, target)


def _check(table: pa.Table, served: Served, faults: dict[int, list[Fault]]) -> None:
    """Ask the schema about every row whose values have the right type: the same check as for a request."""
    if served.check is None:
        return
    for row, values in enumerate(table.to_pylist()):
        if row not in faults and (found := blocking(served.check(values), served.model.reads)):
            faults[row] = [Fault(row, a.column, a.reason, values.get(a.column, a.seen), advice(a)) for a in found]


def _names(raw: pa.Table, key: Sequence[str]) -> list[list[str | None]]:
    names = key or [name for name in raw.column_names if name == ROW_ID]
    return [raw.column(name).cast(pa.string()).to_pylist() for name in names]


def _names_in(
    objects: Sequence[dict[str, Any]], key: Sequence[str], faults: dict[int, list[Fault]]
) -> list[list[str | None]]:
    """Return the key columns of JSON objects; a line that is no object is named by its number."""
    names = key or ([ROW_ID] if any(ROW_ID in line for line in objects) else [])
    broken = {row for row, found in faults.items() if found[0].reason == "malformed"}
    return [
        [f"line {row}" if row in broken else _name_text(line.get(name)) for row, line in enumerate(objects)]
        for name in names
    ]


def _name_text(value: Any) -> str | None:
    text: str | None = value if value is None or type(value) is str else pa.scalar(value).cast(pa.string()).as_py()
    return text


def _identities(parts: list[list[str | None]], rows: int, source: Source, first: int) -> list[str]:
    """Name rows as `lineshaft.core.table.read_table` does."""
    if not parts:
        return [f"{source.digest[:16]}:{first + row}" for row in range(rows)]
    ids = list[str]()
    for row, part in enumerate(zip(*parts, strict=True)):
        if None in part:
            key = ", ".join(source.key) or ROW_ID
            raise DataError(f"{source.name}: the key {key} is null in row {first + row}; a key names a row")
        ids.append(str(part[0]) if len(part) == 1 else json.dumps(part, ensure_ascii=False))
    return ids

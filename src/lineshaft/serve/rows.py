"""Request rows: exactly the columns that the model reads, of the schema's types and values; all faults told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lineshaft.core.admit import Limits, refused
from lineshaft.serve.model import Served, advice, blocking
from lineshaft.serve.tensors import datatype_of
from lineshaft.serve.values import reader

if TYPE_CHECKING:
    from lineshaft.errors import AdmissionError

MOST_REASONS = 100  # an answer names this many faults; a client with more has one mistake, not a hundred
_SEEN = 120  # characters of an offending value that an answer repeats

Reason = Mapping[str, Any]


class RowReader:
    """Turns request rows into an Arrow batch for one model, or says everything that is wrong with them."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._reads = list(served.model.reads)
        self._columns = frozenset(self._reads)
        self._readers = {name: reader(name, served.types[name]) for name in self._reads}
        self._schema = pa.schema([pa.field(name, served.types[name]) for name in self._reads])
        self.lists = frozenset(name for name in self._reads if datatype_of(served.types[name])[1])
        self._check = served.check
        self._limits = limits

    def read(self, rows: Sequence[Any]) -> pa.RecordBatch:
        """Return the rows as one batch with the columns in the model's order.

        Raises
        ------
        AdmissionError
            ``too_large``: too many rows or a too long string. ``malformed``: no rows, or one that is not an object.
            ``schema``: missing or unknown columns, wrong types, values that the schema does not allow.

        """
        if not rows:
            raise refused("malformed", "there are no rows", "send at least one row")
        if len(rows) > self._limits.rows:
            raise refused(
                "too_large",
                f"{len(rows)} rows in one request, the limit is {self._limits.rows}",
                "send several requests",
            )
        faults: list[Reason] = []
        columns: list[list[Any]] = [[] for _ in self._reads]
        for number, row in enumerate(rows):
            values, wrong = self._row(number, row)
            faults += wrong
            if len(faults) > MOST_REASONS:
                break
            if not faults:
                for column, name in zip(columns, self._reads, strict=True):
                    column.append(values[name])
        if faults:
            raise schema_refusal(faults, len(rows))
        arrays = [_array(values, field) for values, field in zip(columns, self._schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def columns_fit(self, names: Sequence[str]) -> None:
        """Refuse a request whose columns, given once for all its rows, are not those that the model reads."""
        if faults := self._column_faults(None, frozenset(names)):
            raise schema_refusal(faults, None)

    def _row(self, number: int, row: Any) -> tuple[dict[str, Any], list[Reason]]:
        if type(row) is not dict:
            raise refused("malformed", f"row {number} is not an object", 'send {"column": value, ...} for each row')
        faults = [] if row.keys() == self._columns else self._column_faults(number, frozenset(row))
        values, unfit = dict[str, Any](), list[Reason]()
        for name in self._reads:
            if name in row:
                value = row[name]
                if type(value) is str and len(value) > self._limits.string:
                    raise _too_long(number, name, len(value), self._limits.string)
                try:
                    values[name] = self._readers[name](value)
                except ValueError as error:
                    values[name] = value
                    unfit.append(_reason(number, name, "type", value, f"send {error}"))
        if self._check is not None:
            faults += self._schema_faults(number, values, unfit)
        else:
            faults += unfit
        return values, faults

    def _schema_faults(self, number: int, values: Mapping[str, Any], unfit: list[Reason]) -> list[Reason]:
        """Ask the schema about the columns that are there; its words about a value go before ours."""
        if self._check is None:
            return unfit
        found = [a for a in blocking(self._check(values), self._reads) if a.column is None or a.column in values]
        named = {anomaly.column for anomaly in found}
        told = [_reason(number, a.column, a.reason, values.get(a.column or "", a.seen), advice(a)) for a in found]
        return told + [reason for reason in unfit if reason["column"] not in named]

    def _column_faults(self, number: int | None, names: frozenset[str]) -> list[Reason]:
        missing = [name for name in self._reads if name not in names]
        unknown = sorted(names - self._columns)[:MOST_REASONS]
        reads = ", ".join(self._reads)
        return [
            *(_reason(number, name, "missing_column", None, f"send exactly {reads}") for name in missing),
            *(
                _reason(number, name[:_SEEN], "unknown_column", None, f"leave it out; send exactly {reads}")
                for name in unknown
            ),
        ]


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    """Build a column; where values that fit one by one do not fit together, that is the request's fault too."""
    try:
        made = pa.array(values, field.type)
        return made if made.type == field.type else made.cast(field.type)  # wider indices than a dictionary has
    except (pa.ArrowInvalid, OverflowError) as error:
        fault = _reason(None, field.name, "type", None, f"send values that a column of {field.type} holds: {error}")
        raise schema_refusal([fault], len(values)) from error


def schema_refusal(faults: Sequence[Reason], rows: int | None) -> AdmissionError:
    """Return the error that lists what does not fit the schema, up to `MOST_REASONS` faults."""
    first = faults[0]
    where = "" if first["row"] is None else f" in row {first['row']}" + (f" of {rows}" if rows is not None else "")
    what = f"{first['reason']} of column {first['column']!r}" if first["column"] else str(first["reason"])
    more = f" (and {min(len(faults), MOST_REASONS) - 1} more)" if len(faults) > 1 else ""
    hint = "error.reasons lists each fault with what was seen and what to send instead"
    return refused(
        "schema", f"the request does not fit the schema: {what}{where}{more}", hint, tuple(faults[:MOST_REASONS])
    )


def _reason(row: int | None, column: str | None, reason: str, seen: Any, fix: str) -> Reason:
    shown = seen if seen is None or isinstance(seen, bool) else str(seen)[:_SEEN]
    return {"row": row, "column": column, "reason": reason, "seen": shown, "fix": fix}


def _too_long(row: int, column: str, length: int, limit: int) -> AdmissionError:
    return refused(
        "too_large", f"row {row}: {column!r} has {length} characters, the limit is {limit}", "send a shorter text"
    )

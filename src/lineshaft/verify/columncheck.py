"""One column against what the schema says about it, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Ints, Leaves, Mask, leaves, plain
from lineshaft.verify.constraints import Constraint, NotLonger, NotShorter, constraints_of, lengths
from lineshaft.verify.distinct import Part, Remembered
from lineshaft.verify.findings import Finding
from lineshaft.verify.model import EXPECTED, Column
from lineshaft.verify.refine import Refined, refine_many
from lineshaft.verify.types import admits, arrow_of, type_of_arrow

if TYPE_CHECKING:
    from lineshaft.verify.stream import Chunk

_LISTING = ("unexpected_value", "low_domain_mass")  # the offending numbers themselves are worth listing


@dataclass
class ColumnCheck:
    """The state of checking one column.

    Attributes
    ----------
    column
        What the schema says.
    standing
        Whether the column is expected, optional or excluded here.
    found
        Reason to what was gathered about it.
    present, values
        Rows with a value, and values (more than rows in lists) so far.
    was_there, other_type
        Whether any chunk had the column, and the type it had if that was not admitted.

    """

    column: Column
    standing: str = EXPECTED
    found: dict[str, Finding] = field(default_factory=dict)
    present: int = 0
    values: int = 0
    was_there: bool = False
    other_type: str | None = None
    remembered: Remembered = field(default_factory=Remembered)

    def __post_init__(self) -> None:
        self.constraints: tuple[Constraint, ...] = constraints_of(self.column)
        self.required = self.column.required and self.standing == EXPECTED
        self.remembers = self.column.unique or self.column.distinct is not None

    def add(self, chunk: Chunk) -> pa.Array:
        """Check a chunk's part of the column; return it as rules read it: null where it is not as declared."""
        if self.column.name not in chunk.batch.schema.names:
            if self.required:
                self._note("missing_value", chunk, np.arange(chunk.batch.num_rows))
            return self._nulls(chunk)
        self.was_there = True
        array = plain(chunk.batch.column(self.column.name))
        if array.null_count == len(array):  # without a value there is no telling the type
            array = pa.nulls(len(array))
        seen = type_of_arrow(array.type)
        if not admits(self.column.type, seen):
            self.other_type = seen
            return self._nulls(chunk)
        flat = leaves(array)
        self.present += len(array) - len(flat.missing_rows)
        self.values += len(flat.values)
        if self.required:
            self._note("missing_value", chunk, flat.missing_rows)
        self._check_lists(chunk, flat)
        refined = refine_many(self.column, flat)
        self._check_values(chunk, refined)
        return _for_rules(self.column, array, refined)

    def finish(self) -> None:
        """Once all chunks were seen, note the rows whose value an earlier row has already."""
        if self.column.unique:
            for part, mask in self.remembered.repeats():
                self._note_where("duplicate_value", part, part.rows, mask, part.values)

    def _nulls(self, chunk: Chunk) -> pa.Array:
        return pa.nulls(chunk.batch.num_rows, arrow_of(self.column.type))

    def _check_lists(self, chunk: Chunk, flat: Leaves) -> None:
        if not self.column.null_elements:
            self._note("missing_element", chunk, flat.null_rows)
        valency = self.column.valency
        if valency is None or not flat.lengths:
            return
        sizes, rows = flat.lengths[0], flat.list_rows
        if valency.min is not None:
            self._note_where("too_few_values", chunk, rows, sizes < valency.min, sizes)
        if valency.max is not None:
            self._note_where("too_many_values", chunk, rows, sizes > valency.max, sizes)

    def _check_values(self, chunk: Chunk, refined: Refined) -> None:
        for rejected in refined.rejected:
            self._note(rejected.reason, chunk, rejected.rows, rejected.values)
        for constraint in self.constraints:
            mask = constraint.broken(refined.values)
            if mask.any():
                self._note_where(constraint.reason, chunk, refined.rows, mask, _measured(constraint, refined.values))
        if self.remembers:
            self.remembered.add(Part(refined.values, refined.rows, chunk.start, chunk.names))

    def _note_where(self, reason: str, chunk: Chunk | Part, rows: Ints, mask: Mask, values: Any) -> None:
        if not mask.any():
            return
        offenders = values[mask] if isinstance(values, np.ndarray) else values.filter(pa.array(mask))
        if reason in _LISTING and isinstance(offenders, np.ndarray):
            offenders = offenders.tolist()
        self._note(reason, chunk, rows[mask], offenders)

    def _note(self, reason: str, chunk: Chunk | Part, rows: Ints, offenders: Any = None) -> None:
        if len(rows):
            self.found.setdefault(reason, Finding()).add(rows, chunk.start, chunk.names, offenders)


def _measured(constraint: Constraint, values: Any) -> Any:
    """Return what is worth reporting of offending values: a length where the length offends, else the value."""
    return lengths(values) if isinstance(constraint, (NotShorter, NotLonger)) else values


def _for_rules(column: Column, array: pa.Array, refined: Refined) -> pa.Array:
    """Return a scalar column in its declared type with null for every value that could not be refined."""
    declared = arrow_of(column.type)
    if column.type in {"int", "float"}:
        values, missing = np.zeros(len(array), refined.values.dtype), np.ones(len(array), dtype=bool)
        values[refined.rows], missing[refined.rows] = refined.values, False
        if values.dtype == np.uint64:  # rules compute in 64 bits with a sign
            missing |= values >= np.uint64(2**63)
            values = np.where(missing, 0, values)
        return pa.array(values, mask=missing).cast(declared)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), declared)
    unreadable = [part.rows for part in refined.rejected if part.reason == "invalid_utf8"]
    if column.type == "string" and unreadable:
        fine = np.ones(len(array), dtype=bool)
        fine[np.concatenate(unreadable)] = False
        return pc.if_else(pa.array(fine), array, None)
    return array

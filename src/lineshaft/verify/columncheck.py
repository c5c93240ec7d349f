"""One column against what the schema says about it, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Ints, Leaves, Mask, codes, compact, leaves, mask_of, plain
from lineshaft.verify.constraints import constraints_of, lengths
from lineshaft.verify.findings import Finding
from lineshaft.verify.model import EXPECTED, Column
from lineshaft.verify.refine import Refined, refine_many
from lineshaft.verify.types import TEXT, admits, arrow_of, leaf_type, type_of_arrow

if TYPE_CHECKING:
    from lineshaft.verify.stream import Chunk, Place

_LISTING = ("unexpected_value", "low_domain_mass")  # the offending numbers themselves are worth listing
_COMMON = {"time": pa.time64("ns"), "duration": pa.duration("ns")}
_MEASURED = ("too_short", "too_long")  # the length is what offends


@dataclass
class ColumnCheck:
    """The state of checking one column.

    Attributes
    ----------
    column
        What the schema says.
    standing
        Whether the column is expected, optional or excluded here.
    in_rules
        Whether a rule reads it.
    found
        Reason to what was gathered about it.
    present, values
        Rows with a value, and values (more than rows in lists) so far.
    was_there, other_type
        Whether any chunk had the column, and the type it had if that was not admitted.
    remembered
        The refined values of each chunk, kept where values must differ or are counted.

    """

    column: Column
    standing: str = EXPECTED
    in_rules: bool = False
    found: dict[str, Finding] = field(default_factory=dict)
    present: int = 0
    values: int = 0
    was_there: bool = False
    other_type: str | None = None
    remembered: list[tuple[Place, Refined]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.constraints = constraints_of(self.column)
        self.required = self.column.required and self.standing == EXPECTED
        self.remembers = self.column.unique or self.column.distinct is not None

    def add(self, chunk: Chunk) -> pa.Array | None:
        """Check a chunk's part of the column; where rules read it, return it: null where it is not as declared."""
        refined = self._checked(chunk)
        return _for_rules(self.column, chunk, refined) if self.in_rules else None

    def _checked(self, chunk: Chunk) -> Refined | None:
        """Check a chunk's part of the column; None where it is not there in an admitted type."""
        rows, place = chunk.batch.num_rows, chunk.place
        if self.column.name not in chunk.batch.schema.names:
            if self.required:
                self._note("missing_value", place, np.arange(rows))
            return None
        self.was_there = True
        array = compact(chunk.batch.column(self.column.name))
        if array.null_count == rows:  # without a value there is no telling the type
            array = pa.nulls(rows)
        seen = type_of_arrow(array.type)
        if not admits(self.column.type, seen):
            self.other_type = seen
            return None
        flat = leaves(array)
        self.present += rows - len(flat.missing_rows)
        self.values += len(flat.values)
        if self.required:
            self._note("missing_value", place, flat.missing_rows)
        self._check_lists(place, flat)
        refined = refine_many(self.column, flat)
        self._check_values(place, refined)
        return refined

    def finish(self) -> None:
        """Once all chunks were seen, note the rows whose value an earlier row has already."""
        if self.column.unique:
            for place, refined, again in self._repeats():
                self._note_where("duplicate_value", place, refined.rows, again, refined.values)

    def distinct(self) -> int:
        """Return how many different values there are."""
        return len(np.unique(self._places()))

    def _repeats(self) -> Iterator[tuple[Place, Refined, Mask]]:
        """Yield each chunk with a mask of the values that stand in an earlier row already."""
        places = self._places()
        again = np.ones(len(places), dtype=bool)
        again[np.unique(places, return_index=True)[1]] = False
        begin = 0
        for place, refined in self.remembered:
            yield place, refined, again[begin : begin + len(refined.rows)]
            begin += len(refined.rows)

    def _places(self) -> np.ndarray[Any, Any]:
        """Return numbers that are equal where the remembered values are; chunks may differ in their Arrow type."""
        values = [refined.values for _, refined in self.remembered]
        if not values:
            return np.array([], np.int64)
        if isinstance(values[0], np.ndarray):
            mixed = len({part.dtype for part in values}) > 1  # int64 beside uint64 would meet as float64
            return np.concatenate([part.astype(object) for part in values] if mixed else values)
        common = _COMMON.get(self.column.type, pa.large_binary())
        encoded = pa.concat_arrays([plain(part).cast(common, safe=False) for part in values]).dictionary_encode()
        return codes(encoded)

    def _check_lists(self, place: Place, flat: Leaves) -> None:
        if not self.column.null_elements:
            self._note("missing_element", place, flat.null_rows)
        valency = self.column.valency
        if valency is None or not flat.lengths:
            return
        sizes, rows = flat.lengths[0], flat.list_rows
        if valency.min is not None:
            self._note_where("too_few_values", place, rows, sizes < valency.min, sizes)
        if valency.max is not None:
            self._note_where("too_many_values", place, rows, sizes > valency.max, sizes)

    def _check_values(self, place: Place, refined: Refined) -> None:
        for rejected in refined.rejected:
            self._note(rejected.reason, place, rejected.rows, rejected.values)
        for constraint in self.constraints:
            mask = mask_of(constraint.broken, refined.values)
            self._note_where(constraint.reason, place, refined.rows, mask, refined.values)
        if self.remembers:
            self.remembered.append((place, refined))

    def _note_where(self, reason: str, place: Place, rows: Ints, mask: Mask, values: Any) -> None:
        if not mask.any():
            return
        offenders: Any = None
        if isinstance(values, np.ndarray):
            offenders = values[mask].tolist() if reason in _LISTING else values[mask]
        elif leaf_type(self.column.type) in TEXT:
            offenders = plain(values.filter(pa.array(mask)))
        self._note(reason, place, rows[mask], lengths(offenders) if reason in _MEASURED else offenders)

    def _note(self, reason: str, place: Place, rows: Ints, offenders: Any = None) -> None:
        if len(rows):
            self.found.setdefault(reason, Finding()).add(rows, place, offenders)


def _for_rules(column: Column, chunk: Chunk, refined: Refined | None) -> pa.Array:
    """Return the column in its declared type with null for every value that could not be refined."""
    rows, declared = chunk.batch.num_rows, arrow_of(column.type)
    if refined is None:
        return pa.nulls(rows, declared)
    if column.type in {"int", "float"}:
        values, missing = np.zeros(rows, refined.values.dtype), np.ones(rows, dtype=bool)
        values[refined.rows], missing[refined.rows] = refined.values, False
        if values.dtype == np.uint64:  # rules compute in 64 bits with a sign
            missing |= values >= np.uint64(2**63)
            values = np.where(missing, 0, values)
        return pa.array(values, mask=missing).cast(declared)
    array = plain(chunk.batch.column(column.name))
    if array.null_count == rows:
        return pa.nulls(rows, declared)
    unreadable = [part.rows for part in refined.rejected if part.reason == "invalid_utf8"]
    if column.type == "string" and unreadable:
        fine = np.ones(rows, dtype=bool)
        fine[np.concatenate(unreadable)] = False
        return pc.if_else(pa.array(fine), array, None)
    return array

"""From what was gathered about a column to its anomalies, each with the edit of the schema that would allow it.

An edit maps TOML keys of the column to their new values; None takes the key out. It is a proposal, never applied by
itself. Most only relax the constraint as far as the data went; where none would make sense (a broken rule) there is
none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lineshaft.verify.anomalies import Anomaly, severity_of
from lineshaft.verify.arrays import value_of
from lineshaft.verify.model import EXPECTED, Bounds, Column, Dataset
from lineshaft.verify.plainform import to_plain
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.types import is_declarable, leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.columncheck import ColumnCheck
    from lineshaft.verify.findings import Finding

Edit = dict[str, Any]

_LENGTHS = ("too_few_values", "too_many_values", "too_short", "too_long")
_ORDER = {name: at for at, name in enumerate(REASONS)}
_OF_VALUES = ("values", "min_mass", "range", "nan", "inf", "bool", "parses", "length", "pattern")
_OF_LISTS = ("valency", "null_elements")
_OF_SCALARS = ("unique", "distinct")
_OPTIONAL: Edit = {"presence": "optional"}


def anomalies_of(check: ColumnCheck, rows: int) -> list[Anomaly]:
    """Return a column's anomalies in data of ``rows`` rows, in the order of the table of reasons."""
    column = check.column
    if not check.was_there:
        lacking = check.standing == EXPECTED and column.must_be_there
        return [_about_all(column, "missing_column", {}, _OPTIONAL)] if lacking else []
    if check.other_type:
        seen = {"type": check.other_type, "declared": column.type}
        return [_about_all(column, "type_changed", seen, _retyped(column, check.other_type))]
    found = [*_presence(check, rows), *_distinct(check)]
    for reason, finding in check.found.items():
        found += _about_values(check, reason, finding, rows)
    return sorted(found, key=lambda anomaly: _ORDER[anomaly.reason])


def type_edit(seen: str) -> Edit:
    """Adopt the type that was seen, if a schema can declare it."""
    return {"type": seen} if is_declarable(seen) else {}


def _retyped(column: Column, seen: str) -> Edit:
    """Adopt another type and take out what was said of values of the old one."""
    said = to_plain([column], Dataset(), ())["columns"][column.name]
    gone = [*_OF_VALUES, *(() if seen.startswith("list<") else _OF_LISTS)]
    gone += _OF_SCALARS if seen.startswith("list<") or seen == "struct" else []
    return type_edit(seen) and {"type": seen, **{key: None for key in gone if key in said}}


def _about_all(column: Column, reason: str, seen: dict[str, Any], edit: Edit) -> Anomaly:
    return Anomaly(column.name, reason, severity_of(column.severity, reason), seen, (), edit)


def _about_values(check: ColumnCheck, reason: str, finding: Finding, rows: int) -> list[Anomaly]:
    column = check.column
    seen = finding.seen(rows, "int" if reason in _LENGTHS else _values_type(column))
    if reason == "low_domain_mass":
        mass = (check.values - finding.count) / check.values
        if mass >= column.min_mass:
            return []
        seen |= {"mass": mass, "min_mass": column.min_mass}
    edit = _EDITS[reason](column, finding, rows)
    return [Anomaly(column.name, reason, severity_of(column.severity, reason), seen, tuple(finding.examples), edit)]


def _presence(check: ColumnCheck, rows: int) -> list[Anomaly]:
    """Judge the numbers of values; where every row needs one, each null is a `missing_value` besides."""
    column, present, found = check.column, check.present, list[Anomaly]()
    seen = {"present": present, "of": rows}
    if check.standing != EXPECTED or not column.must_be_there:
        return []
    if not present and not check.required:
        return [_about_all(column, "never_present", seen, _OPTIONAL)]
    if present < column.min_count:
        edit = _presence_edit(column.min_fraction, present)
        found.append(_about_all(column, "low_count", {**seen, "min_count": column.min_count}, edit))
    if present / rows < column.min_fraction and not check.required:
        edit = _seen_share(column, present, rows)
        found.append(_about_all(column, "low_fraction", {**seen, "min_fraction": column.min_fraction}, edit))
    return found


def _distinct(check: ColumnCheck) -> list[Anomaly]:
    bounds = check.column.distinct
    if bounds is None:
        return []
    different = check.distinct()
    if bounds.min is not None and different < bounds.min:
        reason, moved = "too_few_distinct", {"min": different}
    elif bounds.max is not None and different > bounds.max:
        reason, moved = "too_many_distinct", {"max": different}
    else:
        return []
    return [_about_all(check.column, reason, {"distinct": different}, _bounds_edit("distinct", bounds, moved))]


def _values_type(column: Column) -> str:
    return column.parses or leaf_type(column.type)


def _presence_edit(min_fraction: float, min_count: int) -> Edit:
    kept: Edit = {"min_fraction": min_fraction, "min_count": min_count}
    return {"presence": {key: least for key, least in kept.items() if least} or "optional"}


def _seen_share(column: Column, present: int, rows: int) -> Edit:
    """Lower presence to what was seen; a share that rounds to 1 is written as the largest below it."""
    return _presence_edit(math.floor(present / rows * 10_000) / 10_000, min(column.min_count, present))


def _bounds_edit(key: str, bounds: Bounds | None, moved: Edit) -> Edit:
    """Move one bound and keep the other; without any left the key goes."""
    new = {**vars(bounds or Bounds()), **moved}
    return {key: {name: _as_toml(bound) for name, bound in new.items() if bound is not None} or None}


def _as_toml(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


Editor = Callable[[Column, "Finding", int], Edit]  # the last is the number of rows


def _moves(key: str, name: str) -> Editor:
    """Move a bound to the least or greatest value, or length, that was seen."""

    def edit(column: Column, finding: Finding, _rows: int) -> Edit:
        seen = finding.low if name == "min" else finding.high
        if key == "range":
            seen = value_of(seen, _values_type(column))
        if (key != "range" and seen == 0) or isinstance(seen, str):
            seen = None  # at least 0 is no bound, and a time past the calendar cannot be one
        return _bounds_edit(key, getattr(column, key), {name: seen})

    return edit


def _sets(edit: Edit) -> Editor:
    return lambda _column, _finding, _rows: dict(edit)


def _lists(column: Column, finding: Finding, _rows: int) -> Edit:
    if finding.more or column.values is None:
        return {"values": None, "min_mass": None}
    return {"values": [*column.values, *(value for value, _ in finding.ordered())]}


def _not_parsed(column: Column, _finding: Finding, _rows: int) -> Edit:
    return {"parses": None, **({"range": None} if column.range else {})}


def _not_an_integer(column: Column, finding: Finding, rows: int) -> Edit:
    if column.parses:
        return _not_parsed(column, finding, rows)
    values = {} if column.values is None else {"values": None, "min_mass": None}  # floats are not listed
    return {"type": column.type.replace("int", "float"), **values}


def _not_bool(column: Column, finding: Finding, _rows: int) -> Edit:
    if column.words or finding.low is None:
        return {"bool": None}
    low, high = (value_of(end, leaf_type(column.type)) for end in (min(finding.low, 0), max(finding.high, 1)))
    return {"bool": None, "range": {"min": low, "max": high}}


_EDITS: dict[str, Editor] = {
    "missing_value": lambda column, finding, rows: _seen_share(column, rows - finding.total, rows),
    "missing_element": _sets({"null_elements": True}),
    "too_few_values": _moves("valency", "min"),
    "too_many_values": _moves("valency", "max"),
    "invalid_utf8": lambda column, _finding, _rows: _retyped(column, column.type.replace("string", "bytes")),
    "not_an_integer": _not_an_integer,
    "not_a_number": _not_parsed,
    "has_nan": _sets({"nan": True}),
    "has_inf": _sets({"inf": True}),
    "out_of_range_low": _moves("range", "min"),
    "out_of_range_high": _moves("range", "max"),
    "not_bool": _not_bool,
    "unexpected_value": _lists,
    "low_domain_mass": _lists,
    "too_short": _moves("length", "min"),
    "too_long": _moves("length", "max"),
    "pattern_mismatch": _sets({"pattern": None}),
    "duplicate_value": _sets({"unique": None}),
}

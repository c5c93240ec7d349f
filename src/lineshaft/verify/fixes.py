"""For each reason the edit of the schema under which it would not be one: proposals, never applied by themselves.

An edit maps TOML keys of the column to their new values; None takes the key out. Most only relax the constraint as far
as the data went. Where none would make sense (a key that repeats, a broken rule) there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lineshaft.verify.arrays import value_of
from lineshaft.verify.model import Bounds, Column
from lineshaft.verify.types import is_declarable, leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.findings import Finding

Edit = dict[str, Any]


def fix(column: Column, reason: str, finding: Finding, rows: int) -> Edit:
    """Propose an edit for one finding in data of ``rows`` rows."""
    return _FIXES[reason](column, finding, rows) if reason in _FIXES else {}


def presence_fix(min_count: int, present: int, rows: int) -> Edit:
    """Lower presence to what was seen; a share that rounds to 1 is written as the largest below it."""
    share = math.floor(present / rows * 10_000) / 10_000
    kept = {"min_fraction": share, "min_count": min(min_count, present)}
    return {"presence": {key: value for key, value in kept.items() if value} or "optional"}


def type_fix(seen: str) -> Edit:
    """Adopt the type that was seen, if a schema can declare it."""
    return {"type": seen} if is_declarable(seen) else {}


def bounds_edit(key: str, bounds: Bounds | None, **moved: Any) -> Edit:
    """Move one bound and keep the other."""
    old = bounds or Bounds()
    new = {"min": old.min, "max": old.max, **moved}
    return {key: {name: _as_toml(value) for name, value in new.items() if value is not None} or None}


def _as_toml(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _range(name: str, bound: str) -> Callable[[Column, Finding, int], Edit]:
    def edit(column: Column, finding: Finding, _rows: int) -> Edit:
        kind = column.parses or leaf_type(column.type)
        return bounds_edit("range", column.range, **{name: value_of(getattr(finding, bound), kind)})

    return edit


def _count(key: str, name: str, bound: str) -> Callable[[Column, Finding, int], Edit]:
    def edit(column: Column, finding: Finding, _rows: int) -> Edit:
        seen = getattr(finding, bound)
        return bounds_edit(key, getattr(column, key), **{name: None if name == "min" and not seen else seen})

    return edit


def _values(column: Column, finding: Finding, _rows: int) -> Edit:
    if finding.more or column.values is None:
        return {"values": None, "min_mass": None}
    return {"values": [*column.values, *(value for value, _ in finding.ordered())]}


def _constant(edit: Edit) -> Callable[[Column, Finding, int], Edit]:
    return lambda _column, _finding, _rows: dict(edit)


def _missing(column: Column, finding: Finding, rows: int) -> Edit:
    return presence_fix(column.min_count, rows - finding.total, rows)


def _not_an_integer(column: Column, _finding: Finding, _rows: int) -> Edit:
    return {"parses": None} if column.parses else {"type": column.type.replace("int", "float")}


def _not_bool(column: Column, finding: Finding, _rows: int) -> Edit:
    if column.words or finding.low is None:
        return {"bool": None}
    kind = leaf_type(column.type)
    low, high = min(finding.low, 0), max(finding.high, 1)
    return {"bool": None, "range": {"min": value_of(low, kind), "max": value_of(high, kind)}}


_FIXES: dict[str, Callable[[Column, Finding, int], Edit]] = {
    "missing_value": _missing,
    "missing_element": _constant({"null_elements": True}),
    "too_few_values": _count("valency", "min", "low"),
    "too_many_values": _count("valency", "max", "high"),
    "invalid_utf8": _constant({"type": "bytes"}),
    "not_an_integer": _not_an_integer,
    "not_a_number": _constant({"parses": None}),
    "has_nan": _constant({"nan": True}),
    "has_inf": _constant({"inf": True}),
    "out_of_range_low": _range("min", "low"),
    "out_of_range_high": _range("max", "high"),
    "not_bool": _not_bool,
    "unexpected_value": _values,
    "low_domain_mass": _values,
    "too_short": _count("length", "min", "low"),
    "too_long": _count("length", "max", "high"),
    "pattern_mismatch": _constant({"pattern": None}),
    "duplicate_value": _constant({"unique": None}),
}

"""From what was gathered about a column to its anomalies, each with what was seen and the edit that would allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineshaft.verify.anomalies import Anomaly, severity_of
from lineshaft.verify.fixes import Edit, bounds_edit, fix, presence_fix, type_fix
from lineshaft.verify.model import EXPECTED, Column
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.types import leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.columncheck import ColumnCheck
    from lineshaft.verify.findings import Finding

_MEASURED = ("too_few_values", "too_many_values", "too_short", "too_long")
_ORDER = {name: at for at, name in enumerate(REASONS)}


def anomalies_of(check: ColumnCheck, rows: int) -> list[Anomaly]:
    """Return a column's anomalies in data of ``rows`` rows, in the order of the table of reasons."""
    column = check.column
    if not check.was_there:
        if check.standing != EXPECTED or not column.must_be_there:
            return []
        return [_about_all(column, "missing_column", {}, {"presence": "optional"})]
    if check.other_type:
        seen = {"type": check.other_type, "declared": column.type}
        return [_about_all(column, "type_changed", seen, type_fix(check.other_type))]
    found = [*_presence(check, rows), *_distinct(check)]
    for reason, finding in check.found.items():
        found += _about_values(check, reason, finding, rows)
    return sorted(found, key=lambda anomaly: _ORDER[anomaly.reason])


def _about_all(column: Column, reason: str, seen: dict[str, Any], edit: Edit) -> Anomaly:
    return Anomaly(column.name, reason, severity_of(column.severity, reason), seen, (), edit)


def _about_values(check: ColumnCheck, reason: str, finding: Finding, rows: int) -> list[Anomaly]:
    column = check.column
    kind = "int" if reason in _MEASURED else column.parses or leaf_type(column.type)
    seen = finding.seen(rows, kind)
    if reason == "low_domain_mass":
        mass = (check.values - finding.count) / check.values
        if mass >= column.min_mass:
            return []
        seen |= {"mass": mass, "min_mass": column.min_mass}
    edit = fix(column, reason, finding, rows)
    return [Anomaly(column.name, reason, severity_of(column.severity, reason), seen, tuple(finding.examples), edit)]


def _presence(check: ColumnCheck, rows: int) -> list[Anomaly]:
    """Judge presence where not every row needs a value; where it does, each null is a `missing_value`."""
    column, present = check.column, check.present
    if check.required or check.standing != EXPECTED or not column.must_be_there:
        return _too_few(column, present, rows) if check.required else []
    if not present:
        return [_about_all(column, "never_present", {"present": 0, "of": rows}, {"presence": "optional"})]
    found = _too_few(column, present, rows)
    if present / rows < column.min_fraction:
        seen = {"present": present, "of": rows, "min_fraction": column.min_fraction}
        found.append(_about_all(column, "low_fraction", seen, presence_fix(column.min_count, present, rows)))
    return found


def _too_few(column: Column, present: int, rows: int) -> list[Anomaly]:
    if present >= column.min_count:
        return []
    seen = {"present": present, "of": rows, "min_count": column.min_count}
    kept = {"min_fraction": column.min_fraction, "min_count": present}
    edit = {"presence": {key: value for key, value in kept.items() if value} or "optional"}
    return [_about_all(column, "low_count", seen, edit)]


def _distinct(check: ColumnCheck) -> list[Anomaly]:
    bounds = check.column.distinct
    if bounds is None:
        return []
    different, found = check.remembered.count(), []
    if bounds.min is not None and different < bounds.min:
        edit = bounds_edit("distinct", bounds, min=different)
        found.append(_about_all(check.column, "too_few_distinct", {"distinct": different}, edit))
    if bounds.max is not None and different > bounds.max:
        edit = bounds_edit("distinct", bounds, max=different)
        found.append(_about_all(check.column, "too_many_distinct", {"distinct": different}, edit))
    return found

"""The request check: one row against a schema in microseconds, with the reasons that the batch check would give.

A schema is compiled once to a quick test per column that is true only for values beyond doubt. Whatever fails it goes
the slow way, through the same refinement and the same constraints that the batch check runs over arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.core.expression import Expression, parse
from lineshaft.errors import DataError
from lineshaft.verify.advice import advice
from lineshaft.verify.anomalies import Anomaly, severity_of
from lineshaft.verify.check import rules_in, stranger
from lineshaft.verify.constraints import constraints_of
from lineshaft.verify.model import EXCLUDED, EXPECTED, Bounds, Column, Rule, standing
from lineshaft.verify.quick import quick_test
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.refine import refine_one
from lineshaft.verify.types import admits, type_of_value

if TYPE_CHECKING:
    from lineshaft.verify.schema import Schema

_ABSENT: Any = object()
_ORDER = {name: at for at, name in enumerate(REASONS)}

Row = Mapping[str, Any]


def row_checker(
    schema: Schema, environment: str | None, columns: Sequence[str] | None
) -> Callable[[Row], list[Anomaly]]:
    """Compile a check of single rows; see `Schema.row_checker`."""
    schema.know_environment(environment)
    schema = schema if columns is None else schema.select(columns)
    places = {column.name: standing(column, schema.dataset, environment) for column in schema.columns}
    here = [ColumnRow(column, places[column.name]) for column in schema.columns if places[column.name] != EXCLUDED]
    tests = [(one.column.name, one.quick, one) for one in here]
    known = frozenset(one.column.name for one in here)
    rules = [RuleRow(rule, parse(rule.expect), schema) for rule in rules_in(schema, places)]

    def check_row(row: Row) -> list[Anomaly]:
        if not isinstance(row, Mapping):
            raise DataError(f"a row is a mapping of column names to values, not {type(row).__name__}")
        found: list[Anomaly] = []
        for name, quick, one in tests:
            value = row.get(name, _ABSENT)
            if not quick(value):
                found += one.explain(value)
        if not known.issuperset(row):
            found += [stranger(schema, str(name), type_of_value(row[name])) for name in row if name not in known]
        for rule in rules:
            found += rule.explain(row)
        return found

    return check_row


class ColumnRow:
    """One column's check of single values."""

    def __init__(self, column: Column, place: str) -> None:
        self.column = column
        self.required = column.required and place == EXPECTED
        self.must_be_there = column.must_be_there and place == EXPECTED
        # How much mass lies outside a list of values takes many rows to tell.
        self.constraints = [one for one in constraints_of(column) if one.reason != "low_domain_mass"]
        self.quick = quick_test(column, self.constraints, required=self.required)

    def explain(self, value: Any) -> list[Anomaly]:
        """Return every reason that a value gives, in the order of the table of reasons."""
        if value is _ABSENT:
            return [self._anomaly("missing_column", {})] if self.must_be_there else []
        value = native(value)
        if value is None:
            return [self._anomaly("missing_value", {})] if self.required else []
        if not _admitted(self.column.type, value):
            seen = {"type": type_of_value(value), "declared": self.column.type}
            return [self._anomaly("type_changed", seen)]
        reasons = sorted(set(self._reasons(value)), key=_ORDER.__getitem__)
        return [self._anomaly(reason, {"value": _brief(value)}) for reason in reasons]

    def _reasons(self, value: Any) -> list[str]:
        found: list[str] = []
        depth = self.column.type.count("list<")
        if depth:
            found += self._valency(len(value))
        for single in _scalars(value, depth):
            if single is None:
                found += [] if self.column.null_elements else ["missing_element"]
                continue
            refined, reason = refine_one(self.column, single)
            if reason:
                found.append(reason)
            else:
                found += [one.reason for one in self.constraints if one.breaks(refined)]
        return found

    def _valency(self, length: int) -> list[str]:
        valency = self.column.valency or Bounds()
        few = valency.min is not None and length < valency.min
        many = valency.max is not None and length > valency.max
        return ["too_few_values"] * few + ["too_many_values"] * many

    def _anomaly(self, reason: str, seen: dict[str, Any]) -> Anomaly:
        severity, fix = severity_of(self.column.severity, reason), advice(self.column, reason)
        return Anomaly(self.column.name, reason, severity, seen, fix=fix)


class RuleRow:
    """One rule's check of single rows."""

    def __init__(self, rule: Rule, expression: Expression, schema: Schema) -> None:
        self.rule = rule
        self.expression = expression
        self.columns = [schema[name] for name in expression.columns]

    def explain(self, row: Row) -> list[Anomaly]:
        """Return an anomaly if the rule is false; values that are not as declared count as null."""
        values = {column.name: for_rules(column, row.get(column.name)) for column in self.columns}
        if self.expression.row(values) is not False:
            return []
        seen = {"rule": self.rule.name, "expect": self.rule.expect}
        fix = f"send values for which {self.rule.expect}"
        return [Anomaly(None, "rule_broken", self.rule.severity, seen, fix=fix)]


def native(value: Any) -> Any:
    """Turn a numpy scalar into the Python value it stands for."""
    return value.item() if isinstance(value, np.generic) else value


def for_rules(column: Column, value: Any) -> Any:
    """Return a value as rules read it: as declared, or None."""
    value = native(value)
    if value is None or not _admitted(column.type, value):
        return None
    if column.type == "string":
        return value if refine_one(column, value)[1] != "invalid_utf8" else None
    if column.type not in {"int", "float"}:
        return value
    refined, reason = refine_one(column, value)
    if reason or (column.type == "int" and refined >= 2**63):  # rules compute in 64 bits with a sign
        return None
    return refined


def _admitted(declared: str, value: Any) -> bool:
    """Tell whether a value and all that is in it have the declared type."""
    if not declared.startswith("list<"):
        kind = type_of_value(value)
        return kind != "list" and admits(declared, kind)
    if not isinstance(value, (list, tuple)):
        return False
    return all(element is None or _admitted(declared[5:-1], native(element)) for element in value)


def _scalars(value: Any, depth: int) -> list[Any]:
    """Return the scalars under a nested list, nulls at any level included."""
    level = [value]
    for _ in range(depth):
        level = [element for part in level for element in (part if part is not None else [None])]
    return [native(element) for element in level]


def _brief(value: Any) -> Any:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"

r"""The batch check: one pass over the chunks, every column and every rule at once.

::

    chunk -> each column: type, presence, lists, values   -> findings  \
          -> each rule over the columns as declared       -> findings   > anomalies, rows to reject
    end   -> uniqueness, presence shares, numbers of rows -> findings  /
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lineshaft.core.expression import Expression, parse
from lineshaft.verify.anomalies import ERROR, Anomalies, Anomaly, severity_of
from lineshaft.verify.columncheck import ColumnCheck
from lineshaft.verify.findings import Finding
from lineshaft.verify.model import EXCLUDED, Column, Dataset, Rule, standing
from lineshaft.verify.stream import Chunk, chunks
from lineshaft.verify.types import type_of_arrow
from lineshaft.verify.verdict import anomalies_of, type_edit

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Ints
    from lineshaft.verify.schema import Schema


@dataclass
class RuleCheck:
    """One rule over several columns, and where it was false; null passes."""

    rule: Rule
    expression: Expression
    finding: Finding = field(default_factory=Finding)

    def add(self, chunk: Chunk, typed: dict[str, Any]) -> None:
        """Judge the rows of a chunk, its columns as declared."""
        rows = chunk.batch.num_rows
        if not rows:
            return
        # A rule of constants alone still needs to know how many rows there are.
        columns = {name: typed[name] for name in self.expression.columns} or {"": pa.nulls(rows)}
        answer = self.expression.evaluate(pa.table(columns))
        broken = np.flatnonzero(answer.fill_null(True).to_numpy(zero_copy_only=False) == 0)
        if len(broken):
            self.finding.add(broken, chunk.place)

    def anomaly(self, rows: int) -> Anomaly:
        """Make the anomaly of a rule that was false somewhere."""
        seen = {"rule": self.rule.name, "expect": self.rule.expect, **self.finding.seen(rows)}
        return Anomaly(None, "rule_broken", self.rule.severity, seen, tuple(self.finding.examples))


@dataclass(frozen=True)
class Inspection:
    """What a pass found: the report, and for each error about rows its name in quarantine and its rows' numbers."""

    anomalies: Anomalies
    rejected: tuple[tuple[str, Ints], ...]


def check(schema: Schema, data: Any, environment: str | None) -> Anomalies:
    """Check data; see `Schema.check`."""
    return inspect(schema, chunks(data, schema.dataset.key), environment).anomalies


def inspect(schema: Schema, stream: Iterable[Chunk], environment: str | None) -> Inspection:
    """Run the one pass."""
    schema.know_environment(environment)
    places = {column.name: standing(column, schema.dataset, environment) for column in schema.columns}
    rules = [RuleCheck(rule, parse(rule.expect)) for rule in rules_in(schema, places)]
    read = {name for rule in rules for name in rule.expression.columns}
    columns = [
        ColumnCheck(column, places[column.name], column.name in read)
        for column in schema.columns
        if places[column.name] != EXCLUDED
    ]
    strangers: dict[str, str] = {}
    rows = 0
    for chunk in stream:
        rows += chunk.batch.num_rows
        for name, arrow in zip(chunk.batch.schema.names, chunk.batch.schema.types, strict=True):
            if places.get(name, EXCLUDED) == EXCLUDED:
                strangers.setdefault(name, type_of_arrow(arrow))
        typed = {one.column.name: one.add(chunk) for one in columns}
        for rule in rules:
            rule.add(chunk, typed)
    if not rows:
        return Inspection(Anomalies((about_dataset(schema.dataset, "data_missing", {"rows": 0}),)), ())
    for one in columns:
        one.finish()
    found = _about_rows_count(schema.dataset, rows)
    found += [anomaly for one in columns for anomaly in anomalies_of(one, rows)]
    found += [stranger(schema, name, kind) for name, kind in strangers.items()]
    found += [rule.anomaly(rows) for rule in rules if rule.finding.rows]
    return Inspection(Anomalies(tuple(found), rows), _rejected(columns, rules, found))


def rules_in(schema: Schema, places: dict[str, str]) -> list[Rule]:
    """Return the rules whose columns all belong here."""
    return [
        rule
        for rule in schema.rules
        if all(places.get(name, EXCLUDED) != EXCLUDED for name in parse(rule.expect).columns)
    ]


def about_dataset(dataset: Dataset, reason: str, seen: dict[str, Any]) -> Anomaly:
    """Make an anomaly about the data set."""
    return Anomaly(None, reason, severity_of(dataset.severity, reason), seen)


def stranger(schema: Schema, name: str, kind: str) -> Anomaly:
    """Make the anomaly of a column that should not be there."""
    declared: Column | None = next((column for column in schema.columns if column.name == name), None)
    if declared is None:
        severity = severity_of(schema.dataset.severity, "new_column")
        return Anomaly(name, "new_column", severity, {"type": kind}, (), type_edit(kind))
    reason = "not_in_environment"
    severity = severity_of({**schema.dataset.severity, **declared.severity}, reason)
    return Anomaly(name, reason, severity, {"type": kind})


def _about_rows_count(dataset: Dataset, rows: int) -> list[Anomaly]:
    found = []
    if dataset.min_rows is not None and rows < dataset.min_rows:
        found.append(about_dataset(dataset, "too_few_rows", {"rows": rows, "min_rows": dataset.min_rows}))
    if dataset.max_rows is not None and rows > dataset.max_rows:
        found.append(about_dataset(dataset, "too_many_rows", {"rows": rows, "max_rows": dataset.max_rows}))
    return found


def _rejected(columns: list[ColumnCheck], rules: list[RuleCheck], found: list[Anomaly]) -> tuple[tuple[str, Ints], ...]:
    """Collect the rows of every error about rows, under the name that quarantine writes."""
    errors = {(anomaly.column, anomaly.reason) for anomaly in found if anomaly.severity == ERROR and anomaly.about_rows}
    findings = [
        (f"{one.column.name}: {reason}", finding)
        for one in columns
        for reason, finding in one.found.items()
        if (one.column.name, reason) in errors
    ]
    findings += [(f"rule {one.rule.name}", one.finding) for one in rules if one.rule.severity == ERROR]
    return tuple((name, np.concatenate(finding.rows)) for name, finding in findings if finding.rows)

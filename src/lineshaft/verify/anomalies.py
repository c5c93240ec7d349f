"""What a check found: anomalies with their reason, what was seen, example rows and a fix."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lineshaft.verify.reasons import REASONS, ROWS

ERROR, WARNING = "error", "warning"
SEVERITIES = (ERROR, WARNING)


def severity_of(severity: Mapping[str, str], reason: str) -> str:
    """Look a reason up in a table of severities; ``"*"`` stands for all others, and errors are the default."""
    return severity.get(reason, severity.get("*", ERROR))


@dataclass(frozen=True)
class Anomaly:
    """One way in which data do not fit a schema.

    Attributes
    ----------
    column
        The column; None where it is about the data set or a rule over several columns.
    reason
        A name in `lineshaft.verify.reasons.REASONS`.
    severity
        ``"error"`` or ``"warning"``.
    seen
        What was seen, a JSON object: ``rows`` that broke it ``of`` how many, ``min``, ``max``, ``values`` with counts.
    examples
        Identities of the first rows concerned.
    fix
        The edit of the schema under which this would not be an anomaly: TOML keys of the column with their new values
        (None: take the key out). Empty where no edit would do. It is a proposal; nothing applies it by itself. Of a
        single row: words that say what to send instead.

    """

    column: str | None
    reason: str
    severity: str = ERROR
    seen: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    fix: Mapping[str, Any] | str = field(default_factory=dict)

    @property
    def about_rows(self) -> bool:
        """Whether single rows are at fault, so that taking them out leaves good data."""
        return REASONS[self.reason].about == ROWS

    def payload(self) -> Any:
        """Return a JSON value."""
        fix = self.fix if isinstance(self.fix, str) else dict(self.fix)
        return {**vars(self), "seen": dict(self.seen), "examples": list(self.examples), "fix": fix}

    @classmethod
    def from_payload(cls, payload: Any) -> Anomaly:
        """Read it back."""
        return cls(**{**payload, "examples": tuple(payload["examples"])})

    def __str__(self) -> str:
        where = f"rule {self.seen['rule']!r}" if "rule" in self.seen else self.column or "data set"
        text = f"{self.severity}: {where}: {self.reason} ({REASONS[self.reason].meaning})"
        details = [f"{key} {_brief(value)}" for key, value in self.seen.items() if key != "rule"]
        details += [f"e.g. row {', '.join(self.examples)}"] if self.examples else []
        details += [f"fix: {_edit(self.fix)}"] if self.fix else []
        return "; ".join([text, *details])


@dataclass(frozen=True)
class Anomalies:
    """All that one check found, in the order of the schema's columns.

    It iterates over its anomalies. Ask ``ok`` for the verdict: the object itself is true or false like any
    collection would be, so its truth is refused rather than misread.

    Attributes
    ----------
    found
        The anomalies.
    rows
        How many rows were checked.
    distances
        Column to comparator to value, for comparisons with other data.

    """

    found: tuple[Anomaly, ...] = ()
    rows: int = 0
    distances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings are fine."""
        return not self.errors

    @property
    def errors(self) -> list[Anomaly]:
        """The anomalies of severity error."""
        return [anomaly for anomaly in self.found if anomaly.severity == ERROR]

    @property
    def beyond_rows(self) -> list[Anomaly]:
        """The errors that taking rows out does not cure: they are about a column or the data set."""
        return [anomaly for anomaly in self.errors if not anomaly.about_rows]

    def __iter__(self) -> Iterator[Anomaly]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __bool__(self) -> bool:
        raise TypeError("anomalies are neither true nor false: ask .ok, or len() for how many there are")

    def payload(self) -> Any:
        """Return a JSON value."""
        distances = {column: dict(values) for column, values in self.distances.items()}
        return {"rows": self.rows, "anomalies": [anomaly.payload() for anomaly in self], "distances": distances}

    @classmethod
    def from_payload(cls, payload: Any) -> Anomalies:
        """Read it back."""
        found = tuple(Anomaly.from_payload(anomaly) for anomaly in payload["anomalies"])
        return cls(found, payload["rows"], payload["distances"])

    def __str__(self) -> str:
        if not self.found:
            return f"{self.rows:,} rows: no anomalies"
        head = f"{self.rows:,} rows: {len(self.errors)} errors, {len(self) - len(self.errors)} warnings"
        return "\n".join([head, *(f"  {anomaly}" for anomaly in self)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in ("column", "reason", "severity", "seen", "rows", "fix"))
        body = "".join(f"<tr>{_html_row(anomaly)}</tr>" for anomaly in self)
        return f"<p>{self.rows:,} rows, {len(self)} anomalies</p><table><tr>{head}</tr>{body}</table>"


def _html_row(anomaly: Anomaly) -> str:
    seen = ", ".join(f"{key} {_brief(value)}" for key, value in anomaly.seen.items())
    where = (anomaly.column or "", anomaly.reason, anomaly.severity)
    cells = (*where, seen, ", ".join(anomaly.examples), _edit(anomaly.fix))
    return "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)


def _edit(fix: Mapping[str, Any] | str) -> str:
    if isinstance(fix, str):
        return fix
    return ", ".join(f"drop {key}" if value is None else f"{key} = {_brief(value)}" for key, value in fix.items())


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:119]}…"

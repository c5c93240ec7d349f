"""What one pass gathers about each broken constraint: which rows, the first examples, and what was seen there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lineshaft.verify.arrays import Ints, texts, value_of

if TYPE_CHECKING:
    from lineshaft.verify.stream import Place

EXAMPLES = 5
LISTED = 100  # different offending texts that are kept; a fix that would need more drops the constraint
SHOWN = 10


@dataclass
class Finding:
    """One reason at one column, over all chunks so far.

    Attributes
    ----------
    rows
        Global numbers of the rows concerned, ascending, chunk by chunk.
    examples
        Identities of the first of them.
    low, high
        The least and greatest offending number or length.
    values
        Offending texts or listed numbers with their counts; at most `LISTED` of them.
    more
        Whether there were more different ones.
    count
        Offending values; in a list column a row can hold several.

    """

    rows: list[Ints] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    low: Any = None
    high: Any = None
    values: Counter[Any] = field(default_factory=Counter)
    more: bool = False
    count: int = 0

    @property
    def total(self) -> int:
        """How many rows are concerned."""
        return sum(len(rows) for rows in self.rows)

    def add(self, rows: Ints, place: Place, offenders: Any = None) -> None:
        """Take in the rows of a chunk (repeats allowed) with the values that offend there."""
        different = np.unique(rows)
        self.rows.append(different + place.start)
        self.count += len(rows)
        wanted = EXAMPLES - len(self.examples)
        if wanted > 0:
            self.examples += place.names(different[:wanted].tolist())
        if isinstance(offenders, np.ndarray):
            self._bounds(offenders)
        elif offenders is not None:
            self._list(texts(offenders) if isinstance(offenders, pa.Array) else offenders)

    def _bounds(self, numbers: np.ndarray[Any, Any]) -> None:
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            low, high = finite.min().item(), finite.max().item()
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)

    def _list(self, values: Iterable[Any]) -> None:
        self.values.update(values)
        if len(self.values) > LISTED:
            self.more = True
            self.values = Counter(dict(self.ordered()[:LISTED]))

    def ordered(self) -> list[tuple[Any, int]]:
        """Return the offending values, the most frequent first, ties by value."""
        return sorted(self.values.items(), key=lambda item: (-item[1], item[0]))

    def seen(self, rows: int, kind: str = "float") -> dict[str, Any]:
        """Say what was seen, as JSON; numbers of a date column become dates."""
        seen: dict[str, Any] = {"rows": self.total, "of": rows}
        for name, bound in (("min", self.low), ("max", self.high)):
            if bound is not None:
                seen[name] = as_json(bound, kind)
        if self.values:
            seen["values"] = [[_brief(value), count] for value, count in self.ordered()[:SHOWN]]
        if self.more or len(self.values) > SHOWN:
            seen["different"] = f"more than {LISTED}" if self.more else len(self.values)
        return seen


def as_json(number: Any, kind: str) -> Any:
    """Write a number of a column: dates and times in ISO form."""
    if kind in {"date", "datetime"}:
        moment = value_of(number, kind)
        return moment if isinstance(moment, str) else moment.isoformat()
    return number


def _brief(value: Any) -> Any:
    return f"{value[:60]}…" if isinstance(value, str) and len(value) > 60 else value

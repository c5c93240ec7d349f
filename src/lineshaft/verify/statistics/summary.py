"""Statistics as people ask for them: ``stats["fare"].mean``, ``a.merge(b)``, a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.errors import DataError, UsageError
from lineshaft.verify.arrays import value_of
from lineshaft.verify.statistics.column import ColumnState
from lineshaft.verify.statistics.extent import Extent
from lineshaft.verify.statistics.hashing import HASH_VERSION
from lineshaft.verify.statistics.sample import Cells, Sample
from lineshaft.verify.statistics.show import as_html, as_text
from lineshaft.verify.types import ORDERED

if TYPE_CHECKING:
    from lineshaft.verify.statistics.heavy import Heavy

_FORMAT = 1


@dataclass(frozen=True)
class ColumnStatistics:
    """The statistics of one column.

    Attributes
    ----------
    name
        The column.
    state
        Its mergeable state.
    cells
        Its part of the row sample.

    """

    name: str
    state: ColumnState
    cells: Cells

    @property
    def type(self) -> str:
        """The type as a schema writes it."""
        return self.state.type

    @property
    def rows(self) -> int:
        """All rows: ``count + missing``."""
        return self.state.rows

    @property
    def count(self) -> int:
        """Rows that have a value; NaN and empty lists are values."""
        return self.state.count

    @property
    def missing(self) -> int:
        """Rows that are null."""
        return self.state.missing

    @property
    def nan(self) -> int:
        """Values that are NaN."""
        return self.state.leaf.nan

    @property
    def posinf(self) -> int:
        """Values that are +Infinity."""
        return self.state.leaf.posinf

    @property
    def neginf(self) -> int:
        """Values that are -Infinity."""
        return self.state.leaf.neginf

    @property
    def zeros(self) -> int:
        """Values that are 0."""
        return self.state.leaf.zeros

    @property
    def mean(self) -> float | None:
        """Mean of the finite values; for bool the share of true; None for other types and without values."""
        moments = self.state.leaf.moments
        return moments.mean if moments.n else None

    @property
    def std(self) -> float | None:
        """Population standard deviation of the finite values; None where there is no mean."""
        moments = self.state.leaf.moments
        return moments.std if moments.n else None

    @property
    def min(self) -> Any:
        """The least finite value, exact; None for texts and without values."""
        return self._bound(self.state.leaf.low)

    @property
    def max(self) -> Any:
        """The greatest finite value, exact; None for texts and without values."""
        return self._bound(self.state.leaf.high)

    @property
    def distinct(self) -> int:
        """How many different finite values or texts; see ``distinct_error``."""
        return self.state.leaf.kmv.distinct

    @property
    def distinct_error(self) -> float:
        """One standard error of ``distinct``, relative; 0 while it is exact."""
        return self.state.leaf.kmv.relative_error

    @property
    def length(self) -> Extent:
        """Lengths of strings in characters, of bytes in bytes."""
        return self.state.leaf.lengths

    @property
    def valency(self) -> Extent:
        """Lengths of the column's lists."""
        return self.state.levels[0] if self.state.levels else Extent()

    @property
    def heavy(self) -> Heavy:
        """The most frequent values with the error of their counts."""
        return self.state.leaf.heavy

    def top(self, n: int = 10) -> list[tuple[Any, int]]:
        """Return the ``n`` most frequent values and how often each was seen at least (``heavy.error`` too few at most).

        A text of more than 200 characters is shown by its beginning and its hash; bytes are not listed.
        """
        kind = self.state.leaf.kind
        return [(value if kind == "string" else value_of(value, kind), count) for value, count in self.heavy.top(n)]

    def quantile(self, q: float) -> Any:
        """Return the value below which a share ``q`` of the finite values lies.

        It is a value of the row sample (the least with at least ``q`` of the sample at or below it), exact up to
        16,384 rows; beyond that its rank is off by 0.4 % of the rows at one standard error.

        Raises
        ------
        UsageError
            ``q`` is not in [0, 1], or the column has no order or is a list.

        """
        kind = self.state.type
        if not 0 <= q <= 1:
            raise UsageError(f"a quantile is asked for with a share from 0 to 1, not {q!r}")
        if kind not in ORDERED and self.count:
            raise UsageError(f"column {self.name!r} is {kind}; quantiles are kept for {', '.join(ORDERED)}")
        values = self.finite_sample()
        if not len(values):
            return None
        at = min(max(math.ceil(q * len(values)) - 1, 0), len(values) - 1)
        return value_of(np.partition(values, at)[at], kind)

    def finite_sample(self) -> np.ndarray[Any, Any]:
        """Return the sampled finite values of an ordered column as numbers (dates: days, datetimes: microseconds)."""
        if self.state.type not in ORDERED:
            return np.array([], np.float64)
        values = self.cells.numbers()
        return values[np.isfinite(values)]

    def _bound(self, number: Any) -> Any:
        return None if number is None else value_of(number, self.state.leaf.kind)

    def __str__(self) -> str:
        return as_text([self])


@dataclass(frozen=True)
class Statistics:
    """The statistics of some rows: by column name, and mergeable.

    Attributes
    ----------
    rows
        How many rows.
    states
        Column name to state, in the order of the data.
    sample
        A uniform sample of the rows.

    """

    rows: int = 0
    states: dict[str, ColumnState] = field(default_factory=dict)
    sample: Sample = field(default_factory=Sample)

    @property
    def columns(self) -> list[str]:
        """The column names, in the order of the data."""
        return list(self.states)

    def __getitem__(self, name: str) -> ColumnStatistics:
        if name not in self.states:
            raise DataError(f"no column {name!r}; there are {', '.join(self.states) or 'none'}")
        cells = self.sample.columns.get(name, Cells.absent(len(self.sample.priorities)))
        return ColumnStatistics(name, self.states[name], cells)

    def __contains__(self, name: object) -> bool:
        return name in self.states

    def __iter__(self) -> Iterator[ColumnStatistics]:
        return (self[name] for name in self.states)

    def __len__(self) -> int:
        return len(self.states)

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of both sets of rows together.

        Counts, bounds, lengths, distinct values and the row sample are the same, bit for bit, in whatever order states
        merge; means and standard deviations to rounding; top values to the error they state.

        Raises
        ------
        DataError
            A column has different types on the two sides; int beside float becomes float.

        """
        if not isinstance(other, Statistics):
            raise UsageError(f"statistics merge with statistics, not with {type(other).__name__}")
        states = {}
        for name in {**self.states, **other.states}:
            mine = self.states.get(name, ColumnState.absent(self.rows))
            theirs = other.states.get(name, ColumnState.absent(other.rows))
            try:
                states[name] = mine.merge(theirs)
            except DataError as error:
                raise DataError(f"column {name!r}: {error}") from error
        return Statistics(self.rows + other.rows, states, self.sample.merge(other.sample))

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        columns = [{"name": name, **state.payload()} for name, state in self.states.items()]
        return {
            "format": _FORMAT,
            "hash": HASH_VERSION,
            "rows": self.rows,
            "columns": columns,
            "sample": self.sample.payload(),
        }

    @classmethod
    def from_payload(cls, payload: Any) -> Statistics:
        """Read the state back; refuse one whose hashes mean something else."""
        versions = payload.get("format"), payload.get("hash")
        if versions != (_FORMAT, HASH_VERSION):
            raise DataError(
                f"statistics of format and hash version {versions}; this version reads {_FORMAT, HASH_VERSION}"
            )
        states = {column["name"]: ColumnState.from_payload(column) for column in payload["columns"]}
        return cls(payload["rows"], states, Sample.from_payload(payload["sample"]))

    def __str__(self) -> str:
        return f"{self.rows:,} rows\n{as_text(list(self))}"

    def __repr__(self) -> str:
        return f"Statistics({self.rows} rows, {len(self)} columns)"

    def _repr_html_(self) -> str:
        return f"<p>{self.rows:,} rows</p>{as_html(list(self))}"

"""What is known about one column: counts, bounds and sketches that merge, and the figures that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from lineshaft.errors import DataError
from lineshaft.verify.arrays import value_of
from lineshaft.verify.statistics.heavy import Heavy
from lineshaft.verify.statistics.kmv import Kmv
from lineshaft.verify.statistics.moments import Extent, Moments
from lineshaft.verify.types import NULL, NUMERIC

_SUMS = (
    *("rows", "missing", "null_elements", "values"),
    *("nan", "posinf", "neginf", "zeros", "invalid_utf8", "ints", "floats"),
)
_SKETCHES: dict[str, Any] = {"moments": Moments, "length": Extent, "kmv": Kmv, "heavy": Heavy}


@dataclass(frozen=True)
class ColumnState:
    """The mergeable state of one column; all but rows and lists is about the scalar values under it.

    Attributes
    ----------
    rows, missing
        All rows, and those that are null. An empty list is present; NaN is present.
    levels
        For each list level, outermost first, the lengths of the lists there (the valency).
    null_elements
        Nulls inside lists.
    kind
        A scalar type of `lineshaft.verify.types`, ``"null"`` when no value was seen, or an Arrow type that is only
        counted.
    values
        Number of scalar values, nulls left out.
    nan, posinf, neginf, zeros
        Values of those kinds; moments, bounds, distinct and top values are about the finite ones.
    invalid_utf8, ints, floats
        Strings that are not UTF-8; that read as a 64-bit integer; that read as a finite number.
    low, high
        The least and the greatest finite value as a number (dates: days, datetimes: microseconds since 1970).
    moments, length, kmv, heavy
        The sketches; lengths are characters of strings and bytes of bytes.

    """

    rows: int = 0
    missing: int = 0
    levels: tuple[Extent, ...] = ()
    null_elements: int = 0
    kind: str = NULL
    values: int = 0
    nan: int = 0
    posinf: int = 0
    neginf: int = 0
    zeros: int = 0
    invalid_utf8: int = 0
    ints: int = 0
    floats: int = 0
    low: int | float | None = None
    high: int | float | None = None
    moments: Moments = field(default_factory=Moments)
    length: Extent = field(default_factory=Extent)
    kmv: Kmv = field(default_factory=Kmv)
    heavy: Heavy = field(default_factory=Heavy)

    @property
    def type(self) -> str:
        """The column's type as a schema writes it: ``"list<int>"``."""
        return "list<" * len(self.levels) + self.kind + ">" * len(self.levels)

    @property
    def count(self) -> int:
        """Rows that have a value: ``count + missing == rows``; NaN and empty lists are values."""
        return self.rows - self.missing

    @property
    def finite(self) -> int:
        """How many values are neither NaN nor infinite."""
        return self.values - self.nan - self.posinf - self.neginf

    @property
    def mean(self) -> float | None:
        """Mean of the finite values; for bool the share of true; None for other types and without values."""
        return self.moments.mean if self.moments.n else None

    @property
    def std(self) -> float | None:
        """Population standard deviation of the finite values; None where there is no mean."""
        return self.moments.std if self.moments.n else None

    @property
    def min(self) -> Any:
        """The least finite value, exact; None for texts and without values."""
        return None if self.low is None else value_of(self.low, self.kind)

    @property
    def max(self) -> Any:
        """The greatest finite value, exact; None for texts and without values."""
        return None if self.high is None else value_of(self.high, self.kind)

    @property
    def distinct(self) -> int:
        """How many different finite values or texts; see ``distinct_error``."""
        return self.kmv.distinct

    @property
    def distinct_error(self) -> float:
        """One standard error of ``distinct``, relative; 0 while it is exact."""
        return self.kmv.relative_error

    @property
    def valency(self) -> Extent:
        """Lengths of the column's lists."""
        return self.levels[0] if self.levels else Extent()

    def top(self, n: int = 10) -> list[tuple[Any, int]]:
        """Return the ``n`` most frequent values and how often each was seen at least (``heavy.error`` too few at most).

        A text of more than 200 characters is shown by its beginning and its hash; bytes are not listed.
        """
        return [(value_of(value, self.kind), count) for value, count in self.heavy.top(n)]

    def merge(self, other: ColumnState) -> ColumnState:
        """Return the state of both together; int and float make float, other types do not mix."""
        a, b = _alike(self, other)
        merged: dict[str, Any] = {name: getattr(a, name) + getattr(b, name) for name in _SUMS}
        merged |= {name: getattr(a, name).merge(getattr(b, name)) for name in _SKETCHES}
        levels = tuple(x.merge(y) for x, y in zip_longest(a.levels, b.levels, fillvalue=Extent()))
        low, high = _pick(min, a.low, b.low), _pick(max, a.high, b.high)
        return ColumnState(kind=a.kind, levels=levels, low=low, high=high, **merged)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        plain = {name: getattr(self, name) for name in ("kind", *_SUMS, "low", "high")}
        sketches = {name: getattr(self, name).payload() for name in _SKETCHES}
        return {**plain, **sketches, "levels": [level.payload() for level in self.levels]}

    @classmethod
    def from_payload(cls, payload: Any) -> ColumnState:
        """Read the state back."""
        plain = {name: payload[name] for name in ("kind", *_SUMS, "low", "high")}
        sketches = {name: kind.from_payload(payload[name]) for name, kind in _SKETCHES.items()}
        return cls(**plain, **sketches, levels=tuple(Extent.from_payload(level) for level in payload["levels"]))


def _alike(a: ColumnState, b: ColumnState) -> tuple[ColumnState, ColumnState]:
    """Bring two states to one kind."""
    if NULL not in {a.type, b.type} and len(a.levels) != len(b.levels):
        raise DataError(f"statistics of {a.type} and of {b.type} do not merge; keep them apart")
    if a.kind == b.kind:
        return a, b
    if NULL in {a.kind, b.kind}:
        kind = b.kind if a.kind == NULL else a.kind
        return replace(a, kind=kind), replace(b, kind=kind)
    if {a.kind, b.kind} == set(NUMERIC):
        return _as_float(a), _as_float(b)
    raise DataError(
        f"statistics of {a.kind} values and of {b.kind} values do not merge; "
        "read both files with the same column types, or keep their statistics apart"
    )


def _as_float(state: ColumnState) -> ColumnState:
    low, high = (None if bound is None else float(bound) for bound in (state.low, state.high))
    return replace(state, kind="float", low=low, high=high, heavy=state.heavy.as_floats())


def _pick(choose: Any, a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else choose(a, b)

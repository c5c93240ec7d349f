"""The mergeable state of one column: its rows, its lists, and the scalar values under them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from lineshaft.errors import DataError
from lineshaft.verify.arrays import leaves
from lineshaft.verify.statistics.extent import Extent
from lineshaft.verify.statistics.leaf import Leaf
from lineshaft.verify.types import NULL

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ColumnState:
    """What is known about a column, the row sample left out.

    Attributes
    ----------
    rows, missing
        All rows, and those that are null. An empty list is present; NaN is present.
    levels
        For each list level, outermost first, the lengths of the lists there (the valency).
    null_elements
        Nulls inside lists.
    leaf
        The scalar values.

    """

    rows: int = 0
    missing: int = 0
    levels: tuple[Extent, ...] = ()
    null_elements: int = 0
    leaf: Leaf = field(default_factory=Leaf)

    @property
    def count(self) -> int:
        """Rows that are present: ``count + missing == rows``."""
        return self.rows - self.missing

    @property
    def type(self) -> str:
        """The column's type as a schema writes it: ``"list<int>"``."""
        return "list<" * len(self.levels) + self.leaf.kind + ">" * len(self.levels)

    @classmethod
    def of(cls, array: pa.Array | pa.ChunkedArray) -> ColumnState:
        """Summarise one array."""
        flat = leaves(array)
        levels = tuple(Extent.of(lengths) for lengths in flat.lengths)
        return cls(len(array), len(flat.missing_rows), levels, len(flat.null_rows), Leaf.of(flat.values))

    @classmethod
    def absent(cls, rows: int) -> ColumnState:
        """Describe a column that ``rows`` rows do not have."""
        return cls(rows, rows)

    def merge(self, other: ColumnState) -> ColumnState:
        """Return the state of both together."""
        if len(self.levels) != len(other.levels) and NULL not in {self.type, other.type}:
            raise DataError(f"statistics of {self.type} and of {other.type} do not merge; keep them apart")
        pairs = zip_longest(self.levels, other.levels, fillvalue=Extent())
        return replace(
            self,
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            levels=tuple(a.merge(b) for a, b in pairs),
            null_elements=self.null_elements + other.null_elements,
            leaf=self.leaf.merge(other.leaf),
        )

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return {
            "rows": self.rows,
            "missing": self.missing,
            "levels": [level.payload() for level in self.levels],
            "null_elements": self.null_elements,
            "leaf": self.leaf.payload(),
        }

    @classmethod
    def from_payload(cls, payload: Any) -> ColumnState:
        """Read the state back."""
        levels = tuple(Extent.from_payload(level) for level in payload["levels"])
        leaf = Leaf.from_payload(payload["leaf"])
        return cls(payload["rows"], payload["missing"], levels, payload["null_elements"], leaf)

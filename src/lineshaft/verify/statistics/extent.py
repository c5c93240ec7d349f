"""Count, sum and bounds of whole numbers, exact: lengths of texts, lengths of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Ints


@dataclass(frozen=True)
class Extent:
    """How long things were.

    Attributes
    ----------
    n, total
        How many were measured, and the sum of their lengths.
    min, max
        The shortest and the longest; None without any.

    """

    n: int = 0
    total: int = 0
    min: int | None = None
    max: int | None = None

    @property
    def mean(self) -> float | None:
        """The mean length; None without any."""
        return self.total / self.n if self.n else None

    @classmethod
    def of(cls, lengths: Ints, weights: Ints | None = None) -> Extent:
        """Measure lengths, each standing for ``weights`` things (default 1)."""
        if not len(lengths):
            return cls()
        n = len(lengths) if weights is None else int(weights.sum())
        total = int(lengths.sum() if weights is None else (lengths * weights).sum())
        return cls(n, total, int(lengths.min()), int(lengths.max()))

    def merge(self, other: Extent) -> Extent:
        """Return the extent of both together."""
        if self.min is None or self.max is None or other.min is None or other.max is None:
            return self if self.n else other
        low, high = min(self.min, other.min), max(self.max, other.max)
        return Extent(self.n + other.n, self.total + other.total, low, high)

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return [self.n, self.total, self.min, self.max]

    @classmethod
    def from_payload(cls, payload: Any) -> Extent:
        """Read the state back."""
        return cls(*payload)

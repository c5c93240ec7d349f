"""Every constraint on single values in its two forms, side by side: over a whole array and for one value.

``broken`` and ``breaks`` of a constraint must say the same. Values come refined (see `refine`): int64, uint64 or
float64 arrays for numbers, bools and dates, Arrow arrays for texts and bytes; and the Python value alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Mask, number_of
from lineshaft.verify.selfcheck import compile_pattern
from lineshaft.verify.types import leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.model import Column

Values = Any  # a numpy array of numbers, or an Arrow array of texts or bytes


class Constraint(Protocol):
    """A condition on single values."""

    @property
    def reason(self) -> str:
        """The reason that a value which breaks it gets."""
        ...

    def broken(self, values: Values) -> Mask:
        """Return for each value whether it breaks the constraint."""
        ...

    def breaks(self, value: Any) -> bool:
        """Return whether one value breaks the constraint."""
        ...


@dataclass(frozen=True)
class NoNan:
    """NaN is not a value."""

    reason = "has_nan"

    def broken(self, values: Values) -> Mask:
        """Find NaN."""
        mask: Mask = np.isnan(values)
        return mask

    def breaks(self, value: Any) -> bool:
        """Tell NaN."""
        return bool(value != value)  # noqa: PLR0124 - NaN alone differs from itself


@dataclass(frozen=True)
class NoInf:
    """Infinity is not a value."""

    reason = "has_inf"

    def broken(self, values: Values) -> Mask:
        """Find infinities."""
        mask: Mask = np.isinf(values)
        return mask

    def breaks(self, value: Any) -> bool:
        """Tell an infinity."""
        return math.isinf(value)


@dataclass(frozen=True)
class AtLeast:
    """Finite values are at least ``bound``; the infinities are `NoInf`'s business."""

    bound: Any
    reason: str = "out_of_range_low"

    def broken(self, values: Values) -> Mask:
        """Find what is below."""
        mask: Mask = values < self.bound
        return mask & (values != -math.inf) if values.dtype == np.float64 else mask

    def breaks(self, value: Any) -> bool:
        """Tell what is below."""
        return bool(value < self.bound and value != -math.inf)


@dataclass(frozen=True)
class AtMost:
    """Finite values are at most ``bound``."""

    bound: Any
    reason: str = "out_of_range_high"

    def broken(self, values: Values) -> Mask:
        """Find what is above."""
        mask: Mask = values > self.bound
        return mask & (values != math.inf) if values.dtype == np.float64 else mask

    def breaks(self, value: Any) -> bool:
        """Tell what is above."""
        return bool(value > self.bound and value != math.inf)


@dataclass(frozen=True)
class ZeroOne:
    """A bool held as a number is 0 or 1."""

    reason = "not_bool"

    def broken(self, values: Values) -> Mask:
        """Find other numbers, NaN among them."""
        mask: Mask = (values != 0) & (values != 1)
        return mask

    def breaks(self, value: Any) -> bool:
        """Tell another number."""
        return bool(value not in {0, 1})


@dataclass(frozen=True)
class OneOf:
    """A value is listed."""

    values: frozenset[Any]
    reason: str = "unexpected_value"

    def broken(self, values: Values) -> Mask:
        """Find values that are not listed."""
        listed = sorted(self.values)
        if isinstance(values, np.ndarray):
            fitting = [value for value in listed if _fits(value, values.dtype)]
            mask: Mask = ~np.isin(values, np.array(fitting, values.dtype))
            return mask
        known = pc.is_in(values, value_set=pa.array(listed, values.type))
        return np.asarray(~known.to_numpy(zero_copy_only=False), dtype=bool)

    def breaks(self, value: Any) -> bool:
        """Tell a value that is not listed."""
        return value not in self.values


def _fits(value: int, dtype: Any) -> bool:
    info = np.iinfo(dtype)
    return bool(info.min <= value <= info.max)


@dataclass(frozen=True)
class NotShorter:
    """A text has at least ``least`` characters, bytes at least as many bytes."""

    least: int
    reason = "too_short"

    def broken(self, values: Values) -> Mask:
        """Find what is shorter."""
        mask: Mask = lengths(values) < self.least
        return mask

    def breaks(self, value: Any) -> bool:
        """Tell what is shorter."""
        return len(value) < self.least


@dataclass(frozen=True)
class NotLonger:
    """A text has at most ``most`` characters, bytes at most as many bytes."""

    most: int
    reason = "too_long"

    def broken(self, values: Values) -> Mask:
        """Find what is longer."""
        mask: Mask = lengths(values) > self.most
        return mask

    def breaks(self, value: Any) -> bool:
        """Tell what is longer."""
        return len(value) > self.most


@dataclass(frozen=True)
class Matches:
    """The whole text matches an RE2 expression."""

    pattern: str
    compiled: Any
    reason = "pattern_mismatch"

    def broken(self, values: Values) -> Mask:
        """Find texts that do not match."""
        matched = pc.match_substring_regex(values, rf"\A(?:{self.pattern})\z")
        return np.asarray(~matched.to_numpy(zero_copy_only=False), dtype=bool)

    def breaks(self, value: Any) -> bool:
        """Tell a text that does not match."""
        return self.compiled.fullmatch(value) is None


def lengths(values: Values) -> np.ndarray[Any, Any]:
    """Count the characters of texts, the bytes of bytes."""
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    counted = pc.utf8_length(values) if is_text else pc.binary_length(values)
    return np.asarray(counted.to_numpy(zero_copy_only=False), dtype=np.int64)


def constraints_of(column: Column) -> tuple[Constraint, ...]:
    """Compile what a column says about single values, in the order in which reasons are reported."""
    found: list[Constraint] = []
    if "float" in {leaf_type(column.type), column.parses}:
        found += [] if column.nan else [NoNan()]
        found += [] if column.inf else [NoInf()]
    if column.zero_one:
        found.append(ZeroOne())
    if column.words:
        words = frozenset(word for word in (column.words.true, column.words.false) if word is not None)
        found.append(OneOf(words, "not_bool"))
    if column.values is not None:
        reason = "unexpected_value" if column.min_mass == 1 else "low_domain_mass"
        found.append(OneOf(frozenset(column.values), reason))
    if column.range:
        low, high = column.range.min, column.range.max
        found += [] if low is None else [AtLeast(number_of(low))]
        found += [] if high is None else [AtMost(number_of(high))]
    if column.length:
        found += [] if column.length.min is None else [NotShorter(column.length.min)]
        found += [] if column.length.max is None else [NotLonger(column.length.max)]
    if column.pattern is not None:
        found.append(Matches(column.pattern, compile_pattern(column.name, column.pattern)))
    return tuple(found)

"""Every constraint on single values in its two forms, side by side: over a whole array and for one value.

Values come refined (see `refine`): int64, uint64 or float64 arrays for numbers, bools and dates, Arrow arrays for texts
and bytes; and the Python value alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Ints, Mask, number_of
from lineshaft.verify.selfcheck import compile_pattern
from lineshaft.verify.types import leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.model import Column

Values = Any  # a numpy array of numbers, or an Arrow array of texts or bytes


@dataclass(frozen=True)
class Constraint:
    """A condition on single values.

    Attributes
    ----------
    reason
        The reason that a value which breaks it gets.
    broken, breaks
        Whether each value of an array breaks it, and whether one value does: the two must say the same.

    """

    reason: str
    broken: Callable[[Values], Mask]
    breaks: Callable[[Any], bool]


def constraints_of(column: Column) -> tuple[Constraint, ...]:
    """Compile what a column says about single values, in the order in which reasons are reported."""
    found: list[Constraint | None] = []
    if "float" in {leaf_type(column.type), column.parses}:
        found += [None if column.nan else _NO_NAN, None if column.inf else _NO_INF]
    if column.zero_one:
        found.append(_ZERO_ONE)
    if column.words:
        found.append(_one_of("not_bool", (column.words.true, column.words.false)))
    if column.values is not None:
        found.append(_one_of("unexpected_value" if column.min_mass == 1 else "low_domain_mass", column.values))
    if column.range:
        found += [_at_least(column.range.min), _at_most(column.range.max)]
    if column.length:
        found += [_not_shorter(column.length.min), _not_longer(column.length.max)]
    if column.pattern is not None:
        found.append(_matches(column.name, column.pattern))
    return tuple(constraint for constraint in found if constraint is not None)


_NO_NAN = Constraint("has_nan", np.isnan, lambda value: bool(value != value))  # noqa: PLR0124 - only NaN does
_NO_INF = Constraint("has_inf", np.isinf, math.isinf)
_ZERO_ONE = Constraint(
    "not_bool", lambda values: (values != 0) & (values != 1), lambda value: bool(value not in {0, 1})
)


def _at_least(bound: Any) -> Constraint | None:
    """Finite values are at least ``bound``; the infinities are `_NO_INF`'s business."""
    if bound is None:
        return None
    low = number_of(bound)
    return Constraint(
        "out_of_range_low",
        lambda values: _finite(values < low, values, -math.inf),
        lambda value: bool(value < low and value != -math.inf),
    )


def _at_most(bound: Any) -> Constraint | None:
    if bound is None:
        return None
    high = number_of(bound)
    return Constraint(
        "out_of_range_high",
        lambda values: _finite(values > high, values, math.inf),
        lambda value: bool(value > high and value != math.inf),
    )


def _finite(mask: Mask, values: Values, infinity: float) -> Mask:
    return mask & (values != infinity) if values.dtype == np.float64 else mask


def _one_of(reason: str, values: tuple[Any, ...]) -> Constraint:
    listed = frozenset(value for value in values if value is not None)
    return Constraint(reason, lambda array: _unlisted(listed, array), lambda value: value not in listed)


def _unlisted(listed: frozenset[Any], values: Values) -> Mask:
    if isinstance(values, np.ndarray):
        info = np.iinfo(values.dtype)
        fitting = [value for value in listed if info.min <= value <= info.max]
        return np.isin(values, np.array(fitting, values.dtype), invert=True)
    known = pc.is_in(values, value_set=pa.array(sorted(listed), values.type))
    return np.asarray(~known.to_numpy(zero_copy_only=False), dtype=bool)


def _not_shorter(least: int | None) -> Constraint | None:
    """A text has at least ``least`` characters, bytes at least as many bytes."""
    if least is None:
        return None
    return Constraint("too_short", lambda values: lengths(values) < least, lambda value: len(value) < least)


def _not_longer(most: int | None) -> Constraint | None:
    if most is None:
        return None
    return Constraint("too_long", lambda values: lengths(values) > most, lambda value: len(value) > most)


def _matches(name: str, pattern: str) -> Constraint:
    """The whole text matches an RE2 expression."""
    compiled = compile_pattern(name, pattern)
    return Constraint(
        "pattern_mismatch",
        lambda values: ~np.asarray(pc.match_substring_regex(values, rf"\A(?:{pattern})\z"), dtype=bool),
        lambda value: compiled.fullmatch(value) is None,
    )


def lengths(values: Values) -> Ints:
    """Count the characters of texts, the bytes of bytes."""
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    counted = pc.utf8_length(values) if is_text else pc.binary_length(values)
    return np.asarray(counted.to_numpy(zero_copy_only=False), dtype=np.int64)

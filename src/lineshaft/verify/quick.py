"""Quick tests of single values: true only if a value is beyond doubt, false to look closer.

A quick test never decides that something is wrong, so it cannot disagree with the full check; it only has to be right
when it says yes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.verify.model import Bounds
from lineshaft.verify.selfcheck import compile_pattern
from lineshaft.verify.types import INT_HIGH, INT_LOW

if TYPE_CHECKING:
    from lineshaft.verify.constraints import Constraint
    from lineshaft.verify.model import Column

Test = Callable[[Any], bool]


def quick_test(column: Column, constraints: Sequence[Constraint], *, required: bool) -> Test:
    """Compile the test of one column."""
    test = _typed_test(column, constraints)
    return test if required else lambda value: value is None or test(value)


def _typed_test(column: Column, constraints: Sequence[Constraint]) -> Test:
    if column.type == "bool":
        return lambda value: value is True or value is False
    if column.zero_one or column.parses or column.type not in {"int", "float", "string"}:
        return lambda _value: False
    words = column.values or (column.words and (column.words.true, column.words.false))
    if words and column.min_mass == 1:
        kind, values = (int if column.type == "int" else str), [word for word in words if word is not None]
        listed = frozenset(value for value in values if not any(one.breaks(value) for one in constraints))
        return lambda value: type(value) is kind and value in listed
    return _text_test(column) if column.type == "string" else _number_test(column)


def _number_test(column: Column) -> Test:
    """Test for a finite number within bounds; ints are kept to 64 bits."""
    bounds = column.range or Bounds()
    if column.type == "int":
        low, high = _bounds(bounds, INT_LOW, INT_HIGH)
        return lambda value: type(value) is int and low <= value <= high
    low, high = _bounds(bounds, -sys.float_info.max, sys.float_info.max)

    def test(value: Any) -> bool:
        kind = type(value)
        return (kind is float or (kind is int and INT_LOW <= value <= INT_HIGH)) and low <= value <= high

    return test


def _text_test(column: Column) -> Test:
    least, most = _bounds(column.length or Bounds(), 0, sys.maxsize)
    if column.pattern is None:
        return lambda value: type(value) is str and least <= len(value) <= most and value.isascii()
    match = compile_pattern(column.name, column.pattern).fullmatch

    def test(value: Any) -> bool:
        return type(value) is str and value.isascii() and least <= len(value) <= most and match(value) is not None

    return test


def _bounds(bounds: Bounds, low: Any, high: Any) -> tuple[Any, Any]:
    return max(low, low if bounds.min is None else bounds.min), min(high, high if bounds.max is None else bounds.max)

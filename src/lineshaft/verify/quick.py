"""Quick tests of single values: true only if a value is beyond doubt, false to look closer.

A quick test never decides that something is wrong, so it cannot disagree with the full check; it only has to be right
when it says yes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.verify.constraints import AtLeast, AtMost, Constraint, Matches, NotLonger, NotShorter, OneOf
from lineshaft.verify.types import INT_HIGH, INT_LOW

if TYPE_CHECKING:
    from lineshaft.verify.model import Column

Test = Callable[[Any], bool]


def quick_test(column: Column, constraints: Sequence[Constraint], *, required: bool) -> Test:
    """Compile the test of one column."""
    test = _typed_test(column, constraints)
    return test if required else lambda value: value is None or test(value)


def _typed_test(column: Column, constraints: Sequence[Constraint]) -> Test:
    listed = _listed(constraints)
    if column.type == "bool":
        return lambda value: value is True or value is False
    if column.type == "float" and not column.zero_one:
        return _between((float, int), constraints, -sys.float_info.max, sys.float_info.max)
    if column.type == "int" and listed is not None:
        return lambda value: type(value) is int and value in listed
    if column.type == "int" and not column.zero_one:
        return _between((int,), constraints, INT_LOW, INT_HIGH)
    if column.type == "string" and column.parses is None:
        return _text_test(constraints, listed)
    return lambda _value: False


def _listed(constraints: Sequence[Constraint]) -> frozenset[Any] | None:
    """Return the listed values that break nothing else; None where no values are listed."""
    for one in constraints:
        if isinstance(one, OneOf):
            return frozenset(value for value in one.values if not any(other.breaks(value) for other in constraints))
    return None


def _between(kinds: tuple[type, ...], constraints: Sequence[Constraint], low: Any, high: Any) -> Test:
    """Test for a finite number within bounds; ints are kept to 64 bits."""
    low = max([low, *(one.bound for one in constraints if isinstance(one, AtLeast))])
    high = min([high, *(one.bound for one in constraints if isinstance(one, AtMost))])
    if kinds == (int,):
        return lambda value: type(value) is int and low <= value <= high

    def test(value: Any) -> bool:
        kind = type(value)
        return (kind is float or (kind is int and INT_LOW <= value <= INT_HIGH)) and low <= value <= high

    return test


def _text_test(constraints: Sequence[Constraint], listed: frozenset[Any] | None) -> Test:
    if listed is not None:
        return lambda value: type(value) is str and value in listed
    least = max([0, *(one.least for one in constraints if isinstance(one, NotShorter))])
    most = min([sys.maxsize, *(one.most for one in constraints if isinstance(one, NotLonger))])
    patterns = [one.compiled for one in constraints if isinstance(one, Matches)]
    if not patterns:
        return lambda value: type(value) is str and least <= len(value) <= most and value.isascii()
    match = patterns[0].fullmatch

    def test(value: Any) -> bool:
        return type(value) is str and value.isascii() and least <= len(value) <= most and match(value) is not None

    return test

"""Values as their column declares them: a float that should be an integer, a text that should be a number.

The first half of every check of values, again in its two forms. What cannot be refined has its reason, and the
constraints never see it; for rules over several columns it counts as null.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lineshaft.verify.arrays import Ints, Leaves, Mask, codes, mask_of, number_of, numbers, texts, utf8_mask
from lineshaft.verify.types import NULL, PARSERS, arrow_of, leaf_type, type_of_arrow

if TYPE_CHECKING:
    from lineshaft.verify.model import Column

_PLAIN_NUMBERS = ("int", "bool", "date", "datetime")
_INT64 = 2**63


@dataclass(frozen=True)
class Rejected:
    """Values that could not be refined: why not, the row number of each, and what they are (numbers or texts)."""

    reason: str
    rows: Ints
    values: Any


@dataclass(frozen=True)
class Refined:
    """The values of an array that could be refined, with the row number of each, and those that could not.

    Values are numpy numbers, or an Arrow array (texts perhaps in a dictionary) of what no constraint computes with.
    """

    values: Any
    rows: Ints
    rejected: tuple[Rejected, ...] = ()


def refine_many(column: Column, leaves: Leaves) -> Refined:
    """Refine the values of an array of an admitted type."""
    declared, seen = leaf_type(column.type), type_of_arrow(leaves.values.type)
    if seen == NULL:
        empty = pa.array([], arrow_of(column.parses or declared))
        is_number = column.parses or declared in {*_PLAIN_NUMBERS, "float"}
        return Refined(numbers(empty) if is_number else empty, leaves.rows[:0])
    if declared == "int" and seen == "float":
        return _whole_numbers(leaves)
    if declared == "float":
        return Refined(numbers(leaves.values).astype(np.float64, copy=False), leaves.rows)
    if declared in _PLAIN_NUMBERS:
        return Refined(numbers(leaves.values), leaves.rows)
    if declared == "string":
        return _strings(column, leaves)
    return Refined(leaves.values, leaves.rows)


def refine_one(column: Column, value: Any) -> tuple[Any, str | None]:
    """Refine one value of an admitted type; give it back with None, or None with the reason."""
    declared = leaf_type(column.type)
    if declared == "float":
        return float(value), None
    if declared == "int":
        return (value, None) if isinstance(value, int) else _whole_number(float(value))
    if declared == "string":
        return _string(column, value)
    return number_of(value), None


def _whole_numbers(leaves: Leaves) -> Refined:
    values = numbers(leaves.values)
    with np.errstate(invalid="ignore"):
        whole = (np.trunc(values) == values) & (values >= -float(_INT64)) & (values < float(_INT64))
    return _split(values[whole].astype(np.int64), leaves.rows, whole, "not_an_integer", values[~whole])


def _whole_number(value: float) -> tuple[Any, str | None]:
    if value.is_integer() and -_INT64 <= value < _INT64:
        return int(value), None
    return None, "not_an_integer"


def _split(values: Any, rows: Ints, kept: Mask, reason: str, rejected: Any) -> Refined:
    if kept.all():
        return Refined(values, rows)
    return Refined(values, rows[kept], (Rejected(reason, rows[~kept], rejected),))


def _strings(column: Column, leaves: Leaves) -> Refined:
    valid = mask_of(utf8_mask, leaves.values)
    if valid.all():
        return _parsed(column, leaves.values, leaves.rows)
    bad = Rejected("invalid_utf8", leaves.rows[~valid], texts(leaves.values.filter(pa.array(~valid))))
    parsed = _parsed(column, leaves.values.filter(pa.array(valid)), leaves.rows[valid])
    return replace(parsed, rejected=(bad, *parsed.rejected))


def _parsed(column: Column, values: pa.Array, rows: Ints) -> Refined:
    """Parse different texts once each, with the very function that the request check calls."""
    if column.parses is None:
        return Refined(values, rows)
    encoded = values.dictionary_encode()
    different = encoded.dictionary.to_pylist()
    answers = [PARSERS[column.parses](text) for text in different]
    places = codes(encoded)
    read = np.array([answer is not None for answer in answers], dtype=bool)[places]
    dtype = np.int64 if column.parses == "int" else np.float64
    table = np.array([0 if answer is None else answer for answer in answers], dtype=dtype)
    rejected = [different[place] for place in places[~read]]
    return _split(table[places[read]], rows, read, unreadable(column), rejected)


def unreadable(column: Column) -> str:
    """Return the reason for a text that does not parse."""
    return "not_an_integer" if column.parses == "int" else "not_a_number"


def _string(column: Column, value: str) -> tuple[Any, str | None]:
    if not value.isascii() and not _encodes(value):
        return None, "invalid_utf8"
    if column.parses is None:
        return value, None
    number = PARSERS[column.parses](value)
    return (None, unreadable(column)) if number is None else (number, None)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True

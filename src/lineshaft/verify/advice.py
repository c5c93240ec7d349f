"""What to send instead: for each reason that a single row can give, words for whoever sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lineshaft.verify.model import Bounds, Column

_LISTED = 10  # values of a list that are shown

_KINDS = {
    "int": "an integer",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "date": "an ISO 8601 date",
    "datetime": "an ISO 8601 date and time",
    "time": "an ISO 8601 time",
}


def advice(column: Column, reason: str) -> str:
    """Say what a value of a column must be where it was refused for a reason."""
    if reason in _WORDS:
        return f"send {_WORDS[reason]}"
    return f"send {_ADVICE.get(reason, _kind)(column)}"


def _kind(column: Column) -> str:
    declared = column.type
    if declared.startswith("list<"):
        return f"a {declared.replace('<', ' of ').replace('>', '')}"
    return _KINDS.get(declared, f"a {declared}")


def _between(bounds: Bounds | None, unit: str = "") -> str:
    low, high = (None, None) if bounds is None else (bounds.min, bounds.max)
    if low is not None and high is not None:
        return f"from {low} to {high}{unit}"
    return f"of at least {low}{unit}" if high is None else f"of at most {high}{unit}"


def _number(column: Column) -> str:
    kind = "text that reads as a number" if column.parses else _kind(column)
    return f"{kind} {_between(column.range)}"


def _text(column: Column) -> str:
    return f"text {_between(column.length, ' characters')}"


def _list(column: Column) -> str:
    return f"a list {_between(column.valency, ' values')}"


def _listed(column: Column) -> str:
    values = column.values or ()
    more = f" or {len(values) - _LISTED} others" if len(values) > _LISTED else ""
    return f"one of {', '.join(map(repr, values[:_LISTED]))}{more}"


def _truth(column: Column) -> str:
    if column.words is None:
        return "0 or 1" if column.zero_one else "true or false"
    return " or ".join(repr(word) for word in (column.words.true, column.words.false) if word is not None)


_WORDS = {
    "invalid_utf8": "text in UTF-8",
    "not_an_integer": "a whole number",
    "not_a_number": "text that reads as a number",
    "has_nan": "a number that is not NaN",
    "has_inf": "a finite number",
}

_ADVICE: dict[str, Callable[[Column], str]] = {
    "type_changed": _kind,
    "missing_column": _kind,
    "missing_value": lambda column: f"{_kind(column)}, not null",
    "missing_element": lambda column: f"{_kind(column)} without nulls",
    "too_few_values": _list,
    "too_many_values": _list,
    "out_of_range_low": _number,
    "out_of_range_high": _number,
    "not_bool": _truth,
    "unexpected_value": _listed,
    "too_short": _text,
    "too_long": _text,
    "pattern_mismatch": lambda column: f"text that matches {column.pattern}",
}

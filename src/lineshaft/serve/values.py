"""From JSON-like Python values to values of a column's Arrow type, one by one; what does not fit is a ValueError."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from lineshaft.errors import UsageError

Reader = Callable[[Any], Any]

_EPOCH, _DAY = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(days=1)
_FLOAT_MAX = {16: 65504.0, 32: 3.4028234663852886e38, 64: math.inf}


def reader(column: str, arrow_type: pa.DataType) -> Reader:
    """Return the function that reads one value of a type; None stays None, for the schema to judge.

    Strings, booleans, integers, floats, dates and timestamps (ISO 8601 text), and lists of these. An integer is fine
    where a float is declared; nothing else is converted.

    Raises
    ------
    UsageError
        The type has no form in a request.

    """
    read = _reader(arrow_type)
    if read is None:
        raise UsageError(
            f"column {column!r} has type {arrow_type}, which a request cannot carry; cast it in the features"
        )
    return read


def _reader(arrow_type: pa.DataType) -> Reader | None:
    if kinds.is_dictionary(arrow_type):
        return _reader(arrow_type.value_type)
    if kinds.is_string(arrow_type) or kinds.is_large_string(arrow_type):
        return _optional(_text)
    if kinds.is_boolean(arrow_type):
        return _optional(_boolean)
    if kinds.is_integer(arrow_type):
        return _optional(_integer(arrow_type))
    if kinds.is_floating(arrow_type):
        return _optional(_number(_FLOAT_MAX[arrow_type.bit_width]))
    if kinds.is_timestamp(arrow_type):
        return _optional(_moment(arrow_type))
    if kinds.is_date(arrow_type):
        return _optional(_day)
    if kinds.is_list(arrow_type) or kinds.is_large_list(arrow_type) or kinds.is_fixed_size_list(arrow_type):
        return _list_reader(arrow_type)
    return None


def _optional(read: Reader) -> Reader:
    return lambda value: None if value is None else read(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("a string")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _integer(arrow_type: pa.DataType) -> Reader:
    bits = arrow_type.bit_width
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kinds.is_signed_integer(arrow_type) else (0, (1 << bits) - 1)

    def read(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return value

    return read


def _number(largest: float) -> Reader:
    def read(value: Any) -> float:
        if type(value) not in {int, float} or not math.isfinite(value) or abs(value) > largest:
            raise ValueError("a finite number" if largest == math.inf else f"a finite number of at most {largest:.4g}")
        return float(value)

    return read


def _moment(arrow_type: pa.DataType) -> Reader:
    with_zone = arrow_type.tz is not None
    first, last = _moments(arrow_type)

    def read(value: Any) -> dt.datetime:
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(_text(value))
        if (moment.tzinfo is not None) != with_zone:
            raise ValueError(f"an ISO 8601 date and time {'with' if with_zone else 'without'} a time zone")
        since = moment.replace(tzinfo=dt.UTC) - _EPOCH - (moment.utcoffset() or dt.timedelta())
        if not first <= since <= last:
            raise ValueError(f"a date and time from {_EPOCH + first:%Y-%m-%d} to {_EPOCH + last:%Y-%m-%d}")
        return moment

    return read


def _moments(arrow_type: pa.DataType) -> tuple[dt.timedelta, dt.timedelta]:
    """Return the first and the last time since 1970 that both a column and Python's datetime, in its zone, can hold."""
    first, last = (edge.replace(tzinfo=dt.UTC) - _EPOCH for edge in (dt.datetime.min, dt.datetime.max))  # noqa: DTZ901
    if arrow_type.tz is not None:
        first, last = first + _DAY, last - _DAY  # zones differ from UTC by less
    if arrow_type.unit == "ns":
        most = dt.timedelta(microseconds=((1 << 63) - 1) // 1000)
        first, last = max(first, -most), min(last, most)
    return first, last


def _day(value: Any) -> dt.date:
    if type(value) is dt.date:
        return value
    return dt.date.fromisoformat(_text(value))


def _list_reader(arrow_type: pa.DataType) -> Reader | None:
    inner = _reader(arrow_type.value_type)
    if inner is None:
        return None
    length = arrow_type.list_size if kinds.is_fixed_size_list(arrow_type) else None

    def read(value: Any) -> list[Any]:
        if type(value) is not list or (length is not None and len(value) != length):
            raise ValueError("a list" if length is None else f"a list of {length} values")
        return [inner(item) for item in value]

    return _optional(read)

"""The types a column can have, and how Arrow types, Python values and texts are told to be of one of them.

========  =================================================  =====================================
type      Arrow                                              Python (a request row)
========  =================================================  =====================================
int       signed and unsigned integers                       int that fits 64 bits, never bool
float     floats and decimals                                float, Decimal; an int is fine too
string    string, large_string, string_view                  str
bool      bool                                               bool
date      date32, date64                                     datetime.date
datetime  timestamp, any unit (without a zone: UTC)          datetime.datetime
time      time32, time64                                     datetime.time
duration  duration                                           datetime.timedelta
bytes     binary of any kind                                 bytes
struct    struct, map                                        mapping
list<T>   lists of any kind                                  list, tuple
========  =================================================  =====================================

Dictionary-encoded columns have the type of their values. Any other Arrow type keeps Arrow's spelling and cannot be
declared. Numbers written in text are read by one function per type, so that statistics, the batch check and the request
check cannot disagree: blanks, underscores, other alphabets' digits, ``inf`` and ``nan`` are not numbers there.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal

import pyarrow as pa
import pyarrow.types as kinds

SCALARS = ("int", "float", "string", "bool", "date", "datetime", "time", "duration", "bytes", "struct")
NUMERIC = ("int", "float")
ORDERED = ("int", "float", "date", "datetime")
COUNTED = (*ORDERED, "bool")  # what statistics treat as numbers
TEXT = ("string", "bytes")
NULL = "null"

INT_LOW, INT_HIGH = -(2**63), 2**64 - 1

_ARROW = (
    (kinds.is_boolean, "bool"),
    (kinds.is_integer, "int"),
    (kinds.is_floating, "float"),
    (kinds.is_decimal, "float"),
    (kinds.is_string, "string"),
    (kinds.is_large_string, "string"),
    (kinds.is_string_view, "string"),
    (kinds.is_date, "date"),
    (kinds.is_timestamp, "datetime"),
    (kinds.is_time, "time"),
    (kinds.is_duration, "duration"),
    (kinds.is_binary, "bytes"),
    (kinds.is_large_binary, "bytes"),
    (kinds.is_binary_view, "bytes"),
    (kinds.is_fixed_size_binary, "bytes"),
    (kinds.is_struct, "struct"),
    (kinds.is_map, "struct"),
    (kinds.is_null, NULL),
)

_PYTHON: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (float, "float"),
    (str, "string"),
    (Decimal, "float"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "duration"),
    (bytes, "bytes"),
    (Mapping, "struct"),
    (list, "list"),
    (tuple, "list"),
)

_DECLARED = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
    "duration": pa.duration("us"),
    "bytes": pa.binary(),
    "struct": pa.struct([]),
}


_INT = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def is_list(arrow: pa.DataType) -> bool:
    """Tell whether an Arrow type is a list of any kind."""
    return bool(
        kinds.is_list(arrow)
        or kinds.is_large_list(arrow)
        or kinds.is_fixed_size_list(arrow)
        or kinds.is_list_view(arrow)
        or kinds.is_large_list_view(arrow)
    )


def type_of_arrow(arrow: pa.DataType) -> str:
    """Name the type of an Arrow column: ``"list<int>"``."""
    if isinstance(arrow, pa.BaseExtensionType):
        return type_of_arrow(arrow.storage_type)
    if kinds.is_dictionary(arrow):
        return type_of_arrow(arrow.value_type)
    if is_list(arrow):
        return f"list<{type_of_arrow(arrow.value_type)}>"
    return next((name for test, name in _ARROW if test(arrow)), str(arrow))


def type_of_value(value: object) -> str:
    """Name the type of a Python value; lists are just ``"list"``, since their elements are looked at one by one."""
    if value is None:
        return NULL
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if INT_LOW <= value <= INT_HIGH else "int of more than 64 bits"
    if isinstance(value, Decimal) and not value.is_finite():
        return "decimal that is not finite"
    return next((name for kind, name in _PYTHON if isinstance(value, kind)), type(value).__name__)


def arrow_of(declared: str) -> pa.DataType:
    """Return the Arrow type that stands for a declared type."""
    if declared.startswith("list<"):
        return pa.list_(arrow_of(declared[5:-1]))
    return _DECLARED[declared]


def leaf_type(declared: str) -> str:
    """Strip ``list<...>`` from a type: ``"list<list<int>>"`` gives ``"int"``."""
    while declared.startswith("list<"):
        declared = declared[5:-1]
    return declared


def is_declarable(declared: str) -> bool:
    """Tell whether a schema may declare this type."""
    while declared.startswith("list<") and declared.endswith(">"):
        declared = declared[5:-1]
    return declared in SCALARS


def admits(declared: str, seen: str) -> bool:
    """Tell whether a column declared one type may come as another.

    Nulls fit everywhere and an int is fine where a float is declared. A float is let in where an int is declared, for
    a missing value turns a whole column of integers into floats in some libraries; each value must then be whole.
    """
    if seen in (NULL, declared):
        return True
    if declared.startswith("list<") and seen.startswith("list<"):
        return admits(declared[5:-1], seen[5:-1])
    return declared in NUMERIC and seen in NUMERIC


def parse_int(text: str) -> int | None:
    """Read a signed 64-bit integer; None if the text is not one."""
    if not _INT.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def parse_float(text: str) -> float | None:
    """Read a finite float; None if the text is not one."""
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


PARSERS: dict[str, Callable[[str], int | float | None]] = {"int": parse_int, "float": parse_float}

"""Values out of Arrow arrays, in the few plain forms that statistics and checks compute with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from lineshaft.core.codec import plain_type
from lineshaft.verify.types import TEXT, is_list, type_of_arrow

Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, Any]

_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Leaves:
    """The scalar values under a column, nulls left out.

    Attributes
    ----------
    values
        Arrow array without nulls; texts may be dictionary-encoded.
    rows
        For each value the number of its row.
    missing_rows
        Numbers of the rows that are null.
    lengths
        For each list level, outermost first, the length of every list there; empty for a scalar column.
    list_rows
        The rows of the outermost lists, in the order of ``lengths[0]``.
    null_rows
        For each null *inside* a list the number of its row.

    """

    values: pa.Array
    rows: Ints
    missing_rows: Ints
    lengths: tuple[Ints, ...]
    list_rows: Ints
    null_rows: Ints


def storage(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one contiguous array without extension types; of texts in lists and dictionaries without views."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array.type, pa.BaseExtensionType):
        return storage(array.storage)
    kind = plain_type(array.type)
    if kinds.is_dictionary(array.type):
        return array if array.type.value_type == kind else array.cast(pa.dictionary(array.type.index_type, kind))
    return array.cast(kind) if is_list(array.type) and array.type != kind else array


def compact(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one contiguous array as `plain` does, but leave texts in a dictionary that is no larger than they are."""
    array = storage(array)
    if not kinds.is_dictionary(array.type) or type_of_arrow(array.type) not in TEXT:
        return plain(array)
    words = array.dictionary
    return plain(array) if words.null_count or len(words) > len(array) else array


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one contiguous array without dictionary, extension or view encodings; of a struct only its presence."""
    array = storage(array)
    if kinds.is_dictionary(array.type):
        return plain(array.dictionary_decode())
    if kinds.is_string_view(array.type):
        return array.cast(pa.large_string())
    if kinds.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    if kinds.is_struct(array.type) or kinds.is_map(array.type):
        return _presence(array)
    return array


def _presence(array: pa.Array) -> pa.Array:
    """Return structs without their fields: no kernel need then know the types inside."""
    present = pa.concat_arrays([array.is_valid()])  # a fresh copy starts at bit 0
    return pa.Array.from_buffers(pa.struct([]), len(array), [present.buffers()[1]])


def leaves(array: pa.Array | pa.ChunkedArray) -> Leaves:
    """Flatten lists and drop nulls, remembering which row each value came from."""
    array = compact(array)
    rows = np.arange(len(array), dtype=np.int64)
    array, rows, missing = _drop_nulls(array, rows)
    list_rows, lengths, nulls = rows, [], []
    while is_list(array.type):
        lengths.append(pc.list_value_length(array).to_numpy(zero_copy_only=False).astype(np.int64))
        rows = np.repeat(rows, lengths[-1])
        array, rows, inner = _drop_nulls(plain(array.flatten()), rows)
        nulls.append(inner)
    null_rows = np.concatenate(nulls) if nulls else np.array([], np.int64)
    return Leaves(array, rows, missing, tuple(lengths), list_rows, null_rows)


def _drop_nulls(array: pa.Array, rows: Ints) -> tuple[pa.Array, Ints, Ints]:
    if not array.null_count:
        return array, rows, rows[:0]
    valid = array.is_valid()
    mask = valid.to_numpy(zero_copy_only=False)
    return array.filter(valid), rows[mask], rows[~mask]


def codes(values: pa.DictionaryArray) -> Ints:
    """Return the dictionary's place of every value (no nulls)."""
    return np.asarray(values.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def mask_of(test: Callable[[Any], Mask], values: Any) -> Mask:
    """Run a test that judges values one by one; of a dictionary it is run over the different values only."""
    if isinstance(values, pa.DictionaryArray):
        mask: Mask = test(values.dictionary)[codes(values)]
        return mask
    return test(values)


def numbers(values: pa.Array) -> Numbers:
    """Return numeric, bool, date or datetime values (no nulls) as int64, uint64 or float64.

    Dates are days and datetimes microseconds since 1970 in UTC; a datetime finer than that is rounded down.
    """
    kind = type_of_arrow(values.type)
    if kind == "float":
        floats: Numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return floats
    if kind == "bool":
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)
    if kind == "date":
        return _days(values)
    if kind == "datetime":
        return _microseconds(values)
    ints: Numbers = values.to_numpy(zero_copy_only=False)
    return ints if ints.dtype == np.uint64 else ints.astype(np.int64, copy=False)


def _days(values: pa.Array) -> Ints:
    if kinds.is_date64(values.type):
        return np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False) // _DAY_MS, dtype=np.int64)
    return np.asarray(values.cast(pa.int32()).to_numpy(zero_copy_only=False), dtype=np.int64)


def _microseconds(values: pa.Array) -> Ints:
    raw = np.asarray(values.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    if values.type.unit == "ns":
        return raw // 1_000
    factor = _MICROSECONDS[values.type.unit]
    limit = (2**63 - 1) // factor  # saturate: seconds beyond 290,000 years do not fit microseconds
    return np.clip(raw, -limit, limit) * factor


def number_of(value: Any) -> Any:
    """Turn one Python value into what `numbers` makes of it in an array."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (aware - _EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return (value - _EPOCH.date()).days
    return value


def value_of(number: Any, kind: str) -> Any:
    """Turn a number back into a Python value of the given type; a time past year 9999 becomes ISO text.

    Texts, which are no numbers, stay as they are.
    """
    if kind == "bool":
        return bool(number)
    if kind == "date":
        return _calendar(np.datetime64(int(number), "D"))
    if kind == "datetime":
        return _calendar(np.datetime64(int(number), "us"))
    if kind == "float":
        return float(number)
    return int(number) if kind == "int" else number


def _calendar(moment: np.datetime64) -> Any:
    value = moment.astype(object)
    return value if isinstance(value, dt.date) else str(moment)


def binaries(values: pa.Array) -> pa.LargeBinaryArray:
    """Return string or bytes values (no nulls) as bytes with 64-bit offsets; text is not validated."""
    return values.cast(pa.large_binary())


def utf8_mask(values: pa.Array) -> Mask:
    """Return for each string (no nulls) whether it is valid UTF-8: Arrow trusts whoever made it, so look."""
    try:
        binaries(values).cast(pa.large_string())
    except pa.ArrowInvalid:
        return np.array([_decodes(value) for value in binaries(values).to_pylist()], dtype=bool)
    return np.ones(len(values), dtype=bool)


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def texts(values: pa.Array) -> list[str]:
    r"""Return strings or bytes as Python text; bytes that are not UTF-8 are written as ``\xNN``."""
    return [value.decode("utf-8", "backslashreplace") for value in binaries(plain(values)).to_pylist()]

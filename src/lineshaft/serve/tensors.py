"""Tensors on the wire of the Open Inference Protocol: JSON or raw little-endian bytes, checked before they are built.

::

    body  ┌ JSON, as long as Inference-Header-Content-Length says ┬ input 0 ┬ input 1 ┐
          └───────────────────────────────────────────────────────┴─────────┴─────────┘
    BYTES elements: 4-byte little-endian length, then the bytes; BOOL one byte; no padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from lineshaft.core.admit import Limits, refused

BYTES, BOOL = "BYTES", "BOOL"
_NUMPY = {
    **{f"{sign}INT{8 * size}": f"<{'u' if sign else 'i'}{size}" for sign in ("", "U") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
_RANK = 4  # a column of scalars has rank 1, a column of lists 2; more is never needed but harmless


def datatype_of(arrow_type: pa.DataType) -> tuple[str, list[int]]:
    """Return the protocol's datatype of a column, and the shape of one value after the rows."""
    if kinds.is_fixed_size_list(arrow_type):
        return datatype_of(arrow_type.value_type)[0], [arrow_type.list_size]
    if kinds.is_list(arrow_type) or kinds.is_large_list(arrow_type):
        return datatype_of(arrow_type.value_type)[0], [-1]
    if kinds.is_boolean(arrow_type):
        return BOOL, []
    if kinds.is_integer(arrow_type):
        return f"{'' if kinds.is_signed_integer(arrow_type) else 'U'}INT{arrow_type.bit_width}", []
    if kinds.is_floating(arrow_type):
        return f"FP{arrow_type.bit_width}", []
    return BYTES, []


def shape_of(tensor: dict[str, Any], limits: Limits) -> list[int]:
    """Return a tensor's shape, rows first, once it is one and within the limits."""
    name, shape = tensor["name"], tensor.get("shape")
    if type(shape) is not list or not 1 <= len(shape) <= _RANK or not all(type(n) is int and n >= 0 for n in shape):
        raise refused("malformed", f"shape {str(shape)[:80]} of {name!r} is not 1 to {_RANK} sizes", "rows come first")
    if shape[0] > limits.rows or math.prod(shape) > limits.values:
        raise refused(
            "too_large",
            f"shape {shape} of {name!r} passes the limits of {limits.rows} rows and {limits.values} values",
            "send several requests",
        )
    return shape


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any, *, lists: bool = False) -> list[Any]:
    """Return the rows of a tensor whose values came as JSON, flat or nested; ``lists``: each value is a list."""
    flat = _flatten(name, data, shape)
    wanted = math.prod(shape)
    if len(flat) != wanted:
        raise refused("malformed", f"{name!r} has {len(flat)} values, its shape asks for {wanted}", "make them agree")
    _hold_to_datatype(name, datatype, flat)
    return _rows(flat, shape, lists)


def from_bytes(name: str, datatype: str, shape: Sequence[int], raw: memoryview, *, lists: bool = False) -> list[Any]:
    """Return the rows of a tensor whose values came as raw bytes; ``lists``: each value is a list."""
    count = math.prod(shape)
    if datatype == BYTES:
        return _rows(_texts(name, raw, count), shape, lists)
    size = 1 if datatype == BOOL else np.dtype(_dtype(name, datatype)).itemsize
    if len(raw) != count * size:
        raise refused(
            "malformed", f"{name!r} has {len(raw)} bytes, shape and datatype ask for {count * size}", "make them agree"
        )
    if datatype == BOOL:
        bits = np.frombuffer(raw, np.uint8)
        if (bits > 1).any():
            raise refused("malformed", f"{name!r} is BOOL and holds the byte {bits.max()}", "use 0 and 1")
        return _rows(bits.astype(bool).tolist(), shape, lists)
    return _rows(np.frombuffer(raw, _dtype(name, datatype)).tolist(), shape, lists)


def to_bytes(texts: Sequence[str]) -> bytes:
    """Return BYTES elements: each with its length in front."""
    encoded = [text.encode() for text in texts]
    return b"".join(len(item).to_bytes(4, "little") + item for item in encoded)


def _dtype(name: str, datatype: str) -> str:
    if datatype not in _NUMPY:
        raise refused(
            "malformed", f"{name!r} has datatype {datatype[:40]!r}", f"known: BYTES, BOOL, {', '.join(_NUMPY)}"
        )
    return _NUMPY[datatype]


def _flatten(name: str, data: Any, shape: Sequence[int]) -> list[Any]:
    if type(data) is not list:
        raise refused("malformed", f"{name!r} has no list as its data", "send data, or binary_data_size and bytes")
    if len(shape) == 1 or not data or type(data[0]) is not list:
        return data
    if len(data) != shape[0]:
        raise refused(
            "malformed", f"{name!r} has {len(data)} rows of data, its shape says {shape[0]}", "make them agree"
        )
    flat: list[Any] = []
    for item in data:
        inner = _flatten(name, item, shape[1:])
        if len(inner) != math.prod(shape[1:]):
            raise refused(
                "malformed", f"{name!r} has a row of {len(inner)} values, its shape is {list(shape)}", "pad it"
            )
        flat += inner
    return flat


def _hold_to_datatype(name: str, datatype: str, values: list[Any]) -> None:
    if datatype == BYTES:
        fits = all(type(value) is str for value in values)
    elif datatype == BOOL:
        fits = all(type(value) is bool for value in values)
    elif _dtype(name, datatype)[1] == "f":
        fits = all(type(value) in {int, float} for value in values)
    else:
        bounds = np.iinfo(_NUMPY[datatype])
        low, high = int(bounds.min), int(bounds.max)
        fits = all(type(value) is int and low <= value <= high for value in values)
    if not fits:
        raise refused(
            "malformed", f"{name!r} holds values that are not {datatype}", "send values of the datatype you name"
        )


def _texts(name: str, raw: memoryview, count: int) -> list[str]:
    texts, place = list[str](), 0
    while place < len(raw) and len(texts) < count:
        length = int.from_bytes(raw[place : place + 4], "little")
        start, place = place + 4, place + 4 + length
        if place > len(raw):
            raise refused(
                "malformed", f"{name!r}: element {len(texts)} ends at byte {place} of {len(raw)}", "check lengths"
            )
        texts.append(_text(name, raw[start:place]))
    if place != len(raw) or len(texts) != count:
        raise refused(
            "malformed",
            f"{name!r} has {len(texts)} elements in {place} of {len(raw)} bytes, its shape asks for {count}",
            "make them agree",
        )
    return texts


def _text(name: str, raw: memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise refused(
            "malformed", f"{name!r} holds bytes that are not UTF-8 ({error.reason})", "encode text as UTF-8"
        ) from error


def _rows(flat: list[Any], shape: Sequence[int], lists: bool) -> list[Any]:
    """Cut flat values into rows; one value per row is a scalar unless the column holds lists."""
    width = math.prod(shape[1:])
    if width == 1 and not lists:
        return flat
    return [flat[row * width : (row + 1) * width] for row in range(shape[0])]

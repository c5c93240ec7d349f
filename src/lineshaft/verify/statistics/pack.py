"""Numbers as JSON and back: 64-bit words packed as base64, and floats that JSON does not know."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint64]]

_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def pack(words: Words) -> str:
    """Write 64-bit words as base64 of their little-endian bytes."""
    return base64.b64encode(words.astype("<u8").tobytes()).decode("ascii")


def unpack(text: str) -> Words:
    """Read what `pack` wrote."""
    return np.frombuffer(base64.b64decode(text, validate=True), "<u8").astype(np.uint64)


def pack_flags(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    """Write booleans as base64, eight to a byte."""
    return base64.b64encode(np.packbits(flags).tobytes()).decode("ascii")


def unpack_flags(text: str, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Read what `pack_flags` wrote."""
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    return np.unpackbits(packed, count=count).astype(bool)


def to_json(number: Any) -> Any:
    """Write a number or None; NaN and the infinities by name."""
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return number


def from_json(value: Any) -> Any:
    """Read what `to_json` wrote."""
    return _NAMES.get(value, value) if isinstance(value, str) else value

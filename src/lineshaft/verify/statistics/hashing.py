"""A stable 64-bit hash of values, vectorised: the same value gives the same hash on every machine and version.

Saved sketches live on hashes, so the function is lineshaft's own and `HASH_VERSION` is written beside every state.

- ``mix`` is the finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
- A number is hashed by its int64 bits if it is whole and fits, else by its float64 bits, so that 3 and 3.0 are equal.
- Bytes and text are folded eight at a time, starting from their length; past `LONG` bytes BLAKE2b takes over, since
  the fold goes in step over all values and one long one would keep the others waiting.

`pack` and `unpack` write hashes, and other words of fixed size, into JSON.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from lineshaft.verify.arrays import Numbers, binaries

HASH_VERSION = 1
LONG = 256

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
NO_HASHES: Hashes = np.array([], np.uint64)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_FRACTION = np.uint64(0xD6E8FEB86659FD93)  # keeps float bits apart from the integers that look like them
_BEYOND = np.uint64(0xA0761D6478BD642F)  # keeps 2**64 - 1 apart from -1


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit words; a bijection."""
    words = values + _GOLDEN
    words ^= words >> np.uint64(30)
    words *= _FIRST
    words ^= words >> np.uint64(27)
    words *= _SECOND
    words ^= words >> np.uint64(31)
    return words


def mix_one(value: int) -> int:
    """Scramble one word given as a Python int."""
    return int(mix(np.array([value & (2**64 - 1)], dtype=np.uint64))[0])


def hash_numbers(values: Numbers) -> Hashes:
    """Hash int64, uint64 or float64 values; NaN is not a value here."""
    if values.dtype == np.float64:
        fits = (np.trunc(values) == values) & (np.abs(values) < 2.0**63)
        whole = np.where(fits, values, 0.0).astype(np.int64).view(np.uint64)
        return mix(np.where(fits, whole, values.view(np.uint64) ^ _FRACTION))
    words = np.ascontiguousarray(values).view(np.uint64)
    if values.dtype == np.uint64:
        words = np.where(words >= np.uint64(2**63), words ^ _BEYOND, words)
    return mix(words)


def hash_texts(values: pa.Array) -> Hashes:
    """Hash string or bytes values (no nulls) by their bytes."""
    array = binaries(values)
    offsets = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1 + array.offset)[array.offset :]
    starts, sizes = offsets[:-1], np.diff(offsets)
    data = array.buffers()[2]
    content = np.frombuffer(data, np.uint8) if data is not None else np.array([], np.uint8)
    hashes = mix(sizes.astype(np.uint64) ^ _FRACTION)
    _fold(hashes, content, starts, np.where(sizes > LONG, 0, sizes))
    for index in np.flatnonzero(sizes > LONG):
        hashes[index] = _hash_long(content[starts[index] : starts[index] + sizes[index]].tobytes())
    return hashes


def hash_text(text: str) -> int:
    """Hash one string."""
    return int(hash_texts(pa.array([text], pa.large_string()))[0])


def _fold(hashes: Hashes, content: Any, starts: Any, sizes: Any) -> None:
    """Mix word after word into ``hashes``, all values in step; the last word of a value is cut to its bytes."""
    padded = np.concatenate([content, np.zeros(8, np.uint8)])
    words: Hashes = np.ndarray(len(padded) - 7, "<u8", padded.data, strides=(1,))
    active, position = np.flatnonzero(sizes > 0), 0
    while len(active):
        word = words[starts[active] + position]
        left = sizes[active] - position
        drop = np.where(left < 8, (8 - left) * 8, 0).astype(np.uint64)
        word = (word << drop) >> drop
        hashes[active] = mix(hashes[active] ^ word)
        position += 8
        active = active[left > 8]


def _hash_long(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def distinct_hashes(hashes: Hashes) -> Hashes:
    """Sort and drop repeats; on 64-bit words this beats np.unique several times over."""
    ordered = np.sort(hashes)
    fresh = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return ordered[fresh]


def pack(words: np.ndarray[Any, Any]) -> str:
    """Write numbers of one size as base64 of their little-endian bytes."""
    return base64.b64encode(words.astype(words.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def unpack(text: str, dtype: Any = np.uint64) -> np.ndarray[Any, Any]:
    """Read what `pack` wrote."""
    return np.frombuffer(base64.b64decode(text, validate=True), np.dtype(dtype).newbyteorder("<")).astype(dtype)

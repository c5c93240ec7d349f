"""The mergeable state of the scalar values under a column: everything but rows, lists and the row sample."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.errors import DataError
from lineshaft.verify.arrays import Ints, Numbers, binaries, is_utf8, numbers, utf8_mask
from lineshaft.verify.parsing import parse_float, parse_int
from lineshaft.verify.statistics.extent import Extent
from lineshaft.verify.statistics.hashing import hash_numbers, hash_texts
from lineshaft.verify.statistics.heavy import Heavy
from lineshaft.verify.statistics.kmv import Kmv
from lineshaft.verify.statistics.moments import Moments
from lineshaft.verify.statistics.pack import from_json, to_json
from lineshaft.verify.types import NULL, NUMERIC, type_of_arrow

COUNTED = ("int", "float", "bool", "date", "datetime")
TEXT = ("string", "bytes")
_COUNTERS = ("values", "nan", "posinf", "neginf", "zeros", "invalid_utf8", "ints", "floats")


@dataclass(frozen=True)
class Leaf:
    """What is known about scalar values.

    Attributes
    ----------
    kind
        A scalar type of `lineshaft.verify.types`, ``"null"`` when no value was seen, or an Arrow type that is only
        counted.
    values
        Number of values, nulls left out.
    nan, posinf, neginf, zeros
        Values of those kinds; moments, bounds, distinct and top values are about the finite ones.
    invalid_utf8, ints, floats
        Strings that are not UTF-8; that read as a 64-bit integer; that read as a finite number.
    low, high
        The least and the greatest finite value as a number (dates: days, datetimes: microseconds since 1970).
    moments, lengths, kmv, heavy
        The sketches; lengths are characters of strings and bytes of bytes.

    """

    kind: str = NULL
    values: int = 0
    nan: int = 0
    posinf: int = 0
    neginf: int = 0
    zeros: int = 0
    invalid_utf8: int = 0
    ints: int = 0
    floats: int = 0
    low: int | float | None = None
    high: int | float | None = None
    moments: Moments = field(default_factory=Moments)
    lengths: Extent = field(default_factory=Extent)
    kmv: Kmv = field(default_factory=Kmv)
    heavy: Heavy = field(default_factory=Heavy)

    @property
    def finite(self) -> int:
        """How many values are neither NaN nor infinite."""
        return self.values - self.nan - self.posinf - self.neginf

    @classmethod
    def of(cls, values: pa.Array) -> Leaf:
        """Summarise values without nulls."""
        kind = type_of_arrow(values.type)
        if kind in COUNTED:
            return _numeric(kind, numbers(values))
        if kind in TEXT:
            return _textual(kind, values)
        return cls(kind, len(values))

    def merge(self, other: Leaf) -> Leaf:
        """Return the state of both together; int and float make float, other types do not mix."""
        a, b = _same_kind(self, other)
        sums = {name: getattr(a, name) + getattr(b, name) for name in _COUNTERS}
        return Leaf(
            kind=a.kind,
            **sums,
            low=_pick(min, a.low, b.low),
            high=_pick(max, a.high, b.high),
            moments=a.moments.merge(b.moments),
            lengths=a.lengths.merge(b.lengths),
            kmv=a.kmv.merge(b.kmv),
            heavy=a.heavy.merge(b.heavy),
        )

    def payload(self) -> Any:
        """Return the state as a JSON value."""
        return {
            "kind": self.kind,
            **{name: getattr(self, name) for name in _COUNTERS},
            "low": to_json(self.low),
            "high": to_json(self.high),
            "moments": self.moments.payload(),
            "lengths": self.lengths.payload(),
            "kmv": self.kmv.payload(),
            "heavy": self.heavy.payload(),
        }

    @classmethod
    def from_payload(cls, payload: Any) -> Leaf:
        """Read the state back."""
        return cls(
            kind=payload["kind"],
            **{name: payload[name] for name in _COUNTERS},
            low=from_json(payload["low"]),
            high=from_json(payload["high"]),
            moments=Moments.from_payload(payload["moments"]),
            lengths=Extent.from_payload(payload["lengths"]),
            kmv=Kmv.from_payload(payload["kmv"]),
            heavy=Heavy.from_payload(payload["heavy"]),
        )


def _numeric(kind: str, values: Numbers) -> Leaf:
    total = len(values)
    counters: dict[str, Any] = {}
    if kind == "float":
        finite = np.isfinite(values)
        if not finite.all():
            counters["nan"] = int(np.isnan(values).sum())
            counters["posinf"] = int((values == np.inf).sum())
            counters["neginf"] = int((values == -np.inf).sum())
            values = values[finite]
        values = values + 0.0
    if not len(values):
        return Leaf(kind, total, **counters)
    counted = pc.value_counts(pa.array(values))
    unique, counts = counted.field("values"), _ints(counted.field("counts"))
    different: Numbers = unique.to_numpy(zero_copy_only=False)
    return Leaf(
        kind,
        total,
        **counters,
        zeros=int(counts[different == 0].sum()) if kind in NUMERIC else 0,
        low=different.min().item(),
        high=different.max().item(),
        moments=Moments.of(values) if kind in {*NUMERIC, "bool"} else Moments(),
        kmv=Kmv().add(hash_numbers(different)),
        heavy=Heavy.of(unique, counts, kind),
    )


def _textual(kind: str, values: pa.Array) -> Leaf:
    if not len(values):
        return Leaf(kind)
    counted = pc.value_counts(values)
    unique, counts = counted.field("values"), _ints(counted.field("counts"))
    kmv = Kmv().add(hash_texts(unique))
    if kind == "bytes":
        lengths = Extent.of(_ints(pc.binary_length(binaries(unique))), counts)
        return Leaf(kind, len(values), lengths=lengths, kmv=kmv)
    ints, floats = _numbers_in(unique, counts)
    return Leaf(
        kind,
        len(values),
        invalid_utf8=0 if is_utf8(unique) else int(counts[~utf8_mask(unique)].sum()),
        ints=ints,
        floats=floats,
        lengths=Extent.of(_ints(pc.utf8_length(unique)), counts),
        kmv=kmv,
        heavy=Heavy.of(unique, counts, kind),
    )


def _numbers_in(unique: pa.Array, counts: Ints) -> tuple[int, int]:
    """Count the strings that read as an integer and as a number; only likely ones are parsed one by one."""
    likely = np.flatnonzero(pc.match_substring_regex(unique, r"\A[-+.0-9][-+.0-9eE]*\z").to_numpy(zero_copy_only=False))
    if not len(likely):
        return 0, 0
    texts = unique.take(pa.array(likely)).to_pylist()
    ints = sum(int(counts[at]) for at, text in zip(likely, texts, strict=True) if parse_int(text) is not None)
    floats = sum(int(counts[at]) for at, text in zip(likely, texts, strict=True) if parse_float(text) is not None)
    return ints, floats


def _ints(array: pa.Array) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)


def _same_kind(a: Leaf, b: Leaf) -> tuple[Leaf, Leaf]:
    if a.kind == b.kind:
        return a, b
    if NULL in {a.kind, b.kind}:
        kind = b.kind if a.kind == NULL else a.kind
        return replace(a, kind=kind), replace(b, kind=kind)
    if {a.kind, b.kind} == set(NUMERIC):
        return _as_float(a), _as_float(b)
    raise DataError(
        f"statistics of {a.kind} values and of {b.kind} values do not merge; "
        "read both files with the same column types, or keep their statistics apart"
    )


def _as_float(leaf: Leaf) -> Leaf:
    low, high = (None if bound is None else float(bound) for bound in (leaf.low, leaf.high))
    return replace(leaf, kind="float", low=low, high=high, heavy=leaf.heavy.as_floats())


def _pick(choose: Any, a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else choose(a, b)

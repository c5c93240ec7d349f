r"""Statistics of any data in one pass: summarise each chunk, merge the states.

::

    chunk 1 -> state --\
    chunk 2 -> state ---+-- merge --> Statistics
    chunk 3 -> state --/

Merging is the only way states grow, so several files, machines or days merge by the very same rule. Within a chunk each
different value is looked at once and weighed with its count: numbers are sorted, texts have dictionaries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.verify.arrays import Ints, Numbers, binaries, codes, leaves, numbers, plain, utf8_mask
from lineshaft.verify.statistics.column import ColumnState
from lineshaft.verify.statistics.hashing import Hashes, distinct_hashes, hash_numbers, hash_texts
from lineshaft.verify.statistics.heavy import Heavy
from lineshaft.verify.statistics.kmv import Kmv
from lineshaft.verify.statistics.moments import Extent, Moments
from lineshaft.verify.statistics.sample import Sample
from lineshaft.verify.statistics.summary import Statistics
from lineshaft.verify.stream import chunks
from lineshaft.verify.types import COUNTED, NUMERIC, TEXT, parse_float, parse_int, type_of_arrow


def statistics(data: Any) -> Statistics:
    """Compute the statistics of data.

    Parameters
    ----------
    data
        A path or a list of paths (Parquet is streamed row group by row group), a `Table`, anything with
        ``__arrow_c_stream__`` (pyarrow, pandas, polars, duckdb), or a list of dicts. `Statistics` are returned as
        they are.

    Raises
    ------
    DataError
        The data cannot be read, two columns share a name, or the files of a list disagree about a column's type.

    Examples
    --------
    >>> stats = statistics([{"age": 30, "city": "Bonn"}, {"age": 50, "city": None}])
    >>> stats["age"].mean, stats["city"].missing
    (40.0, 1)

    """
    if isinstance(data, Statistics):
        return data
    result = Statistics()
    for chunk in chunks(data):
        result = result.merge(of_batch(chunk.batch, result.sample.limit))
    return result


def of_batch(batch: pa.RecordBatch, limit: int | None = None) -> Statistics:
    """Summarise one chunk; ``limit`` as in `Sample.of`."""
    columns = {name: column_state(batch.column(at)) for at, name in enumerate(batch.schema.names)}
    return Statistics(batch.num_rows, columns, Sample.of(batch, limit))


def column_state(array: pa.Array) -> ColumnState:
    """Summarise one array."""
    flat = leaves(array)
    kind = type_of_arrow(flat.values.type)
    if kind in COUNTED:
        scalars = _of_numbers(kind, numbers(flat.values))
    elif kind in TEXT and len(flat.values):
        scalars = _of_texts(kind, flat.values)
    else:
        scalars = {}
    return ColumnState(
        rows=len(array),
        missing=len(flat.missing_rows),
        levels=tuple(Extent.of(lengths) for lengths in flat.lengths),
        null_elements=len(flat.null_rows),
        kind=kind,
        values=len(flat.values),
        **scalars,
    )


def _of_numbers(kind: str, values: Numbers) -> dict[str, Any]:
    state: dict[str, Any] = {}
    if kind == "float":
        finite = np.isfinite(values)
        if not finite.all():
            state["nan"] = int(np.isnan(values).sum())
            state["posinf"], state["neginf"] = (int((values == end).sum()) for end in (np.inf, -np.inf))
            values = values[finite]
    if not len(values):
        return state
    different, counts = np.unique(values, return_counts=True)
    if kind == "float":
        different += 0.0  # -0.0 becomes 0.0
    return state | {
        "zeros": int(counts[different == 0].sum()) if kind in NUMERIC else 0,
        "low": different[0].item(),
        "high": different[-1].item(),
        "moments": Moments.of(values) if kind in {*NUMERIC, "bool"} else Moments(),
        "kmv": Kmv.of(hash_numbers(different)),
        "heavy": Heavy.of(different, counts),
    }


def _of_texts(kind: str, values: pa.Array) -> dict[str, Any]:
    different, counts, hashes = _counted(values)
    if kind == "bytes":
        return {"length": Extent.of(_ints(pc.binary_length(binaries(different))), counts), "kmv": Kmv.of(hashes)}
    ints, floats = _numbers_in(different, counts)
    return {
        "invalid_utf8": int(counts[~utf8_mask(different)].sum()),
        "ints": ints,
        "floats": floats,
        "length": Extent.of(_ints(pc.utf8_length(different)), counts),
        "kmv": Kmv.of(hashes),
        "heavy": Heavy.of(different, counts),
    }


def _counted(values: pa.Array) -> tuple[pa.Array, Ints, Hashes]:
    """Return the different texts, how often each stands there, and their hashes."""
    if isinstance(values, pa.DictionaryArray):
        counts = np.bincount(codes(values), minlength=len(values.dictionary))
        different = values.dictionary.take(np.flatnonzero(counts))
        hashes = hash_texts(different)
        if len(distinct_hashes(hashes)) == len(hashes):
            return different, counts[counts > 0], hashes
        values = plain(values)  # Arrow lets a dictionary list a text twice
    counted = pc.value_counts(values)
    different = counted.field("values")
    return different, _ints(counted.field("counts")), hash_texts(different)


def _numbers_in(different: pa.Array, counts: Ints) -> tuple[int, int]:
    """Count the strings that read as an integer and as a number; only likely ones are parsed one by one."""
    likely = np.flatnonzero(pc.match_substring_regex(different, r"\A[-+.0-9][-+.0-9eE]*\z"))
    texts = different.take(likely).to_pylist()
    ints, floats = ([parse(text) is not None for text in texts] for parse in (parse_int, parse_float))
    return int(counts[likely[ints]].sum()), int(counts[likely[floats]].sum())


def _ints(array: pa.Array) -> Ints:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.int64)

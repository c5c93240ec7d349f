"""Data as a stream of Arrow record batches, one per chunk, whose rows have names: no check needs all rows in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lineshaft.core.table import ROW_ID, Table, file_digest, read_table
from lineshaft.errors import DataError
from lineshaft.verify.types import TEXT, type_of_arrow

_PARQUET = {".parquet", ".pq"}

Names = Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True)
class Place:
    """Where a chunk's rows stand.

    Attributes
    ----------
    start
        The number of the first of them in all the data.
    names
        Row numbers within the chunk to row identities; computed only when asked.

    """

    start: int
    names: Names


@dataclass(frozen=True)
class Chunk:
    """A record batch of the user's columns (texts may be dictionary-encoded), and where its rows stand."""

    batch: pa.RecordBatch
    place: Place


def chunks(data: Any, key: Sequence[str] = ()) -> Iterator[Chunk]:
    """Yield the chunks of data with the identities that `read_table` gives their rows; Parquet goes by row group.

    Data without rows give one chunk without rows. Where the data are no Table, and so have no key of their own, rows
    are named by the columns ``key``, repeats and all; a row that lacks one of them keeps the other name.

    Raises
    ------
    DataError
        The data cannot be read, or two columns have the same name.

    """
    start, key = 0, () if isinstance(data, Table) else key
    for batch, names in _named_batches(data):
        known = bool(key) and all(name in batch.schema.names for name in key)
        yield Chunk(batch, Place(start, _keyed(batch, key, names) if known else names))
        start += batch.num_rows


def _keyed(batch: pa.RecordBatch, key: Sequence[str], otherwise: Names) -> Names:
    """Name rows by their key columns, as `read_table` does."""

    def names(rows: Sequence[int]) -> list[str]:
        picked = pa.array(rows, pa.int64())
        try:
            columns = [batch.column(name).take(picked).cast(pa.string()).to_pylist() for name in key]
        except pa.ArrowException:  # lists and the like have no form as text
            return otherwise(rows)
        parts = zip(*columns, strict=True)
        return [otherwise([row])[0] if None in part else name(part) for row, part in zip(rows, parts, strict=True)]

    def name(part: tuple[str, ...]) -> str:
        return part[0] if len(part) == 1 else json.dumps(part, ensure_ascii=False)

    return names


def _named_batches(data: Any) -> Iterator[tuple[pa.RecordBatch, Names]]:
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, Path)):
        for path in data:
            yield from _named_batches(path)
        return
    if _is_parquet(data) and not _has_ids(Path(data)):
        ids, batches = _ids_of_file(Path(data)), _row_groups(Path(data))
    else:
        arrow, ids = _in_memory(data)
        batches = _batches(arrow)
    start = 0
    for batch in batches:
        yield batch, _numbered(ids, start)
        start += batch.num_rows


def _numbered(ids: Names, start: int) -> Names:
    return lambda rows: ids([start + row for row in rows])


def _ids_of_file(path: Path) -> Names:
    digest = cache(lambda: file_digest(path)[:16])
    return lambda rows: [f"{digest()}:{row}" for row in rows]


def _in_memory(data: Any) -> tuple[pa.Table, Names]:
    """Return rows without their identity, and what tells it; to name unnamed rows all are digested, so that waits."""
    if hasattr(data, "__arrow_c_stream__") and not isinstance(data, Table):
        data = _arrow(data)
        if ROW_ID not in data.column_names:
            ids = cache(lambda: _ids_of(data))
            return data, lambda rows: [ids()[row] for row in rows]
    table = read_table(data)
    _refuse_repeats(table.arrow.schema)
    column = table.column(ROW_ID)
    return table.arrow.drop_columns([ROW_ID]), lambda rows: list(column.take(pa.array(rows, pa.int64())).to_pylist())


def _ids_of(arrow: pa.Table) -> list[str]:
    try:
        return read_table(arrow).row_ids
    except DataError:  # what cannot be stored has no digest to be named by
        return [f"row {number}" for number in range(arrow.num_rows)]


def _arrow(stream: Any) -> pa.Table:
    try:
        arrow = pa.table(stream)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(f"the rows do not fit together: {error}") from error
    _refuse_repeats(arrow.schema)
    return arrow


def _batches(arrow: pa.Table) -> Iterator[pa.RecordBatch]:
    none = [pa.nulls(0, field.type) for field in arrow.schema]
    yield from arrow.to_batches() or [pa.RecordBatch.from_arrays(none, schema=arrow.schema)]


def _is_parquet(data: Any) -> bool:
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _PARQUET and Path(data).is_file()


def _refuse_repeats(schema: pa.Schema) -> None:
    """Raise if two columns have the same name: what is said about one would be said about the other."""
    repeated = [name for name, times in Counter(schema.names).items() if times > 1]
    if repeated:
        raise DataError(
            f"column {repeated[0]!r} stands {Counter(schema.names)[repeated[0]]} times; give each column its own name"
        )


def _has_ids(path: Path) -> bool:
    with _readable(path):
        return ROW_ID in pq.read_schema(path).names


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error


def _row_groups(path: Path) -> Iterator[pa.RecordBatch]:
    with _readable(path):
        schema = pq.read_schema(path)
        _refuse_repeats(schema)
        texts = [field.name for field in schema if type_of_arrow(field.type) in TEXT]
        file = pq.ParquetFile(path, read_dictionary=texts)
        if not file.num_row_groups:
            yield from _batches(file.schema_arrow.empty_table())
        for index in range(file.num_row_groups):
            yield from _batches(file.read_row_group(index).combine_chunks())

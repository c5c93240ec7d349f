"""Data as a stream of Arrow record batches, one per chunk, so that no stage needs all rows in memory."""

from __future__ import annotations

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

_PARQUET = {".parquet", ".pq"}


def batches(data: Any) -> Iterator[pa.RecordBatch]:
    """Yield the chunks of data; Parquet files go row group by row group, the row's identity is left out.

    Raises
    ------
    DataError
        The data cannot be read, or two columns have the same name.

    """
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, Path)):
        for path in data:
            yield from batches(path)
    elif _is_parquet(data):
        yield from _row_groups(Path(data))
    else:
        yield from table_batches(data if isinstance(data, pa.Table) else read_table(data).arrow)


@dataclass(frozen=True)
class Chunk:
    """A record batch whose rows have names.

    Attributes
    ----------
    batch
        The user's columns.
    start
        The number of its first row in all the data.
    names
        Row numbers within the batch to row identities; computed only when asked.

    """

    batch: pa.RecordBatch
    start: int
    names: Callable[[Sequence[int]], list[str]]


def chunks(data: Any) -> Iterator[Chunk]:
    """Yield the chunks of data with the identities that `read_table` gives their rows, Parquet files streamed."""
    start = 0
    for batch, names in _named_batches(data):
        yield Chunk(batch, start, names)
        start += batch.num_rows


def _named_batches(data: Any) -> Iterator[tuple[pa.RecordBatch, Callable[[Sequence[int]], list[str]]]]:
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, Path)):
        for path in data:
            yield from _named_batches(path)
        return
    if _is_parquet(data) and not _has_ids(Path(data)):
        digest, before = _lazy_digest(Path(data)), 0
        for batch in _row_groups(Path(data)):
            yield batch, _numbered(digest, before)
            before += batch.num_rows
        return
    table = read_table(data)
    refuse_repeats(table.arrow.schema)
    for batch in table.arrow.to_batches() or [_empty(table.arrow.schema)]:
        yield batch.drop_columns([ROW_ID]), _listed(batch.column(ROW_ID))


def _listed(ids: pa.Array) -> Callable[[Sequence[int]], list[str]]:
    return lambda rows: list(ids.take(pa.array(rows, pa.int64())).to_pylist())


def _numbered(digest: Callable[[], str], before: int) -> Callable[[Sequence[int]], list[str]]:
    return lambda rows: [f"{digest()[:16]}:{before + row}" for row in rows]


def _lazy_digest(path: Path) -> Callable[[], str]:
    """Return a function that names a file by its content, reading it at most once and only if called."""
    return cache(lambda: file_digest(path))


def _is_parquet(data: Any) -> bool:
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in _PARQUET and Path(data).is_file()


def table_batches(table: pa.Table | Table) -> Iterator[pa.RecordBatch]:
    """Yield the chunks of a table without the row's identity; an empty table yields one empty chunk."""
    arrow = table.arrow if isinstance(table, Table) else table
    refuse_repeats(arrow.schema)
    kept = arrow.drop_columns([ROW_ID]) if ROW_ID in arrow.column_names else arrow
    yield from kept.to_batches() or [_empty(kept.schema)]


def refuse_repeats(schema: pa.Schema) -> None:
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
        file = pq.ParquetFile(path)
        refuse_repeats(file.schema_arrow)
        if not file.num_row_groups:
            yield from table_batches(file.schema_arrow.empty_table())
        for index in range(file.num_row_groups):
            yield from table_batches(file.read_row_group(index).combine_chunks())


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)

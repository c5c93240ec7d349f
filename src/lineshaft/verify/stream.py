"""Data as a stream of Arrow record batches, one per chunk, so that no stage needs all rows in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lineshaft.core.table import ROW_ID, Table, read_table
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
    elif isinstance(data, (str, Path)) and Path(data).suffix.lower() in _PARQUET and Path(data).is_file():
        yield from _row_groups(Path(data))
    else:
        yield from table_batches(data if isinstance(data, pa.Table) else read_table(data).arrow)


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


def _row_groups(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(path)
        refuse_repeats(file.schema_arrow)
        if not file.num_row_groups:
            yield from table_batches(file.schema_arrow.empty_table())
        for index in range(file.num_row_groups):
            yield from table_batches(file.read_row_group(index).combine_chunks())
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)

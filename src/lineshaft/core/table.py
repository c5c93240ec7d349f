"""Rows with an identity: an Arrow table whose ``row_id`` is unique, in chunks that are never cut again.

::

    file ──read_table──► Table  row_id │ text │ movie      chunk 0   (row group 0 of the source)
                                ───────┼──────┼──────      chunk 1
    split(by=...) keeps the borders: a chunk of ``train`` holds the training rows of one source chunk.

Votes, splits, expert labels, quarantine, skew and predictions all hang on ``row_id``: the key column, else the
source's digest and the row's number.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.codec import chunks_of, plain
from lineshaft.core.html import html_table
from lineshaft.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_ID = "row_id"
CHUNK_ROWS = 4096  # for sources that have no row groups of their own: CSV, JSON lines, lists
BLOCK_BYTES = 32 << 20  # what the text readers parse at once: the longest row they take


@dataclass(frozen=True)
class Table:
    """Rows with an identity.

    Attributes
    ----------
    arrow
        The Arrow table; its first column is ``row_id`` (string, unique); each record batch is one chunk.

    """

    arrow: pa.Table

    @cached_property
    def row_ids(self) -> list[str]:
        """The identities, in row order."""
        ids: list[str] = self.arrow.column(ROW_ID).to_pylist()
        return ids

    @property
    def columns(self) -> list[str]:
        """The names of the user's columns, ``row_id`` not among them."""
        return [name for name in self.arrow.column_names if name != ROW_ID]

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column, or say which there are."""
        if name not in self.arrow.column_names:
            raise DataError(f"no column {name!r}; the table has {', '.join(self.columns)}")
        return self.arrow.column(name)

    def chunks(self) -> list[Table]:
        """Return the chunks, each a Table of one record batch."""
        import pyarrow as pa

        return [Table(pa.Table.from_batches([batch])) for batch in chunks_of(self.arrow)]

    def select(self, names: Sequence[str]) -> Table:
        """Keep ``row_id`` and the named columns, in that order."""
        for name in names:
            self.column(name)
        return Table(self.arrow.select([ROW_ID, *(name for name in names if name != ROW_ID)]))

    def filter(self, keep: Any) -> Table:
        """Keep the rows where ``keep`` (booleans, one per row) is true; a chunk left without rows goes."""
        import numpy as np
        import pyarrow as pa

        mask, batches, start = np.asarray(keep, dtype=bool), [], 0
        if len(mask) != len(self):
            raise DataError(f"{len(mask)} booleans for {len(self)} rows")
        for batch in chunks_of(self.arrow):
            batches.append(batch.filter(pa.array(mask[start : start + batch.num_rows])))
            start += batch.num_rows
        batches = [batch for batch in batches if batch.num_rows]
        return Table(pa.Table.from_batches(batches, schema=self.arrow.schema))

    def payload(self) -> pa.Table:
        """Return what the codec stores."""
        return self.arrow

    @classmethod
    def from_payload(cls, payload: pa.Table) -> Table:
        """Make a table of what the codec read."""
        return cls(payload)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        first = self.arrow.slice(0, 10)
        return html_table(
            repr(self),
            first.column_names,
            zip(*(first.column(i).to_pylist() for i in range(first.num_columns)), strict=True),
        )


def read_table(source: Any, key: str | Sequence[str] | None = None) -> Table:
    """Read rows and give them their identity.

    Parameters
    ----------
    source
        A path (Parquet, CSV, JSON lines, Arrow IPC; ``.gz`` and ``.bz2`` of the text forms), a list of paths, a
        `Table`, anything with ``__arrow_c_stream__`` (pyarrow, pandas, polars, duckdb), or a list of dicts.
    key
        Column or columns that name a row. Without it a row is named by the source's digest and its number.

    Raises
    ------
    DataError
        The source is not readable, a key column is missing, holds nulls or repeats a value.

    """
    import pyarrow as pa

    if isinstance(source, Table) and key is None:
        return source
    try:
        if isinstance(source, (list, tuple)) and source and isinstance(source[0], (str, Path)):
            return _concatenate([read_table(path, key) for path in source])
        arrow, origin = _read_arrow(source)
        if key is not None and ROW_ID in arrow.column_names and isinstance(source, Table):
            arrow = arrow.drop_columns([ROW_ID])
        return Table(_identify(plain(arrow), _names(key), origin))
    except pa.ArrowException as error:
        raise DataError(f"the rows do not fit together: {error}") from error


def file_digest(path: str | Path) -> str:
    """Name a file by its bytes: SHA-256 in hexadecimal.

    Raises
    ------
    DataError
        The file's own name is not UTF-8, so that it could not be kept beside the digest.

    """
    try:
        Path(path).name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the name of the file {Path(path).name!r} is not UTF-8; rename the file") from error
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _names(key: str | Sequence[str] | None) -> list[str]:
    return [] if key is None else [key] if isinstance(key, str) else list(key)


def _read_arrow(source: Any) -> tuple[pa.Table, Callable[[], str]]:
    import pyarrow as pa

    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise DataError(f"no file {str(path)!r}; give the path of a Parquet, CSV, JSON lines or Arrow file")
        return _read_file(path), lambda: file_digest(path)
    if isinstance(source, (list, tuple)):
        if not all(isinstance(row, Mapping) for row in source):
            raise DataError("a list of rows must hold dicts, one per row")
        names = list(dict.fromkeys(name for row in source for name in row))  # a key may first come in a later row
        try:
            arrow = _cut(pa.table({name: [row.get(name) for row in source] for name in names}))
        except (OverflowError, TypeError, ValueError) as error:  # Python's own, that Arrow lets through
            raise DataError(f"the rows do not fit together: {error}") from error
    elif hasattr(source, "__arrow_c_stream__"):
        arrow = pa.table(source)
    else:
        raise DataError(
            f"cannot read rows from a {type(source).__name__}; give a path, an Arrow stream or a list of dicts"
        )
    return arrow, lambda: _content_digest(arrow)


def _read_file(path: Path) -> pa.Table:
    import pyarrow as pa

    suffixes = [suffix.lower() for suffix in path.suffixes]
    form = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in {".gz", ".bz2"} else suffixes[-1] if suffixes else ""
    try:
        if form in {".parquet", ".pq"}:
            return _read_parquet(path)
        if form in {".arrow", ".ipc", ".feather"}:
            return _read_ipc(path)
        if form in {".csv", ".tsv"}:
            return _cut(_read_csv(path, "\t" if form == ".tsv" else ","))
        if form in {".jsonl", ".ndjson", ".json"}:
            return _cut(_read_json_lines(path))
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is not a readable {form[1:]} file: {error}") from error
    raise DataError(f"{path.name}: cannot tell its format; use .parquet, .csv, .tsv, .jsonl or .arrow")


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    batches = []
    for index in range(file.num_row_groups):
        batches += file.read_row_group(index).combine_chunks().to_batches()
    return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _read_ipc(path: Path) -> pa.Table:
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:  # not mapped: the rows must stay those whose digest was taken
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _read_csv(path: Path, delimiter: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    read = csv.ReadOptions(block_size=BLOCK_BYTES)
    with _open(path) as stream:
        arrow = csv.read_csv(stream, read, parse_options=options, convert_options=convert)
    for field in arrow.schema:
        if pa.types.is_binary(field.type):  # what the reader makes of bytes that are no text
            raise DataError(f"{path.name}: column {field.name!r} is not UTF-8 text; convert the file first")
    return arrow


def _read_json_lines(path: Path) -> pa.Table:
    import pyarrow.json as arrow_json

    with _open(path) as stream:
        return arrow_json.read_json(stream, arrow_json.ReadOptions(block_size=BLOCK_BYTES))


def _open(path: Path) -> Any:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".bz2":
        return bz2.open(path, "rb")
    return path.open("rb")


def _cut(arrow: pa.Table) -> pa.Table:
    """Cut a source that has no row groups into chunks of a fixed number of rows."""
    import pyarrow as pa

    whole = arrow.combine_chunks()
    return pa.Table.from_batches(whole.to_batches(max_chunksize=CHUNK_ROWS), schema=whole.schema)


def _content_digest(arrow: pa.Table) -> str:
    from lineshaft.core.codec import encode

    return encode("Table", arrow)[0].digest


def _identify(arrow: pa.Table, key: list[str], origin: Callable[[], str]) -> pa.Table:
    import pyarrow as pa

    if len(set(arrow.column_names)) < len(arrow.column_names):
        twice = [name for name in arrow.column_names if arrow.column_names.count(name) > 1]
        raise DataError(f"two columns are called {twice[0]!r}; rename one of them")
    if ROW_ID in arrow.column_names:
        if not key or key == [ROW_ID]:
            key, ids = [ROW_ID], arrow.column(ROW_ID).cast(pa.string())
            return _with_ids(arrow.drop_columns([ROW_ID]), ids, key)
        raise DataError(f"the column name {ROW_ID!r} is lineshaft's own; rename it or make it the key")
    if missing := [name for name in key if name not in arrow.column_names]:
        raise DataError(f"key column {missing[0]!r} is not among {', '.join(arrow.column_names)}")
    if not key:
        prefix = origin()[:16]
        return _with_ids(arrow, pa.array([f"{prefix}:{number}" for number in range(arrow.num_rows)], pa.string()), key)
    if len(key) == 1:
        return _with_ids(arrow, arrow.column(key[0]).cast(pa.string()), key)
    parts = zip(*(arrow.column(name).cast(pa.string()).to_pylist() for name in key), strict=True)
    joined = [None if None in part else json.dumps(part, ensure_ascii=False) for part in parts]
    return _with_ids(arrow, pa.array(joined, pa.string()), key)


def _with_ids(arrow: pa.Table, ids: Any, key: list[str]) -> pa.Table:
    """Put the identities in front, keeping chunk borders; refuse nulls and repeats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], pa.string())
    if flat.null_count:
        raise DataError(f"the key {', '.join(key)} is null in {flat.null_count} of {len(flat)} rows; a key names a row")
    counts = pc.value_counts(flat)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()
        raise DataError(
            f"the key {', '.join(key) or ROW_ID} is not unique: {first['values']!r} stands in {first['counts']} rows "
            f"({len(repeated)} values repeat); drop the copies or name more key columns"
        )
    schema, start, batches = arrow.schema.insert(0, pa.field(ROW_ID, pa.string(), nullable=False)), 0, []
    for batch in arrow.to_batches():
        if batch.num_rows:
            own = flat.slice(start, batch.num_rows)
            batches.append(pa.RecordBatch.from_arrays([own, *batch.columns], schema=schema))
            start += batch.num_rows
    return pa.Table.from_batches(batches, schema=schema.remove_metadata())


def _concatenate(tables: list[Table]) -> Table:
    import pyarrow as pa

    arrow = pa.concat_tables([table.arrow for table in tables], promote_options="permissive")
    ids = arrow.column(ROW_ID)
    return Table(_with_ids(arrow.drop_columns([ROW_ID]), ids, [ROW_ID]))


def split(table: Table, shares: Mapping[str, float], by: str | None = None, seed: int = 0) -> dict[str, Table]:
    """Deal rows to named parts by a hash of their identity, or of a group column so that groups stay together.

    The part of a row depends on its own identity (or group), the shares, their names and the seed alone: adding rows
    never moves the others.

    Parameters
    ----------
    table
        The rows.
    shares
        Part name to share; shares are positive and sum to 1.
    by
        Group column; without it every row is its own group.
    seed
        Another seed deals anew.

    """
    import numpy as np

    total = sum(shares.values())
    if not shares or not abs(total - 1) <= 1e-9 or any(share <= 0 for share in shares.values()):
        raise DataError(f"shares must be positive and sum to 1, these sum to {total:g}: {dict(shares)}")
    groups = table.row_ids if by is None else table.column(by).to_pylist()
    if by is not None and any(isinstance(group, (list, dict)) for group in groups):
        raise DataError(f"column {by!r} holds {table.column(by).type}; group by a column of single values")
    salt = [seed, *shares]  # splitting a part again by other names must not deal by the same numbers
    place: dict[Any, float] = {group: _place(group, salt) for group in set(groups)}
    position = np.array([place[group] for group in groups])
    borders = np.cumsum(list(shares.values()))
    part = np.minimum(np.searchsorted(borders, position, side="right"), len(shares) - 1)
    return {name: table.filter(part == index) for index, name in enumerate(shares)}


def _place(group: object, salt: list[Any]) -> float:
    """Hash a group to [0, 1)."""
    content = json.dumps([salt, type(group).__name__, str(group)], ensure_ascii=False).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") / 2.0**64


def rows_of(table: Table, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield rows as dicts, chunk by chunk, of the named columns (default: the user's)."""
    names = list(columns) if columns is not None else table.columns
    for batch in table.arrow.select(names).to_batches():
        yield from batch.to_pylist()

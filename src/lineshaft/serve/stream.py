"""Rows from files in parts of a fixed size, a few row groups or blocks at a time: memory does not grow with the file.

::

    row groups   │    0    │  1  │       2       │        blocks come in any size
    parts        │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7         part i: rows [i * size, (i + 1) * size)

A part's rows stay as the file holds them (JSON lines as bytes) until somebody asks for them: parts that are done
already cost no decoding, and whole Parquet row groups of such parts are not even read.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from lineshaft.core.codec import encode
from lineshaft.core.table import ROW_ID, Table, file_digest, read_table
from lineshaft.errors import DataError

LINE = "line"  # the one raw column of JSON lines

_BLOCK_BYTES = 4 << 20
_LINES = 4096  # JSON lines per block

Block = tuple[int, pa.Table | None]  # rows, and the rows themselves unless all of them are done
Skip = Callable[[int, int], bool]  # may rows [start, stop) stay unread?


@dataclass(frozen=True)
class Source:
    """One input of an offline job.

    Attributes
    ----------
    name
        The file's name without its folder, or what the rows in memory are called.
    digest
        The name of its bytes.
    key
        Columns that name a row; none: the ``row_id`` column, else the digest and the row's number.
    text
        Whether columns come as text that is to be parsed (CSV).
    blocks
        Yields the raw rows from the first to the last; given what may be skipped.
    path
        The file; None for rows in memory.

    """

    name: str
    digest: str
    key: tuple[str, ...]
    text: bool
    blocks: Callable[[Skip], Iterator[Block]]
    path: Path | None = None

    def require_unchanged(self) -> None:
        """Compare the file with its digest again: rows of other bytes must not be kept under it.

        Raises
        ------
        DataError
            It is another file now, or gone.

        """
        if self.path is None:
            return
        now = file_digest(self.path) if self.path.is_file() else "gone"
        if now != self.digest:
            raise DataError(
                f"{self.name} changed while it was read (it was {self.digest[:12]}, it is {now[:12]}); nothing of this "
                "reading counts: start again, into another folder, when nobody writes to it"
            )


def open_source(data: Any, reads: Sequence[str], key: Sequence[str]) -> Source:
    """Open a path (Parquet, CSV, TSV, JSON lines; the text forms also as .gz and .bz2), or rows in memory.

    Raises
    ------
    DataError
        No such file, an unknown format, or a column that is not there.

    """
    if not isinstance(data, (str, Path)):
        return _memory(read_table(data, list(key) or None), reads)
    path = Path(data)
    if not path.is_file():
        raise DataError(f"no file {str(path)!r}; give the path of a Parquet, CSV or JSON lines file")
    packed = path.suffix.lower() in {".gz", ".bz2"}
    form = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    if form in {".parquet", ".pq"} and not packed:
        blocks = _parquet(path, reads, key)
    elif form in {".csv", ".tsv"}:
        blocks = _csv(path, "\t" if form == ".tsv" else ",", reads, key)
    elif form in {".jsonl", ".ndjson", ".json"}:
        blocks = _json_lines(path)
    elif form in {".arrow", ".ipc", ".feather"}:
        return _memory(read_table(path, list(key) or None), reads)
    else:
        raise DataError(f"{path.name}: cannot tell its format; use .parquet, .csv, .tsv, .jsonl or .arrow")
    return Source(path.name, file_digest(path), tuple(key), form in {".csv", ".tsv"}, blocks, path)


def in_parts(source: Source, size: int, done: Collection[int]) -> Iterator[tuple[int, int, pa.Table | None]]:
    """Yield (part, rows, raw rows) for every part in order; no rows for a part in ``done``."""

    def skip(start: int, stop: int) -> bool:
        return all(part in done for part in range(start // size, (stop - 1) // size + 1))

    held, position = list[pa.Table](), 0
    for rows, table in source.blocks(skip):
        offset = 0
        while offset < rows:
            part, inside = divmod(position, size)
            taken = min(rows - offset, size - inside)
            if table is not None and part not in done:
                held.append(table.slice(offset, taken))
            offset, position = offset + taken, position + taken
            if inside + taken == size:
                yield part, size, _joined(held)
                held = []
    if position % size:
        yield position // size, position % size, _joined(held)


def _joined(held: list[pa.Table]) -> pa.Table | None:
    return pa.concat_tables(held) if held else None


def _memory(table: Table, reads: Sequence[str]) -> Source:
    picked = table.select(list(reads)).arrow

    def blocks(_skip: Skip) -> Iterator[Block]:
        for batch in picked.to_batches():
            yield batch.num_rows, pa.Table.from_batches([batch])

    return Source("rows in memory", encode("Table", picked)[0].digest, (), False, blocks)


def _parquet(path: Path, reads: Sequence[str], key: Sequence[str]) -> Callable[[Skip], Iterator[Block]]:
    file = _opened(path)
    wanted = _needed(path, file.schema_arrow.names, reads, key)

    def blocks(skip: Skip) -> Iterator[Block]:
        position = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if rows and skip(position, position + rows):
                yield rows, None
            else:
                yield from _batches(path, file, group, wanted)
            position += rows

    return blocks


def _batches(path: Path, file: pq.ParquetFile, group: int, wanted: list[str]) -> Iterator[Block]:
    try:
        for batch in file.iter_batches(_LINES, row_groups=[group], columns=wanted):
            yield batch.num_rows, pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} stops being readable Parquet: {error}; mend the file") from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error


def _csv(path: Path, delimiter: str, reads: Sequence[str], key: Sequence[str]) -> Callable[[Skip], Iterator[Block]]:
    """Read the model's columns as text, to be cast value by value; key columns as `read_table` would infer them."""
    parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    def reader(stream: IO[bytes], wanted: list[str] | None) -> Any:
        as_text = {name: pa.string() for name in reads if name not in key}
        convert = arrow_csv.ConvertOptions(
            include_columns=wanted, column_types=as_text, strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        options = arrow_csv.ReadOptions(block_size=_BLOCK_BYTES)
        return arrow_csv.open_csv(stream, read_options=options, parse_options=parse, convert_options=convert)

    try:
        with _unpacked(path) as stream, reader(stream, None) as first:
            wanted = _needed(path, first.schema.names, reads, key)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(f"{path.name} is not a readable CSV file: {error}") from error

    def blocks(_skip: Skip) -> Iterator[Block]:
        try:
            with _unpacked(path) as stream, reader(stream, wanted) as batches:
                for batch in batches:
                    yield batch.num_rows, pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError, EOFError) as error:
            raise DataError(f"{path.name} stops being readable CSV: {error}; mend the file") from error

    return blocks


def _json_lines(path: Path) -> Callable[[Skip], Iterator[Block]]:
    def blocks(_skip: Skip) -> Iterator[Block]:
        try:
            with _unpacked(path) as stream:
                lines = (line for line in stream if not line.isspace())
                while some := list(itertools.islice(lines, _LINES)):
                    yield len(some), pa.table({LINE: pa.array(some, pa.binary())})
        except (OSError, EOFError) as error:
            raise DataError(f"{path.name} stops being readable: {error}; mend the file") from error

    return blocks


def _unpacked(path: Path) -> IO[bytes]:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
    stream: IO[bytes] = openers.get(path.suffix.lower(), open)(path, "rb")
    return stream


def _needed(path: Path, there: Sequence[str], reads: Sequence[str], key: Sequence[str]) -> list[str]:
    names = list(key) or ([ROW_ID] if ROW_ID in there else [])
    if missing := [name for name in [*reads, *names] if name not in there]:
        raise DataError(f"{path.name} has no column {missing[0]!r}, which is needed; it has {', '.join(there)}")
    return list(dict.fromkeys([*names, *reads]))

"""Rows keep their identity, their chunks and their side of a split."""

from __future__ import annotations

import bz2
import gzip
import json
import os

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from lineshaft.core import table as tables
from lineshaft.core.table import Table, file_digest, read_table, rows_of, split
from lineshaft.errors import DataError

ROWS = [{"id": "a", "text": "grün", "n": 1}, {"id": "b", "text": None, "n": 2}, {"id": "c", "text": "x, y", "n": 3}]
CSV = 'id,text,n\na,grün,1\nb,,2\nc,"x, y",3\n'
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def _write(path):
    arrow = pa.Table.from_pylist(ROWS)
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(arrow, path, row_group_size=2)
    elif name.endswith(".arrow"):
        with pa.ipc.new_file(path, arrow.schema) as writer:
            writer.write_table(arrow)
    elif name.endswith(".stream.ipc"):
        with pa.ipc.new_stream(path, arrow.schema) as writer:
            writer.write_table(arrow)
    else:
        content = {".csv": CSV, ".tsv": CSV.replace(",", "\t").replace("x\t", "x,"), ".jsonl": LINES}
        text = next(value for form, value in content.items() if form in name).encode()
        opener = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
        path.write_bytes(opener(text))
    return path


@pytest.mark.parametrize(
    "name", ["a.parquet", "a.arrow", "a.stream.ipc", "a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.bz2", "A.CSV.GZ"]
)
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = tmp_path / name
    if name.isupper():
        path.write_bytes(gzip.compress(CSV.encode()))
    else:
        _write(path)
    read = read_table(path, key="id")
    assert read.row_ids == ["a", "b", "c"]
    assert list(rows_of(read)) == ROWS


@pytest.mark.parametrize(
    "make",
    [pa.Table.from_pylist, pd.DataFrame, pl.DataFrame, list, lambda rows: read_table(rows)],
    ids=lambda make: getattr(make, "__name__", "make"),
)
def test_everything_in_memory_gives_the_same_rows(make):
    read = read_table(make(ROWS), key="id")
    assert read.row_ids == ["a", "b", "c"]
    assert read.columns == ["id", "text", "n"]
    assert list(rows_of(read, ["n", "id"])) == [{"n": row["n"], "id": row["id"]} for row in ROWS]


def test_without_a_key_a_row_is_named_by_its_source_and_number(tmp_path):
    path = _write(tmp_path / "a.csv")
    prefix = file_digest(path)[:16]
    assert read_table(path).row_ids == [f"{prefix}:0", f"{prefix}:1", f"{prefix}:2"]


@pytest.mark.parametrize("name", ["a.arrow", "a.stream.ipc"])
def test_rows_stay_as_they_were_read_when_the_file_is_written_again_in_place(tmp_path, name):
    path = _write(tmp_path / name)
    read = read_table(path)
    with path.open("r+b") as stream:
        stream.write(b"\xff" * path.stat().st_size)
    assert list(rows_of(read, ["id", "text", "n"])) == ROWS


def test_a_file_whose_own_name_is_no_text_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text(CSV)
    with pytest.raises(DataError, match=r"'caf\\udce9\.csv' is not UTF-8; rename the file") as caught:
        file_digest(path)
    str(caught.value).encode()  # and the refusal itself can be written out


def test_several_key_columns_name_a_row_together():
    rows = [{"a": "x,", "b": "y"}, {"a": "x", "b": ",y"}, {"a": "x", "b": "y"}]
    assert len(set(read_table(rows, key=["a", "b"]).row_ids)) == 3


def test_row_groups_of_the_source_are_the_chunks(tmp_path):
    path = _write(tmp_path / "a.parquet")
    assert [len(chunk) for chunk in read_table(path, key="id").chunks()] == [2, 1]


def test_sources_without_row_groups_are_cut_evenly():
    sizes = [len(chunk) for chunk in read_table([{"n": i} for i in range(9000)]).chunks()]
    assert sizes == [tables.CHUNK_ROWS, tables.CHUNK_ROWS, 9000 - 2 * tables.CHUNK_ROWS]


def test_a_list_of_files_is_one_table_whose_types_are_brought_together(tmp_path):
    (tmp_path / "a.csv").write_text("id,n\na,1\n")
    (tmp_path / "b.csv").write_text("id,n\nb,1.5\n")
    read = read_table([tmp_path / "a.csv", tmp_path / "b.csv"], key="id")
    assert read.arrow.column("n").to_pylist() == [1.0, 1.5]


def test_a_key_that_first_comes_in_a_later_row_is_kept():
    assert list(rows_of(read_table([{"a": 1}, {"a": 2, "b": 3}]))) == [{"a": 1, "b": None}, {"a": 2, "b": 3}]


def test_an_empty_list_is_an_empty_table():
    assert len(read_table([])) == 0


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,n\na,1\n")
    assert read_table(tmp_path / "a.csv", key="id").columns == ["id", "n"]


def test_a_cell_of_some_megabytes_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(f"id,text\na,{'x' * 3_000_000}\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "text": "x" * 3_000_000}))
    for name in ("a.csv", "a.jsonl"):
        assert len(read_table(tmp_path / name, key="id").column("text")[0].as_py()) == 3_000_000


def test_dictionary_encoded_columns_are_read_as_their_values():
    frame = pd.DataFrame({"id": ["a", "b"], "c": pd.Categorical(["x", "y"])})
    assert read_table(frame, key="id").arrow.schema.field("c").type in {pa.string(), pa.large_string()}


HOSTILE = {
    "truncated.parquet": lambda path: path.write_bytes(_write(path).read_bytes()[:-20]),
    "scrambled.parquet": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "empty.parquet": lambda path: path.write_bytes(b""),
    "empty.csv": lambda path: path.write_bytes(b""),
    "empty.jsonl": lambda path: path.write_bytes(b""),
    "empty.arrow": lambda path: path.write_bytes(b""),
    "ragged.csv": lambda path: path.write_text("a,b\n1,2\n3\n4,5,6\n"),
    "latin.csv": lambda path: path.write_bytes(b"a\n\xff\xfe\n"),
    "twice.csv": lambda path: path.write_text("a,a\n1,2\n"),
    "not.jsonl": lambda path: path.write_text('{"a": 1}\n[2]\n'),
    "cut.jsonl": lambda path: path.write_text('{"a": 1}\n{"a"'),
    "mixed.jsonl": lambda path: path.write_text('{"a": 1}\n{"a": {"b": 2}}\n'),
    "not_packed.csv.gz": lambda path: path.write_text("a\n1\n"),
    "cut.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.encode() * 99)[:-30]),
    "scrambled.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.encode())[:12] + b"\xff" * 40),
    "cut.csv.bz2": lambda path: path.write_bytes(bz2.compress(CSV.encode() * 99)[:-30]),
    "wrong.arrow": lambda path: path.write_text(CSV),
    "unknown.xlsx": lambda path: path.write_text(CSV),
    "none": lambda path: path.write_text(CSV),
    "missing.csv": lambda path: None,
    "folder.csv": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_not_what_it_says_is_refused_by_its_name(tmp_path, name):
    HOSTILE[name](tmp_path / name)
    with pytest.raises(DataError, match=name.split(".")[0] if "twice" not in name else "'a'"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("rows", "key", "says"),
    [
        ([{"id": 1}, {"id": 1}], "id", r"not unique: '1' stands in 2 rows"),
        ([{"id": 1}, {"id": None}], "id", r"null in 1 of 2 rows"),
        ([{"id": 1}], "other", r"'other' is not among id"),
        ([{"row_id": "a", "id": 1}], "id", r"'row_id' is lineshaft's own"),
        ([{"row_id": None}], None, r"null in 1"),
        ([{"id": [1]}], "id", r"do not fit together"),
        ([{"a": 1}, {"a": "x"}], None, r"do not fit together"),
        ([{"a": 1}, 2], None, r"must hold dicts"),
        (7, None, r"cannot read rows from a int"),
    ],
)
def test_rows_without_a_proper_identity_are_refused(rows, key, says):
    with pytest.raises(DataError, match=says):
        read_table(rows, key=key)


def test_files_of_different_shape_do_not_make_one_table(tmp_path):
    (tmp_path / "a.csv").write_text("id,n\na,1\n")
    (tmp_path / "b.csv").write_text("id,n\nb,x\n")
    with pytest.raises(DataError, match="do not fit together"):
        read_table([tmp_path / "a.csv", tmp_path / "b.csv"], key="id")


def test_a_row_id_column_is_the_identity():
    assert read_table([{"row_id": "x", "n": 1}]).row_ids == ["x"]


def test_a_table_is_read_as_it_is_and_given_another_key_anew():
    read = read_table(ROWS, key="id")
    assert read_table(read) is read
    assert read_table(read, key="n").row_ids == ["1", "2", "3"]


def test_an_unknown_column_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="no column 'z'; the table has id, text, n"):
        read_table(ROWS, key="id").select(["z"])


@given(st.lists(st.booleans(), min_size=7, max_size=7))
def test_filtering_keeps_rows_in_their_chunks(keep):
    arrow = pa.concat_tables([pa.table({"n": [0, 1, 2]}), pa.table({"n": [3]}), pa.table({"n": [4, 5, 6]})])
    kept = read_table(arrow, key="n").filter(keep)
    wanted = [[n for n in chunk if keep[n]] for chunk in ([0, 1, 2], [3], [4, 5, 6])]
    assert [chunk.column("n").to_pylist() for chunk in kept.chunks()] == [chunk for chunk in wanted if chunk]


def test_filtering_takes_one_boolean_per_row():
    with pytest.raises(DataError, match="2 booleans for 3 rows"):
        read_table(ROWS, key="id").filter([True, False])


groups = st.lists(st.one_of(st.none(), st.integers(0, 30), st.just(7)), min_size=1, max_size=80)


def _grouped(values):
    return read_table([{"id": number, "g": value} for number, value in enumerate(values)], key="id")


@given(groups, st.integers(0, 5))
@settings(deadline=None)
def test_a_split_deals_every_row_once_and_keeps_groups_together(values, seed):
    parts = split(_grouped(values), {"train": 0.6, "valid": 0.2, "test": 0.2}, by="g", seed=seed)
    dealt = sorted(row for part in parts.values() for row in part.row_ids)
    assert dealt == sorted(map(str, range(len(values))))
    held = [set(part.column("g").to_pylist()) for part in parts.values()]
    assert sum(map(len, held)) == len(set(values))


@given(groups, groups)
@settings(deadline=None)
def test_adding_rows_moves_none_of_the_others(values, more):
    shares = {"train": 0.5, "test": 0.5}
    before = split(_grouped(values), shares)
    after = split(_grouped([*values, *more]), shares)
    assert all(set(before[name].row_ids) <= set(after[name].row_ids) for name in shares)


def test_shares_are_kept_about_and_another_seed_deals_anew():
    table = read_table([{"id": number} for number in range(4000)], key="id")
    shares = {"train": 0.7, "valid": 0.1, "test": 0.2}
    first, second = split(table, shares), split(table, shares, seed=1)
    for name, share in shares.items():
        assert abs(len(first[name]) / 4000 - share) < 0.03
    overlap = len(set(first["train"].row_ids) & set(second["train"].row_ids)) / 4000
    assert abs(overlap - 0.49) < 0.04


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}, {"a": float("nan"), "b": 0.5}]
)
def test_shares_that_are_no_shares_are_refused(shares):
    with pytest.raises(DataError, match="sum to 1"):
        split(read_table(ROWS, key="id"), shares)


def test_a_group_is_a_single_value():
    with pytest.raises(DataError, match="group by a column of single values"):
        split(read_table([{"id": 1, "g": [1]}], key="id"), {"a": 0.5, "b": 0.5}, by="g")


def test_a_table_goes_out_as_an_arrow_stream():
    assert pl.DataFrame(read_table(ROWS, key="id")).columns == ["row_id", "id", "text", "n"]


def test_a_table_shows_itself():
    table = read_table(ROWS, key="id")
    assert repr(table) == "Table(3 rows: id, text, n)"
    assert "grün" in table._repr_html_()
    assert len(table.filter(np.zeros(3))) == 0
    assert isinstance(Table.from_payload(table.payload()), Table)

"""One set of rows in every form it can come in: equal statistics, equal schemas, equal reports, equal names of rows."""

import datetime as dt
import gzip
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.table import CHUNK_ROWS, read_table
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.stream import chunks

ROWS = [
    {
        "id": at,
        "price": None if at % 11 == 0 else at / 4,
        "name": None if at % 7 == 0 else f"n{at % 5}",
        "fine": at % 3 == 0,
        "day": dt.date(2020, 1, 1) + dt.timedelta(at % 40),
    }
    for at in range(500)
]
TABLE = pa.Table.from_pylist(ROWS)


def csv(path):
    arrow_csv.write_csv(TABLE, path / "t.csv")
    return path / "t.csv"


def zipped_csv(path):
    (path / "t.csv.gz").write_bytes(gzip.compress(csv(path).read_bytes()))
    return path / "t.csv.gz"


def tsv(path):
    arrow_csv.write_csv(TABLE, path / "t.tsv", arrow_csv.WriteOptions(delimiter="\t"))
    return path / "t.tsv"


def json_lines(path):
    lines = [json.dumps({**row, "day": row["day"].isoformat()}) for row in ROWS]
    (path / "t.jsonl").write_text("\n".join(lines))
    return path / "t.jsonl"


def parquet(path):
    pq.write_table(TABLE, path / "t.parquet")
    return path / "t.parquet"


def plain_parquet(path):
    pq.write_table(TABLE, path / "p.parquet", use_dictionary=False, compression="none")
    return path / "p.parquet"


def ipc(path):
    with pa.ipc.new_file(path / "t.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE)
    return path / "t.arrow"


FORMS = {
    "csv": csv,
    "csv.gz": zipped_csv,
    "tsv": tsv,
    "json lines": json_lines,
    "parquet": parquet,
    "parquet without dictionaries": plain_parquet,
    "arrow file": ipc,
    "arrow table": lambda _: TABLE,
    "arrow table with dictionaries": lambda _: TABLE.set_column(2, "name", TABLE["name"].dictionary_encode()),
    "arrow stream": lambda _: TABLE.to_reader(),
    "record batch": lambda _: TABLE.combine_chunks().to_batches()[0],
    "polars": lambda _: pl.DataFrame(ROWS),
    "polars with categories": lambda _: pl.DataFrame(ROWS).with_columns(pl.col("name").cast(pl.Categorical)),
    "pandas": lambda _: pd.DataFrame(ROWS),
    "pandas with categories": lambda _: pd.DataFrame(ROWS).astype({"name": "category"}),
    "table": lambda _: read_table(TABLE),
    "list of dicts": lambda _: ROWS,
    "list of one path": lambda path: [parquet(path)],
}
each_form = pytest.mark.parametrize("form", FORMS)
# JSON has no dates, and a date in a polars or pandas frame is one in Arrow.
SAME = {"json lines": TABLE.set_column(4, "day", TABLE["day"].cast(pa.timestamp("s")))}

SCHEMA = Schema.from_plain(
    {
        "columns": {
            "id": {"type": "int", "unique": True, "range": {"max": 490}},
            "price": {"type": "float", "range": {"min": 1}, "presence": {"min_fraction": 0.5}},
            "name": {"type": "string", "values": ["n0", "n1", "n2", "n3"], "length": {"max": 1}},
            "fine": "bool",
        },
        "rules": [{"expect": "price < 100 or fine"}, {"expect": "length(name) + id < 480"}],
        "dataset": {"severity": {"new_column": "warning"}},
    }
)


def told(report):
    return [(anomaly.column, anomaly.reason, anomaly.severity, anomaly.seen) for anomaly in report]


@each_form
def test_equal_statistics(form, tmp_path):
    expected = statistics(SAME.get(form, TABLE))
    assert statistics(FORMS[form](tmp_path)).payload() == expected.payload()


@each_form
def test_equal_schemas(form, tmp_path):
    expected = infer_schema(SAME.get(form, TABLE), key="id")
    assert infer_schema(FORMS[form](tmp_path), key="id").annotated() == expected.annotated()


@each_form
def test_equal_reports(form, tmp_path):
    found, expected = SCHEMA.check(FORMS[form](tmp_path)), SCHEMA.check(TABLE)
    assert {reason for _, reason, *_ in told(expected)} == {
        *("out_of_range_low", "out_of_range_high", "missing_value", "unexpected_value", "too_long"),
        *("new_column", "rule_broken"),
    }
    new = (anomaly for anomaly in told(found) if anomaly[1] == "new_column")
    assert [column for column, *_ in new] == ["day"]
    assert [one for one in told(found) if one[1] != "new_column"] == [
        one for one in told(expected) if one[1] != "new_column"
    ]


@each_form
def test_rows_are_named_as_the_read_table_names_them(form, tmp_path):
    data = FORMS[form](tmp_path)
    ids = read_table(FORMS[form](tmp_path)).row_ids
    named = [name for chunk in chunks(data) for name in chunk.place.names(range(chunk.batch.num_rows))]
    assert named == ids
    assert all("row_id" not in chunk.batch.schema.names for chunk in chunks(FORMS[form](tmp_path)))


def test_text_files_and_lists_come_in_chunks_of_a_fixed_size(tmp_path):
    rows = [{"x": at} for at in range(CHUNK_ROWS + 3)]
    assert [chunk.batch.num_rows for chunk in chunks(rows)] == [CHUNK_ROWS, 3]
    assert [chunk.place.start for chunk in chunks(rows)] == [0, CHUNK_ROWS]


def test_parquet_comes_by_row_group_and_files_one_after_the_other(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=200)
    pq.write_table(TABLE.slice(0, 50), tmp_path / "b.parquet")
    found = list(chunks([tmp_path / "a.parquet", tmp_path / "b.parquet"]))
    assert [(chunk.place.start, chunk.batch.num_rows) for chunk in found] == [
        (0, 200),
        (200, 200),
        (400, 100),
        (500, 50),
    ]
    assert found[3].place.names([0]) == [read_table(tmp_path / "b.parquet").row_ids[0]]


def test_the_same_file_twice_is_twice_the_rows(tmp_path):
    path = parquet(tmp_path)
    both = statistics([path, path])
    assert both.rows == 1000
    assert both["name"].top(1) == [("n1", 2 * dict(statistics(path)["name"].top())["n1"])]


def test_files_of_one_list_may_hold_numbers_of_other_widths(tmp_path):
    pq.write_table(pa.table({"x": pa.array([1, 2], pa.int8()), "s": ["a", "b"]}), tmp_path / "a.parquet")
    wide = {"x": pa.array([2, 3], pa.uint64()), "s": pa.array(["b", "c"], pa.large_string())}
    pq.write_table(pa.table(wide), tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    assert (statistics(files)["x"].distinct, statistics(files)["s"].distinct) == (3, 3)
    schema = Schema.from_plain(
        {"columns": {"x": {"type": "int", "unique": True}, "s": {"type": "string", "unique": True}}}
    )
    report = schema.check(files)
    assert [(a.column, a.reason, a.seen["rows"]) for a in report] == [
        ("x", "duplicate_value", 1),
        ("s", "duplicate_value", 1),
    ]


def test_integers_past_float_precision_are_told_apart_across_files(tmp_path):
    pq.write_table(pa.table({"x": pa.array([2**53, 2**53 + 1], pa.int64())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([2**53 + 2, 2**64 - 1], pa.uint64())}), tmp_path / "b.parquet")
    schema = Schema.from_plain({"columns": {"x": {"type": "int", "unique": True, "distinct": {"min": 4}}}})
    assert list(schema.check([tmp_path / "a.parquet", tmp_path / "b.parquet"])) == []


@pytest.mark.parametrize(
    ("kind", "units"),
    [("time", (pa.time32("s"), pa.time64("ns"))), ("duration", (pa.duration("s"), pa.duration("us")))],
)
def test_times_in_other_units_are_the_same_times(kind, units, tmp_path):
    for name, unit in zip("ab", units, strict=True):
        values = [dt.time(1), dt.time(2)] if kind == "time" else [dt.timedelta(1), dt.timedelta(2)]
        pq.write_table(pa.table({"x": pa.array(values, unit)}), tmp_path / f"{name}.parquet")
    schema = Schema.from_plain({"columns": {"x": {"type": kind, "unique": True}}})
    [anomaly] = schema.check([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert (anomaly.reason, anomaly.seen["rows"]) == ("duplicate_value", 2)


def test_a_parquet_file_is_digested_only_to_name_a_row(tmp_path, monkeypatch):
    from lineshaft.verify import stream

    digested = []
    monkeypatch.setattr(stream, "file_digest", lambda path: digested.append(path) or "0" * 64)
    path = parquet(tmp_path)
    Schema.from_plain({"columns": {}, "dataset": {"severity": "warning"}}).check(path)
    statistics(path)
    assert digested == []
    plain = {"columns": {"id": {"type": "int", "range": {"max": 498}}}, "dataset": {"severity": "warning"}}
    [anomaly] = Schema.from_plain(plain).check(path).errors
    assert anomaly.examples == ("0000000000000000:499",)
    assert digested == [path]


texts = st.none() | st.sampled_from(["", "a", "b", "1", "-2", "2.5", "é", "x" * 300]) | st.text(max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, max_size=30), st.data())
def test_texts_in_a_dictionary_are_the_same_texts(values, data):
    """Dictionaries spare work and change nothing, whatever their order and whatever unused words they hold."""
    plain = pa.array(values, pa.string())
    words = data.draw(st.permutations(sorted({value for value in values if value is not None} | {"unused"})))
    codes = [None if value is None else words.index(value) for value in values]
    encoded = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array(words, pa.string()))
    assert statistics(pa.table({"x": encoded})).payload() == statistics(pa.table({"x": plain})).payload()
    column = data.draw(st.sampled_from(TEXT_COLUMNS))
    schema = Schema.from_plain({"columns": {"x": column}, "rules": [{"expect": "length(x) != 1"}]})
    ids = [str(at) for at in range(len(values))]
    reports = [schema.check(pa.table({"row_id": ids, "x": array})).payload() for array in (plain, encoded)]
    assert reports[0] == reports[1]


TEXT_COLUMNS = [
    {"type": "string", "values": ["a", "b"], "presence": "optional"},
    {"type": "string", "values": ["a"], "min_mass": 0.5},
    {"type": "string", "bool": {"true": "1"}},
    {"type": "string", "parses": "int", "range": {"min": 0}},
    {"type": "string", "parses": "float", "unique": True},
    {"type": "string", "length": {"min": 1, "max": 2}, "pattern": "[a-z]*", "distinct": {"max": 2}},
    {"type": "string", "unique": True, "presence": {"min_fraction": 0.9}},
]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.floats(width=32) | st.integers(-5, 5).map(float), max_size=20))
def test_numpy_and_arrow_agree_on_what_is_missing(values):
    table = pa.table({"x": pa.array(values, pa.float64())})
    x = statistics(table)["x"]
    assert x.missing == sum(value is None for value in values)
    assert x.nan == sum(value is not None and math.isnan(value) for value in values)
    finite = np.array([value for value in values if value is not None and math.isfinite(value)])
    assert x.finite == len(finite) == sum(x.heavy.counts.values())
    if len(finite):
        assert (x.min, x.max, x.distinct) == (finite.min(), finite.max(), len(set(finite.tolist())))

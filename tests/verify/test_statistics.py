"""Statistics as people ask for them, on every type and on hostile data."""

import datetime as dt
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lineshaft.core.table import read_table
from lineshaft.errors import DataError, UsageError
from lineshaft.verify.statistics import sample as sample_module
from lineshaft.verify.statistics.hashing import HASH_VERSION
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.statistics.summary import Statistics


def of(values, kind=None):
    return statistics(pa.table({"x": pa.array(values, kind)}))["x"]


def test_numbers():
    x = of([3.0, 0.0, None, 1.0, 0.0])
    assert (x.type, x.rows, x.count, x.missing, x.zeros) == ("float", 5, 4, 1, 2)
    assert (x.mean, x.min, x.max, x.distinct) == (1.0, 0.0, 3.0, 3)
    assert x.std == pytest.approx(np.std([3, 0, 1, 0]))
    assert x.top(1) == [(0.0, 2)]


def test_null_nan_and_infinities_are_told_apart():
    x = of([None, math.nan, math.nan, math.inf, -math.inf, 2.0, 4.0])
    assert (x.count, x.missing, x.nan, x.posinf, x.neginf) == (6, 1, 2, 1, 1)
    assert (x.mean, x.min, x.max, x.distinct, x.quantile(0.5)) == (3.0, 2.0, 4.0, 2, 2.0)


def test_a_column_of_nan_alone_has_no_moments():
    x = of([math.nan] * 3)
    assert (x.count, x.nan, x.mean, x.std, x.min, x.quantile(0.5), x.distinct) == (3, 3, None, None, None, None, 0)


def test_integers_beyond_float_precision_stay_exact():
    x = of([2**53 + 1, 2**62 + 1, -(2**62) - 1])
    assert (x.min, x.max, x.quantile(0.5), x.distinct) == (-(2**62) - 1, 2**62 + 1, 2**53 + 1, 3)


def test_the_top_of_uint64():
    x = of([2**64 - 1, 1], pa.uint64())
    assert (x.type, x.max, x.min, x.distinct) == ("int", 2**64 - 1, 1, 2)


def test_texts():
    x = of(["a", "bb", "", None, "bb", "é"])
    assert (x.type, x.count, x.distinct, x.mean, x.min) == ("string", 5, 4, None, None)
    assert (x.length.min, x.length.max, x.length.total) == (0, 2, 6)
    assert x.top(1) == [("bb", 2)]


def test_texts_of_ten_thousand_characters():
    x = of(["y" * 10_000, "y" * 9_999 + "z", "short"])
    assert (x.distinct, x.length.max) == (3, 10_000)
    assert len(json.dumps(x.payload())) < 5_000


def test_text_that_is_not_utf8_is_counted_and_shown_escaped():
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 2, 3], np.int32)), pa.py_buffer(b"\xff\xfea"))
    x = statistics(pa.table({"x": bad}))["x"]
    assert x.invalid_utf8 == 1
    assert dict(x.top()) == {"\\xff\\xfe": 1, "a": 1}


def test_texts_that_read_as_numbers_are_counted():
    leaf = of(["12", "-3", "1.5", "1e3", "9223372036854775808", "abc", "1_0", "12"])
    assert leaf.ints == 3
    assert leaf.floats == 6


def test_bools():
    x = of([True, False, True, None])
    assert (x.type, x.mean, x.min, x.max, x.top(1)) == ("bool", pytest.approx(2 / 3), False, True, [(True, 2)])


def test_dates_and_datetimes():
    days = of([dt.date(2020, 2, 29), dt.date(1969, 12, 31), None])
    assert (days.type, days.min, days.max) == ("date", dt.date(1969, 12, 31), dt.date(2020, 2, 29))
    moments = of([dt.datetime(2020, 1, 1, 12), dt.datetime(2021, 1, 1)])
    assert (moments.type, moments.min) == ("datetime", dt.datetime(2020, 1, 1, 12))
    assert moments.quantile(1) == dt.datetime(2021, 1, 1)
    assert moments.top(1)[0][1] == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_one_moment_in_every_unit(unit):
    x = of([dt.datetime(2001, 2, 3, 4, 5, 6)], pa.timestamp(unit))
    assert x.min == dt.datetime(2001, 2, 3, 4, 5, 6)


def test_a_moment_past_the_calendar_is_iso_text():
    x = statistics(pa.table({"x": pa.array([2**60], pa.timestamp("s"))}))["x"]
    assert isinstance(x.max, str)
    assert x.max.startswith("29")


def test_date64_is_a_date():
    assert of([dt.date(2020, 1, 2)], pa.date64()).min == dt.date(2020, 1, 2)


def test_decimals_are_floats():
    x = of([Decimal("1.5"), Decimal("2.5")])
    assert (x.type, x.mean) == ("float", 2.0)


def test_bytes_have_lengths_and_distinct_values_only():
    x = of([b"\xff", b"ab", b"ab"])
    assert (x.type, x.distinct, x.length.max, x.top()) == ("bytes", 2, 2, [])


def test_structs_times_and_durations_have_presence_only():
    for values, kind in (
        ([{"a": 1}, None], "struct"),
        ([dt.time(1), None], "time"),
        ([dt.timedelta(1), None], "duration"),
    ):
        x = of(values)
        assert (x.type, x.count, x.missing, x.distinct) == (kind, 1, 1, 0)


def test_lists_have_valency_and_statistics_of_their_elements():
    x = of([[1, 2, None], [], None, [7]])
    assert (x.type, x.count, x.missing) == ("list<int>", 3, 1)
    assert (x.valency.min, x.valency.max, x.valency.total) == (0, 3, 4)
    assert (x.values, x.null_elements, x.max, x.distinct) == (3, 1, 7, 3)


@pytest.mark.parametrize(
    "kind", [pa.large_list(pa.int64()), pa.list_view(pa.int64()), pa.list_(pa.int64(), 2)], ids=str
)
def test_lists_of_every_kind(kind):
    x = of([[1, 2], None, [3, 4]], kind)
    assert (x.type, x.missing, x.mean, x.valency.max) == ("list<int>", 1, 2.5, 2)


def test_lists_of_lists_keep_every_level():
    x = of([[[1], [2, 3]], [], None])
    assert x.type == "list<list<int>>"
    assert [(level.n, level.max) for level in x.levels] == [(2, 2), (2, 2)]


def test_dictionary_columns_have_the_type_of_their_values():
    x = of(["a", "b", "a", None], pa.dictionary(pa.int8(), pa.string()))
    assert (x.type, x.distinct, x.missing, x.top(1)) == ("string", 2, 1, [("a", 2)])


def test_a_column_of_nulls():
    for kind in (pa.null(), pa.float64(), pa.string(), pa.list_(pa.int64())):
        x = of([None, None], kind)
        assert (x.count, x.missing, x.distinct, x.mean, x.top()) == (0, 2, 0, None, [])
        str(x)


def test_no_rows_and_no_columns():
    empty = statistics(pa.table({"x": pa.array([], pa.int64())}))
    assert (empty.rows, empty.columns, empty["x"].type, empty["x"].count) == (0, ["x"], "int", 0)
    nothing = statistics(pa.table({}))
    assert (nothing.rows, nothing.columns) == (0, [])
    assert str(nothing)
    assert nothing._repr_html_()


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="'a'"):
        statistics(table)
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="'a'"):
        statistics(tmp_path / "t.csv")


@pytest.mark.parametrize("q", [0, 0.1, 0.25, 0.5, 0.9, 1])
def test_quantiles_of_a_small_column_are_exact(q):
    values = list(np.random.default_rng(1).permutation(999))
    assert of(values).quantile(q) == sorted(values)[max(math.ceil(q * 999) - 1, 0)]


def test_quantiles_of_a_large_column_are_near_in_rank():
    values = np.random.default_rng(2).lognormal(size=200_000)
    table = pa.Table.from_batches(pa.table({"x": values}).to_batches(max_chunksize=30_000))
    x = statistics(table)["x"]
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        rank = (values <= x.quantile(q)).mean()
        assert abs(rank - q) < 5 * math.sqrt(q * (1 - q) / sample_module.K)


def test_every_chunk_has_its_share_of_the_sample():
    parts = [pa.record_batch({"x": np.full(n, float(at))}) for at, n in enumerate((60_000, 20_000, 20_000))]
    values = statistics(pa.Table.from_batches(parts))["x"].finite_sample()
    shares = [(values == at).mean() for at in range(3)]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_of_no_share_is_refused(q):
    with pytest.raises(UsageError, match="from 0 to 1"):
        of([1]).quantile(q)


def test_quantiles_of_texts_and_lists_are_refused():
    for values in (["a"], [[1]]):
        with pytest.raises(UsageError, match="quantiles are kept for"):
            of(values).quantile(0.5)


def test_a_column_that_is_not_there():
    with pytest.raises(DataError, match="no column 'z'; there are x"):
        statistics([{"x": 1}])["z"]


def test_every_way_in_gives_the_same_statistics(tmp_path):
    rows = [{"n": at % 7, "t": f"v{at % 3}"} for at in range(100)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "t.parquet")
    expected = statistics(table).payload()
    for data in (rows, table, pl.DataFrame(rows), pd.DataFrame(rows), tmp_path / "t.parquet", read_table(table)):
        assert statistics(data).payload() == expected
    assert statistics(statistics(rows)).payload() == expected


def test_several_files_are_one_set_of_rows(tmp_path):
    table = pa.table({"x": np.arange(1000)})
    pq.write_table(table.slice(0, 400), tmp_path / "a.parquet")
    pq.write_table(table.slice(400), tmp_path / "b.parquet")
    both = statistics([tmp_path / "a.parquet", str(tmp_path / "b.parquet")])
    a, b = statistics(tmp_path / "a.parquet"), statistics(tmp_path / "b.parquet")
    assert both.payload() == a.merge(b).payload()
    assert both.rows == 1000


def test_a_broken_file_is_a_data_error(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(DataError, match=r"x.parquet is not a readable Parquet file"):
        statistics(tmp_path / "x.parquet")


def test_an_empty_parquet_file_keeps_its_columns(tmp_path):
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "e.parquet")
    assert statistics(tmp_path / "e.parquet").columns == ["x"]


def test_the_payload_is_json_and_comes_back():
    stats = statistics(
        pa.table(
            {
                "f": [1.5, math.inf, math.nan, None],
                "s": ["a", "b", None, "a"],
                "l": [[1], [], None, [2, 3]],
                "d": [dt.date(2020, 1, 1), None, None, None],
            }
        )
    )
    text = json.dumps(stats.payload(), allow_nan=False)
    back = Statistics.from_payload(json.loads(text))
    assert json.dumps(back.payload(), allow_nan=False) == text
    assert back["f"].quantile(0.5) == 1.5
    assert back["d"].min == dt.date(2020, 1, 1)


def test_a_payload_of_another_hash_is_refused():
    payload = statistics([{"x": 1}]).payload()
    assert payload["hash"] == HASH_VERSION
    with pytest.raises(DataError, match="hash version"):
        Statistics.from_payload({**payload, "hash": 99})


def test_the_table_counts_what_is_missing():
    text = str(statistics(pa.table({"x": [1] * 999 + [None], "y": range(1000)})))
    assert "1 (0.1%)" in text
    assert text.splitlines()[0] == "1,000 rows"


def test_the_table_names_every_column_and_escapes_html():
    stats = statistics([{"<b>": "<script>", "n": 1}])
    assert "<b>" in str(stats)
    assert "<script>" not in stats._repr_html_()
    assert "&lt;script&gt;" in stats._repr_html_()
    assert "n" in str(stats["n"])
    assert repr(stats) == "Statistics(1 rows, 2 columns)"
    assert ("n" in stats, "z" in stats, len(stats)) == (True, False, 2)

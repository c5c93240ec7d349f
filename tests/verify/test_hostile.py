"""Every Arrow type there is, and data made to break things: each is told apart, checked, or refused with its name."""

import datetime as dt
import json
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lineshaft.core.table import Table
from lineshaft.errors import DataError, SchemaError
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.statistics.summary import Statistics

NAN, INF = math.nan, math.inf


def texts_of(raw, offsets):
    """Make strings of bytes that Arrow does not look at."""
    buffers = pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(raw)
    return pa.StringArray.from_buffers(len(offsets) - 1, *buffers)


def words(indices, dictionary, kind=None):
    return pa.DictionaryArray.from_arrays(pa.array(indices, kind or pa.int32()), dictionary)


def extension(kind, values, stored):
    return pa.ExtensionArray.from_storage(kind, pa.array(values, stored))


# name: array of three rows, the type it is, rows without a value, different values
ARRAYS = {
    "int8": (pa.array([1, None, 3], pa.int8()), "int", 1, 2),
    "uint64 at its top": (pa.array([2**64 - 1, 2**63, 0], pa.uint64()), "int", 0, 3),
    "int64 at its ends": (pa.array([2**63 - 1, -(2**63), None]), "int", 1, 2),
    "integers beyond 2**53": (pa.array([2**53, 2**53 + 1, 2**53 + 2]), "int", 0, 3),
    "half floats": (pa.array(np.array([1, 2, 2.5], np.float16)), "float", 0, 3),
    "float32": (pa.array([0.1, 0.1, None], pa.float32()), "float", 1, 1),
    "NaN alone": (pa.array([NAN, NAN, NAN]), "float", 0, 0),
    "infinities": (pa.array([INF, -INF, 1.0]), "float", 0, 1),
    "the least floats": (pa.array([5e-324, -5e-324, 0.0]), "float", 0, 3),
    "the greatest floats": (pa.array([1.7e308, -1.7e308, None]), "float", 1, 2),
    "both zeros": (pa.array([0.0, -0.0, 1.0]), "float", 0, 2),
    "decimals": (pa.array([Decimal("1.5"), None, Decimal("2.25")], pa.decimal128(30, 2)), "float", 1, 2),
    "decimals of 76 digits": (pa.array([Decimal(10) ** 60, None, Decimal(1)], pa.decimal256(76, 2)), "float", 1, 2),
    "bool": (pa.array([True, None, False]), "bool", 1, 2),
    "strings": (pa.array(["a", None, ""]), "string", 1, 2),
    "large strings": (pa.array(["a", None, "a"], pa.large_string()), "string", 1, 1),
    "string views": (pa.array(["a", None, "b" * 50], pa.string_view()), "string", 1, 2),
    "strings with nul and emoji": (pa.array(["\0", "\U0001f600", "a\0b"]), "string", 0, 3),
    "strings of 10,000 characters": (pa.array(["x" * 10_000, "x" * 9_999 + "y", "x" * 10_000]), "string", 0, 2),
    "strings that are not UTF-8": (texts_of(b"a\xff\xfeb", [0, 1, 3, 4]), "string", 0, 3),
    "binary": (pa.array([b"\xff", None, b""]), "bytes", 1, 2),
    "large binary": (pa.array([b"a", b"a", None], pa.large_binary()), "bytes", 1, 1),
    "binary views": (pa.array([b"a", None, b"c" * 50], pa.binary_view()), "bytes", 1, 2),
    "bytes of fixed size": (pa.array([b"ab", None, b"cd"], pa.binary(2)), "bytes", 1, 2),
    "date32": (pa.array([dt.date(1960, 1, 1), None, dt.date(2960, 1, 1)]), "date", 1, 2),
    "date64": (pa.array([dt.date(1960, 1, 1), None, dt.date(1960, 1, 1)], pa.date64()), "date", 1, 1),
    "timestamps with a zone": (
        pa.array([dt.datetime(2020, 1, 1), None, dt.datetime(2021, 1, 1)], pa.timestamp("ns", "Asia/Tokyo")),
        "datetime",
        1,
        2,
    ),
    "timestamps past the calendar": (pa.array([2**60, None, -(2**60)], pa.timestamp("s")), "datetime", 1, 2),
    "times": (pa.array([dt.time(1), None, dt.time(2)]), "time", 1, 0),
    "durations": (pa.array([dt.timedelta(1), None, dt.timedelta(2)]), "duration", 1, 0),
    "structs": (pa.array([{"a": 1}, None, {"a": None}]), "struct", 1, 0),
    "maps": (pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int8())), "struct", 1, 0),
    "lists": (pa.array([[1, None], None, []]), "list<int>", 1, 1),
    "lists of lists": (pa.array([[["a"], None], None, [[]]]), "list<list<string>>", 1, 1),
    "lists of string views": (pa.array([["a"], None, ["b", None]], pa.list_(pa.string_view())), "list<string>", 1, 2),
    "lists of dictionaries": (
        pa.array([["a"], None, ["b", None]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        "list<string>",
        1,
        2,
    ),
    "lists of structs": (pa.array([[{"a": 1}, None], None, []]), "list<struct>", 1, 0),
    "lists of nulls": (pa.array([[None], None, []]), "list<null>", 1, 0),
    "lists of fixed size": (pa.array([[1, 2], None, [3, None]], pa.list_(pa.int64(), 2)), "list<int>", 1, 3),
    "list views": (pa.array([[1], None, []], pa.list_view(pa.int8())), "list<int>", 1, 1),
    "large list views": (pa.array([[1], None, []], pa.large_list_view(pa.int8())), "list<int>", 1, 1),
    "a dictionary of integers": (words([0, 1, None], pa.array([5, 6])), "int", 1, 2),
    "a dictionary with a null in it": (words([0, 1, None], pa.array(["a", None])), "string", 2, 1),
    "a dictionary that lists a word twice": (words([0, 1, 1], pa.array(["a", "a"])), "string", 0, 1),
    "a dictionary with words that are not used": (
        words([0, 1, 1], pa.array(["a", "b", *map(str, range(50))])),
        "string",
        0,
        2,
    ),
    "a dictionary of views": (words([0, 1, None], pa.array(["a", "b"], pa.string_view())), "string", 1, 2),
    "a dictionary with unsigned indices": (words([0, 1, 1], pa.array(["a", "b"]), pa.uint64()), "string", 0, 2),
    "a dictionary of bytes": (words([0, 1, None], pa.array([b"a", b"\xff"])), "bytes", 1, 2),
    "a dictionary of what is not UTF-8": (words([0, 1, None], texts_of(b"a\xff", [0, 1, 2])), "string", 1, 2),
    "uuids": (pa.array([b"0" * 16, None, b"1" * 16], pa.uuid()), "bytes", 1, 2),
    "tensors": (extension(pa.fixed_shape_tensor(pa.int8(), [2]), [[1, 2], [3, 4], None], pa.list_(pa.int8(), 2)), "list<int>", 1, 4),
    "json": (extension(pa.json_(), ["{}", "1", None], pa.string()), "string", 1, 2),
    "nulls": (pa.nulls(3), "null", 3, 0),
    "nulls of a type": (pa.nulls(3, pa.float64()), "float", 3, 0),
    "null lists": (pa.nulls(3, pa.list_(pa.int64())), "list<int>", 3, 0),
}  # fmt: skip
UNDECLARABLE = {
    "intervals": pa.array([(1, 2, 3), None, (1, 1, 1)], pa.month_day_nano_interval()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
    "unions": pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a"])]
    ),
}
each_array = pytest.mark.parametrize("name", ARRAYS)
each_undeclarable = pytest.mark.parametrize("name", UNDECLARABLE)


def table_of(array):
    return pa.table({"row_id": ["a", "b", "c"], "x": array})


def bare(array):
    """Make a table without names of rows: such columns are not copied and keep their dictionaries."""
    return pa.table({"x": array})


@each_array
def test_every_type_is_told_and_counted(name):
    array, kind, missing, distinct = ARRAYS[name]
    for table in (table_of(array), bare(array)):
        x = statistics(table)["x"]
        assert (x.type, x.rows, x.missing, x.distinct) == (kind, 3, missing, distinct)
        assert x.name in str(x)
    assert statistics(table_of(array)).payload() == statistics(bare(array)).payload()


@each_array
def test_statistics_of_every_type_come_back_from_json(name):
    stats = statistics(table_of(ARRAYS[name][0]))
    text = json.dumps(stats.payload(), allow_nan=False)
    assert json.dumps(Statistics.from_payload(json.loads(text)).payload()) == text


@each_array
def test_statistics_of_every_type_do_not_depend_on_the_cut(name):
    table = table_of(ARRAYS[name][0])
    whole, first, rest = (statistics(part)["x"] for part in (table, table.slice(0, 1), table.slice(1)))
    merged = first.merge(rest)
    assert (merged.type, merged.missing, merged.distinct) == (whole.type, whole.missing, whole.distinct)
    assert (merged.low, merged.high, merged.heavy, merged.length) == (whole.low, whole.high, whole.heavy, whole.length)


@each_array
def test_every_type_passes_the_schema_that_is_inferred_from_it(name):
    array, kind, *_ = ARRAYS[name]
    schema = infer_schema(table_of(array))
    assert schema["x"].type == kind.replace("null", "string")
    expected = ["invalid_utf8"] if "UTF-8" in name else []
    report = schema.check(table_of(array))
    assert [anomaly.reason for anomaly in report] == expected
    assert Schema.parse(schema.annotated()) == schema


@each_array
def test_every_type_is_told_from_another(name):
    array, kind, missing, _ = ARRAYS[name]
    declared = "string" if kind.startswith(("list", "struct", "bool")) else "list<date>"
    reasons = [anomaly.reason for anomaly in Schema.from_plain({"columns": {"x": declared}}).check(table_of(array))]
    assert reasons == (["missing_value"] if missing == 3 else ["type_changed"])


# Arrow cannot take rows of views; read_table writes them out.
@pytest.mark.parametrize("name", [name for name in ARRAYS if "views" not in name or "list views" in name])
def test_a_column_of_every_type_can_be_set_aside_with_its_rows(name):
    array = ARRAYS[name][0]
    arrow = table_of(array).append_column("ok", pa.array([1, 2, 3]))
    said = {"x": {"type": infer_schema(arrow)["x"].type, "presence": "optional", "nan": True, "inf": True}}
    if not said["x"]["type"].endswith("float"):
        said["x"] = {key: said["x"][key] for key in ("type", "presence")}
    if "list" in said["x"]["type"]:
        said["x"]["null_elements"] = True
    schema = Schema.from_plain({"columns": {**said, "ok": {"type": "int", "range": {"max": 2}}}})
    checked = schema.quarantine(Table(arrow))
    assert "c" in checked.rejected.row_ids
    assert sorted(checked.good.row_ids + checked.rejected.row_ids) == ["a", "b", "c"]
    assert checked.rejected.arrow.schema.field("x").type == array.type


@each_undeclarable
def test_other_types_are_counted_and_cannot_be_declared(name):
    array = UNDECLARABLE[name]
    assert (statistics(table_of(array))["x"].rows, statistics(table_of(array))["x"].distinct) == (3, 0)
    with pytest.raises(SchemaError, match=r"column 'x' is .*which no schema can declare; cast it to another type"):
        infer_schema(table_of(array))


@each_undeclarable
def test_other_types_are_reported_by_a_check(name):
    table = table_of(UNDECLARABLE[name])
    [new] = Schema.from_plain({"columns": {}}).check(table)
    assert (new.reason, dict(new.fix)) == ("new_column", {})
    [changed] = Schema.from_plain({"columns": {"x": "int"}}).check(table)
    assert (changed.reason, changed.seen["declared"]) == ("type_changed", "int")


def test_rows_that_cannot_be_stored_are_named_by_their_number():
    far = pa.table({"x": pa.array([0, 2**60], pa.timestamp("s"))})
    column = {"type": "datetime", "range": {"max": dt.datetime(2020, 1, 1)}}
    [anomaly] = Schema.from_plain({"columns": {"x": column}}).check(far)
    assert (anomaly.reason, anomaly.examples) == ("out_of_range_high", ("row 1",))
    assert anomaly.seen["max"].startswith("29")


@pytest.mark.parametrize(
    "table", [pa.table({}), pa.table({"x": pa.array([], pa.int64())})], ids=["no columns", "no rows"]
)
def test_nothing_at_all(table):
    stats = statistics(table)
    assert stats.rows == 0
    assert Statistics.from_payload(stats.payload()).payload() == stats.payload()
    assert stats.merge(stats).payload() == stats.payload()
    schema = Schema.from_plain({"columns": dict.fromkeys(table.column_names, "int")})
    assert [anomaly.reason for anomaly in schema.check(table)] == ["data_missing"]


def test_rows_without_columns_are_lost_by_arrow_and_so_no_rows():
    table = pa.table({"x": [1, 2]}).select([])
    assert [anomaly.reason for anomaly in Schema().check(table)] == (["data_missing"] if table.num_rows == 0 else [])


def test_chunks_without_rows_between_others_change_nothing():
    chunk = pa.record_batch({"x": [1, 2], "s": ["a", None]})
    empty = chunk.slice(0, 0)
    with_gaps = pa.Table.from_batches([empty, chunk, empty, chunk, empty])
    without = pa.Table.from_batches([chunk, chunk])
    assert statistics(with_gaps).payload() == statistics(without).payload()
    schema = Schema.from_plain({"columns": {"x": {"type": "int", "unique": True}, "s": "string"}})
    found, expected = schema.check(with_gaps), schema.check(without)
    assert [(a.reason, a.seen) for a in found] == [(a.reason, a.seen) for a in expected]


def test_two_columns_of_one_name_are_refused_wherever_they_come_from(tmp_path):
    table = pa.table([pa.array([1]), pa.array(["a"])], names=["a", "a"])
    schema = Schema.from_plain({"columns": {"a": "int"}})
    pq.write_table(table, tmp_path / "t.parquet")
    for data in (table, tmp_path / "t.parquet"):
        for ask in (statistics, infer_schema, schema.check):
            with pytest.raises(DataError, match="column 'a' stands 2 times"):
                ask(data)


@pytest.mark.parametrize(
    "rows",
    [[{"x": 2**80}], [{"x": dt.date(2020, 1, 1)}, {"x": NAN}], [{"x": 1}, {"x": "a"}], [{"x": "\ud800"}], [{"x": object()}], [{1: 2}]],
    ids=lambda rows: str(rows).partition(" object at")[0],
)  # fmt: skip
def test_rows_that_fit_no_column_are_a_data_error(rows):
    for ask in (statistics, Schema.from_plain({"columns": {"x": "int"}}).check):
        with pytest.raises(DataError, match="the rows do not fit together"):
            ask(rows)


def test_a_frame_whose_column_is_of_two_kinds_is_a_data_error():
    import pandas as pd

    with pytest.raises(DataError, match="the rows do not fit together"):
        statistics(pd.DataFrame({"x": [1, "a", {}]}))


def test_a_thousand_columns():
    table = pa.table({f"c{at}": [at, at + 1] for at in range(1000)})
    schema = infer_schema(table)
    assert len(statistics(table)) == len(schema.columns) == 1000
    assert list(schema.check(table)) == []


def test_column_names_that_toml_must_quote():
    names = ["", " ", "a.b", 'say "x"', "naïve", "type", "[columns]", "a\nb"]
    table = pa.table({name: [1, 2] for name in names})
    schema = infer_schema(table)
    assert Schema.parse(schema.annotated()).names == names
    assert list(Schema.parse(schema.text()).check(table)) == []


def test_a_slice_of_every_type_is_read_from_its_own_start():
    for name, (array, *_) in ARRAYS.items():
        part, copy = array.slice(1), pa.concat_arrays([array.slice(1), array.slice(0, 0)])
        a, b = (statistics(pa.table({"x": one}))["x"] for one in (part, copy))
        assert (a.type, a.missing, a.distinct, a.top(5)) == (b.type, b.missing, b.distinct, b.top(5)), name

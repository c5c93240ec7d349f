"""Types, parsing and flattening: the ground that statistics and checks stand on."""

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core.table import read_table
from lineshaft.errors import DataError
from lineshaft.verify.arrays import (
    codes,
    compact,
    leaves,
    mask_of,
    number_of,
    numbers,
    plain,
    texts,
    utf8_mask,
    value_of,
)
from lineshaft.verify.plainform import suggestion
from lineshaft.verify.stream import chunks
from lineshaft.verify.types import (
    SCALARS,
    admits,
    arrow_of,
    is_declarable,
    leaf_type,
    parse_float,
    parse_int,
    type_of_arrow,
    type_of_value,
)


@pytest.mark.parametrize("declared", [*SCALARS, "list<int>", "list<list<string>>", "list<struct>"])
def test_every_type_that_can_be_declared_has_an_arrow_type(declared):
    assert is_declarable(declared)
    assert type_of_arrow(arrow_of(declared)) == declared
    assert admits(declared, declared)
    assert admits(declared, "null")


@pytest.mark.parametrize(
    ("arrow", "name"),
    [
        (pa.uint8(), "int"),
        (pa.float16(), "float"),
        (pa.decimal128(5, 2), "float"),
        (pa.large_string(), "string"),
        (pa.dictionary(pa.int8(), pa.string()), "string"),
        (pa.dictionary(pa.int8(), pa.int64()), "int"),
        (pa.date64(), "date"),
        (pa.timestamp("ns", "Europe/Berlin"), "datetime"),
        (pa.time32("s"), "time"),
        (pa.binary(4), "bytes"),
        (pa.map_(pa.string(), pa.int64()), "struct"),
        (pa.list_(pa.float32(), 3), "list<float>"),
        (pa.large_list(pa.list_view(pa.bool_())), "list<list<bool>>"),
        (pa.null(), "null"),
        (pa.uuid(), "bytes"),
    ],
    ids=str,
)
def test_arrow_types_are_named(arrow, name):
    assert type_of_arrow(arrow) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "bool"),
        (2**64 - 1, "int"),
        (2**64, "int of more than 64 bits"),
        (-(2**63) - 1, "int of more than 64 bits"),
        (1.0, "float"),
        (np.float64(1), "float"),
        (Decimal(1), "float"),
        (Decimal("sNaN"), "decimal that is not finite"),
        (dt.datetime(2020, 1, 1), "datetime"),
        (dt.date(2020, 1, 1), "date"),
        ({}, "struct"),
        ((), "list"),
        (None, "null"),
        pytest.param(object(), "object", id="object"),
        ({1}, "set"),
    ],
    ids=repr,
)
def test_python_values_are_named(value, name):
    assert type_of_value(value) == name


def test_what_admits_what():
    assert admits("float", "int")
    assert admits("int", "float")
    assert admits("list<float>", "list<int>")
    assert not admits("int", "bool")
    assert not admits("string", "int")
    assert not admits("list<int>", "int")
    assert not admits("int", "list<null>")
    assert not admits("date", "datetime")


@pytest.mark.parametrize("declared", ["integer", "list<>", "list<int", "null", "list", "", "list<list>"])
def test_other_types_cannot_be_declared(declared):
    assert not is_declarable(declared)


def test_the_type_under_lists():
    assert leaf_type("list<list<int>>") == "int"
    assert leaf_type("date") == "date"


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_read_back_from_text(value):
    assert parse_int(str(value)) == value
    assert parse_int(f"+{abs(value)}") == (abs(value) if abs(value) < 2**63 else None)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_back_from_text(value):
    assert parse_float(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1_0", "0x10", "١", "1.0", "1e3", "--1", str(2**63), "9" * 400, "nan", "1\n"]
)
def test_what_is_not_an_integer(text):
    assert parse_int(text) is None


@pytest.mark.parametrize(
    "text", ["", ".", "e5", "1e", "nan", "inf", "-Infinity", "1e999", "1,5", "١.٥", " 1.5", "1.5\n", "1_0.0"]
)
def test_what_is_not_a_number(text):
    assert parse_float(text) is None


@given(st.text())
def test_parsing_never_raises(text):
    assert parse_int(text) is None or isinstance(parse_int(text), int)
    assert parse_float(text) is None or math.isfinite(parse_float(text))


nested = st.none() | st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=3)


@given(st.lists(nested, max_size=8), st.integers(0, 3))
def test_flattening_keeps_every_value_with_its_row(lists, front):
    array = pa.array(lists, pa.list_(pa.list_(pa.int64()))).slice(front)
    rows = array.to_pylist()
    flat = leaves(array)
    inner = [(at, part) for at, row in enumerate(rows) for part in row or []]
    values = [(at, value) for at, part in inner for value in part or []]
    assert flat.values.to_pylist() == [value for _, value in values if value is not None]
    assert flat.rows.tolist() == [at for at, value in values if value is not None]
    assert flat.missing_rows.tolist() == [at for at, row in enumerate(rows) if row is None]
    nulls = [at for at, part in inner if part is None] + [at for at, value in values if value is None]
    assert sorted(flat.null_rows.tolist()) == sorted(nulls)
    assert flat.lengths[0].tolist() == [len(row) for row in rows if row is not None]


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("a", pa.string_view())]),
        pa.map_(pa.string(), pa.int64()),
        pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))]),
    ],
    ids=str,
)
def test_of_structs_only_presence_is_kept(kind):
    values = [[("a", "x" if pa.types.is_struct(kind) else 1)], None, None, [("a", None)]]
    rows = [dict(value) if value and pa.types.is_struct(kind) else value for value in values]
    array = pa.array(rows, kind)
    for part, missing in ((array, [1, 2]), (array.slice(1), [0, 1]), (array.slice(2, 2), [0])):
        assert type_of_arrow(plain(part).type) == "struct"
        assert leaves(part).missing_rows.tolist() == missing


def test_extension_and_chunked_arrays_are_made_plain():
    array = pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()])
    assert plain(array).to_pylist() == ["a", "b", "a"]
    assert plain(pa.chunked_array([], pa.int64())).to_pylist() == []
    assert plain(pa.array([b"0" * 16], pa.uuid())).type == pa.binary(16)


moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


@given(st.lists(moments, min_size=1), st.sampled_from(["us", "ns"]))
def test_moments_are_one_number_in_arrays_and_alone(values, unit):
    array = pa.array(values, pa.timestamp(unit))
    assert numbers(array).tolist() == [number_of(value) for value in values]
    assert [value_of(number, "datetime") for number in numbers(array)] == values


@given(st.lists(st.dates(), min_size=1))
def test_days_are_one_number_in_arrays_and_alone(values):
    for kind in (pa.date32(), pa.date64()):
        assert numbers(pa.array(values, kind)).tolist() == [number_of(value) for value in values]
    assert [value_of(number_of(value), "date") for value in values] == values


def test_truth_is_one_number_in_arrays_and_alone():
    assert numbers(pa.array([True, False])).tolist() == [number_of(True), number_of(False)] == [1, 0]
    assert (value_of(1, "bool"), value_of("text", "string")) == (True, "text")


def test_a_moment_past_64_bits_of_microseconds_is_the_last_there_is():
    far = numbers(pa.array([2**62, -(2**62)], pa.timestamp("s"))).tolist()
    assert far[0] == -far[1] > 2**62


words = st.lists(st.none() | st.sampled_from(["", "a", "é", "bb"]), min_size=1, max_size=12)


@given(words, st.integers(0, 3))
def test_texts_keep_a_dictionary_that_is_no_larger_than_they_are(values, front):
    encoded = pa.array(values, pa.string()).dictionary_encode().slice(front)
    kept = compact(encoded)
    assert kept.to_pylist() == encoded.to_pylist() == plain(kept).to_pylist()
    assert pa.types.is_dictionary(kept.type) == (len(encoded.dictionary) <= len(encoded))


@given(words)
def test_a_test_of_single_values_says_the_same_over_a_dictionary(values):
    present = pa.array([value for value in values if value is not None], pa.string())

    def test(array):
        return np.array([len(value) < 2 for value in array.to_pylist()], dtype=bool)

    assert mask_of(test, present.dictionary_encode()).tolist() == mask_of(test, present).tolist()
    assert [present.dictionary_encode().dictionary[at].as_py() for at in codes(present.dictionary_encode())] == (
        present.to_pylist()
    )


def test_zones_are_brought_to_utc():
    zone = dt.timezone(dt.timedelta(hours=2))
    value = dt.datetime(2020, 1, 1, 2, tzinfo=zone)
    assert number_of(value) == number_of(dt.datetime(2020, 1, 1))
    assert numbers(pa.array([value], pa.timestamp("s", "Europe/Berlin"))).tolist() == [number_of(value)]


def test_utf8_is_looked_at():
    bad = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2, 4], np.int32)), pa.py_buffer(b"a\xff\xc3\xa9"))
    assert utf8_mask(bad).tolist() == [True, False, True]
    assert texts(bad) == ["a", "\\xff", "é"]


def test_chunks_are_named_as_the_read_table_names_them(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": range(25)}), path, row_group_size=10)
    named = [(chunk.place.start, chunk.place.names([0, chunk.batch.num_rows - 1])) for chunk in chunks(path)]
    ids = read_table(path).row_ids
    assert named == [(0, [ids[0], ids[9]]), (10, [ids[10], ids[19]]), (20, [ids[20], ids[24]])]


def test_a_parquet_file_with_its_own_row_ids_keeps_them(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"row_id": ["p", "q"], "x": [1, 2]}), path)
    [chunk] = chunks(path)
    assert (chunk.place.names([1]), chunk.batch.schema.names) == (["q"], ["x"])


def test_a_file_of_no_row_groups_is_one_chunk_without_rows(tmp_path):
    path = tmp_path / "x.parquet"
    pq.ParquetWriter(path, pa.schema({"x": pa.int64(), "s": pa.string()})).close()
    [chunk] = chunks(path)
    assert (chunk.batch.num_rows, chunk.batch.schema.names) == (0, ["x", "s"])


def test_what_cannot_be_read_is_a_data_error(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"no")
    for data in (tmp_path / "bad.parquet", tmp_path / "none.parquet", 3, [1, 2]):
        with pytest.raises(DataError):
            list(chunks(data))


def test_suggestions():
    assert suggestion("rnage", ["range", "values"]) == "; did you mean 'range'?"
    assert suggestion("zzz", ["b", "a"]) == "; known: a, b"
    assert suggestion("zzz", []) == ""

"""Raw rows of files: casting never changes a value's kind, and what does not fit costs its row alone."""

import datetime as dt
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import Linear

from lineshaft.core.table import read_table
from lineshaft.errors import DataError
from lineshaft.serve.conform import conform
from lineshaft.serve.model import Served
from lineshaft.serve.stream import LINE, Source


def source(*, text=False, key=()):
    return Source("rows.parquet", "f" * 64, key, text, lambda _skip: iter(()))


def one(values, target, *, text=False, raw_type=None):
    """Conform one column; returns what is kept and the numbers of the faulty rows."""
    raw = pa.table({"c": values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, raw_type)})
    rows = conform(raw, Served(Linear(reads=("c",)), {"c": target}), source(text=text), 0)
    assert rows.good.schema == pa.schema([("c", target)])
    return rows.good.column("c").to_pylist(), [fault.row for fault in rows.faults]


def lines(*rows):
    return pa.table(
        {LINE: pa.array([r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows], pa.binary())}
    )


@pytest.mark.parametrize(
    ("values", "raw_type", "target", "kept"),
    [
        ([1, None], pa.int8(), pa.int64(), [1, None]),
        ([1, 2], pa.int64(), pa.float32(), [1.0, 2.0]),
        ([0.5], pa.float32(), pa.float64(), [0.5]),
        (["a", None], pa.large_string(), pa.string(), ["a", None]),
        (["a"], pa.string(), pa.large_string(), ["a"]),
        ([dt.datetime(2024, 1, 2)], pa.timestamp("s"), pa.timestamp("us"), [dt.datetime(2024, 1, 2)]),
        ([True, None], pa.bool_(), pa.bool_(), [True, None]),
        ([[1.0, 2.0]], pa.list_(pa.float64()), pa.list_(pa.float32()), [[1.0, 2.0]]),
    ],
)
def test_values_of_the_same_kind_are_cast(values, raw_type, target, kept):
    assert one(values, target, raw_type=raw_type) == (kept, [])


def test_dictionaries_are_their_values():
    coded = pa.array(["a", "b", "a", None]).dictionary_encode()
    assert one(coded, pa.string()) == (["a", "b", "a", None], [])


@pytest.mark.parametrize(
    ("values", "raw_type", "target"),
    [
        ([1], pa.int64(), pa.string()),
        ([1.0], pa.float64(), pa.int64()),
        (["1"], pa.string(), pa.int64()),
        ([1], pa.int64(), pa.bool_()),
        ([True], pa.bool_(), pa.int64()),
        ([300], pa.int64(), pa.int8()),
        ([b"a"], pa.binary(), pa.string()),
        ([1], pa.int64(), pa.timestamp("s")),
    ],
)
def test_another_kind_or_range_is_a_fault(values, raw_type, target):
    assert one(values, target, raw_type=raw_type) == ([], [0])


def test_one_value_out_of_range_costs_its_row_and_leaves_the_others():
    assert one([1, 300, None, 2], pa.int8(), raw_type=pa.int64()) == ([1, None, 2], [1])


@pytest.mark.parametrize(
    ("values", "target", "kept", "faulty"),
    [
        (["1", "x", None, "2.5"], pa.int64(), [1, None], [1, 3]),
        (["1.5", "1e3", "abc"], pa.float64(), [1.5, 1000.0], [2]),
        (["true", "false", "perhaps"], pa.bool_(), [True, False], [2]),
        (["2024-01-02", "someday"], pa.date32(), [dt.date(2024, 1, 2)], [1]),
        (["2024-01-02T03:04:05", "2024"], pa.timestamp("s"), [dt.datetime(2024, 1, 2, 3, 4, 5)], [1]),
        (["[1]"], pa.list_(pa.int64()), [], [0]),
        (["a", ""], pa.string(), ["a", ""], []),
    ],
)
def test_text_is_parsed_cell_by_cell(values, target, kept, faulty):
    assert one(values, target, text=True) == (kept, faulty)


@given(st.lists(st.none() | st.integers(-200, 200), max_size=30))
def test_good_rows_and_faults_add_up(values):
    rows = conform(
        pa.table({"c": pa.array(values, pa.int64())}), Served(Linear(reads=("c",)), {"c": pa.int8()}), source(), 7
    )
    faulty = [n for n, value in enumerate(values) if value is not None and not -128 <= value <= 127]
    assert [fault.row for fault in rows.faults] == faulty
    assert rows.places == [n for n in range(len(values)) if n not in faulty]
    assert rows.good.column("c").to_pylist() == [values[n] for n in rows.places]
    assert rows.ids == [f"{'f' * 16}:{7 + n}" for n in range(len(values))]
    assert rows.rejected().column("row_id").to_pylist() == [rows.ids[n] for n in faulty]


@pytest.mark.parametrize("key", ["k", ["k", "c"], ["c", "k"]])
@pytest.mark.parametrize("keys", [["x", "y"], [1, 20], [1.5, 2.0], [True, False]])
def test_rows_are_named_as_tables_name_them(key, keys):
    rows = [{"k": k, "c": n} for n, k in enumerate(keys)]
    wanted = read_table(rows, key).row_ids
    names = (key,) if isinstance(key, str) else tuple(key)
    served = Served(Linear(reads=("c",)), {"c": pa.int64()})
    assert conform(lines(*rows), served, source(key=names), 0).ids == wanted
    assert conform(pa.Table.from_pylist(rows), served, source(key=names), 0).ids == wanted


def test_a_broken_line_is_named_by_its_number_where_its_key_cannot_be_read():
    served = Served(Linear(reads=("c",)), {"c": pa.int64()})
    rows = conform(lines({"k": "a", "c": 1}, b"{", {"k": "b", "c": 2}), served, source(key=("k",)), 0)
    assert rows.ids == ["a", "line 1", "b"]
    assert rows.rejected().to_pylist()[0]["seen"] == "{"


def test_the_row_id_of_json_lines_names_rows():
    served = Served(Linear(reads=("c",)), {"c": pa.int64()})
    assert conform(lines({"row_id": "a", "c": 1}), served, source(), 0).ids == ["a"]
    with pytest.raises(DataError, match="the key row_id is null in row 6"):
        conform(lines({"row_id": "a", "c": 1}, {"c": 1}), served, source(), 5)


def test_absent_keys_of_json_lines_are_null_and_unknown_ones_are_ignored():
    served = Served(Linear(reads=("c",)), {"c": pa.int64()})
    rows = conform(lines({"other": [1, {}]}, {"c": None}, {"c": 3, "z": 1}), served, source(), 0)
    assert rows.good.column("c").to_pylist() == [None, None, 3]


def test_what_was_seen_is_kept_short():
    served = Served(Linear(reads=("c",)), {"c": pa.int64()})
    seen = conform(lines({"c": "x" * 10_000}), served, source(), 0).rejected().column("seen")[0].as_py()
    assert seen == "x" * 200

"""Quarantine: every row is on one side, with its reasons, and chunks stay what they were."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_row_check import schemas

from lineshaft.core.codec import decode, encode
from lineshaft.core.table import Table, read_table
from lineshaft.errors import DataError
from lineshaft.verify.anomalies import Anomalies
from lineshaft.verify.schema import Schema

SCHEMA = Schema.from_plain(
    {
        "columns": {
            "x": {"type": "float", "range": {"max": 10}, "severity": {"has_nan": "warning"}},
            "s": {"type": "string", "unique": True},
            "t": {"type": "list<int>", "range": {"min": 0}},
        },
        "rules": [
            {"name": "short", "expect": "length(s) < 4"},
            {"name": "small", "expect": "x < 5", "severity": "warning"},
        ],
    }
)
ROWS = [
    {"id": "a", "x": 1.0, "s": "one", "t": [1]},
    {"id": "b", "x": 11.0, "s": "four", "t": [-1, -2]},
    {"id": "c", "x": None, "s": "one", "t": []},
    {"id": "d", "x": float("nan"), "s": "two", "t": [2]},
]


def table(rows, key="id"):
    named = read_table(rows, key=key)
    return Table(named.arrow.drop_columns([key]))


def reasons(checked):
    return dict(zip(checked.rejected.row_ids, checked.rejected.column("reasons").to_pylist(), strict=True))


def test_each_rejected_row_has_all_its_reasons():
    checked = SCHEMA.quarantine(table(ROWS))
    assert checked.good.row_ids == ["a", "d"]
    assert reasons(checked) == {
        "b": ["x: out_of_range_high", "t: out_of_range_low", "rule short"],
        "c": ["x: missing_value", "s: duplicate_value"],
    }
    assert checked.anomalies.payload() == SCHEMA.check(table(ROWS)).payload()


def test_the_result_says_how_many_went_where():
    assert repr(SCHEMA.quarantine(table(ROWS))) == "Checked(2 good, 2 rejected, 7 anomalies)"


def test_warnings_reject_nothing():
    checked = SCHEMA.quarantine(table(ROWS))
    warned = [anomaly for anomaly in checked.anomalies if anomaly.severity == "warning"]
    assert {anomaly.reason for anomaly in warned} == {"has_nan", "rule_broken"}
    assert "d" in checked.good.row_ids


def test_what_is_wrong_with_a_whole_column_rejects_no_row():
    arrow = pa.table({"row_id": ["a", "b"], "x": ["not", "numbers"], "s": ["p", "q"], "new": [1, 2]})
    checked = SCHEMA.quarantine(Table(arrow))
    assert len(checked.rejected) == 0
    assert [(a.column, a.reason) for a in checked.anomalies.beyond_rows] == [
        ("x", "type_changed"),
        ("t", "missing_column"),
        ("new", "new_column"),
    ]
    assert checked.rejected.columns == ["x", "s", "new", "reasons"]


def test_rows_that_pass_pass_again():
    good = SCHEMA.quarantine(table(ROWS)).good
    assert SCHEMA.check(good).ok


def test_chunks_stay_where_they_are():
    rows = [{"id": str(at), "x": float(at % 13), "s": f"{at % 1000}", "t": []} for at in range(9000)]
    data = table(rows)
    schema = Schema.from_plain(
        {"columns": {"x": {"type": "float", "range": {"max": 10}}, "s": "string", "t": "list<int>"}}
    )
    checked = schema.quarantine(data)
    assert len(checked.good.arrow.to_batches()) == len(data.arrow.to_batches())
    assert {reason for row in reasons(checked).values() for reason in row} == {"x: out_of_range_high"}
    assert len(checked.good) + len(checked.rejected) == 9000


def test_both_sides_can_be_stored():
    checked = SCHEMA.quarantine(table(ROWS))
    for side in (checked.good, checked.rejected):
        artifact, content = encode("Table", side.payload())
        back = Table.from_payload(decode("Table", content))
        assert back.row_ids == side.row_ids
        assert back.arrow.drop_columns(["x"]).to_pylist() == side.arrow.drop_columns(["x"]).to_pylist()
        assert artifact.meta["rows"] == len(side)
    content = encode("Anomalies", checked.anomalies.payload())[1]
    assert Anomalies.from_payload(decode("Anomalies", content)) == checked.anomalies


def test_a_column_where_reasons_would_go_is_refused():
    with pytest.raises(DataError, match="column 'reasons'"):
        SCHEMA.quarantine(Table(pa.table({"row_id": ["a"], "reasons": ["b"]})))


def test_no_rows_give_two_empty_sides():
    arrow = pa.table({"row_id": pa.array([], pa.string()), "x": pa.array([], pa.float64())})
    checked = SCHEMA.quarantine(Table(arrow))
    assert (len(checked.good), len(checked.rejected)) == (0, 0)
    assert [anomaly.reason for anomaly in checked.anomalies] == ["data_missing"]


def test_serving_leaves_gold_out():
    schema = Schema.from_plain({"dataset": {"gold": ["y"]}, "columns": {"x": "int", "y": "int"}})
    data = Table(pa.table({"row_id": ["a"], "x": [1]}))
    assert schema.quarantine(data, "serving").anomalies.ok
    assert not schema.quarantine(data).anomalies.ok


numbers = st.none() | st.floats(width=16) | st.integers(-5, 15).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(numbers, st.none() | st.text(max_size=5)), max_size=25), st.integers(1, 10))
def test_no_row_is_lost_or_doubled(values, size):
    arrow = pa.table(
        {
            "row_id": [f"r{at}" for at in range(len(values))],
            "x": pa.array([x for x, _ in values], pa.float64()),
            "s": pa.array([s for _, s in values], pa.string()),
            "t": pa.array([[] for _ in values], pa.list_(pa.int64())),
        }
    )
    chunked = pa.Table.from_batches(arrow.to_batches(max_chunksize=size), schema=arrow.schema)
    checked = SCHEMA.quarantine(Table(chunked))
    assert sorted(checked.good.row_ids + checked.rejected.row_ids) == sorted(arrow["row_id"].to_pylist())
    assert all(reasons(checked).values())
    told = {anomaly.reason: anomaly.seen["rows"] for anomaly in checked.anomalies.errors if "rows" in anomaly.seen}
    given_ = [reason.split(": ")[-1] for row in reasons(checked).values() for reason in row]
    for reason in ("out_of_range_high", "duplicate_value"):
        assert told.get(reason, 0) == given_.count(reason)


@settings(max_examples=40, deadline=None)
@given(schemas(), st.lists(st.integers(-3, 3) | st.none(), min_size=1, max_size=10))
def test_good_rows_pass_the_request_check(schema, values):
    arrow = pa.table({"row_id": [str(at) for at in range(len(values))], "a": pa.array(values, pa.int64())})
    check = schema.row_checker(None)
    checked = schema.quarantine(Table(arrow))
    beyond = {(anomaly.column, anomaly.reason) for anomaly in checked.anomalies.beyond_rows}
    for value in checked.good.column("a").to_pylist():
        left = {(a.column, a.reason) for a in check({"a": value}) if a.severity == "error"}
        assert left <= beyond or ("a", "type_changed") in beyond


def test_a_hundred_thousand_rows_add_up():
    n = 100_000
    x = np.random.default_rng(0).normal(size=n) * 5
    arrow = pa.table({"row_id": np.char.mod("%d", np.arange(n)), "x": x})
    checked = Schema.from_plain({"columns": {"x": {"type": "float", "range": {"max": 10}}}}).quarantine(Table(arrow))
    assert (len(checked.good), len(checked.rejected)) == (int((x <= 10).sum()), int((x > 10).sum()))

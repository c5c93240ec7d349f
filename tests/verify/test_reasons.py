"""Every reason once: found in a table, found in a single row where one row can show it, and named in quarantine."""

import datetime as dt
import math

import pyarrow as pa
import pytest

from lineshaft.core.table import Table
from lineshaft.verify.anomalies import Anomaly
from lineshaft.verify.reasons import COLUMN, DATASET, REASONS, ROWS
from lineshaft.verify.schema import Schema

BAD_TEXT = "\udcff"  # how Python holds a byte that is not UTF-8


def bad_text():
    offsets, raw = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    return pa.StringArray.from_buffers(1, offsets, raw)


# reason: the column x (or a whole schema), and one row that shows it
ONE_ROW = {
    "missing_column": ({"columns": {"x": "int", "y": "int"}}, {"y": 1}),
    "new_column": ({"columns": {"y": "int"}}, {"x": 1, "y": 1}),
    "not_in_environment": ({"dataset": {"gold": ["x"]}, "columns": {"x": "int", "y": "int"}}, {"x": 1, "y": 1}),
    "type_changed": ("date", {"x": dt.datetime(2020, 1, 1)}),
    "missing_value": ("string", {"x": None}),
    "missing_element": ("list<list<int>>", {"x": [[1], None]}),
    "too_few_values": ({"type": "list<int>", "valency": {"min": 2}}, {"x": [1]}),
    "too_many_values": ({"type": "list<int>", "valency": {"max": 1}}, {"x": [1, 2]}),
    "invalid_utf8": ("string", {"x": BAD_TEXT}),
    "not_an_integer": ("int", {"x": 1.5}),
    "not_a_number": ({"type": "string", "parses": "float"}, {"x": "1,5"}),
    "has_nan": ("float", {"x": math.nan}),
    "has_inf": ("list<float>", {"x": [1.0, math.inf]}),
    "out_of_range_low": ({"type": "date", "range": {"min": dt.date(2020, 1, 2)}}, {"x": dt.date(2020, 1, 1)}),
    "out_of_range_high": ({"type": "string", "parses": "int", "range": {"max": 9}}, {"x": "10"}),
    "not_bool": ({"type": "string", "bool": {"true": "yes"}}, {"x": "no"}),
    "unexpected_value": ({"type": "int", "values": [1, 2]}, {"x": 3}),
    "too_short": ({"type": "bytes", "length": {"min": 3}}, {"x": b"ab"}),
    "too_long": ({"type": "string", "length": {"max": 1}}, {"x": "日本"}),
    "pattern_mismatch": ({"type": "string", "pattern": "[a-z]+"}, {"x": "A"}),
    "rule_broken": ({"columns": {"x": "int"}, "rules": [{"name": "r", "expect": "x > 1"}]}, {"x": 1}),
}
# reason: schema, and rows that show it together while none does alone
MANY_ROWS = {
    "data_missing": ({"columns": {"x": "int"}}, []),
    "too_few_rows": ({"columns": {"x": "int"}, "dataset": {"min_rows": 3}}, [1, 2]),
    "too_many_rows": ({"columns": {"x": "int"}, "dataset": {"max_rows": 1}}, [1, 2]),
    "never_present": ({"columns": {"x": {"type": "int", "presence": {"min_count": 1}}}}, [None, None]),
    "low_count": ({"columns": {"x": {"type": "int", "presence": {"min_count": 2}}}}, [1, None]),
    "low_fraction": ({"columns": {"x": {"type": "int", "presence": {"min_fraction": 0.6}}}}, [1, None]),
    "low_domain_mass": ({"columns": {"x": {"type": "int", "values": [1], "min_mass": 0.6}}}, [1, 2]),
    "duplicate_value": ({"columns": {"x": {"type": "int", "unique": True}}}, [1, 1]),
    "too_few_distinct": ({"columns": {"x": {"type": "int", "distinct": {"min": 2}}}}, [1, 1]),
    "too_many_distinct": ({"columns": {"x": {"type": "int", "distinct": {"max": 1}}}}, [1, 2]),
}
one_row = pytest.mark.parametrize("reason", ONE_ROW)
many_rows = pytest.mark.parametrize("reason", MANY_ROWS)


def case(reason):
    column, row = ONE_ROW[reason]
    whole = isinstance(column, dict) and "columns" in column
    return Schema.from_plain(column if whole else {"columns": {"x": column}}), row


def environment_of(reason):
    return "serving" if reason == "not_in_environment" else None


def table_of(row):
    arrays = {name: bad_text() if value == BAD_TEXT else pa.array([value]) for name, value in row.items()}
    return pa.table({"row_id": ["r"], **arrays})


def column_of(values):
    return pa.table({"row_id": [str(at) for at in range(len(values))], "x": pa.array(values, pa.int64())})


def test_every_reason_has_a_case():
    assert {*ONE_ROW, *MANY_ROWS} == set(REASONS)
    assert {reason for reason in REASONS if REASONS[reason].about == DATASET} <= set(MANY_ROWS)


@one_row
def test_a_table_shows_it(reason):
    schema, row = case(reason)
    [anomaly] = schema.check(table_of(row), environment_of(reason))
    assert (anomaly.reason, anomaly.severity) == (reason, "error")
    assert anomaly.column == (None if reason == "rule_broken" else "x")
    if REASONS[reason].about == ROWS:
        assert anomaly.examples == ("r",)
        assert (anomaly.seen["rows"], anomaly.seen["of"]) == (1, 1)


@one_row
def test_a_request_shows_it(reason):
    schema, row = case(reason)
    [anomaly] = schema.row_checker(environment_of(reason))(row)
    assert (anomaly.reason, anomaly.severity) == (reason, "error")
    assert anomaly.column == (None if reason == "rule_broken" else "x")


@one_row
def test_quarantine_rejects_the_row_where_the_row_is_at_fault(reason):
    schema, row = case(reason)
    checked = schema.quarantine(Table(table_of(row)), environment_of(reason))
    named = "rule r" if reason == "rule_broken" else f"x: {reason}"
    if REASONS[reason].about == ROWS:
        assert checked.rejected.column("reasons").to_pylist() == [[named]]
        assert checked.anomalies.beyond_rows == []
    else:
        assert len(checked.good) == 1
        assert [anomaly.reason for anomaly in checked.anomalies.beyond_rows] == [reason]


@one_row
def test_a_warning_of_it_stops_nothing(reason):
    schema, row = case(reason)
    plain = schema.plain()
    plain["columns"] = {
        name: {**column, "severity": {reason: "warning"}}
        for name, column in ((n, c if isinstance(c, dict) else {"type": c}) for n, c in plain["columns"].items())
    }
    plain["dataset"] = {**plain.get("dataset", {}), "severity": {reason: "warning"}}
    plain["rules"] = [{**rule, "severity": "warning"} for rule in plain.get("rules", [])]
    warned, environment = Schema.from_plain(plain), environment_of(reason)
    checked = warned.quarantine(Table(table_of(row)), environment)
    assert (len(checked.good), len(checked.rejected), checked.anomalies.ok) == (1, 0, True)
    assert [a.severity for a in checked.anomalies] == [a.severity for a in warned.row_checker(environment)(row)]
    assert [a.severity for a in checked.anomalies] == ["warning"]


@many_rows
def test_a_table_of_several_rows_shows_it(reason):
    plain, values = MANY_ROWS[reason]
    [anomaly] = Schema.from_plain(plain).check(column_of(values))
    assert (anomaly.reason, anomaly.severity) == (reason, "error")
    assert anomaly.column == (None if REASONS[reason].about == DATASET else "x")


@many_rows
def test_no_single_request_shows_it(reason):
    plain, values = MANY_ROWS[reason]
    check = Schema.from_plain(plain).row_checker(None)
    assert [anomaly for value in values for anomaly in check({"x": value})] == []


@many_rows
def test_quarantine_rejects_rows_only_where_rows_are_at_fault(reason):
    plain, values = MANY_ROWS[reason]
    checked = Schema.from_plain(plain).quarantine(Table(column_of(values)))
    if reason == "duplicate_value":
        assert (checked.good.row_ids, checked.rejected.row_ids) == (["0"], ["1"])
    else:
        assert len(checked.rejected) == 0
        assert [anomaly.reason for anomaly in checked.anomalies.beyond_rows] == [reason]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_can_be_told_stored_and_read_back(reason):
    about = {ROWS: "x", COLUMN: "x", DATASET: None}[REASONS[reason].about]
    seen = {"rule": "r"} if reason == "rule_broken" else {"rows": 1, "of": 2}
    anomaly = Anomaly(about, reason, "warning", seen, ("a", "b"), {"type": None})
    assert Anomaly.from_payload(anomaly.payload()) == anomaly
    text = str(anomaly)
    assert reason in text
    assert REASONS[reason].meaning in text
    assert "a, b" in text

"""Proposed edits: each is JSON, gives a schema that is sound, and allows what was seen."""

import datetime as dt
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_row_check import FITTING, schemas, values

from lineshaft.verify.schema import Schema


def applied(plain, anomaly):
    """Edit a schema as an anomaly proposes; the edit goes through JSON, as it does when a report is stored."""
    columns = {name: dict(column) for name, column in plain["columns"].items()}
    column = columns.setdefault(anomaly.column, {})
    for key, value in json.loads(json.dumps(dict(anomaly.fix))).items():
        if value is None:
            column.pop(key, None)
        else:
            column[key] = value
    return Schema.from_plain({**plain, "columns": columns})


def arrow(cells):
    try:
        return pa.array(cells)
    except (OverflowError, ValueError, TypeError, pa.ArrowException):
        return pa.nulls(len(cells))


@st.composite
def tables(draw, schema):
    """Draw a few rows: columns of the declared type, of another one, or none at all."""
    rows = draw(st.integers(1, 5))
    columns = {"row_id": [str(at) for at in range(rows)]}
    for column in schema.columns:
        kind, depth = column.type.replace("list<", "").replace(">", ""), column.type.count("list<")
        one = draw(st.sampled_from([FITTING[kind], FITTING[kind], values, None]))
        if one is None:
            continue
        for _ in range(depth):
            one = st.lists(one | st.none(), max_size=4)
        columns[column.name] = arrow(draw(st.lists(one | st.none(), min_size=rows, max_size=rows)))
    return pa.table(columns)


@settings(max_examples=150, deadline=None)
@given(schemas(), st.data())
def test_every_proposed_edit_is_a_sound_schema_that_allows_what_was_seen(schema, data):
    plain = {**schema.plain(), "rules": []}
    table = data.draw(tables(schema))
    for anomaly in Schema.from_plain(plain).check(table):
        if anomaly.fix:
            again = applied(plain, anomaly).check(table)
            assert (anomaly.column, anomaly.reason) not in {(other.column, other.reason) for other in again}


def fix_of(column, cells, kind=None):
    [anomaly] = Schema.from_plain({"columns": {"x": column}}).check(pa.table({"x": pa.array(cells, kind)}))
    return dict(anomaly.fix)


def test_another_type_takes_along_what_was_said_of_the_old_values():
    said = {"type": "string", "pattern": "[a-z]*", "length": {"max": 3}, "unique": True}
    assert fix_of(said, [1, 2]) == {"type": "int", "length": None, "pattern": None}
    assert fix_of(said, [[1], [2]]) == {"type": "list<int>", "length": None, "pattern": None, "unique": None}
    lists = {"type": "list<int>", "valency": {"min": 1}, "null_elements": True, "range": {"min": 0}}
    assert fix_of(lists, [1]) == {"type": "int", "range": None, "valency": None, "null_elements": None}
    assert fix_of(lists, [["a"]]) == {"type": "list<string>", "range": None}


def test_floats_among_listed_integers_drop_the_list():
    assert fix_of({"type": "int", "values": [1, 2], "min_mass": 0.5}, [1.0, 2.0, 1.5]) == {
        "type": "float",
        "values": None,
        "min_mass": None,
    }


def test_text_that_does_not_parse_takes_the_range_along():
    assert fix_of({"type": "string", "parses": "int", "range": {"min": 0}}, ["1", "x"]) == {
        "parses": None,
        "range": None,
    }


def test_a_type_that_cannot_be_declared_has_no_edit():
    interval = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    [anomaly] = Schema.from_plain({"columns": {"x": "int"}}).check(pa.table({"row_id": ["a"], "x": interval}))
    assert (anomaly.reason, dict(anomaly.fix)) == ("type_changed", {})


def test_a_time_past_the_calendar_drops_the_bound():
    column = {"type": "datetime", "range": {"max": dt.datetime(2020, 1, 1)}}
    assert fix_of(column, [2**60], pa.timestamp("s")) == {"range": None}


def test_a_share_of_presence_that_rounds_to_one_is_written_below_it():
    cells = [1] * 99_999 + [None]
    assert fix_of("int", cells) == {"presence": {"min_fraction": 0.9999}}


@pytest.mark.parametrize(("kept", "least"), [({"min_fraction": 0.5}, {"min_fraction": 0.5}), ({}, {})])
def test_too_few_values_lower_the_count_and_keep_the_share(kept, least):
    column = {"type": "int", "presence": {**kept, "min_count": 4}}
    assert fix_of(column, [1, 2, None]) == {"presence": {**least, "min_count": 2}}


def test_a_new_column_proposes_its_type_and_a_column_out_of_place_nothing():
    schema = Schema.from_plain({"dataset": {"gold": ["y"]}, "columns": {"y": "int"}})
    new, out = schema.check(pa.table({"z": [[1.5]], "y": [1]}), "serving")
    assert (new.column, dict(new.fix)) == ("z", {"type": "list<float>"})
    assert (out.column, dict(out.fix)) == ("y", {})


def test_data_set_limits_and_rules_propose_nothing():
    plain = {"dataset": {"min_rows": 5}, "columns": {"x": "int"}, "rules": [{"expect": "x > 1"}]}
    report = Schema.from_plain(plain).check(pa.table({"x": [1]}))
    assert [(anomaly.reason, dict(anomaly.fix)) for anomaly in report] == [("too_few_rows", {}), ("rule_broken", {})]

"""The batch check: every reason, with what was seen, example rows and the fix that would allow it."""

import datetime as dt
import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from lineshaft.core.table import CHUNK_ROWS, read_table
from lineshaft.errors import DataError, UsageError
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.schema import Schema


def schema_of(column, name="x", **others):
    return Schema.from_plain({"columns": {name: column}, **others})


def check(column, values, kind=None, **others):
    return schema_of(column, **others).check(pa.table({"x": pa.array(values, kind)}))


def reasons(report):
    return [(anomaly.column, anomaly.reason) for anomaly in report]


def only(report):
    [anomaly] = report
    return anomaly


INF, NAN = math.inf, math.nan
DAY, NOON = dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 12)

# column, values, reason, part of what was seen, fix
BROKEN = [
    ("int", [1, None], "missing_value", {"rows": 1, "of": 2}, {"presence": {"min_fraction": 0.5}}),
    ("int", [None, None], "missing_value", {"rows": 2}, {"presence": "optional"}),
    ({"type": "int", "presence": {"min_count": 1}}, [None], "never_present", {"present": 0}, {"presence": "optional"}),
    (
        {"type": "int", "presence": {"min_count": 3}},
        [1, None, 2],
        "low_count",
        {"present": 2, "min_count": 3},
        {"presence": {"min_count": 2}},
    ),
    (
        {"type": "int", "presence": {"min_fraction": 0.8}},
        [1, None, 2],
        "low_fraction",
        {"present": 2},
        {"presence": {"min_fraction": 0.6666}},
    ),
    ("int", ["1", "2"], "type_changed", {"type": "string", "declared": "int"}, {"type": "string"}),
    ("list<int>", [1, 2], "type_changed", {"type": "int"}, {"type": "int"}),
    ("int", [[1], [2]], "type_changed", {"type": "list<int>"}, {"type": "list<int>"}),
    ("string", [{"a": 1}], "type_changed", {"type": "struct"}, {"type": "struct"}),
    ("int", [True, False], "type_changed", {"type": "bool"}, {"type": "bool"}),
    ("int", [1.0, 2.5], "not_an_integer", {"rows": 1, "min": 2.5}, {"type": "float"}),
    ("list<int>", [[1.0, 2.5]], "not_an_integer", {"rows": 1}, {"type": "list<float>"}),
    ("list<int>", [[1, None], [2]], "missing_element", {"rows": 1}, {"null_elements": True}),
    (
        {"type": "list<int>", "valency": {"min": 2, "max": 3}},
        [[1], [1, 2]],
        "too_few_values",
        {"rows": 1, "min": 1},
        {"valency": {"min": 1, "max": 3}},
    ),
    ({"type": "list<int>", "valency": {"min": 2}}, [[], [1, 2]], "too_few_values", {"min": 0}, {"valency": None}),
    (
        {"type": "list<int>", "valency": {"max": 1}},
        [[1, 2], [1, 2, 3]],
        "too_many_values",
        {"rows": 2, "max": 3},
        {"valency": {"max": 3}},
    ),
    ("float", [1.0, NAN], "has_nan", {"rows": 1}, {"nan": True}),
    ("float", [1.0, INF, -INF], "has_inf", {"rows": 2}, {"inf": True}),
    (
        {"type": "float", "range": {"min": 0, "max": 1}},
        [-1.0, 0.5, -3.0],
        "out_of_range_low",
        {"rows": 2, "min": -3.0, "max": -1.0},
        {"range": {"min": -3.0, "max": 1.0}},
    ),
    (
        {"type": "int", "range": {"max": 2**53}},
        [2**53 + 1],
        "out_of_range_high",
        {"max": 2**53 + 1},
        {"range": {"max": 2**53 + 1}},
    ),
    (
        {"type": "date", "range": {"max": DAY}},
        [DAY, DAY + dt.timedelta(2)],
        "out_of_range_high",
        {"max": "2020-01-03"},
        {"range": {"max": "2020-01-03"}},
    ),
    (
        {"type": "datetime", "range": {"min": NOON}},
        [NOON - dt.timedelta(hours=1)],
        "out_of_range_low",
        {"min": "2020-01-01T11:00:00"},
        {"range": {"min": "2020-01-01T11:00:00"}},
    ),
    (
        {"type": "int", "bool": True},
        [0, 1, 2],
        "not_bool",
        {"rows": 1, "max": 2},
        {"bool": None, "range": {"min": 0, "max": 2}},
    ),
    (
        {"type": "float", "bool": True},
        [0.0, 0.4],
        "not_bool",
        {"rows": 1, "min": 0.4},
        {"bool": None, "range": {"min": 0.0, "max": 1.0}},
    ),
    (
        {"type": "string", "bool": {"true": "yes"}},
        ["yes", "no"],
        "not_bool",
        {"values": [["no", 1]]},
        {"bool": None},
    ),
    (
        {"type": "string", "values": ["a", "b"]},
        ["a", "c", "c", "d"],
        "unexpected_value",
        {"rows": 3, "values": [["c", 2], ["d", 1]]},
        {"values": ["a", "b", "c", "d"]},
    ),
    (
        {"type": "int", "values": [1, 2]},
        [1, 5, 5],
        "unexpected_value",
        {"values": [[5, 2]]},
        {"values": [1, 2, 5]},
    ),
    (
        {"type": "string", "values": ["a"], "min_mass": 0.8},
        ["a", "b", "b"],
        "low_domain_mass",
        {"mass": pytest.approx(1 / 3), "min_mass": 0.8},
        {"values": ["a", "b"]},
    ),
    ({"type": "string", "length": {"min": 2}}, ["é", "ab"], "too_short", {"rows": 1, "min": 1}, {"length": {"min": 1}}),
    ({"type": "bytes", "length": {"max": 1}}, [b"ab"], "too_long", {"max": 2}, {"length": {"max": 2}}),
    (
        {"type": "string", "pattern": "[a-z]"},
        ["a", "ab"],
        "pattern_mismatch",
        {"values": [["ab", 1]]},
        {"pattern": None},
    ),
    ({"type": "string", "parses": "int"}, ["1", "x"], "not_an_integer", {"values": [["x", 1]]}, {"parses": None}),
    ({"type": "string", "parses": "float"}, ["1.5", "nan"], "not_a_number", {"values": [["nan", 1]]}, {"parses": None}),
    (
        {"type": "string", "parses": "int", "range": {"min": 0}},
        ["-14", "17"],
        "out_of_range_low",
        {"min": -14},
        {"range": {"min": -14}},
    ),
    ({"type": "string", "unique": True}, ["a", "b", "a", "a"], "duplicate_value", {"rows": 2}, {"unique": None}),
    ({"type": "int", "distinct": {"min": 2}}, [1, 1], "too_few_distinct", {"distinct": 1}, {"distinct": {"min": 1}}),
    ({"type": "int", "distinct": {"max": 1}}, [1, 2], "too_many_distinct", {"distinct": 2}, {"distinct": {"max": 2}}),
]


def named(case):
    return f"{case[2]}-{case[1]!r}"[:60]


@pytest.mark.parametrize(("column", "values", "reason", "seen", "fix"), BROKEN, ids=[named(case) for case in BROKEN])
def test_a_broken_constraint(column, values, reason, seen, fix):
    anomaly = only(check(column, values))
    assert (anomaly.column, anomaly.reason, anomaly.severity) == ("x", reason, "error")
    assert seen.items() <= {**anomaly.seen}.items() or {key: anomaly.seen[key] for key in seen} == seen
    assert dict(anomaly.fix) == fix


@pytest.mark.parametrize(("column", "values", "reason"), [case[:3] for case in BROKEN], ids=[named(c) for c in BROKEN])
def test_the_proposed_fix_is_json_and_allows_what_was_seen(column, values, reason):
    declared = {"type": column} if isinstance(column, str) else column
    fix = json.loads(json.dumps(only(check(column, values)).payload()["fix"]))
    fixed = {key: value for key, value in {**declared, **fix}.items() if value is not None}
    assert reason not in {anomaly.reason for anomaly in check(fixed, values)}


FINE = [
    ("int", [1, 2**62]),
    ("int", [1.0, 2.0]),
    ("int", pd.DataFrame({"x": [1, None, 2]})),
    ("float", [1, 2]),
    ("float", [1.5]),
    ({"type": "float", "nan": True, "inf": True, "range": {"min": 0, "max": 1}}, [NAN, INF, -INF, 0.5]),
    ({"type": "int", "presence": "optional"}, [None]),
    ({"type": "int", "presence": {"min_count": 1}}, [None, 1]),
    ({"type": "int", "range": {"max": 3}}, [-(2**63), 3]),
    ({"type": "string", "values": ["a"], "min_mass": 0.9}, ["a"] * 9 + ["b"]),
    ({"type": "string", "bool": {"true": "true", "false": "false"}}, ["true", "true"]),
    ({"type": "list<list<int>>"}, [[[1], []], []]),
    ({"type": "list<string>", "values": ["a"]}, [["a", "a"], []]),
    ({"type": "string", "pattern": "a|ab"}, ["ab", "a"]),
    ({"type": "string", "unique": True, "presence": "optional"}, ["a", None, None]),
    ({"type": "int", "distinct": {"min": 2}}, [1, 2, 3]),
    ({"type": "struct"}, [{"a": 1}]),
    ({"type": "time"}, [dt.time(1)]),
    ({"type": "duration"}, [dt.timedelta(1)]),
]


@pytest.mark.parametrize(("column", "values"), FINE, ids=repr)
def test_what_fits_gives_no_anomaly(column, values):
    if isinstance(values, pd.DataFrame):
        report = schema_of({"type": column, "presence": "optional"}).check(values)
    else:
        report = check(column, values)
    assert list(report) == []
    assert report.ok


def test_the_table_of_cases_covers_every_reason_about_single_columns():
    elsewhere = {
        "data_missing",
        "too_few_rows",
        "too_many_rows",
        "missing_column",
        "new_column",
        "not_in_environment",
        "invalid_utf8",
        "rule_broken",
    }
    assert {case[2] for case in BROKEN} | elsewhere == set(REASONS)


def test_an_integer_column_that_got_a_missing_value_has_one_reason():
    frame = pd.DataFrame({"x": [1, None, 2]})
    assert str(frame.x.dtype) == "float64"
    assert reasons(schema_of("int").check(frame)) == [("x", "missing_value")]


@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.list_(pa.int64()), pa.null()], ids=str)
def test_a_column_of_nulls_is_missing_whatever_its_type(kind):
    assert reasons(check("int", [None, None], kind)) == [("x", "missing_value")]


def test_null_and_nan_are_kept_apart():
    report = check("float", [1.0, NAN, None])
    assert reasons(report) == [("x", "missing_value"), ("x", "has_nan")]


def test_one_value_beyond_a_64_bit_bound_is_seen():
    assert only(check({"type": "float", "range": {"max": 1.0}}, [1 + 1e-9])).reason == "out_of_range_high"


def test_an_unseen_value_behind_a_thousand_frequent_ones_is_found():
    values = [f"v{at}" for at in range(2000)]
    table = pa.table({"x": [value for value in values for _ in range(3)] + ["new"]})
    anomaly = only(schema_of({"type": "string", "values": values}).check(table))
    assert (anomaly.reason, anomaly.seen["values"]) == ("unexpected_value", [["new", 1]])


def test_a_seven_in_a_bool_column_is_found():
    assert only(check({"type": "int", "bool": True}, [0, 1] * 50 + [7])).seen["max"] == 7


def test_too_many_unseen_values_to_list_drop_the_list():
    anomaly = only(check({"type": "string", "values": ["a"]}, [f"n{at}" for at in range(300)]))
    assert anomaly.fix == {"values": None, "min_mass": None}
    assert (anomaly.seen["rows"], anomaly.seen["different"]) == (300, "more than 100")


def test_text_that_is_not_utf8_is_always_reported():
    bad = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a\xffb"))
    report = schema_of({"type": "string", "values": ["a"]}).check(pa.table({"x": bad, "row_id": ["r0", "r1", "r2"]}))
    assert reasons(report) == [("x", "invalid_utf8"), ("x", "unexpected_value")]
    assert [anomaly.examples for anomaly in report] == [("r1",), ("r2",)]


def test_text_that_is_not_utf8_does_not_hide_text_that_does_not_parse():
    bad = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"x\xff1"))
    report = schema_of({"type": "string", "parses": "int"}).check(pa.table({"x": bad}))
    assert reasons(report) == [("x", "invalid_utf8"), ("x", "not_an_integer")]


def test_a_list_row_is_counted_once_however_many_elements_offend():
    anomaly = only(check({"type": "list<int>", "range": {"max": 1}}, [[5, 6, 7], [1], [9]]))
    assert (anomaly.seen["rows"], anomaly.seen["max"], len(anomaly.examples)) == (2, 9, 2)


def test_a_listed_column_is_required_unless_said_otherwise():
    schema = Schema.from_plain({"columns": {"a": "int", "b": "int", "c": {"type": "int", "presence": "optional"}}})
    anomaly = only(schema.check(pa.table({"a": [1]})))
    assert (anomaly.column, anomaly.reason, anomaly.fix) == ("b", "missing_column", {"presence": "optional"})


def test_a_column_that_nobody_declared():
    anomaly = only(schema_of("int").check(pa.table({"x": [1], "z": ["a"]})))
    assert (anomaly.column, anomaly.reason, anomaly.fix) == ("z", "new_column", {"type": "string"})


def test_no_rows_give_one_reason_alone():
    for table in (pa.table({}), pa.table({"x": pa.array([], pa.string())}), pa.table({"z": pa.array([], pa.int64())})):
        report = schema_of("int", dataset={"min_rows": 5}).check(table)
        assert reasons(report) == [(None, "data_missing")]
        assert report.rows == 0


@pytest.mark.parametrize(
    ("limits", "rows", "reason"),
    [
        ({"min_rows": 3}, 2, "too_few_rows"),
        ({"min_rows": 2}, 2, None),
        ({"max_rows": 3}, 5, "too_many_rows"),
        ({"max_rows": 3}, 3, None),
    ],
)
def test_each_bound_of_the_number_of_rows_holds_alone(limits, rows, reason):
    report = check("int", list(range(rows)), dataset=limits)
    assert reasons(report) == ([(None, reason)] if reason else [])


ENVIRONMENTS = {
    "dataset": {"environments": ["training", "audit"], "gold": ["y"], "key": ["id"]},
    "columns": {
        "id": "int",
        "x": "int",
        "y": "int",
        "t": {"type": "int", "environments": ["training"]},
        "n": {"type": "int", "not_in": ["audit"]},
    },
}


@pytest.mark.parametrize(
    ("environment", "columns", "expected"),
    [
        (None, "id x y t n", []),
        (
            None,
            "x",
            [("id", "missing_column"), ("y", "missing_column"), ("t", "missing_column"), ("n", "missing_column")],
        ),
        ("serving", "x n", []),
        ("serving", "id x n", []),
        ("serving", "x y n", [("y", "not_in_environment")]),
        ("serving", "x n t", [("t", "not_in_environment")]),
        ("training", "id x y t n", []),
        ("audit", "id x y", []),
        ("audit", "id x y n", [("n", "not_in_environment")]),
    ],
)
def test_environments(environment, columns, expected):
    table = pa.table({name: [1] for name in columns.split()})
    assert reasons(Schema.from_plain(ENVIRONMENTS).check(table, environment)) == expected


def test_gold_may_say_that_it_belongs_to_serving():
    schema = Schema.from_plain(
        {"dataset": {"gold": ["y"]}, "columns": {"y": {"type": "int", "environments": ["serving"]}}}
    )
    assert reasons(schema.check(pa.table({"x": [1]}), "serving")) == [("y", "missing_column"), ("x", "new_column")]


def test_an_unknown_environment_is_refused():
    with pytest.raises(UsageError, match="no environment 'prod'"):
        schema_of("int").check(pa.table({"x": [1]}), "prod")


@pytest.mark.parametrize("name", ["previous", "previous_version", "serving"])
def test_comparisons_that_are_not_made_are_refused(name):
    with pytest.raises(UsageError, match=f"{name}= was given.*not part of this version"):
        schema_of("int").check(pa.table({"x": [1]}), **{name: pa.table({"x": [1]})})


def test_severity_by_reason_for_the_rest_and_for_the_data_set():
    column = {"type": "float", "range": {"max": 1}, "severity": {"has_nan": "warning"}}
    report = check(column, [NAN, 2.0])
    assert [(a.reason, a.severity) for a in report] == [("has_nan", "warning"), ("out_of_range_high", "error")]
    report = check({**column, "severity": "warning"}, [NAN, 2.0])
    assert report.ok
    assert {a.severity for a in report} == {"warning"}
    schema = schema_of("int", dataset={"severity": {"new_column": "warning", "too_few_rows": "warning"}, "min_rows": 9})
    report = schema.check(pa.table({"x": [1], "z": [1]}))
    assert report.ok
    assert len(report) == 2


RULED = {
    "columns": {"fare": "float", "tips": {"type": "float", "presence": "optional"}, "kind": "string"},
    "rules": [
        {"name": "tips", "expect": "tips <= fare"},
        {"expect": "length(kind) > 0", "severity": "warning"},
    ],
}


def test_rules_find_the_rows_that_break_them_and_null_passes():
    table = pa.table({"row_id": list("abc"), "fare": [1.0, 1.0, 1.0], "tips": [0.5, 2.0, None], "kind": ["", "k", "k"]})
    first, second = Schema.from_plain(RULED).check(table)
    assert (first.column, first.reason, first.seen["rule"], first.examples) == (None, "rule_broken", "tips", ("b",))
    assert (second.severity, second.seen["rule"], second.seen["rows"]) == ("warning", "length(kind) > 0", 1)


def test_a_rule_over_a_column_that_is_absent_or_of_another_type_sees_null():
    schema = Schema.from_plain(RULED)
    assert reasons(schema.check(pa.table({"fare": [1.0], "kind": ["k"]}))) == []
    table = pa.table({"fare": ["a"], "tips": [3.0], "kind": ["k"]})
    assert reasons(schema.check(table)) == [("fare", "type_changed")]


def test_rules_see_null_for_integers_past_63_bits_and_for_text_that_is_not_utf8():
    plain = {"columns": {"n": "int", "s": "string"}, "rules": [{"expect": "n < 5"}, {"expect": "length(s) = 1"}]}
    offsets, raw = pa.py_buffer(np.array([0, 1, 2, 4], np.int32)), pa.py_buffer(b"a\xffbb")
    table = pa.table(
        {
            "row_id": ["a", "b", "c"],
            "n": pa.array([2**64 - 1, 4, 6], pa.uint64()),
            "s": pa.StringArray.from_buffers(3, offsets, raw),
        }
    )
    utf8, small, short = Schema.from_plain(plain).check(table)
    assert (utf8.reason, utf8.examples) == ("invalid_utf8", ("b",))
    assert (small.seen["rule"], small.examples) == ("n < 5", ("c",))
    assert (short.seen["rule"], short.examples) == ("length(s) = 1", ("c",))


def test_a_rule_of_constants_is_true_or_false_of_every_row():
    schema = schema_of("int", rules=[{"expect": "1 = 2"}, {"expect": "1 = 1"}])
    assert only(schema.check([{"x": 1}, {"x": 2}])).seen["rows"] == 2


def test_a_rule_over_gold_is_left_out_in_serving():
    schema = Schema.from_plain(
        {"dataset": {"gold": ["y"]}, "columns": {"x": "int", "y": "int"}, "rules": [{"expect": "coalesce(y, 0) > 5"}]}
    )
    assert reasons(schema.check(pa.table({"x": [1]}), "serving")) == []
    assert reasons(schema.check(pa.table({"x": [1], "y": [1]}))) == [(None, "rule_broken")]


def test_rules_over_dictionary_columns_and_integers_declared_float():
    schema = Schema.from_plain({"columns": {"s": "string", "f": "float"}, "rules": [{"expect": "f / 2 < length(s)"}]})
    table = pa.table({"s": pa.array(["ab", "a"]).dictionary_encode(), "f": [3, 3]})
    assert only(schema.check(table)).seen["rows"] == 1


def test_examples_are_the_first_rows_and_only_a_few():
    table = pa.table({"row_id": [f"r{at}" for at in range(100)], "x": [0.0] * 50 + [9.0] * 50})
    anomaly = only(schema_of({"type": "float", "range": {"max": 1}}).check(table))
    assert anomaly.examples == ("r50", "r51", "r52", "r53", "r54")
    assert anomaly.seen["rows"] == 50


KEYED = {"dataset": {"key": ["id"]}, "columns": {"id": "string", "x": {"type": "int", "range": {"max": 3}}}}


@pytest.mark.parametrize("form", ["csv", "parquet", "rows", "arrow"])
def test_rows_are_named_by_the_key_of_the_schema(form, tmp_path):
    table = pa.table({"id": ["a", "b", "a"], "x": [9, 1, 9]})
    path = tmp_path / f"x.{form}"
    if form == "csv":
        csv.write_csv(table, path)
    if form == "parquet":
        pq.write_table(table, path, row_group_size=2)
    data = {"csv": path, "parquet": path, "rows": table.to_pylist(), "arrow": table}[form]
    assert only(Schema.from_plain(KEYED).check(data)).examples == ("a", "a")


def test_a_key_of_several_columns_names_rows_as_read_table_does():
    table = pa.table({"id": ["a", "a"], "n": [1, 2], "x": [0, 9]})
    plain = {**KEYED, "dataset": {"key": ["id", "n"]}, "columns": {**KEYED["columns"], "n": "int"}}
    keyed = read_table(table, key=["id", "n"])
    assert only(Schema.from_plain(plain).check(table)).examples == (keyed.row_ids[1],)
    assert only(Schema.from_plain(plain).check(keyed)).examples == (keyed.row_ids[1],)


def test_a_key_that_has_no_form_as_text_names_nothing():
    rows = [{"id": ["a"], "x": 0}, {"id": ["b"], "x": 9}]
    kind, high = Schema.from_plain(KEYED).check(rows)
    assert (kind.reason, high.reason) == ("type_changed", "out_of_range_high")
    assert high.examples[0].endswith(":1")


def test_a_table_keeps_its_own_names():
    table = pa.table({"row_id": ["r1", "r2"], "id": ["a", "b"], "x": [0, 9]})
    assert only(Schema.from_plain(KEYED).check(read_table(table))).examples == ("r2",)


def test_rows_without_the_key_keep_a_name():
    nulls = [{"id": None, "x": 1}, {"id": "b", "x": 9}]
    missing, high = Schema.from_plain(KEYED).check(nulls)
    assert missing.examples[0].endswith(":0") and high.examples == ("b",)
    absent = {**KEYED, "columns": {"id": {"type": "string", "presence": "optional"}, "x": KEYED["columns"]["x"]}}
    assert only(Schema.from_plain(absent).check([{"x": 9}])).examples[0].endswith(":0")


def test_streamed_parquet_names_rows_as_the_read_table_does(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": np.arange(1000)}), path, row_group_size=300)
    schema = schema_of({"type": "int", "range": {"max": 900}, "unique": True})
    streamed, whole = schema.check(path), schema.check(read_table(path))
    assert streamed.payload() == whole.payload()
    assert only(streamed).examples[0].endswith(":901")


def test_several_files_and_a_file_without_the_column(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": [1]}), tmp_path / "b.parquet")
    schema = Schema.from_plain({"columns": {"x": "int", "y": {"type": "int", "presence": "optional"}}})
    anomaly = only(schema.check([tmp_path / "a.parquet", tmp_path / "b.parquet"]))
    assert (anomaly.reason, anomaly.seen["rows"], anomaly.seen["of"]) == ("missing_value", 1, 3)
    assert reasons(schema.check([tmp_path / "b.parquet"])) == [("x", "missing_column")]


def test_every_kind_of_frame_can_be_checked():
    rows = [{"x": 1, "s": "a"}, {"x": 5, "s": "b"}]
    schema = Schema.from_plain({"columns": {"x": {"type": "int", "range": {"max": 3}}, "s": "string"}})
    for data in (rows, pa.Table.from_pylist(rows), pd.DataFrame(rows), pl.DataFrame(rows), read_table(rows)):
        assert reasons(schema.check(data)) == [("x", "out_of_range_high")]


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match="'x'"):
        schema_of("int").check(pa.table([pa.array([1]), pa.array([2])], names=["x", "x"]))


def test_duplicates_are_found_across_chunks():
    n = CHUNK_ROWS + 10
    rows = [{"x": at % (n - 3)} for at in range(n)]
    anomaly = only(schema_of({"type": "int", "unique": True}).check(rows))
    assert (anomaly.seen["rows"], anomaly.seen["min"], anomaly.seen["max"]) == (3, 0, 2)
    assert [example.rsplit(":")[-1] for example in anomaly.examples] == [str(n - 3 + at) for at in range(3)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.none() | st.floats(width=32) | st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_the_report_does_not_depend_on_how_rows_are_cut(values, cuts):
    schema = schema_of({"type": "float", "range": {"min": 0, "max": 1}, "unique": True, "distinct": {"max": 2}})
    whole = pa.table({"row_id": [str(at) for at in range(len(values))], "x": pa.array(values, pa.float64())})
    borders = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [whole.slice(a, b - a) for a, b in pairwise(borders)]
    assert schema.check(pa.concat_tables(parts)).payload() == schema.check(whole).payload()

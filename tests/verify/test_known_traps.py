"""What validators have been seen to let through, to report twice, or to call by a wrong name: one test per trap."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lineshaft.errors import SchemaError, UsageError
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.onepass import statistics

RNG = np.random.default_rng(0)


def reasons(report):
    return [(anomaly.column, anomaly.reason) for anomaly in report]


def table(**columns):
    return pa.table(columns)


def test_one_outlier_is_a_matter_of_range_and_named_by_its_row():
    schema = infer_schema(table(x=RNG.normal(size=10_000)))
    spoilt = RNG.normal(size=10_000)
    spoilt[4321] = 1e4
    [anomaly] = schema.check(pa.table({"row_id": [str(at) for at in range(10_000)], "x": spoilt}))
    assert (anomaly.reason, anomaly.examples, anomaly.seen["max"]) == ("out_of_range_high", ("4321",), 1e4)


@pytest.mark.parametrize("share", [0.001, 0.5])
def test_nan_is_reported_however_much_of_it_there_is(share):
    values = np.where(RNG.random(2000) < share, np.nan, 1.0)
    values[0] = np.nan
    assert reasons(Schema.parse('columns.x = "float"').check(table(x=values))) == [("x", "has_nan")]


def test_nan_that_was_there_before_is_no_news_and_null_still_is():
    schema = infer_schema(table(x=[1.0, 2.0, math.nan] * 50))
    assert list(schema.check(table(x=[math.nan, 1.0]))) == []
    assert reasons(schema.check(table(x=[None, 1.0]))) == [("x", "missing_value")]


def test_a_bool_held_as_a_number_is_checked_whatever_was_summarised_before():
    seven = table(x=[0, 1, 7])
    schema = infer_schema(table(x=[0, 1] * 50))
    assert reasons(schema.check(seven)) == [("x", "not_bool")]
    statistics(seven)
    assert reasons(schema.check(seven)) == [("x", "not_bool")]


@pytest.mark.parametrize(
    ("bounds", "values", "reason"),
    [
        ({"min": 2}, [1, 1, 1], "too_few_distinct"),
        ({"min": 2}, list(range(5000)), None),
        ({"max": 3}, [1, 2, 3, 4], "too_many_distinct"),
        ({"max": 3}, [1], None),
    ],
)
def test_a_bound_that_is_absent_is_no_bound(bounds, values, reason):
    report = Schema.from_plain({"columns": {"x": {"type": "int", "distinct": bounds}}}).check(table(x=values))
    assert reasons(report) == ([("x", reason)] if reason else [])


def test_fifteen_hundred_values_are_all_listed_or_none():
    values = [f"v{at:04d}" for at in range(1500)] * 3
    assert infer_schema(table(x=values), evidence=False, max_values=2000)["x"].values is None
    assert statistics(table(x=values))["x"].distinct == 1500
    listed = Schema.from_plain({"columns": {"x": {"type": "string", "values": sorted(set(values))}}})
    assert list(listed.check(table(x=values))) == []


def test_counts_that_are_not_exact_say_by_how_much():
    x = statistics(table(x=[f"v{at % 1500}" for at in range(6000)]))["x"]
    assert not x.heavy.exact
    assert x.heavy.error <= 6000 / 1025
    assert all(count <= 4 <= count + x.heavy.error for _, count in x.top(5))
    few = statistics(table(x=["a", "b"] * 10))["x"]
    assert (few.heavy.exact, few.heavy.error, few.distinct_error) == (True, 0, 0)


def test_ids_replaced_by_others_are_told_apart_by_their_sketches():
    old, new = (statistics(table(x=[f"{prefix}{at}" for at in range(20_000)]))["x"] for prefix in "ab")
    shared = np.intersect1d(old.kmv.hashes, new.kmv.hashes)
    assert len(shared) == 0
    assert old.distinct == pytest.approx(20_000, rel=0.07)


def test_a_frame_whose_integers_got_a_hole_has_one_reason():
    frame = pd.DataFrame({"x": [3, None, 5]})
    assert reasons(Schema.parse('columns.x = "int"').check(frame)) == [("x", "missing_value")]


def test_a_column_of_floats_where_integers_were_has_one_reason_with_the_first_of_them():
    [anomaly] = Schema.parse('columns.x = "int"').check(table(x=[1.0, 2.5, 3.0]))
    assert (anomaly.reason, anomaly.seen["rows"], anomaly.seen["min"]) == ("not_an_integer", 1, 2.5)


def test_moments_in_time_are_a_type_with_statistics_bounds_and_checks():
    moments = [dt.datetime(2020, 1, 1) + dt.timedelta(hours=at) for at in range(100)]
    stats = statistics(table(x=moments))["x"]
    assert (stats.type, stats.min, stats.max, stats.distinct) == ("datetime", moments[0], moments[-1], 100)
    schema = Schema.from_plain({"columns": {"x": {"type": "datetime", "range": {"max": dt.datetime(2020, 1, 3)}}}})
    [anomaly] = schema.check(table(x=moments))
    assert (anomaly.reason, anomaly.seen["rows"], anomaly.seen["max"]) == (
        "out_of_range_high",
        51,
        moments[-1].isoformat(),
    )
    assert reasons(schema.check(table(x=["2020-01-01"]))) == [("x", "type_changed")]


def test_a_type_that_changed_stays_visible_after_people_made_it_a_warning():
    plain = {"columns": {"x": {"type": "int", "severity": {"type_changed": "warning"}}}}
    report = Schema.from_plain(plain).check(table(x=["a"]))
    assert report.ok
    assert [(anomaly.reason, anomaly.severity) for anomaly in report] == [("type_changed", "warning")]


@pytest.mark.parametrize("above", [1 + 1e-9, math.nextafter(1.0, 2.0)])
def test_bounds_are_of_64_bits(above):
    schema = Schema.from_plain({"columns": {"x": {"type": "float", "range": {"max": 1.0}}}})
    assert reasons(schema.check(table(x=[above]))) == [("x", "out_of_range_high")]
    assert list(schema.check(table(x=[1.0]))) == []


@pytest.mark.parametrize("bound", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_bounds_of_integers_are_exact(bound):
    schema = Schema.from_plain({"columns": {"x": {"type": "int", "range": {"min": bound, "max": bound}}}})
    assert list(schema.check(table(x=[bound]))) == []
    other = bound - 1 if bound > 0 else bound + 1
    assert len(schema.check(table(x=[other]))) == 1
    assert len(schema.row_checker()({"x": other})) == 1


def test_a_list_that_repeats_itself_and_words_that_mean_both_are_refused_on_load():
    with pytest.raises(SchemaError, match="'a' is listed twice"):
        Schema.parse('columns.x = { type = "string", values = ["a", "a"] }')
    with pytest.raises(SchemaError, match="'y' means both true and false"):
        Schema.parse('columns.x = { type = "string", bool = { true = "y", false = "y" } }')


def test_a_column_that_vanished_is_missed_without_being_told_to():
    assert reasons(Schema.parse('columns.x = "int"\ncolumns.y = "int"').check(table(x=[1]))) == [
        ("y", "missing_column")
    ]


def test_two_rows_and_two_thousand_do_not_give_the_same_schema():
    few, many = ([{"x": "ab"[at % 2], "n": float(at % 9)} for at in range(rows)] for rows in (2, 2000))
    assert infer_schema(few).plain()["columns"] == {"x": {"type": "string"}, "n": {"type": "float"}}
    assert infer_schema(many).plain()["columns"] == {
        "x": {"type": "string", "values": ["a", "b"]},
        "n": {"type": "float", "range": {"min": 0.0, "max": 8.0}},
    }


def test_no_comparison_is_thought_to_have_been_made():
    schema = Schema.parse('columns.x = "int"')
    for name in ("previous", "previous_version", "serving"):
        with pytest.raises(UsageError, match=f"{name}= was given"):
            schema.check(table(x=[1]), **{name: table(x=[1])})


def test_tails_without_a_mean_at_both_ends_have_no_range():
    assert infer_schema(table(x=RNG.standard_cauchy(3000) ** 3))["x"].range is None


@pytest.mark.parametrize("seed", range(5))
def test_fresh_rows_of_every_kind_at_once_raise_no_alarm(seed):
    def draw(rng, n):
        return pa.table(
            {
                "normal": rng.normal(size=n),
                "count": rng.poisson(3, n),
                "money": np.round(rng.lognormal(2, 1, n), 2),
                "kind": rng.choice(["a", "b", "c", "d"], n, p=[0.6, 0.3, 0.09, 0.01]),
                "seldom": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.9),
                "flag": rng.integers(0, 2, n),
                "id": np.char.mod("id%d", rng.integers(0, 10**9, n)),
            }
        )

    rng = np.random.default_rng(seed)
    schema = infer_schema(draw(rng, 2000), key="id")
    report = schema.check(draw(rng, 2000))
    assert len(report) <= 1, str(report)

"""Request rows: exactly the model's columns, of the schema's types and values, and every fault told at once."""

import datetime as dt
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import GOOD, TYPES, Linear, served

from lineshaft.core.admit import Limits, refusal_of
from lineshaft.errors import AdmissionError, UsageError
from lineshaft.serve.model import Served
from lineshaft.serve.rows import MOST_REASONS, RowReader
from lineshaft.serve.values import reader

LIMITS = Limits(string=1000)


def read(*rows, checked=True):
    return RowReader(served() if checked else served(checker=None), LIMITS).read(rows)


def refusal(*rows, checked=True):
    with pytest.raises(AdmissionError) as caught:
        read(*rows, checked=checked)
    return refusal_of(caught.value)


def faults(*rows, checked=True):
    told = refusal(*rows, checked=checked)
    assert told.code == "schema"
    return [(r["row"], r["column"], r["reason"]) for r in told.reasons]


def test_rows_become_a_batch_in_the_models_order_and_types():
    batch = read({"score": 1, "stars": 3, "text": "a"}, GOOD)
    assert batch.schema == pa.schema([("text", pa.string()), ("stars", pa.int64()), ("score", pa.float64())])
    assert batch.to_pylist() == [{"text": "a", "stars": 3, "score": 1.0}, GOOD]


def test_missing_and_unknown_columns_are_told_with_what_is_read():
    assert faults({"text": "a", "stars": 1, "extra": 1}) == [
        (0, "score", "missing_column"),
        (0, "extra", "unknown_column"),
    ]
    assert "send exactly text, stars, score" in refusal({"text": "a"}).reasons[0]["fix"]


def test_all_faults_of_all_rows_are_told_at_once():
    found = faults(GOOD, {"text": None, "stars": 9, "score": "x"}, {**GOOD, "stars": 1.5})
    assert found == [(1, "text", "missing_value"), (1, "stars", "range"), (1, "score", "type"), (2, "stars", "type")]


def test_the_answer_repeats_what_was_seen_and_the_allowing_edit():
    reason = refusal({**GOOD, "stars": 9}).reasons[0]
    assert (reason["seen"], reason["fix"]) == ("9", "send another value, or let the schema say max = 5")


def test_warnings_and_columns_that_are_not_read_forbid_nothing():
    assert read({**GOOD, "text": "odd"}).num_rows == 1


def test_nulls_are_the_schemas_business():
    assert faults({**GOOD, "text": None}) == [(0, "text", "missing_value")]
    assert read({"text": None, "stars": None, "score": None}, checked=False).to_pylist() == [dict.fromkeys(TYPES)]
    assert read({**GOOD, "score": None}).column("score").null_count == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_in_the_schemas_words_where_it_has_some(value):
    assert faults({**GOOD, "score": value}) == [(0, "score", "not_finite")]
    assert faults({**GOOD, "score": value}, checked=False) == [(0, "score", "type")]


def test_a_faulty_request_with_thousands_of_faults_gets_the_first_hundred():
    assert len(refusal(*[{"x": 1}] * 1000).reasons) == MOST_REASONS


def test_offending_values_are_not_repeated_in_full_length():
    assert len(str(refusal({**GOOD, "stars": "x" * 900}).reasons)) < 400
    assert len(str(refusal({**GOOD, "y" * 100_000: 1}).reasons)) < 400


@pytest.mark.parametrize("row", [None, 1, "text", [GOOD]])
def test_a_row_that_is_no_object_is_malformed(row):
    assert refusal(GOOD, row).code == "malformed"


def test_no_rows_too_many_rows_and_too_long_strings():
    assert refusal().code == "malformed"
    assert refusal(*[GOOD] * 1025).message == "1025 rows in one request, the limit is 1024"
    assert refusal({**GOOD, "text": "x" * 1001}).code == "too_large"


def test_a_column_without_a_type_is_refused_at_start():
    with pytest.raises(UsageError, match="the model reads 'score'"):
        Served(Linear(), {"text": pa.string(), "stars": pa.int64()})
    with pytest.raises(UsageError, match="which a request cannot carry"):
        RowReader(Served(Linear(), {**TYPES, "score": pa.struct([("a", pa.int8())])}), LIMITS)


CASES = [
    (pa.string(), st.text(max_size=5)),
    (pa.large_string(), st.text(max_size=5)),
    (pa.dictionary(pa.int32(), pa.string()), st.text(max_size=5)),
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)),
    (pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000)),
    (pa.float16(), st.floats(width=16, allow_nan=False, allow_infinity=False)),
    (pa.date32(), st.dates().map(dt.date.isoformat)),
    (pa.timestamp("us"), st.datetimes().map(dt.datetime.isoformat)),
    (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(dt.UTC)).map(dt.datetime.isoformat)),
    (pa.list_(pa.float32()), st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3)),
    (pa.list_(pa.int64(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
]


@given(st.data(), st.sampled_from(CASES))
def test_values_of_a_type_fit_its_array(data, case):
    arrow_type, values = case
    value = data.draw(values | st.none())
    array = pa.array([reader("c", arrow_type)(value)], arrow_type)
    kept = array[0].as_py()
    if isinstance(kept, (dt.date, dt.datetime)):
        kept = kept.isoformat()
    assert kept == value


@pytest.mark.parametrize(
    ("arrow_type", "value"),
    [
        (pa.string(), 1), (pa.string(), ["a"]), (pa.bool_(), 1), (pa.bool_(), "true"), (pa.int64(), True), (pa.int64(), 1.0),
        (pa.int64(), "1"), (pa.int8(), 128), (pa.uint8(), -1), (pa.int64(), 2**63), (pa.float64(), True), (pa.float64(), "1"),
        (pa.float32(), 1e39), (pa.float16(), 70000), (pa.date32(), "yesterday"), (pa.date32(), 5), (pa.timestamp("us"), "2024-13-01"),
        (pa.timestamp("us"), "2024-01-01T00:00:00Z"), (pa.timestamp("us", "UTC"), "2024-01-01T00:00:00"),
        (pa.list_(pa.int64()), 1), (pa.list_(pa.int64()), [1, "2"]), (pa.list_(pa.int64(), 2), [1]), (pa.float64(), {}),
        (pa.float64(), math.nan), (pa.float32(), -math.inf), (pa.list_(pa.float32()), [1.0, math.nan]),
        (pa.timestamp("ns"), "9999-01-01T00:00:00"), (pa.timestamp("ns"), "1600-01-01T00:00:00"),
        (pa.timestamp("us", "UTC"), "0001-01-01T00:00:00+14:00"), (pa.timestamp("s", "+05:00"), "9999-12-31T23:59:59Z"),
    ],
)  # fmt: skip
def test_nothing_is_converted_but_integers_to_floats(arrow_type, value):
    with pytest.raises(ValueError):
        reader("c", arrow_type)(value)


MOMENTS = st.datetimes(
    timezones=st.just(None) | st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
)


@given(MOMENTS, st.sampled_from(["s", "ms", "us", "ns"]), st.sampled_from(["UTC", "+14:00", "-12:00", "Asia/Tokyo"]))
def test_a_moment_is_refused_or_comes_out_of_its_column(moment, unit, zone):
    """Out as well as in: a features function that asks for Python values must not fail where a client chose the year."""
    arrow_type = pa.timestamp(unit, zone if moment.tzinfo else None)
    try:
        value = reader("c", arrow_type)(moment.isoformat())
    except ValueError as error:
        assert unit == "ns" or moment.year in {1, 9999}, error
    else:
        kept = pa.array([value], arrow_type).to_pylist()[0]
        assert abs(kept.replace(tzinfo=kept.tzinfo) - moment) < dt.timedelta(seconds=1)


def test_values_that_do_not_fit_together_are_the_requests_fault():
    kind = pa.dictionary(pa.int8(), pa.string())
    many = RowReader(Served(Linear(reads=("text",)), {"text": kind}), LIMITS)
    assert many.read([{"text": str(n)} for n in range(128)]).num_rows == 128
    with pytest.raises(AdmissionError) as caught:
        many.read([{"text": str(n)} for n in range(300)])
    told = refusal_of(caught.value)
    assert told.code == "schema"
    assert told.reasons[0]["column"] == "text"

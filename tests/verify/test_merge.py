"""Merged statistics are those of one pass: any cut into groups of chunks, any order of merging."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.errors import DataError, UsageError
from lineshaft.verify.statistics import sample as sample_module
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.statistics.summary import Statistics

TYPES = {"f": pa.float64(), "i": pa.int64(), "s": pa.string(), "b": pa.bool_(), "l": pa.list_(pa.int64())}

rows = st.fixed_dictionaries(
    {
        "f": st.none() | st.floats(width=32),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "s": st.none() | st.text(max_size=5),
        "b": st.none() | st.booleans(),
        "l": st.none() | st.lists(st.none() | st.integers(0, 5), max_size=3),
    }
)
chunk_lists = st.lists(st.lists(rows, max_size=12), min_size=1, max_size=6)


def table_of(chunks):
    schema = pa.schema(TYPES.items())
    return pa.Table.from_batches([pa.RecordBatch.from_pylist(chunk, schema=schema) for chunk in chunks], schema=schema)


def without_moments(stats):
    payload = json.loads(json.dumps(stats.payload()))
    for column in payload["columns"]:
        column.pop("moments")
    return payload


def merged_in_some_order(data, parts):
    parts = list(parts)
    while len(parts) > 1:
        first = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        second = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.append(first.merge(second))
    return parts[0]


@settings(max_examples=60, deadline=None)
@given(chunk_lists, st.data())
def test_merged_equals_one_pass(chunks, data):
    whole = statistics(table_of(chunks))
    merged = merged_in_some_order(data, [statistics(table_of([chunk])) for chunk in chunks])
    assert without_moments(merged) == without_moments(whole)
    for column in whole:
        other = merged[column.name]
        if column.mean is not None and np.isfinite(column.std):
            scale = max(abs(column.min), abs(column.max))
            assert other.mean == pytest.approx(column.mean, rel=1e-12, abs=1e-12 * scale)
            assert other.std == pytest.approx(column.std, rel=1e-9, abs=1e-12 * scale)


@settings(max_examples=25, deadline=None)
@given(chunk_lists, st.data())
def test_a_sample_that_is_full_is_the_same_in_any_order(chunks, data):
    original, sample_module.K = sample_module.K, 7
    try:
        whole = statistics(table_of(chunks)).sample.payload()
        merged = merged_in_some_order(data, [statistics(table_of([chunk])) for chunk in chunks])
        assert merged.sample.payload() == whole
    finally:
        sample_module.K = original


def test_a_file_that_comes_twice_keeps_the_sample_independent_of_order():
    original, sample_module.K = sample_module.K, 50
    try:
        a, b = (statistics(pa.table({"x": np.arange(100) + shift})) for shift in (0, 1000))
        assert a.merge(a).merge(b).sample.payload() == a.merge(b).merge(a).sample.payload()
    finally:
        sample_module.K = original


@settings(max_examples=40, deadline=None)
@given(chunk_lists)
def test_no_row_is_lost(chunks):
    stats = statistics(table_of(chunks))
    total = sum(len(chunk) for chunk in chunks)
    assert stats.rows == total
    for column in stats:
        assert column.count + column.missing == column.rows == total
        leaf = column
        if column.type != "list<int>":
            assert leaf.values == column.count
        assert leaf.finite == leaf.values - leaf.nan - leaf.posinf - leaf.neginf
        assert sum(leaf.heavy.counts.values()) == leaf.finite
        if leaf.kind in {"int", "float", "bool"}:
            assert leaf.moments.n == leaf.finite


def test_no_row_is_lost_in_large_chunks():
    n = 123_457
    table = pa.table({"x": pa.array(np.arange(n), mask=np.arange(n) % 5 == 0), "s": np.char.mod("%d", np.arange(n))})
    stats = statistics(pa.Table.from_batches(table.to_batches(max_chunksize=10_007)))
    assert stats["x"].count + stats["x"].missing == n == stats["s"].count
    assert stats["x"].missing == len(range(0, n, 5))
    assert stats["s"].distinct == pytest.approx(n, rel=0.07)


def test_a_column_of_one_side_is_missing_on_the_other():
    a, b = statistics([{"x": 1}, {"x": 2}]), statistics([{"y": "t"}])
    merged = a.merge(b)
    assert merged.columns == ["x", "y"]
    assert (merged["x"].rows, merged["x"].missing, merged["y"].missing) == (3, 1, 2)
    assert merged["x"].quantile(1) == 2


def test_int_beside_float_becomes_float():
    merged = statistics([{"x": 1}, {"x": 2}]).merge(statistics([{"x": 2.0}, {"x": 0.5}]))
    x = merged["x"]
    assert (x.type, x.distinct, x.min, x.top(1), x.quantile(0.5)) == ("float", 3, 0.5, [(2.0, 2)], 1.0)


def test_a_column_of_nulls_takes_the_other_type():
    nulls = statistics(pa.table({"x": pa.nulls(2)}))
    for values in ([1.5], ["a"], [[1]], [True]):
        other = statistics(pa.table({"x": values}))
        for merged in (nulls.merge(other), other.merge(nulls)):
            assert (merged["x"].type, merged["x"].count, merged["x"].missing) == (other["x"].type, 1, 2)


@pytest.mark.parametrize("values", [["a"], [True], [[1]], [[[1]]]])
def test_types_that_do_not_mix_are_refused_with_both_named(values):
    a, b = statistics(pa.table({"x": [1]})), statistics(pa.table({"x": values}))
    with pytest.raises(DataError, match=r"column 'x'.*do not merge"):
        a.merge(b)


def test_statistics_merge_with_statistics_only():
    with pytest.raises(UsageError, match="not with dict"):
        statistics([{"x": 1}]).merge({})


def test_merging_with_nothing_changes_nothing():
    stats = statistics([{"x": 1, "s": "a"}])
    assert Statistics().merge(stats).payload() == stats.merge(Statistics()).payload() == stats.payload()


def test_the_order_of_columns_does_not_change_the_sample():
    a = statistics(pa.table({"x": np.arange(50), "y": np.arange(50) * 2.0}))
    b = statistics(pa.table({"y": np.arange(50) * 2.0, "x": np.arange(50)}))
    assert a.sample.priorities.tolist() == b.sample.priorities.tolist()


def test_a_merged_day_is_a_scan_saved():
    days = [statistics(pa.table({"x": np.random.default_rng(day).normal(size=500)})) for day in range(5)]
    saved = [Statistics.from_payload(json.loads(json.dumps(day.payload()))) for day in days]
    fresh, reloaded = days[0], saved[0]
    for day, stored in zip(days[1:], saved[1:], strict=True):
        fresh, reloaded = fresh.merge(day), reloaded.merge(stored)
    assert fresh.payload() == reloaded.payload()
    assert fresh.rows == 2500

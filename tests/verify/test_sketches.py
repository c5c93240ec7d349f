"""Moments, k minimum values, heavy hitters, extents: each against the plain computation, and merged in any order."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.verify.statistics import heavy as heavy_module
from lineshaft.verify.statistics import kmv as kmv_module
from lineshaft.verify.statistics.hashing import hash_numbers, pack, unpack
from lineshaft.verify.statistics.heavy import SHOWN, Heavy, is_short
from lineshaft.verify.statistics.kmv import Kmv
from lineshaft.verify.statistics.moments import Extent, Moments

finite = st.floats(-1e9, 1e9)


@given(st.lists(finite, min_size=1), st.lists(st.integers(0, 50), max_size=4))
def test_moments_merged_over_any_cut_are_those_of_one_pass(values, cuts):
    array = np.array(values)
    borders = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    merged = Moments()
    for start, end in pairwise(borders):
        merged = merged.merge(Moments.of(array[start:end]))
    scale = max(np.abs(array).max(), 1e-300)
    assert merged.n == len(values)
    assert merged.mean == pytest.approx(array.mean(), rel=1e-12, abs=1e-12 * scale)
    assert merged.std == pytest.approx(array.std(), rel=1e-9, abs=1e-12 * scale)


def test_moments_keep_a_small_spread_far_from_zero():
    values = 1e9 + np.random.default_rng(0).normal(size=10_000)
    merged = Moments()
    for part in np.array_split(values, 37):
        merged = merged.merge(Moments.of(part))
    assert merged.std == pytest.approx((values - 1e9).std(), rel=1e-8)


def test_a_constant_has_no_spread_however_it_is_merged():
    part = Moments.of(np.full(7, 0.1))
    assert part.merge(part).merge(part).std == 0.0


def test_moments_of_the_greatest_floats_do_not_overflow_to_nan():
    greatest = Moments.of(np.array([1.7e308, 1.7e308]))
    assert greatest.mean == 1.7e308
    both = greatest.merge(Moments.of(np.array([-1.7e308, -1.7e308])))
    assert both.mean == 0
    assert math.isinf(both.std)
    assert Moments.from_payload(both.payload()) == both


def test_no_numbers_have_no_spread():
    assert math.isnan(Moments().std)
    assert Moments().merge(Moments.of(np.array([2.0]))) == Moments(1, 2.0, 0.0)


@given(st.lists(st.integers(-1000, 1000)), st.permutations(range(5)))
def test_kmv_counts_exactly_below_k_in_any_order(values, order):
    parts = np.array_split(np.array(values, np.int64), 5)
    merged = Kmv()
    for at in order:
        merged = merged.merge(Kmv.of(hash_numbers(parts[at])))
    assert merged.distinct == len(set(values))
    assert merged.exact
    assert merged.relative_error == 0


@settings(max_examples=20)
@given(st.lists(st.integers(0, 300), min_size=1), st.permutations(range(4)))
def test_kmv_past_k_is_bit_equal_in_any_order(values, order):
    original, kmv_module.K = kmv_module.K, 16
    try:
        parts = np.array_split(np.array(values, np.int64), 4)
        merged = Kmv()
        for at in order:
            merged = merged.merge(Kmv.of(hash_numbers(parts[at])))
        whole = Kmv.of(hash_numbers(np.array(values, np.int64)))
        assert merged.hashes.tolist() == whole.hashes.tolist()
        assert len(merged.hashes) <= 16
    finally:
        kmv_module.K = original


@pytest.mark.parametrize("n", [10_000, 100_000, 400_000])
def test_kmv_estimates_within_four_standard_errors(n):
    sketch = Kmv()
    for part in np.array_split(np.arange(n), 5):
        sketch = sketch.merge(Kmv.of(hash_numbers(part)))
    assert not sketch.exact
    assert sketch.distinct == pytest.approx(n, rel=4 * sketch.relative_error)
    assert Kmv.from_payload(sketch.payload()).distinct == sketch.distinct


def of_texts(values):
    counted = pc.value_counts(pa.array(values, pa.string()))
    return Heavy.of(counted.field("values"), counted.field("counts").to_numpy())


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("defghi")))
def test_top_values_are_exact_up_to_the_capacity(first, second):
    merged = of_texts(first).merge(of_texts(second))
    assert merged.exact
    assert merged.counts == {value: (first + second).count(value) for value in {*first, *second}}


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 40).map(str)), min_size=1, max_size=5))
def test_past_the_capacity_every_count_is_within_the_stated_error(parts):
    original, heavy_module.CAPACITY = heavy_module.CAPACITY, 8
    try:
        merged = of_texts(parts[0])
        for part in parts[1:]:
            merged = merged.merge(of_texts(part))
        everything = [value for part in parts for value in part]
        for value in set(everything):
            listed = merged.counts.get(value, 0)
            assert listed <= everything.count(value) <= listed + merged.error
        assert merged.error <= len(everything) / 9
        assert len(merged.counts) <= 8
    finally:
        heavy_module.CAPACITY = original


def test_a_value_in_every_second_row_is_found_among_unique_ones():
    values = [text for at in range(5000) for text in ("often", f"id{at}")]
    merged = of_texts(values[:4000]).merge(of_texts(values[4000:]))
    [(value, count)] = merged.top(1)
    assert value == "often"
    assert count <= 5000 <= count + merged.error


def test_ties_are_listed_by_value():
    assert of_texts(["b", "a", "c", "c"]).top(3) == [("c", 2), ("a", 1), ("b", 1)]


def test_long_texts_are_listed_by_their_beginning_and_stay_apart():
    long = "x" * 5000
    listed = of_texts([long + "1", long + "2", long + "1"]).top(2)
    assert [count for _, count in listed] == [2, 1]
    assert all(value.startswith("x" * SHOWN) and len(value) < 300 and not is_short(value) for value, _ in listed)


@given(st.lists(st.integers(0, 1000)), st.lists(st.integers(0, 1000)))
def test_extents_merge_to_the_extent_of_both(first, second):
    merged = Extent.of(np.array(first, np.int64)).merge(Extent.of(np.array(second, np.int64)))
    both = first + second
    expected = (len(both), sum(both), min(both, default=None), max(both, default=None))
    assert (merged.n, merged.total, merged.min, merged.max) == expected
    assert merged.mean == (pytest.approx(sum(both) / len(both)) if both else None)


def test_extents_count_weights():
    assert Extent.of(np.array([3, 5]), np.array([2, 1])) == Extent(3, 11, 3, 5)


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_packed_words_come_back(words):
    assert unpack(pack(np.array(words, np.uint64))).tolist() == words


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, ">u8"], ids=str)
def test_packed_numbers_keep_their_type(dtype):
    numbers = np.array([0, 1, 200], dtype)
    assert unpack(pack(numbers), dtype).tolist() == [0, 1, 200]

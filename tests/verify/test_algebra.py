"""Every mergeable state is a commutative monoid: order and grouping do not count, the empty state adds nothing."""

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.verify.statistics import heavy as heavy_module
from lineshaft.verify.statistics import kmv as kmv_module
from lineshaft.verify.statistics import sample as sample_module
from lineshaft.verify.statistics.column import ColumnState
from lineshaft.verify.statistics.hashing import distinct_hashes, hash_numbers
from lineshaft.verify.statistics.heavy import Heavy
from lineshaft.verify.statistics.kmv import Kmv
from lineshaft.verify.statistics.moments import Extent, Moments
from lineshaft.verify.statistics.onepass import column_state, of_batch, statistics
from lineshaft.verify.statistics.sample import Cells, Sample
from lineshaft.verify.statistics.summary import Statistics


def heavy(values):
    counted = pc.value_counts(pa.array(values, pa.int64()))
    return Heavy.of(counted.field("values").to_numpy(), counted.field("counts").to_numpy())


def batch(values):
    texts = [None if value % 7 == 0 else f"t{value % 5}" for value in values]
    return pa.record_batch({"n": pa.array(values, pa.int64()), "s": pa.array(texts, pa.string())})


def without_moments(payload):
    if isinstance(payload, dict):
        return {key: without_moments(value) for key, value in payload.items() if key != "moments"}
    return [without_moments(value) for value in payload] if isinstance(payload, list) else payload


# name: how to summarise integers, the empty state
STATES = {
    "extent": (lambda values: Extent.of(np.abs(np.array(values, np.int64))), Extent()),
    "kmv": (lambda values: Kmv.of(hash_numbers(np.array(values, np.int64))), Kmv()),
    "heavy": (heavy, Heavy()),
    "column": (lambda values: column_state(pa.array(values, pa.int64())), ColumnState()),
    "sample": (lambda values: Sample.of(batch(values)), Sample()),
    "statistics": (lambda values: of_batch(batch(values)), Statistics()),
}
each_state = pytest.mark.parametrize("name", STATES)
numbers = st.lists(st.integers(-50, 50), max_size=25)


@pytest.fixture(scope="module", autouse=True)
def small_sketches():
    """Make sketches that a few values fill, so that what happens past their capacity is seen."""
    original = kmv_module.K, sample_module.K
    kmv_module.K, sample_module.K = 16, 12
    yield
    kmv_module.K, sample_module.K = original


def same(a, b):
    """Compare what merging keeps bit for bit; moments are compared by themselves below."""
    assert without_moments(a.payload()) == without_moments(b.payload())


@each_state
@settings(max_examples=40, deadline=None)
@given(numbers, numbers)
def test_merging_is_commutative(name, first, second):
    state, _ = STATES[name]
    same(state(first).merge(state(second)), state(second).merge(state(first)))


@each_state
@settings(max_examples=40, deadline=None)
@given(numbers, numbers, numbers)
def test_merging_is_associative(name, first, second, third):
    state, _ = STATES[name]
    a, b, c = state(first), state(second), state(third)
    same(a.merge(b).merge(c), a.merge(b.merge(c)))


@each_state
@settings(max_examples=25, deadline=None)
@given(numbers)
def test_the_empty_state_adds_nothing(name, values):
    state, empty = STATES[name]
    for merged in (state(values).merge(empty), empty.merge(state(values)), state(values).merge(state([]))):
        if name == "column":
            assert {**merged.payload(), "kind": "int"} == {**state(values).payload(), "kind": "int"}
        else:
            same(merged, state(values))


@each_state
def test_the_empty_state_is_its_own_sum(name):
    _, empty = STATES[name]
    same(empty.merge(empty), empty)


@pytest.mark.parametrize("name", ["extent", "kmv", "heavy", "column"])
@settings(max_examples=40, deadline=None)
@given(numbers, st.lists(st.integers(0, 25), max_size=5))
def test_any_cut_is_one_pass(name, values, cuts):
    state, empty = STATES[name]
    borders = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    merged = empty
    for start, end in itertools.pairwise(borders):
        merged = merged.merge(state(values[start:end]))
    same(merged, state(values))


@each_state
@settings(max_examples=25, deadline=None)
@given(numbers)
def test_every_state_comes_back_from_json(name, values):
    state, _ = STATES[name]
    made = state(values)
    back = type(made).from_payload(json.loads(json.dumps(made.payload(), allow_nan=False)))
    assert back.payload() == made.payload()
    same(back.merge(made), made.merge(made))


finite = st.lists(st.floats(-1e12, 1e12), max_size=30)


def close(a, b, scale):
    assert a.n == b.n
    assert a.mean == pytest.approx(b.mean, rel=1e-12, abs=1e-12 * scale)
    if a.n:
        assert a.std == pytest.approx(b.std, rel=1e-7, abs=1e-10 * scale)


@given(finite, finite, finite)
def test_moments_merge_in_any_order_to_rounding(first, second, third):
    a, b, c = (Moments.of(np.array(part, np.float64)) for part in (first, second, third))
    scale = max((abs(value) for value in first + second + third), default=1.0)
    close(a.merge(b), b.merge(a), scale)
    close(a.merge(b).merge(c), a.merge(b.merge(c)), scale)
    assert a.merge(Moments()) == Moments().merge(a) == a


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_moments_of_any_finite_numbers_are_numbers(values):
    moments = Moments.of(np.array(values))
    slack = 1e-12 * max(map(abs, values))
    assert min(values) - slack <= moments.mean <= max(values) + slack
    assert math.isfinite(moments.mean)
    assert moments.m2 >= 0
    assert Moments.from_payload(json.loads(json.dumps(moments.payload(), allow_nan=False))) == moments


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_the_smallest_hashes_are_those_of_a_plain_sort(hashes):
    array = np.array(hashes, np.uint64)
    assert distinct_hashes(array).tolist() == sorted(set(hashes))
    assert Kmv.of(array).hashes.tolist() == sorted(set(hashes))[:16]


@pytest.mark.parametrize("repeats", [1, 2, 5, 1000])
def test_many_repeats_do_not_make_a_sketch_believe_it_saw_all(repeats):
    values = np.repeat(np.arange(400), repeats)
    np.random.default_rng(0).shuffle(values)
    sketch = Kmv.of(hash_numbers(values))
    assert sketch.hashes.tolist() == sorted(hash_numbers(np.arange(400)).tolist())[:16]
    assert not sketch.exact


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 30), max_size=40), min_size=1, max_size=5), st.randoms())
def test_heavy_hitters_past_their_capacity_keep_their_bound_in_any_order(parts, random):
    original, heavy_module.CAPACITY = heavy_module.CAPACITY, 5
    try:
        states = [heavy(part) for part in parts]
        random.shuffle(states)
        while len(states) > 1:
            states.append(states.pop(0).merge(states.pop(0)))
        [merged] = states
        everything = [value for part in parts for value in part]
        assert merged.error <= len(everything) / 6
        assert len(merged.counts) <= 5
        for value in set(everything):
            listed = merged.counts.get(value, 0)
            assert listed <= everything.count(value) <= listed + merged.error
    finally:
        heavy_module.CAPACITY = original


def test_integers_that_become_one_float_keep_their_counts():
    ints = Heavy({2**53: 2, 2**53 + 1: 3})
    assert ints.as_floats().counts == {float(2**53): 5}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=30), min_size=1, max_size=5), st.randoms())
def test_the_sample_is_that_of_one_pass_in_any_order(parts, random):
    table = pa.Table.from_batches([batch(part) for part in parts])
    states = [of_batch(chunk) for chunk in table.to_batches()]
    random.shuffle(states)
    merged = Statistics()
    for state in states:
        merged = merged.merge(state)
    assert merged.sample.payload() == statistics(table).sample.payload()
    assert len(merged.sample.priorities) == min(12, sum(map(len, parts)))


def test_cells_of_two_kinds_meet_as_floats_and_null_gives_way():
    rows = pa.array([0, 1])
    ints, floats, nulls = (
        Cells.of(array, rows) for array in (pa.array([1, None]), pa.array([0.5, 2.0]), pa.array([None, None]))
    )
    assert ints.join(floats).numbers().tolist() == [1.0, 0.5, 2.0]
    assert floats.join(ints).numbers().tolist() == [0.5, 2.0, 1.0]
    assert [one.kind for one in (ints.join(nulls), nulls.join(ints), nulls.join(nulls))] == ["int", "int", "null"]


def test_a_cell_of_an_integer_past_63_bits_is_the_greatest():
    cells = Cells.of(pa.array([2**64 - 1, 5], pa.uint64()), pa.array([0, 1]))
    assert cells.numbers().tolist() == [2**63 - 1, 5]

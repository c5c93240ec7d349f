"""Inferred schemas: TensorFlow Data Validation's rules, and more only where the data support it."""

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pytest

from lineshaft.errors import DataError, SchemaError, UsageError
from lineshaft.verify.evidence import RISK, least_share, lower_bound, unseen_share, upper_bound
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.model import Bounds, Words
from lineshaft.verify.statistics.onepass import statistics


def column(values, kind=None, **options):
    return infer_schema(pa.table({"x": pa.array(values, kind)}), **options)["x"]


def tfdv(values, **options):
    """Infer by TensorFlow Data Validation's rules alone."""
    return column(values, ranges=False, evidence=False, **options)


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        ([13, 14], {"type": "int"}),
        ([13, None], {"type": "int", "presence": {"min_count": 1}}),
        ([None, None], {"type": "string", "presence": "optional"}),
        ([0, 1], {"type": "int", "bool": True}),
        ([0, 2], {"type": "int"}),
        ([0, 0], {"type": "int"}),
        ([-1, 1], {"type": "int"}),
        ([0.0, 1.0], {"type": "float"}),
        (["true", "false"], {"type": "string", "bool": {"true": "true", "false": "false"}}),
        (["true", "true"], {"type": "string", "bool": {"true": "true"}}),
        (["0", None], {"type": "string", "presence": {"min_count": 1}, "bool": {"false": "0"}}),
        (["true", "1"], {"type": "string", "values": ["1", "true"]}),
        (["true", "wacky"], {"type": "string", "values": ["true", "wacky"]}),
        (["1", "4"], {"type": "string", "parses": "int"}),
        (["1", "4.5"], {"type": "string", "values": ["1", "4.5"]}),
        (["alpha", "beta"], {"type": "string", "values": ["alpha", "beta"]}),
        ([b"a"], {"type": "bytes"}),
        ([dt.date(2020, 1, 1)], {"type": "date"}),
        ([{"a": 1}], {"type": "struct"}),
        ([True], {"type": "bool"}),
        ([math.nan, math.inf], {"type": "float", "nan": True, "inf": True}),
        ([[1.5], [1.5] * 5, None], {"type": "list<float>", "presence": {"min_count": 1}, "valency": {"min": 1}}),
        ([[], [1.5]], {"type": "list<float>"}),
        ([[5] * 5, None], {"type": "list<int>", "presence": {"min_count": 1}, "valency": {"min": 5, "max": 5}}),
        ([[2, None]], {"type": "list<int>", "null_elements": True, "valency": {"min": 2, "max": 2}}),
        ([["a"], ["b"]], {"type": "list<string>", "values": ["a", "b"], "valency": {"min": 1, "max": 1}}),
    ],
    ids=repr,
)
def test_the_rules_that_need_no_evidence(values, plain):
    schema = infer_schema(pa.table({"x": values}), ranges=False, evidence=False)
    assert schema.plain()["columns"]["x"] == plain


def test_the_limit_of_listed_values():
    assert tfdv(["alpha", "beta"], max_values=2).values == ("alpha", "beta")
    assert tfdv(["alpha", "beta", "gamma"], max_values=2).values is None
    assert tfdv([f"v{at}" for at in range(1200)], max_values=2000).values is None


def test_text_that_is_not_utf8_gets_no_domain():
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    assert infer_schema(pa.table({"x": bad}), evidence=False)["x"].values is None


def test_long_texts_are_never_listed():
    assert tfdv(["x" * 5000, "y"] * 50).values is None


def test_few_rows_support_neither_a_range_nor_a_list():
    few = column([1.0, 2.0, 3.0])
    assert (few.range, column(["a", "b"]).values) == (None, None)


def test_values_that_all_came_often_are_the_list():
    x = column(["a", "b", "c"] * 50)
    assert (x.values, x.min_mass) == (("a", "b", "c"), 1.0)


def test_values_seen_once_leave_room_for_others():
    x = column(["a", "b"] * 500 + ["rare", "rarer"])
    assert x.values == ("a", "b", "rare", "rarer")
    assert 0.98 < x.min_mass < 1


def test_names_and_sentences_are_free_text():
    assert column([f"person {at}" for at in range(80)]).values is None
    assert column([f"person {at % 60}" for at in range(100)]).values is None


def test_a_range_has_room_and_says_why():
    x = column(list(np.random.default_rng(0).normal(size=1000)))
    assert x.range.min < -3.3
    assert 3.2 < x.range.max < 10
    assert "seen -" in x.notes["range"]
    assert column([1.0, 2.0] * 50, ranges=False).range is None


def test_no_sign_is_made_up():
    assert column(list(np.random.default_rng(0).exponential(size=500))).range.min == 0
    assert column(list(-np.random.default_rng(0).exponential(size=500))).range.max == 0


def test_a_hard_end_stays_hard():
    hours = [at % 24 for at in range(12_000)]
    assert column(hours).range == Bounds(0, 23)
    assert column([7.0] * 100).range == Bounds(7.0, 7.0)


def test_large_integers_keep_their_exact_ends():
    values = [2**60 + 1, 2**60 + 5] * 100
    assert column(values).range == Bounds(2**60 + 1, 2**60 + 5)


def test_integers_that_never_repeat_have_no_range():
    assert column(list(range(1000, 2000))).range is None
    assert column(list(range(20_000))).range is None


def test_a_tail_without_end_has_no_bound_above():
    heavy = np.random.default_rng(1).pareto(0.4, size=2000)
    x = column(list(heavy))
    assert x.range is None or x.range.max is None


def test_dates_move_on():
    assert column([dt.date(2020, 1, 1) + dt.timedelta(at % 9) for at in range(100)]).range is None


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.random(n),
        lambda rng, n: rng.exponential(size=n),
        lambda rng, n: rng.lognormal(size=n),
        lambda rng, n: rng.poisson(4, n),
        lambda rng, n: np.where(rng.random(n) < 0.7, 0, rng.normal(size=n)),
    ],
    ids=["normal", "uniform", "exponential", "lognormal", "poisson", "half zeros"],
)
@pytest.mark.parametrize("n", [60, 600, 3000])
def test_fresh_rows_of_the_same_kind_pass(draw, n):
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        schema = infer_schema(pa.table({"x": draw(rng, n)}))
        alarms += len(schema.check(pa.table({"x": draw(rng, n)})))
    assert alarms <= 6


def test_data_always_pass_their_own_schema():
    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "f": pa.array(rng.normal(size=500), mask=rng.random(500) < 0.3),
            "i": rng.geometric(0.1, 500),
            "s": rng.choice(["a", "b", "c"], 500, p=[0.9, 0.09, 0.01]),
            "l": [[int(v)] * int(v % 3 + 1) for v in rng.integers(0, 5, 500)],
            "n": pa.nulls(500),
        }
    )
    schema = infer_schema(table)
    assert list(schema.check(table)) == []
    assert infer_schema(statistics(table)) == schema


def test_a_share_of_presence_leaves_room_for_noise():
    x = column([1.0, 2.0, None] * 200)
    assert (0.5 < x.min_fraction < 0.62, x.min_count) == (True, 1)
    assert "400 of 600" in x.notes["presence"]
    rarely = column([1.0] + [None] * 500)
    assert not rarely.must_be_there


def test_keys_are_unique_and_gold_is_not_for_serving():
    rows = [{"id": f"k{at}", "n": at % 5, "y": "yes"} for at in range(100)]
    schema = infer_schema(rows, key="id", gold=["y"])
    assert schema["id"].unique
    assert (schema.dataset.key, schema.dataset.gold) == (("id",), ("y",))
    assert schema.row_checker()({"n": 3}) == []
    pair = infer_schema([{"a": at, "b": at % 3} for at in range(50)], key=["a", "b"])
    assert not pair["a"].unique
    assert not pair["b"].unique


def test_gold_may_be_missing_from_any_row_of_the_next_data():
    rows = [{"n": at % 7, "y": "yes" if at % 20 == 0 else None} for at in range(2000)]
    for seen in (rows, [row for row in rows if row["y"]]):
        schema = infer_schema(seen, gold=["y"])
        assert not schema["y"].must_be_there
        assert list(schema.check([{**row, "y": None} for row in rows])) == []
        assert list(schema.check([{"n": row["n"]} for row in rows])) == []
    assert "100 of 2,000" in infer_schema(rows, gold=["y"])["y"].notes["presence"]


def test_a_key_or_gold_column_that_is_not_there():
    with pytest.raises(UsageError, match="column 'idd' is not in the data; did you mean 'id'"):
        infer_schema([{"id": 1}], key="idd")


def test_a_type_that_no_schema_can_declare_is_named():
    array = pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
    )
    with pytest.raises(SchemaError, match=r"column 'x' is dense_union.*cast it to another type or drop it"):
        infer_schema(pa.table({"x": array}))


def test_bool_words_are_few():
    assert tfdv(["1", "0"]).words == Words("1", "0")
    assert tfdv(["", "0"]).words == Words("", "0")
    assert tfdv(["1", "0", "true"]).words is None


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_a_bound_is_exceeded_about_as_seldom_as_it_says(shift):
    n, exceeded = 400, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sample = rng.exponential(size=n) + shift
        exceeded += rng.exponential(size=n).max() + shift > upper_bound(sample, sample.max(), n)
    assert exceeded / 300 < 4 * RISK


def test_bounds_are_mirror_images_and_contain_what_was_seen():
    sample = np.random.default_rng(0).normal(size=200)
    upper = upper_bound(sample, sample.max(), 200)
    assert lower_bound(-sample, -sample.max(), 200) == -upper
    assert upper >= sample.max()
    assert upper_bound(sample[:10], 1.0, 10) is None


def test_more_rows_behind_a_sample_push_the_bound_outward():
    sample = np.random.default_rng(0).normal(size=500)
    assert upper_bound(sample, sample.max(), 500_000) > upper_bound(sample, sample.max(), 500)


def test_the_share_of_unseen_values():
    assert unseen_share([50, 50], 100) == 0
    assert unseen_share([], 0) == 1
    assert unseen_share([1] * 30, 30) == 1
    assert 0.01 < unseen_share([98, 1, 1], 100) < 0.06


def test_the_least_share_is_below_and_never_negative():
    assert least_share(100, 100) == pytest.approx(0.99)
    assert 0.3 < least_share(500, 1000) < 0.45
    assert least_share(1, 1000) == 0


def test_ranges_of_huge_and_tiny_floats_stay_finite():
    rng = np.random.default_rng(0)
    for scale in (1e-300, 1e300):
        x = column(list(rng.normal(size=300) * scale))
        assert x.range is None or all(math.isfinite(b) for b in (x.range.min, x.range.max) if b is not None)


@pytest.mark.parametrize("values", [[1], [0, 1], ["1"], ["true", "false"], ["7", "12"], [1] * 29])
def test_a_few_rows_do_not_make_a_domain(values):
    inferred = column(values)
    assert (inferred.zero_one, inferred.words, inferred.parses) == (False, None, None)
    assert infer_schema(pa.table({"x": values})).check(pa.table({"x": [type(values[0])(9)]})).ok


@pytest.mark.parametrize(
    ("values", "domain"), [([0, 1], "zero_one"), (["true", "false"], "words"), ([str(n) for n in range(15)], "parses")]
)
def test_enough_rows_do(values, domain):
    assert getattr(column(values * 15), domain)


def test_no_rows_give_no_schema():
    for table in (pa.table({"x": pa.array([], pa.int64())}), pa.table({})):
        with pytest.raises(DataError, match="there are no rows, and a schema is inferred from values"):
            infer_schema(table)


def test_a_key_that_repeats_is_refused_with_the_value():
    with pytest.raises(DataError, match="the key 'x' has 2 different values in 3 rows, 'b' the most often"):
        infer_schema(pa.table({"x": ["a", "b", "b"]}), key="x")


def test_a_key_that_repeats_is_refused_where_values_are_only_estimated():
    many = np.arange(60_000)
    assert infer_schema(pa.table({"x": many}), key="x")["x"].unique
    with pytest.raises(DataError, match=r"the key 'x' has about .* different values in 120,000 rows"):
        infer_schema(pa.table({"x": np.tile(many, 2)}), key="x")


def test_a_key_that_is_null_somewhere_is_refused():
    for key in ("x", ["x", "y"]):
        with pytest.raises(DataError, match="the key 'x' is null in 1 of 3 rows"):
            infer_schema(pa.table({"x": [1, None, 3], "y": [1, 2, 3]}), key=key)


def test_columns_of_a_key_may_repeat_by_themselves():
    assert infer_schema(pa.table({"x": [1, 1], "y": [1, 2]}), key=["x", "y"]).dataset.key == ("x", "y")

"""The request check gives the reasons that the batch check gives for a table of that one row."""

import datetime as dt
import math
import string
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.table import Table
from lineshaft.errors import DataError, SchemaError, UsageError
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.schema import Schema

NEEDS_MANY_ROWS = {
    "never_present",
    "low_count",
    "low_fraction",
    "low_domain_mass",
    "duplicate_value",
    "too_few_distinct",
    "too_many_distinct",
}
NAMES = ("a", "b", "c")
WORDS = ["", "a", "ab", "abc", "1", "-7", "2.5", "1e400", "true", "false", "é", "日本", "a\n", "x" * 40, "9" * 19, "+5"]


def bounds(values):
    return st.tuples(st.none() | values, st.none() | values).map(ordered).filter(bool)


def ordered(pair):
    low, high = pair
    if low is not None and high is not None and low > high:
        low, high = high, low
    return {key: value for key, value in (("min", low), ("max", high)) if value is not None}


counts = st.integers(0, 6)
finite = st.floats(-100, 100) | st.sampled_from([0.0, -0.0, 1.0, 1e300])
whole = st.integers(-50, 50) | st.sampled_from([-(2**63), 2**53 + 1, 2**63 - 1])
days = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)).map(lambda m: m.replace(fold=0))

DOMAINS = {
    "int": [
        {"range": bounds(whole)},
        {"values": st.lists(whole, min_size=1, max_size=4, unique=True)},
        {"bool": st.just(True)},
    ],
    "float": [{"range": bounds(finite), "nan": st.booleans(), "inf": st.booleans()}, {"bool": st.just(True)}],
    "string": [
        {"values": st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True), "length": bounds(counts)},
        {"bool": st.sampled_from([{"true": "true", "false": "false"}, {"true": "1"}])},
        {"parses": st.just("int"), "range": bounds(whole)},
        {"parses": st.just("float"), "range": bounds(finite)},
        {
            "length": bounds(counts),
            "pattern": st.sampled_from([r"[a-z]+", r"a|ab", r"(?i)A.?", r"\p{L}*", "é", r"[0-9]*"]),
        },
    ],
    "bytes": [{"length": bounds(counts)}],
    "date": [{"range": bounds(days)}],
    "datetime": [{"range": bounds(moments)}],
    "bool": [{}],
    "struct": [{}],
    "time": [{}],
    "duration": [{}],
}


@st.composite
def columns(draw):
    kind = draw(st.sampled_from(sorted(DOMAINS)))
    depth = draw(st.sampled_from([0, 0, 0, 1, 2]))
    domain = draw(st.sampled_from(DOMAINS[kind]))
    column = {"type": "list<" * depth + kind + ">" * depth}
    for key, values in domain.items():
        if key == "parses" or draw(st.booleans()):
            column[key] = draw(values)
    if "parses" not in domain and "values" in column and "range" in column:
        del column["range"]
    if depth:
        column |= draw(st.fixed_dictionaries({}, optional={"valency": bounds(counts), "null_elements": st.booleans()}))
    presence = draw(st.sampled_from([None, "optional", "required", {"min_count": 1}, {"min_fraction": 0.5}]))
    if presence is not None:
        column["presence"] = presence
    if draw(st.booleans()):
        column["severity"] = draw(st.sampled_from(["warning", {"missing_value": "warning", "type_changed": "warning"}]))
    return column


# What can be said of a column, by its type; {} is its name.
SAYINGS = {
    "int": ["{} > 0", "abs({}) <= 40", "{} * 2 < {} + 9", "{} between -3 and 3", "{} in (1, 2, 3)"],
    "float": ["{} < 1.5", "not is_nan({})", "{} / 3 > -10", "round({}) = {}", "max({}, 0) = min({}, 100)"],
    "string": ["length({}) < 3", "matches({}, '^[a-z]*$')", "lower({}) = {}", "contains({}, 'a')", "words({}) = 1"],
    "bool": ["{}", "not {}", "{} = true"],
}
PAIRS = {"int": "{} <= {}", "float": "{} + {} < 10", "string": "{} != {}", "bool": "{} or {}"}


@st.composite
def rules_over(draw, columns):
    """Draw conditions that fit the types of the columns."""
    texts = ["1 = 2"] + [f"{name} is{word} null" for name in columns for word in ("", " not")]
    for name, column in columns.items():
        texts += [saying.replace("{}", name) for saying in SAYINGS.get(column["type"], ())]
        for other, second in columns.items():
            if other != name and second["type"] == column["type"] and column["type"] in PAIRS:
                texts.append(PAIRS[column["type"]].format(name, other))
                texts.append(f"coalesce({name}, {other}) is null or {name} = {other}")
    chosen = draw(st.lists(st.sampled_from(texts), unique=True, max_size=3))
    joined = [f"({left}) or ({right})" for left, right in pairwise(chosen)] if draw(st.booleans()) else chosen
    return [{"expect": text, "severity": draw(st.sampled_from(["error", "warning"]))} for text in dict.fromkeys(joined)]


@st.composite
def schemas(draw):
    plain = {
        "columns": {name: draw(columns()) for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))}
    }
    names = sorted(plain["columns"])
    plain["dataset"] = draw(
        st.fixed_dictionaries({}, optional={"gold": st.just(names[:1]), "key": st.just(names[1:2])})
    )
    return Schema.from_plain({**plain, "rules": draw(rules_over(plain["columns"]))})


scalars = st.one_of(
    st.none(),
    st.booleans(),
    whole,
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([2**63, 2**64, -(2**80), 10**400]),
    finite,
    st.sampled_from([0.0, 1.0, 3.0, 2.5, 1e19, math.nan, math.inf, -math.inf]),
    st.sampled_from(WORDS),
    st.sampled_from(["\ud800", "ok\udfff"]),
    st.text(max_size=4),
    st.binary(max_size=6),
    days,
    moments,
    st.sampled_from([dt.time(1, 2), dt.timedelta(days=1), Decimal("1.5"), Decimal(7), Decimal("NaN")]),
    st.sampled_from([np.int64(3), np.float64(1.5), np.float32(0.5), np.bool_(True)]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=5,
)
rows = st.dictionaries(st.sampled_from([*NAMES, "unknown"]), values, min_size=1, max_size=4)

FITTING = {
    "int": whole | st.sampled_from([0, 1]),
    "float": finite | st.sampled_from([math.nan, math.inf, 3]),
    "string": st.sampled_from(WORDS),
    "bytes": st.binary(max_size=6),
    "date": days,
    "datetime": moments,
    "bool": st.booleans(),
    "struct": st.just({"x": 1}),
    "time": st.just(dt.time(3)),
    "duration": st.just(dt.timedelta(1)),
}


def fitting(column):
    kind = column.type.replace("list<", "").replace(">", "")
    value = FITTING[kind]
    for _ in range(column.type.count("list<")):
        value = st.lists(value | st.none(), max_size=4)
    return value | st.none()


def array_of(value):
    unsigned = type(value) is int and 2**63 <= value < 2**64
    return pa.array([value], pa.uint64() if unsigned else None)


def table_of(row):
    """Make a table of one row; None where Arrow cannot hold it."""
    try:
        arrow = pa.Table.from_pydict({"row_id": ["r"], **{name: array_of(value) for name, value in row.items()}})
    except (OverflowError, ValueError, TypeError, pa.ArrowException):
        return None
    return Table(arrow)


def told(anomalies):
    return sorted(
        (anomaly.column or "", anomaly.reason, anomaly.severity, anomaly.seen.get("rule", ""))
        for anomaly in anomalies
        if anomaly.reason not in NEEDS_MANY_ROWS
    )


def agree(schema, row, environment):
    request = schema.row_checker(environment)(row)
    table = table_of(row)
    if table is None:
        if not any("struct" in column.type for column in schema.columns):
            assert request, f"no table can hold {row}, and the request check passes it"
        return
    assert told(request) == told(schema.check(table, environment))


environments = st.sampled_from([None, "serving"])


@settings(max_examples=150, deadline=None)
@given(schemas(), rows, environments)
def test_request_check_equals_batch_check_on_any_row(schema, row, environment):
    agree(schema, row, environment)


@settings(max_examples=150, deadline=None)
@given(schemas(), st.data(), environments)
def test_request_check_equals_batch_check_on_rows_of_the_declared_types(schema, data, environment):
    row = {column.name: data.draw(fitting(column), label=column.name) for column in schema.columns}
    agree(schema, row, environment)


@settings(max_examples=60, deadline=None)
@given(schemas(), rows)
def test_the_quick_test_says_yes_only_where_the_full_check_does(schema, row):
    from lineshaft.verify.constraints import constraints_of
    from lineshaft.verify.quick import quick_test
    from lineshaft.verify.rowcheck import ColumnRow

    for column in schema.columns:
        for required in (True, False):
            full = ColumnRow(column, "expected" if required else "optional")
            quick = quick_test(column, constraints_of(column), required=full.required)
            for value in row.values():
                if quick(value):
                    assert full.explain(value) == []


def schema_of(**columns):
    return Schema.from_plain({"columns": columns})


def reasons(schema, row, **options):
    return [(anomaly.column, anomaly.reason) for anomaly in schema.row_checker(**options)(row)]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("int", True, "type_changed"),
        ("int", 3.0, None),
        ("int", 3.5, "not_an_integer"),
        ("int", math.nan, "not_an_integer"),
        ("int", 2**64 - 1, None),
        ("int", 2**64, "type_changed"),
        ("int", "3", "type_changed"),
        ("int", None, "missing_value"),
        ("int", np.int64(3), None),
        ("float", 3, None),
        ("float", True, "type_changed"),
        ("float", math.nan, "has_nan"),
        ("float", -math.inf, "has_inf"),
        ("float", 10**400, "type_changed"),
        ("float", Decimal("1.5"), None),
        ("string", "\ud800", "invalid_utf8"),
        ("string", b"a", "type_changed"),
        ("string", {"a": 1}, "type_changed"),
        ("string", ["a"], "type_changed"),
        ("bool", 1, "type_changed"),
        ("date", dt.datetime(2020, 1, 1), "type_changed"),
        ("date", "2020-01-01", "type_changed"),
        ("list<int>", [1, 2], None),
        ("list<int>", (1, 2), None),
        ("list<int>", [1, "a"], "type_changed"),
        ("list<int>", [1, None], "missing_element"),
        ("list<int>", 1, "type_changed"),
        ("list<int>", [[1]], "type_changed"),
        ("list<list<int>>", [[1], []], None),
        ("struct", {"a": [1, {"b": 2}]}, None),
        ("struct", [], "type_changed"),
        ({"type": "float", "range": {"max": 1.0}}, 1 + 1e-9, "out_of_range_high"),
        ({"type": "float", "range": {"max": 1.0}}, math.nextafter(1.0, 2), "out_of_range_high"),
        ({"type": "int", "range": {"max": 2**53}}, 2**53 + 1, "out_of_range_high"),
        ({"type": "int", "values": [1, 2]}, 3, "unexpected_value"),
        ({"type": "int", "bool": True}, 2, "not_bool"),
        ({"type": "string", "parses": "int"}, "12a", "not_an_integer"),
        ({"type": "string", "parses": "float", "range": {"min": 0}}, "-0.5", "out_of_range_low"),
        ({"type": "string", "length": {"max": 2}}, "日本語", "too_long"),
        ({"type": "string", "pattern": "a|ab"}, "ab", None),
        ({"type": "string", "pattern": "a"}, "a\n", "pattern_mismatch"),
        ({"type": "list<int>", "valency": {"min": 1}}, [], "too_few_values"),
        ({"type": "list<string>", "values": ["a"]}, ["a", "b", "b"], "unexpected_value"),
    ],
    ids=repr,
)
def test_one_value(column, value, reason):
    schema = schema_of(x=column)
    assert reasons(schema, {"x": value}) == ([("x", reason)] if reason else [])
    agree(schema, {"x": value}, "serving")


def test_every_reason_of_a_row_is_given_at_once():
    schema = schema_of(a="int", b={"type": "string", "length": {"max": 1}, "pattern": "[a-z]*"}, c="float")
    found = reasons(schema, {"a": "1", "b": "AB", "z": 1})
    assert found == [
        ("a", "type_changed"),
        ("b", "too_long"),
        ("b", "pattern_mismatch"),
        ("c", "missing_column"),
        ("z", "new_column"),
    ]


def test_serving_wants_no_gold_and_no_key():
    schema = Schema.from_plain(
        {"dataset": {"gold": ["y"], "key": ["id"]}, "columns": {"id": "int", "x": "int", "y": "int"}}
    )
    assert reasons(schema, {"x": 1}) == []
    assert reasons(schema, {"x": 1, "id": 3}) == []
    assert reasons(schema, {"x": 1, "id": "three"}) == [("id", "type_changed")]
    assert reasons(schema, {"x": 1, "y": 0}) == [("y", "not_in_environment")]
    assert reasons(schema, {"x": 1, "id": 1}, environment=None) == [("y", "missing_column")]


def test_a_check_of_some_columns_takes_the_others_for_unknown():
    schema = Schema.from_plain({"columns": {"a": "int", "b": "int"}, "rules": [{"expect": "a < b"}]})
    assert reasons(schema, {"a": 1}, columns=["a"]) == []
    assert reasons(schema, {"a": 1, "b": 0}, columns=["a"]) == [("b", "new_column")]
    assert reasons(schema, {"a": 1, "b": 0}) == [(None, "rule_broken")]
    with pytest.raises(SchemaError, match="did you mean 'a'"):
        schema.row_checker(columns=["aa"])


def test_rules_see_null_for_what_is_not_as_declared():
    schema = Schema.from_plain({"columns": {"a": "int", "b": "float"}, "rules": [{"name": "less", "expect": "a < b"}]})
    assert reasons(schema, {"a": 2, "b": 1}) == [(None, "rule_broken")]
    for row in ({"a": 2.5, "b": 1}, {"a": "2", "b": 1}, {"a": 2, "b": None}):
        assert (None, "rule_broken") not in reasons(schema, row)
        agree(schema, row, None)


def test_a_list_of_values_that_need_not_be_complete_passes_a_row():
    schema = schema_of(x={"type": "string", "values": ["a"], "min_mass": 0.9})
    assert reasons(schema, {"x": "b"}) == []


@pytest.mark.parametrize("row", [None, [1], "x", 3])
def test_what_is_not_a_row_is_refused(row):
    with pytest.raises(DataError, match="a row is a mapping"):
        schema_of(x="int").row_checker()(row)


def test_an_unknown_environment_is_refused():
    with pytest.raises(UsageError, match="no environment 'servign'; did you mean 'serving'"):
        schema_of(x="int").row_checker("servign")


def test_column_names_that_are_not_text_are_reported_and_do_not_raise():
    assert reasons(schema_of(x="int"), {"x": 1, 7: 2}) == [("7", "new_column")]


def test_a_value_is_quoted_in_part():
    [anomaly] = schema_of(x={"type": "string", "length": {"max": 3}}).row_checker()({"x": string.ascii_letters * 100})
    assert len(anomaly.seen["value"]) < 80
    assert anomaly.reason in REASONS

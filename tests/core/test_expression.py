"""The expression language: both back ends give one answer, and errors point at the user's text."""

import math
import sys

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.expression import parse
from lineshaft.core.expression.grammar import FUNCTIONS, MAX_DEPTH, MAX_TEXT
from lineshaft.core.expression.kinds import WANTS
from lineshaft.core.fingerprint import fingerprint
from lineshaft.errors import ExpressionError

SCHEMA = pa.schema(
    {
        "a": pa.int64(),
        "b": pa.int64(),
        "x": pa.float64(),
        "y": pa.float64(),
        "s": pa.string(),
        "t": pa.string(),
        "p": pa.bool_(),
        "q": pa.bool_(),
        "nothing": pa.null(),
    }
)


def both(text, rows, schema=None):
    """Evaluate by column and by row, and return the one answer both must give."""
    expression = parse(text)
    table = pa.Table.from_pylist(rows, schema=schema)
    whole = expression.evaluate(table).to_pylist()
    single = [expression.row(row) for row in table.to_pylist()]
    assert all(same(left, right) for left, right in zip(whole, single, strict=True)), (text, rows, whole, single)
    return whole


def same(left, right):
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def one(text, **values):
    return both(text, [values or {"unused": 1}])[0]


integers = st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63), 2**62, 2**53 + 1, -(2**53) - 1]))
floats = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.5, -1.5, 1e308, -1e308, math.nan, math.inf, -math.inf, 2.0**53]),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        ["", "a", "aa", "Good", "good GOOD", "ß", "İstanbul", "ΣΑΣ", "a\u00a0b c", "e\u0301", "😀 ok", "x\x00y"]
    ),
    st.text(max_size=8),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | integers,
            "b": st.none() | integers,
            "x": st.none() | floats,
            "y": st.none() | floats,
            "s": st.none() | texts,
            "t": st.none() | texts,
            "p": st.none() | st.booleans(),
            "q": st.none() | st.booleans(),
            "nothing": st.none(),
        }
    ),
    min_size=1,
    max_size=6,
)


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def number_of(inner):
    number, string, _ = inner
    binary = st.builds("({} {} {})".format, number, st.sampled_from("+-*/"), number)
    unary = st.builds("{}({})".format, st.sampled_from(["-", "abs", "round"]), number)
    extreme = st.builds("{}({}, {}, {})".format, st.sampled_from(["min", "max"]), number, number, number)
    measured = st.builds("{}({})".format, st.sampled_from(["length", "words"]), string)
    counted = st.builds("count({}, {})".format, string, texts.filter(bool).map(quoted))
    return st.one_of(binary, unary, extreme, measured, counted, st.builds("coalesce({}, {})".format, number, number))


def string_of(inner):
    _, string, _ = inner
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(["lower", "upper"]), string),
        st.builds("coalesce({}, {})".format, string, string),
    )


PATTERNS = st.sampled_from(["(?i)good", r"\bo", "^a+$", r"\s", r"\p{L}{2}", "ß|é", ".", "", r"[^a-z]"])


def boolean_of(inner):
    number, string, boolean = inner
    compared = st.builds("({} {} {})".format, number, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), number)
    ordered = st.builds("({} {} {})".format, string, st.sampled_from(["=", "<>", "<", ">="]), string)
    joined = st.builds("({} {} {})".format, boolean, st.sampled_from(["and", "or", "=", "!="]), boolean)
    among = st.builds(
        "({} {} ({}, {}))".format, number, st.sampled_from(["in", "not in"]), integers, floats.filter(math.isfinite)
    )
    within = st.builds("({} {} {} and {})".format, number, st.sampled_from(["between", "not between"]), number, number)
    null = st.builds("({} {})".format, st.one_of(number, string, boolean), st.sampled_from(["is null", "is not null"]))
    found = st.builds(
        "{}({}, {})".format, st.sampled_from(["contains", "starts_with", "ends_with"]), string, texts.map(quoted)
    )
    matched = st.builds("matches({}, {})".format, string, PATTERNS.map(quoted))
    return st.one_of(
        compared,
        ordered,
        joined,
        among,
        within,
        null,
        found,
        matched,
        st.builds("not {}".format, boolean),
        st.builds("is_nan({})".format, number),
    )


def expressions():
    """Well-typed expressions of up to three levels."""
    level = (
        st.one_of(st.sampled_from(["a", "b", "x", "y", "nothing", "0", "1", "2.5", "9223372036854775807", "1e300"])),
        st.one_of(st.sampled_from(["s", "t"]), texts.map(quoted)),
        st.sampled_from(["p", "q", "true", "false", "nothing"]),
    )
    for _ in range(2):
        grown = (number_of(level), string_of(level), boolean_of(level))
        level = tuple(old | new for old, new in zip(level, grown, strict=True))
    return boolean_of(level) | number_of(level) | string_of(level)


EXPRESSIONS = expressions()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_columns_and_rows_agree(data):
    both(data.draw(EXPRESSIONS), data.draw(ROWS), SCHEMA)


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            [
                "a",
                "(",
                ")",
                "and",
                "not",
                "1",
                "'x'",
                "in",
                "<",
                "-",
                ",",
                "is",
                "null",
                "length",
                "matches",
                "between",
                "`b`",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_any_text_parses_or_is_refused_with_its_own_words(text):
    try:
        parse(text)
    except ExpressionError as error:
        assert "^" in str(error)


@pytest.mark.parametrize(
    ("text", "values", "answer"),
    [
        ("1 + 2 * 3", {}, 7),
        ("(1 + 2) * 3", {}, 9),
        ("7 / 2", {}, 3.5),
        ("-2 - -3", {}, 1),
        ("- a", {"a": -(2**63)}, None),
        ("abs(a)", {"a": -(2**63)}, None),
        ("a = -9223372036854775808", {"a": -(2**63)}, True),
        ("a + 1", {"a": 2**63 - 1}, None),
        ("a * a", {"a": 2**32}, None),
        ("a / 0", {"a": 1}, None),
        ("0.0 / 0", {}, None),
        ("round(2.5)", {}, 2.0),
        ("min(3, 1.5, 2)", {}, 1.5),
        ("max(x, 1)", {"x": math.nan}, 1.0),
        ("is_nan(x) and x != x and x is not null", {"x": math.nan}, True),
        ("coalesce(a, 5)", {"a": None}, 5.0),
        ("'it''s' = \"it's\"", {}, True),
        (r"matches(s, '^\d+$')", {"s": "123"}, True),
        ("matches(s, 'b')", {"s": "abc"}, True),
        ("lower(s)", {"s": "İSTANBUL"}, "i̇stanbul"[:1] + "stanbul"),
        ("upper(s) = s", {"s": "ß"}, False),
        ("length(s)", {"s": "a😀"}, 2),
        ("words(s)", {"s": " two\u00a0words "}, 2),
        ("count(s, 'aa')", {"s": "aaaa"}, 2),
        ("a between 1 and 3", {"a": 3}, True),
        ("a not between 1 and 3", {"a": 3}, False),
        ("a in (1, 2.0)", {"a": 2}, True),
        ("a not in (1, 2)", {"a": None}, None),
        ("x in (0.0)", {"x": -0.0}, True),
        ("not p = q", {"p": True, "q": False}, True),
        ("p or q", {"p": None, "q": True}, True),
        ("p and q", {"p": None, "q": False}, False),
        ("p and q", {"p": None, "q": True}, None),
        ("true or false and false", {}, True),
        ("`odd name` > 1", {"odd name": 2}, True),
        ("preço < 3", {"preço": 2.5}, True),
        ("LENGTH(s) > 0 AND NOT s IS NULL", {"s": "a"}, True),
        ("d is null", {"d": [1]}, False),
        ("2 > a", {"a": 1}, True),
    ],
)
def test_meaning(text, values, answer):
    assert one(text, **values) == answer


def test_null_goes_through_everything_but_logic_and_coalesce():
    for name, wanted in WANTS.items():
        if name not in FUNCTIONS or name == "coalesce":
            continue
        column = {"number": "x", "string": "s"}[wanted]
        arguments = [column] * FUNCTIONS[name][0]
        if FUNCTIONS[name][2]:
            arguments[-1] = "'a'"
        assert both(
            f"{name}({', '.join(arguments)})",
            [{"x": None, "s": None}],
            pa.schema({"x": pa.float64(), "s": pa.string()}),
        ) == [None]


@pytest.mark.parametrize(
    "type_", [pa.int8(), pa.uint16(), pa.uint64(), pa.float32(), pa.dictionary(pa.int8(), pa.int64())]
)
def test_every_number_type_is_read(type_):
    assert parse("n * 2 = 6").evaluate(pa.table({"n": pa.array([3, None, 4], type_)})).to_pylist() == [
        True,
        None,
        False,
    ]


@pytest.mark.parametrize("type_", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_every_string_type_is_read(type_):
    assert parse("length(s) = 1").evaluate(
        pa.table({"s": pa.array(["a", None, "bb"], pa.string()).cast(type_)})
    ).to_pylist() == [True, None, False]


def test_an_unsigned_integer_past_64_bits_is_null_on_both_sides():
    both("n > 0", [{"n": 2**64 - 1}, {"n": 1}], pa.schema({"n": pa.uint64()}))
    assert parse("n is null").row({"n": 2**64 - 1})


def test_chunks_constants_and_empty_tables_keep_one_row_per_row():
    table = pa.concat_tables([pa.table({"a": [1, 2]}), pa.table({"a": [3]})])
    assert parse("a > 1").evaluate(table).to_pylist() == [False, True, True]
    assert parse("1 + 1").evaluate(table).to_pylist() == [2, 2, 2]
    assert parse("a > 1").evaluate(table.slice(0, 0)).type == pa.bool_()
    assert parse("a > 1").evaluate(table.to_batches()[0]).to_pylist() == [False, True]


def test_columns_are_listed_in_order_of_mention():
    assert parse("b > a and length(`c d`) < b").columns == ("b", "a", "c d")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text ends"),
        ("length(text", "expected '\\)', the text ends"),
        ("a <", "expected a value"),
        ("a b", "ends before this"),
        ("a && b", "write 'and'"),
        ("not a || b", "write 'or'"),
        ("!a", "write 'not'"),
        ("text.lower()", "lower\\(text\\)"),
        ("a in [1, 2]", "round brackets"),
        ("a in (1, 'x')", "mixes"),
        ("a in (b)", "holds literals"),
        ("a = null", "is null"),
        ("1 < a < 3", "do not chain"),
        ("lenght(a)", "did you mean length"),
        ("eval('x')", "there are: abs"),
        ("contains(a, b)", "quoted text"),
        ("count(a, '')", "something to count"),
        ("matches(a, '(')", "does not compile: missing"),
        ("matches(a, '(?=x)')", "no look-around"),
        ("length(a, b)", "takes 1 argument, got 2"),
        ("min(a)", "takes 2 or more arguments, got 1"),
        ("'open", "never closed"),
        ("a # b", "'#' means nothing"),
        ("99999999999999999999", "64 bits"),
        ("a % 2", "no remainder"),
        ("a not < 3", "'in' or 'between'"),
    ],
)
def test_errors_quote_the_text_and_point_at_the_place(text, message):
    with pytest.raises(ExpressionError, match=message) as caught:
        parse(text)
    lines = str(caught.value).split("\n")
    assert lines[1].strip() == text.strip()
    assert set(lines[2].strip()) == {"^"}


def test_the_caret_stands_below_the_culprit_in_a_long_text():
    text = "length(text) > 0 and " * 20 + "oops(text)" + " and a > 1" * 20
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    _, shown, caret, *_ = str(caught.value).split("\n")
    assert shown[caret.index("^") :].startswith("oops(text)")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "a" + ")" * 5000,
        "not " * 4000 + "a",
        "-" * 9000 + "a",
        "+".join(["a"] * 3000),
        "abs(" * 3000 + "a" + ")" * 3000,
    ],
)
def test_deep_nesting_is_refused_before_the_stack_runs_out(text):
    with pytest.raises(ExpressionError, match="levels deep"):
        parse(text)


def test_the_deepest_allowed_tree_runs_in_a_shallow_stack():
    text = "(" * (MAX_DEPTH - 2) + "a" + ")" * (MAX_DEPTH - 2) + " + 1"
    depth, limit, frame = 0, sys.getrecursionlimit(), sys._getframe()
    while frame:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + 300)
    try:
        assert parse(text).row({"a": 1}) == 2
    finally:
        sys.setrecursionlimit(limit)


def test_and_takes_any_number_of_arguments():
    text = " and ".join(f"a != {number}" for number in range(1000))
    assert both(text, [{"a": 999}, {"a": -1}]) == [False, True]


def test_an_overlong_text_is_refused():
    with pytest.raises(ExpressionError, match="at most"):
        parse("a" * (MAX_TEXT + 1))
    with pytest.raises(ExpressionError, match="is a string"):
        parse(7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s > 1", "one kind, got string and number"),
        ("length(a) > 1", "needs a string, got a number"),
        ("a and p", "needs a boolean, got a number"),
        ("p < p", "one kind"),
        ("d = d", "one kind"),
        ("-d", "neither number"),
        ("missing = 1", "'missing'"),
    ],
)
def test_wrong_types_and_columns_are_refused_by_both_back_ends(text, message):
    rows = [{"a": 1, "s": "x", "p": True, "d": [1]}]
    with pytest.raises(ExpressionError, match=message):
        parse(text).evaluate(pa.Table.from_pylist(rows))
    with pytest.raises(ExpressionError, match=message):
        parse(text).row(rows[0])


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(ExpressionError, match="not text"):
        parse("length(s)").row({"s": "\ud800"})
    with pytest.raises(ExpressionError, match="surrogate"):
        parse("s = '\ud800'")


def test_a_pattern_that_backtracking_would_choke_on_is_linear():
    assert one("matches(s, '(a*)*b')", s="a" * 20_000) is False


def test_equal_texts_are_equal_and_have_one_fingerprint():
    assert parse("a > 1") == parse("a > 1") != parse("a > 2")
    assert (
        fingerprint(parse("a > 1")).digest == fingerprint(parse("a > 1")).digest != fingerprint(parse("a > 2")).digest
    )

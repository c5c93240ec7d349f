"""JSON from outside: what a strict parser takes is taken unchanged, everything past a limit is not built."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core import admit
from lineshaft.core.admit import Limits, Refusal, admit_json, is_name, refusal_of, refused
from lineshaft.errors import AdmissionError, UsageError

LIMITS = Limits()
DEEP = Limits(depth=500)

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def refusal(content, limits=LIMITS):
    with pytest.raises(AdmissionError) as caught:
        admit_json(content, limits)
    return refusal_of(caught.value)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_comes_through_unchanged(value, ascii_only, indent):
    content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert admit_json(content, DEEP) == value


@st.composite
def objects_with_repeats(draw, depth=3):
    """JSON text of nested objects whose keys come from a small set, so that some stand twice; strings hold marks."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["1", '":{"', '"a:b,[]\\""', "[1,2]", "{}", '[{"a":1,"b":2}]', '[{"a":1,"a":2}]']))
    keys = draw(st.lists(st.sampled_from(["a", "b", "c:", 'd\\"', "\\u0061"]), max_size=3))
    return "{" + ",".join(f'"{key}": {draw(objects_with_repeats(depth - 1))}' for key in keys) + "}"


@given(objects_with_repeats())
def test_a_key_twice_is_refused_exactly_when_the_standard_parser_sees_one(text):
    twice = []

    def pairs(items):
        twice.extend(items if len({key for key, _ in items}) < len(items) else [])
        return dict(items)

    expected = json.loads(text, object_pairs_hook=pairs)
    if twice:
        assert refusal(text.encode(), DEEP).code == "malformed"
    else:
        assert admit_json(text.encode(), DEEP) == expected


@pytest.mark.parametrize(
    "content",
    [b"", b" ", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"{", b"[1,]", b"01", b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf1",
     b"1 2", b"'a'", b'"a\x00b"', b"9" * 5000],
)  # fmt: skip
def test_what_is_not_strict_json_is_malformed(content):
    assert refusal(content).code == "malformed"


def test_an_integer_past_64_bits_is_no_integer_any_more():
    assert type(admit_json(b"[18446744073709551616]", LIMITS)[0]) is float
    assert admit_json(b"[18446744073709551615]", LIMITS) == [2**64 - 1]


@given(st.integers(0, 60), st.sampled_from(["[", "{"]))
def test_depth_is_counted_exactly(depth, mark):
    text = "[" * depth + "]" * depth if mark == "[" else '{"a":' * depth + "1" + "}" * depth
    text = text or "1"
    if depth <= LIMITS.depth:
        admit_json(text.encode(), LIMITS)
    else:
        found = refusal(text.encode())
        assert found.code == "too_large"
        assert f"nested {depth} deep" in found.message


def test_brackets_inside_strings_do_not_count():
    value = ["[{" * 500, '\\"[[[[', {"k": "]" * 500}] * 3
    assert admit_json(json.dumps(value).encode(), LIMITS) == value


def test_deep_nesting_is_refused_before_it_is_parsed():
    assert refusal(b"[" * 1_000_000).code == "too_large"


def test_number_of_values_is_bounded_whatever_strings_hold():
    small = Limits(values=10)
    assert refusal(b"[" + b",".join([b"1"] * 10) + b"]" + b" " * 20, Limits(values=9, depth=1)).code == "too_large"
    assert admit_json(json.dumps([",,,,,,,,,,,,,,,,,,,,"]).encode(), small)
    assert refusal(b"[" + b"{}," * 10 + b"1]", small).code == "too_large"


def test_size_is_bounded():
    assert "9 bytes" in refusal(b"[1,2,3,4]", Limits(body=8)).message


@pytest.mark.parametrize(
    "name", ["reviews", "reviews@live", "0", "a.b_c-d", "a" * 64, "a@0", "a@b.c_d-", "a" * 32 + "@" + "b" * 31]
)
def test_names(name):
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        ".hidden",
        "a/b",
        "A",
        "a\n",
        "a\x00",
        "a" * 65,
        "@live",
        "ü",
        "a b",
        "-a",
        "a\\b",
        "%2e",
        "a@",
        "a@b@c",
        "a@-",
        "a@.b",
        "a" * 32 + "@" + "b" * 32,
    ],
)
def test_what_is_no_name(name):
    assert not is_name(name)


@pytest.mark.parametrize("bad", [{"body": 0}, {"rows": -1}, {"head_seconds": 0.0}, {"body_seconds": math.nan}])
def test_a_limit_that_bounds_nothing_is_refused(bad):
    with pytest.raises(UsageError, match="must be above 0"):
        Limits(**bad)


def test_a_queue_shorter_than_a_request_is_refused():
    with pytest.raises(UsageError, match="queue_rows=10 is below rows=11"):
        Limits(rows=11, queue_rows=10)


def test_a_refusal_reads_well_as_an_error():
    error = refused("too_large", "9 rows, the limit is 8", "send fewer")
    assert str(error) == "9 rows, the limit is 8; send fewer"
    assert refusal_of(error) == Refusal("too_large", "9 rows, the limit is 8", "send fewer")
    assert refusal_of(AdmissionError("plain words")) == Refusal("malformed", "plain words")
    assert refusal_of(AdmissionError()).code == "malformed"


@pytest.mark.parametrize("ends", [b"", b"\\", b'"', b'"]'])
def test_strings_made_of_escapes_take_time_in_proportion_to_their_length(ends):
    """A factor of thousands lies between the bound and what one look at every byte takes."""
    content = b"[" * 20 + b'"\\' * (1 << 16) + ends
    before = time.process_time()
    assert refusal(content).code == "too_large"
    assert time.process_time() - before < 5


@given(st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b":", b",", b"a", b"\n"]), max_size=12).map(b"".join))
def test_only_what_stands_outside_strings_is_structure(content):
    outside, inside, escaped = [], False, False
    for byte in content:
        mark = bytes([byte])
        if not inside and mark in b"[]:,":
            outside.append(mark)
        if mark == b'"' and not escaped:
            inside = not inside
        escaped = inside and mark == b"\\" and not escaped
    assert admit._skeleton(content) == b"".join(outside)

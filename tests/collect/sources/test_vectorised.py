"""Keywords, regular expressions and expressions: what they find, and that nulls abstain."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.collect.apply import apply
from lineshaft.collect.sources import expression, keywords, labeling_function, regex
from lineshaft.core.table import read_table
from lineshaft.errors import DataError, ExpressionError, UsageError


def found(source, texts, classes=("no", "yes")):
    table = read_table(pa.table({"text": pa.array(texts, pa.string())}))
    return [vote >= 0 for vote in source.vote(table, classes).to_dense()[:, 0]]


@pytest.mark.parametrize(
    ("words", "text", "hit"),
    [
        (["art"], "State of the ART.", True),
        (["art"], "party", False),
        (["art"], "art", True),
        (["art"], "art_x", False),
        (["café"], "un café!", True),
        (["caf"], "un café!", False),
        (["é"], "e\u0301", False),
        (["naïve"], "NAÏVE", True),
        (["не"], "нет", False),
        (["не"], "не", True),
        (["not good"], "not  \n good", True),
        (["not good"], "notgood", False),
        ([":)"], "fine:)", True),
        (["c++"], "C++ rocks", True),
        (["c++"], "abc++", False),
        (["a.b"], "axb", False),
        (["!"], "wow!", True),
        (["x", "wow"], "a wow b", True),
        ([" padded "], "is padded", True),
        (["2nd"], "the 2nd.", True),
        (["2"], "42", False),
        (["日本"], "日本", True),
        (["a|b"], "a", False),
        (["(?i)x"], "x", False),
    ],
)
def test_whole_words_in_any_script(words, text, hit):
    assert found(keywords("text", words, "yes"), [text]) == [hit]


def test_case_and_parts_of_words_on_request():
    assert found(keywords("text", ["Art"], "yes", case=True), ["art", "Art"]) == [False, True]
    assert found(keywords("text", ["art"], "yes", whole=False), ["party", "PARTY", "pat"]) == [True, True, False]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
            lambda w: w.strip()
        ),
        min_size=1,
        max_size=4,
    ),
    st.text(max_size=10),
    st.text(max_size=10),
)
def test_any_word_between_spaces_is_found(words, before, after):
    text = f"{before} {words[-1]} {after}"
    assert found(keywords("text", words, "yes"), [text]) == [True]
    assert found(keywords("text", words, "yes", whole=False), [text]) == [True]


def test_hundreds_of_words_compile():
    words = [f"word{number}é" for number in range(800)]
    assert found(keywords("text", words, "yes"), ["say word799é", "word799", None]) == [True, False, False]


def test_regex_is_re2_anywhere_in_the_text():
    assert found(regex("text", r"\d{2}", "yes"), ["a12b", "1", None]) == [True, False, False]
    assert found(regex("text", "good", "yes", case=False), ["GOOD"]) == [True]
    with pytest.raises(UsageError, match="does not compile"):
        regex("text", "(", "yes")
    with pytest.raises(UsageError, match="no look-around"):
        regex("text", "(?!a)", "yes")


def test_expression_votes_where_true_and_abstains_on_null():
    assert found(expression("length(text) < 3", "yes"), ["ab", "abc", None]) == [True, False, False]
    assert found(expression("text is null", "yes"), ["ab", None]) == [False, True]
    with pytest.raises(ExpressionError, match="not true or false"):
        found(expression("length(text)", "yes"), ["a"])
    with pytest.raises(ExpressionError, match="\\^"):
        expression("length(text", "yes")


def test_vectorised_and_row_by_row_agree():
    texts = ["Good", "so good", "goodness", None, "GOOD?", ""]

    @labeling_function()
    def good(x):
        words = "".join(c if c.isalnum() else " " for c in (x.text or "").lower()).split()
        return "yes" if "good" in words else None

    assert found(keywords("text", ["good"], "yes"), texts) == found(good, texts)


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.null()]
)
def test_every_text_type_is_searched(type_):
    values = [None, None] if type_ == pa.null() else ["good", None]
    table = read_table(pa.table({"text": pa.array(values).cast(type_)}))
    votes = apply([keywords("text", ["good"], 1, name="k"), regex("text", "good", 0, name="r")], table)
    assert votes.to_dense().tolist() == [[-1, -1] if type_ == pa.null() else [1, 0], [-1, -1]]


def test_other_types_are_refused():
    table = read_table([{"text": 1}])
    with pytest.raises(DataError, match="'text' is int64; use an expression"):
        keywords("text", ["a"], 1).vote(table)
    with pytest.raises(DataError, match="reads 'body', which is not a column"):
        keywords("body", ["a"], 1).vote(table)


@pytest.mark.parametrize("words", [[], "good", [""], [" "], [1], [None]])
def test_words_are_a_list_of_words(words):
    with pytest.raises(UsageError, match="list of words"):
        keywords("text", words, 1)


def test_a_label_that_is_no_class_is_refused_at_once():
    table = read_table([{"text": "a"}])
    for label, message in [
        ("maybe", "'maybe' is not one of"),
        (2, "no vote among 2"),
        (-1, "could never vote"),
        (None, "could never vote"),
    ]:
        with pytest.raises(UsageError, match=message):
            keywords("text", ["a"], label).vote(table, ["no", "yes"])


def test_names_are_readable_and_given_names_win():
    assert keywords("text", ["superb", "a masterpiece"], "fresh").name == "keywords_fresh_superb_a_masterpiece"
    assert regex("text", r"^\d+$", "fresh").name == "regex_fresh_d"
    assert expression("length(text) < 40", "rotten").name == "expression_rotten_length_text_40"
    assert keywords("text", ["x"], 1, name="mine").name == "mine"


def test_sources_say_what_and_where_they_are():
    for source, what in [
        (keywords("text", ["x"], 1), "keywords x"),
        (regex("text", "x", 1), "regex x"),
        (expression("a > 1", 1), "expression a > 1"),
    ]:
        assert what in repr(source) and "test_vectorised.py:" in repr(source)


def test_the_place_of_a_source_is_no_part_of_it():
    here = keywords("text", ["x"], 1)
    there = keywords("text", ["x"], 1)
    assert here.where != there.where and here == there
    assert here != keywords("text", ["y"], 1, name=here.name)

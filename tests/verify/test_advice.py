"""Advice: a row that is refused says what to send, and what it says to send is taken."""

import math

import pytest

from lineshaft.verify.advice import _ADVICE, _WORDS
from lineshaft.verify.anomalies import Anomalies, Anomaly
from lineshaft.verify.reasons import REASONS, ROWS
from lineshaft.verify.schema import Schema

CASES = [
    ("int", "x", "send an integer"),
    ("int", None, "send an integer, not null"),
    ("float", True, "send a number"),
    ("string", 5, "send a string"),
    ("bool", 1, "send true or false"),
    ("list<int>", 3, "send a list of int"),
    ("list<list<int>>", 3, "send a list of list of int"),
    ("list<int>", [None], "send a list of int without nulls"),
    ("bytes", 3, "send a bytes"),
    ({"type": "int", "range": {"min": 1, "max": 5}}, 9, "send an integer from 1 to 5"),
    ({"type": "float", "range": {"max": 5}}, 9, "send a number of at most 5"),
    ({"type": "float", "range": {"min": 1}}, 0, "send a number of at least 1"),
    ({"type": "float"}, math.nan, "send a number that is not NaN"),
    ({"type": "float"}, math.inf, "send a finite number"),
    ({"type": "int"}, 1.5, "send a whole number"),
    ({"type": "string", "parses": "float"}, "x", "send text that reads as a number"),
    ({"type": "string", "parses": "int", "range": {"max": 5}}, "9", "send text that reads as a number of at most 5"),
    ({"type": "string", "values": ["a", "b"]}, "c", "send one of 'a', 'b'"),
    ({"type": "string", "values": list("abcdefghijkl")}, "z", "'i', 'j' or 2 others"),
    ({"type": "string", "length": {"min": 3}}, "ab", "send text of at least 3 characters"),
    ({"type": "string", "length": {"min": 1, "max": 3}}, "abcd", "send text from 1 to 3 characters"),
    ({"type": "string", "pattern": "[a-z]+"}, "A", "send text that matches [a-z]+"),
    ({"type": "int", "bool": True}, 2, "send 0 or 1"),
    ({"type": "string", "bool": {"true": "yes", "false": "no"}}, "maybe", "send 'yes' or 'no'"),
    ({"type": "list<int>", "valency": {"min": 2}}, [1], "send a list of at least 2 values"),
]


@pytest.mark.parametrize(("column", "value", "said"), CASES)
def test_a_refused_value_says_what_to_send(column, value, said):
    (anomaly,) = Schema.from_plain({"columns": {"x": column}}).row_checker()({"x": value})
    assert said in anomaly.fix
    assert f"fix: {anomaly.fix}" in str(anomaly)


def test_a_missing_column_and_a_broken_rule_say_it_too():
    schema = Schema.from_plain({"columns": {"x": "int"}, "rules": [{"name": "few", "expect": "x < 5"}]})
    check = schema.row_checker()
    assert [anomaly.fix for anomaly in check({})] == ["send an integer"]
    assert [anomaly.fix for anomaly in check({"x": 9})] == ["send values for which x < 5"]


def test_advice_survives_storage_beside_edits_of_the_schema():
    found = Anomalies(
        (Anomaly("x", "type_changed", fix="send an integer"), Anomaly("x", "new_column", fix={"a": 1})), 2
    )
    assert Anomalies.from_payload(found.payload()) == found
    assert "send an integer" in found._repr_html_()


def test_every_reason_of_a_single_value_has_words():
    about_values = {reason.name for reason in REASONS.values() if reason.about == ROWS}
    assert about_values - set(_ADVICE) - set(_WORDS) == {"duplicate_value", "rule_broken"}

"""Labeling functions: what they may return, and that what goes wrong stays their own."""

import json
import pickle

import numpy as np
import pytest

from lineshaft.collect.apply import apply
from lineshaft.collect.sources import expression, labeling_function
from lineshaft.collect.sources.functions import FunctionSource, Row
from lineshaft.core import script
from lineshaft.core.fingerprint import fingerprint
from lineshaft.core.table import read_table
from lineshaft.errors import DataError, UsageError

CLASSES = ["rotten", "fresh"]
TABLE = read_table(
    [{"id": str(i), "text": text, "tags": ["a"]} for i, text in enumerate(["good", "bad!", None, "meh"])], key="id"
)


@labeling_function(reads=["text"])
def angry(x):
    return "rotten" if "!" in (x.text or "") else None


def source(function, **options):
    return labeling_function(**options)(function)


def votes_of(function, classes=CLASSES, **options):
    return source(function, **options).vote(TABLE, classes)


@pytest.mark.parametrize(
    ("answer", "vote"), [("fresh", 1), (0, 0), (1, 1), (np.int8(1), 1), (np.str_("rotten"), 0), (None, -1), (-1, -1)]
)
def test_names_numbers_and_abstain_are_votes(answer, vote):
    assert (votes_of(lambda x: answer, name="f").to_dense() == vote).all()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("sour", "'sour' is not one of the classes rotten, fresh"),
        (2, "2 is no vote among 2"),
        (-2, "no vote"),
        (True, "True is no vote"),
        (0.5, "no vote"),
        ([1], "no vote"),
        (object(), "object at 0x...>"),
    ],
)
def test_garbage_is_a_fault_of_that_row(answer, message):
    votes = votes_of(lambda x: answer if x.text == "good" else "fresh", name="f")
    assert votes.to_dense().ravel().tolist() == [-1, 1, 1, 1]
    assert votes.faults[0].count == 1
    row_id, error = votes.faults[0].examples[0]
    assert row_id == "0" and error.startswith("ValueError") and message in error


def test_an_error_costs_its_own_vote_on_its_own_row_only():
    def shouting(x):
        return "fresh" if x.text.isupper() else "rotten"

    votes = apply([source(shouting), angry], TABLE, CLASSES)
    assert votes.to_dense().tolist() == [[0, -1], [0, 0], [-1, -1], [0, -1]]
    assert [(fault.source, fault.count) for fault in votes.faults] == [("shouting", 1)]
    ((row, error),) = votes.faults[0].examples
    assert row == "2" and error.startswith("AttributeError: 'NoneType' object has no attribute 'isupper'")


def test_an_error_names_file_and_line_of_the_users_code():
    def below(x):
        return json.loads(x.text or "")

    def above(x):
        return below(x)

    (fault,) = source(above).vote(TABLE, CLASSES).faults
    line = below.__code__.co_firstlineno + 1
    assert fault.examples[0][1].endswith(f"(test_functions.py:{line})")


def test_an_answer_that_is_no_vote_has_no_line():
    (fault,) = source(lambda x: 7, name="f").vote(TABLE, CLASSES).faults
    assert fault.examples[0][1].endswith("or ABSTAIN")


@pytest.mark.parametrize("classes", [["1", "2", "3"], ["3", "2", "1"]])
def test_star_ratings_as_integers_are_refused_not_shifted(classes):
    table = read_table([{"stars": stars} for stars in (1, 2, 3)])
    votes = apply([source(lambda x: x.stars, name="f")], table, classes)
    assert votes.to_dense().tolist() == [[-1]] * 3
    assert votes.faults[0].count == 3 and "return the class name" in votes.faults[0].examples[0][1]
    named = apply([source(lambda x: str(x.stars), name="f")], table, classes)
    assert named.to_dense().ravel().tolist() == [classes.index(name) for name in ("1", "2", "3")]


def test_an_integer_label_of_an_expression_is_refused_where_names_look_like_integers():
    with pytest.raises(UsageError, match="source e: the integer 1 could be a class name or a class number"):
        apply([expression("length(text) > 0", 1, name="e")], TABLE, ["1", "2"])


def test_many_faults_are_counted_and_a_few_kept():
    table = read_table([{"text": str(i)} for i in range(50)])
    (fault,) = source(lambda x: 1 / 0, name="f").vote(table, CLASSES).faults
    assert fault.count == 50 and len(fault.examples) == 10


def test_stopping_the_program_is_no_fault():
    def stop(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        votes_of(stop)


def test_a_row_cannot_be_changed_for_others():
    def vandal(x):
        x.tags.append("b")
        x["tags"].clear()
        if x.text == "meh":
            x.text = "mine"
        return "fresh"

    def honest(x):
        return "fresh" if x.tags == ["a"] else "rotten"

    votes = apply([source(vandal), source(honest)], TABLE, CLASSES)
    assert votes.to_dense()[:, 1].tolist() == [1, 1, 1, 1]
    assert votes.to_dense()[:, 0].tolist() == [1, 1, 1, -1]
    assert "read-only" in votes.faults[0].examples[0][1]


def test_reads_limits_what_a_function_sees():
    def curious(x):
        return "fresh" if x.tags else None

    votes = votes_of(curious, reads=["text"])
    assert "no column 'tags'; the row has text" in votes.faults[0].examples[0][1]
    with pytest.raises(DataError, match="reads 'txt', which is not a column; there are: id, text, tags"):
        votes_of(curious, reads=["txt"])


def test_the_row_id_is_no_column_of_the_user():
    assert "row_id" not in list(votes_of(lambda x: list(x) and None, name="f").faults)
    seen = []
    votes_of(lambda x: seen.append(list(x)), name="f")
    assert seen[0] == ["id", "text", "tags"]


def test_rows_are_read_like_objects_and_like_dicts():
    row = Row({"text": ["a"], "odd name": [1]})
    assert (row.text, row["odd name"], "text" in row, "x" in row) == ("a", 1, True, False)
    assert repr(row) == "Row(text, odd name)"
    with pytest.raises(AttributeError, match="no column 'txt'; the row has text, odd name"):
        row.txt
    with pytest.raises(KeyError):
        row["txt"]


def test_forgotten_brackets_are_explained():
    with pytest.raises(UsageError, match=r"write @labeling_function\(\) with brackets above f"):

        @labeling_function
        def f(x): ...


def test_a_source_knows_its_name_kind_and_place():
    assert isinstance(angry, FunctionSource)
    assert (angry.name, angry.kind, angry.reads) == ("angry", "rule", ("text",))
    assert angry.where.startswith("test_functions.py:") and angry.where in repr(angry)
    assert angry({"text": "no!"}) == "rotten"
    with pytest.raises(UsageError, match="kinds are rule, model, person, expert"):
        source(lambda x: None, name="f", kind="human")
    with pytest.raises(UsageError, match=r"reads=\['text'\]"):
        labeling_function(reads="text")


def test_class_names_need_classes_and_numbers_do_not():
    assert "needs classes" in votes_of(lambda x: "fresh", classes=None, name="f").faults[0].examples[0][1]
    votes = votes_of(lambda x: 4, classes=None, name="f")
    assert votes.classes is None and votes.k == 5


def test_a_decorated_function_travels_by_name(monkeypatch):
    monkeypatch.setitem(script._allowed, __name__, __file__)
    assert pickle.loads(pickle.dumps(angry)) is angry


def test_a_function_without_a_place_of_its_own_does_not_travel():
    with pytest.raises(UsageError, match="no place of its own"):
        pickle.dumps(source(lambda x: None, name="f"))


def test_an_edit_changes_what_it_means_and_a_move_does_not():
    def length(x):
        return len(x.text) > 3

    here = source(length, name="f")

    def length(x):
        return len(x.text) > 4

    edited = source(length, name="f")

    def length(x):
        # the same as the first
        return len(x.text) > 3

    moved = source(length, name="f")
    assert here.where != moved.where
    assert here.fingerprint().digest == moved.fingerprint().digest != edited.fingerprint().digest
    assert fingerprint(here).digest == fingerprint(moved).digest != fingerprint(edited).digest
    assert here.fingerprint().digest != source(here.function, name="f", kind="person").fingerprint().digest


def test_an_empty_table_has_no_votes():
    empty = TABLE.filter([False] * 4)
    votes = angry.vote(empty, CLASSES)
    assert len(votes) == 0 and votes.to_dense().shape == (0, 1)

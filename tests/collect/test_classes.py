"""What a vote or a gold label may be called."""

import enum
import re

import numpy as np
import pytest

from lineshaft.collect.classes import class_number
from lineshaft.collect.fuse.checks import MAX_CLASSES
from lineshaft.core.task import Task


class Verdict(enum.IntEnum):
    ROTTEN = 0
    FRESH = 1


class Word(enum.StrEnum):
    FRESH = "fresh"


NAMES = ("rotten", "fresh")


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("rotten", 0),
        ("fresh", 1),
        (np.str_("fresh"), 1),
        (Word.FRESH, 1),
        (1, 1),
        (np.int8(1), 1),
        (np.uint64(0), 0),
        (Verdict.FRESH, 1),
        (None, -1),
        (-1, -1),
        (np.int64(-1), -1),
    ],
)
def test_names_numbers_and_nothing(label, number):
    assert class_number(label, NAMES) == number


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Fresh", "'Fresh' is not one of the classes rotten, fresh"),
        ("", "'' is not one of"),
        (" fresh", "is not one of"),
        (2, "2 is no vote among 2"),
        (-2, "-2 is no vote"),
        (10**30, "no vote"),
        (True, "True is no vote"),
        (np.True_, "True_? is no vote|no vote"),
        (1.0, "1.0 is no vote"),
        (float("nan"), "nan is no vote"),
        (b"fresh", "no vote"),
        ([1], "no vote"),
        ({"fresh"}, "no vote"),
        (np.array([1, 0]), "no vote"),
        (1j, "no vote"),
    ],
)
def test_anything_else_is_refused_in_its_own_words(label, message):
    with pytest.raises(ValueError, match=message):
        class_number(label, NAMES)


def test_without_names_numbers_go_up_to_what_can_be_stored():
    assert class_number(7, None) == 7 and class_number(MAX_CLASSES - 1, None) == MAX_CLASSES - 1
    with pytest.raises(ValueError, match="is no vote; return"):
        class_number(MAX_CLASSES, None)
    with pytest.raises(ValueError, match="'fresh' needs classes"):
        class_number("fresh", None)


STARS = ("1", "2", "3")


def test_a_class_may_be_called_by_digits():
    assert [class_number(name, STARS) for name in STARS] == [0, 1, 2]
    assert class_number("1", ("1", "0")) == 0


@pytest.mark.parametrize("classes", [STARS, ("3", "2", "1"), ("1.0", "2.0", "3.0"), ("no", "0", "1"), ("2", "other")])
@pytest.mark.parametrize("label", [0, 1, np.int64(1), Verdict.FRESH, 3])
def test_an_integer_beside_names_that_look_like_integers_is_ambiguous(label, classes):
    said = f"the integer {int(label)} could be a class name or a class number among the classes {classes[0]!r}, "
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        class_number(label, classes)
    assert str(raised.value).endswith("return the class name, a string")


@pytest.mark.parametrize("classes", [("0", "1"), ("0", "1", "other"), ("0.0", "1.0")])
def test_an_integer_that_is_the_same_class_either_way_is_taken(classes):
    assert [class_number(number, classes) for number in range(len(classes))] == list(range(len(classes)))


def test_names_that_only_hold_digits_among_other_letters_are_names():
    assert class_number(1, ("1 star", "2 stars")) == 1 and class_number(0, ("nan", "inf")) == 0


def test_minus_one_abstains_unless_a_class_is_called_so():
    assert class_number(-1, STARS) == -1
    with pytest.raises(ValueError, match="return the class name, a string, or None to abstain"):
        class_number(-1, ("-1", "0", "1"))
    assert class_number(None, ("-1", "0", "1")) == -1 and class_number("-1", ("-1", "0", "1")) == 0


def test_a_number_that_a_task_gave_is_a_class_number_whatever_the_names_are():
    assert [class_number(number, STARS) for number in Task("stars", STARS).encode(["3", "1", None])] == [2, 0, -1]

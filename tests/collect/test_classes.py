"""What a vote or a gold label may be called."""

import enum

import numpy as np
import pytest

from lineshaft.collect.classes import class_number
from lineshaft.collect.fuse.checks import MAX_CLASSES


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


def test_a_class_may_be_called_by_digits():
    assert class_number("1", ("1", "0")) == 0 and class_number(1, ("1", "0")) == 1

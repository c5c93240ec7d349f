"""Tasks: class names are strings, and what is no string is told apart from a name that is unknown."""

import numpy as np
import pytest

from lineshaft.core.task import ClassNumber, Task
from lineshaft.errors import DataError, UsageError


@pytest.mark.parametrize("classes", [[1, 2, 3, 4], ["a", None], [True, False], np.array([0, 1]), [["a"], ["b"]]])
def test_classes_that_are_no_strings_are_refused(classes):
    with pytest.raises(UsageError, match=r"task 't': the class .* is of type \w+, class names are strings; write "):
        Task("t", classes)


def test_a_class_that_is_no_string_is_named_with_what_to_write():
    with pytest.raises(UsageError, match="the class 2 is of type int, class names are strings; write '2'"):
        Task("stars", ["1", 2])


@pytest.mark.parametrize("label", [1, 1.0, True, np.int64(1), ["1"]])
def test_gold_that_is_no_string_says_what_it_is_beside_the_names(label):
    with pytest.raises(
        DataError, match=r"is of type \w+, and the classes of task 'stars' are the strings '1', '2', '3'"
    ):
        Task("stars", ["1", "2", "3"]).index(label)


def test_a_number_that_a_task_gave_stays_a_number_and_says_so():
    encoded = Task("stars", ["1", "2"]).encode(["2", None, "1"])
    assert encoded == [1, -1, 0] and all(type(number) is ClassNumber for number in encoded)
    assert np.array(encoded).dtype == np.int64

"""What callers hand a label model: what is refused with what was seen, and what is taken as it is meant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineshaft.collect.fuse.checks import MAX_CLASSES, classes_of, confidence_of, gold_of, kinds_of, matrix
from lineshaft.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (5, "0 dimension"),
        ([], "rows x sources, got 1 dimension"),
        ([1, 2], "rows x sources"),
        (np.zeros((2, 2, 2), int), "3 dimension"),
        ([[0, 1], [0]], "differ in length"),
        ([[0, 3]], "a vote of 3 among 3 classes"),
        ([[-2, 0]], "a vote of -2"),
        ([[0.5, 1]], "integers, got 0.5"),
        ([[np.nan, 1]], "NaN; write -1"),
        ([[np.inf, 1]], "integers, got inf"),
        ([[1e300, 1]], "integers, got 1e"),
        ([["a", "b"]], "class names into numbers"),
        ([[None, 1]], "integers, got object"),
        ([[True, False]], "integers, got bool"),
        ([[1 + 2j]], "integers, got complex"),
        (np.array([["2024-01-01"]], "datetime64[D]"), "integers, got datetime64"),
        (np.array([[255, 0]], np.uint8), "a vote of 255"),
        (np.array([[2**63]], np.uint64), "a vote of 9223372036854775808"),
    ],
)
def test_what_is_no_vote_is_refused_with_what_was_seen(votes, message):
    with pytest.raises(DataError, match=message):
        matrix(votes, 3)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_votes(dtype):
    assert matrix(np.array([[0, 2], [1, 1]], dtype), 3).tolist() == [[0, 2], [1, 1]]


def test_votes_are_held_in_as_few_bits_as_the_classes_allow_column_by_column():
    for k, dtype in ((2, np.int8), (127, np.int8), (128, np.int16), (MAX_CLASSES, np.int16)):
        votes = matrix([[k - 1, -1], [0, -1]], k)
        assert votes.dtype == dtype and votes.flags["F_CONTIGUOUS"]
        assert votes.tolist() == [[k - 1, -1], [0, -1]]


@given(hnp.arrays(np.int8, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.integers(-1, 1)))
def test_checking_leaves_the_callers_matrix_alone(L):
    before = L.copy()
    checked = matrix(L, 2)
    assert (checked == before).all() and (L == before).all()
    assert (matrix(np.asfortranarray(L), 2) == before).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0)])
def test_empty_matrices_are_votes_whatever_their_type(shape):
    for dtype in (int, float, object, "U3"):
        assert matrix(np.empty(shape, dtype), 2).shape == shape


@pytest.mark.parametrize("k", [1, 0, -3, True, False, "2", 2.0, None, np.float64(2), MAX_CLASSES + 1, [2]])
def test_a_number_of_classes_is_an_integer_of_two_or_more(k):
    with pytest.raises(UsageError, match="two or more classes"):
        classes_of(k)


def test_numpy_integers_are_numbers_of_classes():
    assert classes_of(np.int8(3)) == 3 and type(classes_of(np.int64(2))) is int


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ([0, 1], r"shape \(2,\) for 3 rows"),
        ([[0, 1, 1]], r"shape \(1, 3\) for 3 rows"),
        (1, r"shape \(\) for 3 rows"),
        ([0, 1, 2], "from 0 to 2 among 2 classes"),
        ([-2, 1, 1], "from -2 to 1"),
        ([0, np.nan, 1], "gold labels hold NaN"),
        ([0, 0.5, 1], "gold labels are integers, got 0.5"),
        (["no", "yes", "no"], "gold labels are integers"),
        ([None, 0, 1], "gold labels are integers"),
    ],
)
def test_what_is_no_gold_is_refused(gold, message):
    with pytest.raises(DataError, match=message):
        gold_of(gold, 3, 2)


def test_no_gold_is_unknown_everywhere():
    assert gold_of(None, 3, 2).tolist() == gold_of([-1, -1, -1], 3, 2).tolist() == [-1, -1, -1]
    assert gold_of([], 0, 2).tolist() == []


def test_kinds_are_one_word_or_one_for_each_source():
    assert kinds_of("rule", 2) == ["rule", "rule"] and kinds_of("expert", 0) == []
    assert kinds_of(("rule", "model", "person", "expert"), 4) == ["rule", "model", "person", "expert"]
    for kinds, m, message in [
        (["rule", "human"], 2, "'human' is not a kind of source; kinds are rule, model, person, expert"),
        ("Rule", 2, "'Rule' is not a kind"),
        ("human", 0, "'human' is not a kind"),
        ([None], 1, "None is not a kind"),
        (["rule"], 2, "1 kinds for 2 sources"),
        ([], 1, "0 kinds for 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            kinds_of(kinds, m)


def test_confidences_are_probabilities_one_for_each_vote():
    assert confidence_of(None, (2, 2)) is None
    assert confidence_of(np.full((2, 2), np.nan), (2, 2)) is None
    assert confidence_of([[0.0, 1.0]], (1, 2)).tolist() == [[0, 1]]
    for wrong, message in [([[1.5]], "probabilities, got 1.5 to 1.5"), ([[-0.1]], "probabilities"), ([0.5], "shape")]:
        with pytest.raises(DataError, match=message):
            confidence_of(wrong, (1, 1))

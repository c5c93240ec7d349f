from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import batch, letters, table

import lineshaft as ls
from lineshaft.core.codec import decode, encode
from lineshaft.errors import DataError, UsageError

COLUMNS = {"a": [1.0, 2.0, 3.0, 4.0, 5.0], "b": ["v", "w", "x", "y", "z"]}


def made(function, reads=("a",), batch_rows=2):
    return ls.features(reads=list(reads), batch_rows=batch_rows)(function)


def numbers(batch):
    return torch.tensor(batch["a"].to_pylist())[:, None]


def rows():
    return pa.record_batch(COLUMNS)


def test_a_single_tensor_is_called_x():
    assert list(made(numbers)(rows())) == ["x"]
    assert torch.equal(made(numbers)(rows())["x"], torch.tensor([[1.0], [2], [3], [4], [5]]))


def test_a_dict_keeps_its_names_in_order_of_name():
    both = made(lambda batch: {"z": numbers(batch), "a": numbers(batch) + 1})(rows())
    assert list(both) == ["a", "z"]
    assert torch.equal(both["a"], both["z"] + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, np.bool_])
def test_numpy_arrays_are_taken(dtype):
    values = made(lambda batch: np.ones((2, len(batch)), dtype=dtype).T)(rows())["x"]
    assert values.shape == (5, 2)
    assert values.is_contiguous()


def test_the_function_sees_exactly_what_it_reads_and_few_rows_at_once():
    seen = []

    def spy(batch):
        seen.append((batch.schema.names, len(batch), torch.is_inference_mode_enabled()))
        return torch.zeros(len(batch), 1)

    made(spy, reads=("b", "a"))(rows())
    assert seen == [(["b", "a"], 2, True), (["b", "a"], 2, True), (["b", "a"], 1, True)]


def test_autograd_can_use_the_result():
    x = made(numbers)(rows())["x"]
    weight = torch.ones(1, 1, requires_grad=True)
    (x @ weight).sum().backward()
    assert weight.grad == 15


@given(st.integers(1, 40))
def test_the_size_of_batches_changes_nothing(size):
    chunk = table(30)
    assert torch.equal(
        ls.features(reads=["text"], batch_rows=size)(letters.function).compute(chunk).values["x"],
        letters.compute(chunk).values["x"],
    )


def test_chunks_joined_equal_the_whole():
    whole = table(40)
    parts = [whole.filter([number % 3 == part for number in range(40)]) for part in range(3)]
    joined = letters.concat([letters.compute(part) for part in parts])
    order = sorted(range(40), key=lambda number: number % 3)
    assert torch.equal(joined.values["x"], letters.compute(whole).values["x"][order])
    assert joined.header == {"rows": 40}


def test_empty_chunks_are_passed_over():
    empty = letters.compute(table(5).filter([False] * 5))
    full = letters.compute(table(5))
    assert empty.values == {}
    assert torch.equal(letters.concat([empty, full, empty]).values["x"], full.values["x"])
    assert letters.concat([empty]).header == {"rows": 0}


def test_the_stored_form_is_the_same_every_time():
    one, other = (encode("Tensors", letters.compute(table())) for _ in range(2))
    assert one == other
    assert torch.equal(decode("Tensors", one[1]).values["x"], letters.compute(table()).values["x"])


BROKEN = {
    "no rows first": (lambda batch: torch.zeros(3, len(batch)), r"shape \[3, 2\] for 2 rows; rows come first"),
    "a number": (lambda batch: torch.tensor(1.0), r"shape \[\] for 2 rows"),
    "a list": (lambda batch: [1.0] * len(batch), "is a list; return a tensor"),
    "nothing": (lambda batch: None, "is a NoneType"),
    "text": (lambda batch: np.array(["a"] * len(batch)), "is a array of <U1"),
    "objects": (lambda batch: np.array([{}] * len(batch)), "is a array of object"),
    "one number per row": (lambda batch: torch.zeros(len(batch)), r"shape \[2\]; return \[rows, width\], here \[2, 1\]"),
    "an empty dict": (lambda batch: {}, "returned an empty dict"),
    "NaN": (lambda batch: numbers(batch).masked_fill(numbers(batch) == 4, float("nan")), "rows 2 to 3: 'x' is not finite in row 1"),
    "infinity": (lambda batch: 1 / (numbers(batch) - 1), "rows 0 to 1: 'x' is not finite in row 0"),
    "other shapes": (lambda batch: torch.zeros(len(batch), len(batch)), r"float32 \['rows', 2\] .* float32 \['rows', 1\]"),
    "other types": (lambda batch: torch.zeros(len(batch), 1).to(torch.float64 if len(batch) == 1 else torch.float32), "float32 .* float64"),
    "other names": (lambda batch: {f"n{len(batch)}": numbers(batch)}, "'n1' as nothing .* float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_feature_is_refused(name):
    function, message = BROKEN[name]
    with pytest.raises(DataError, match=message):
        made(function)(rows())


def test_a_missing_column_is_named_with_those_there():
    with pytest.raises(DataError, match="read 'c'; the rows have a, b"):
        made(numbers, reads=("a", "c"))(rows())


@pytest.mark.parametrize(
    "wrong", [{"reads": "text"}, {"reads": []}, {"reads": ["a", "a"]}, {"reads": ["a"], "batch_rows": 0}]
)
def test_wrong_use(wrong):
    with pytest.raises(UsageError):
        ls.features(**wrong)


def test_independence_of_the_batch():
    letters.check_independence(batch(["abc", "ff", "", "abcabc"]))
    centred = made(lambda batch: numbers(batch) - numbers(batch).mean(), batch_rows=9)
    with pytest.raises(DataError, match="give row 0 another 'x' among 5 rows than alone: they differ by 2"):
        centred.check_independence(rows())


def test_it_travels_by_name():
    assert pickle.loads(pickle.dumps(letters)) is letters


def test_it_reads_well():
    assert repr(letters) == "features letters(reads=['text'])"


def test_bare_numbers_by_name_are_left_to_the_model():
    assert made(lambda batch: {"kind": torch.arange(len(batch))})(rows())["kind"].dim() == 1

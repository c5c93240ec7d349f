"""Tensors of the Open Inference Protocol: binary and JSON say the same, and sizes that lie are found out."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core.admit import Limits, refusal_of
from lineshaft.errors import AdmissionError
from lineshaft.serve.tensors import datatype_of, from_bytes, from_json, shape_of, to_bytes

NUMBERS = {
    "INT8": ("i1", st.integers(-128, 127)),
    "INT64": ("<i8", st.integers(-(2**63), 2**63 - 1)),
    "UINT16": ("<u2", st.integers(0, 65535)),
    "UINT64": ("<u8", st.integers(0, 2**64 - 1)),
    "FP16": ("<f2", st.floats(width=16, allow_nan=False)),
    "FP32": ("<f4", st.floats(width=32, allow_nan=False)),
    "FP64": ("<f8", st.floats(allow_nan=False)),
}


def refusal(work, *args, **more):
    with pytest.raises(AdmissionError) as caught:
        work(*args, **more)
    return refusal_of(caught.value)


@given(st.data(), st.sampled_from(sorted(NUMBERS)), st.integers(0, 4), st.integers(0, 3), st.booleans())
def test_binary_numbers_flat_json_and_nested_json_agree(data, datatype, n, width, lists):
    dtype, values = NUMBERS[datatype]
    flat = data.draw(st.lists(values, min_size=n * width, max_size=n * width))
    array = np.array(flat, dtype).reshape(n, width)
    raw = from_bytes("c", datatype, [n, width], memoryview(array.tobytes()), lists=lists)
    assert raw == from_json("c", datatype, [n, width], flat, lists=lists)
    if width:
        assert raw == from_json("c", datatype, [n, width], array.tolist(), lists=lists)
    assert raw == (array[:, 0].tolist() if width == 1 and not lists else array.tolist())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=6))
def test_texts_come_back(texts):
    assert from_bytes("c", "BYTES", [len(texts)], memoryview(to_bytes(texts))) == texts
    assert from_json("c", "BYTES", [len(texts), 1], texts) == texts


def test_booleans_take_one_byte_each():
    assert from_bytes("c", "BOOL", [3], memoryview(b"\1\0\1")) == [True, False, True]
    assert refusal(from_bytes, "c", "BOOL", [2], memoryview(b"\1\2")).code == "malformed"


@given(st.binary(max_size=40), st.integers(0, 6))
def test_any_bytes_are_texts_or_a_clear_refusal(raw, count):
    try:
        texts = from_bytes("c", "BYTES", [count], memoryview(raw))
    except AdmissionError as error:
        assert refusal_of(error).code == "malformed"
    else:
        assert to_bytes(texts) == raw
        assert len(texts) == count


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("INT64", [2], b"\0" * 15), ("INT64", [2], b"\0" * 17), ("FP32", [2**40], b""), ("BYTES", [1], b"\xff\xff\xff\xffab"),
        ("BYTES", [1], b"\1\0\0"), ("BYTES", [2], b"\1\0\0\0a"), ("BYTES", [1], b"\1\0\0\0ab"), ("BYTES", [1], b"\1\0\0\0\xff"),
        ("BYTES", [2**40], b""), ("BF16", [1], b"\0\0"), ("object", [1], b"\0" * 8), ("", [1], b""), ("O", [1], b"\0" * 8),
    ],
)  # fmt: skip
def test_bytes_that_do_not_fit_shape_and_datatype(datatype, shape, raw):
    assert refusal(from_bytes, "c", datatype, shape, memoryview(raw)).code == "malformed"


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("INT64", [2], [1]), ("INT64", [1], [1.0]), ("INT64", [1], [True]), ("INT8", [1], [200]), ("UINT8", [1], [-1]),
        ("FP32", [1], ["1"]), ("FP32", [1], [True]), ("BOOL", [1], [1]), ("BYTES", [1], [1]), ("BYTES", [1], [None]),
        ("INT64", [2, 2], [[1, 2], [3]]), ("INT64", [2, 2], [[1, 2]]), ("INT64", [2, 2], [[1, 2], 3]), ("INT64", [1], None),
        ("INT64", [1], {"a": 1}), ("INT64", [1], [[1]]), ("INT64", [2, 1], [[[1]], [[2]]]), ("NOPE", [1], [1]),
    ],
)  # fmt: skip
def test_json_that_does_not_fit_shape_and_datatype(datatype, shape, data):
    assert refusal(from_json, "c", datatype, shape, data).code == "malformed"


@pytest.mark.parametrize("shape", [None, [], [-1], [1.0], [True], ["1"], 3, [1] * 5, [[1]], {}])
def test_what_is_no_shape(shape):
    assert refusal(shape_of, {"name": "c", "shape": shape}, Limits()).code == "malformed"


@pytest.mark.parametrize("shape", [[1025], [1, 2**62, 2**62], [1024, 1000]])
def test_shapes_past_the_limits_are_refused_by_arithmetic_alone(shape):
    assert refusal(shape_of, {"name": "c", "shape": shape}, Limits()).code == "too_large"


@pytest.mark.parametrize(
    ("arrow_type", "said"),
    [
        (pa.string(), ("BYTES", [])), (pa.bool_(), ("BOOL", [])), (pa.uint8(), ("UINT8", [])), (pa.int64(), ("INT64", [])),
        (pa.float16(), ("FP16", [])), (pa.float64(), ("FP64", [])), (pa.timestamp("us"), ("BYTES", [])),
        (pa.list_(pa.float32()), ("FP32", [-1])), (pa.list_(pa.int8(), 3), ("INT8", [3])),
    ],
)  # fmt: skip
def test_columns_have_protocol_datatypes(arrow_type, said):
    assert datatype_of(arrow_type) == said

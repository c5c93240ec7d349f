"""Payloads come back as they went; equal payloads are equal bytes; chunk digests follow values alone."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings

from lineshaft.core import codec
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.errors import DataError

COLUMNS = {
    "text": (pa.string(), st.one_of(st.none(), st.text(max_size=8))),
    "number": (pa.float64(), st.one_of(st.none(), st.floats(allow_nan=False))),
    "count": (pa.int64(), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))),
    "flag": (pa.bool_(), st.one_of(st.none(), st.booleans())),
    "blob": (pa.binary(), st.one_of(st.none(), st.binary(max_size=8))),
    "words": (
        pa.list_(pa.string()),
        st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=3)),
    ),
    "nested.value": (
        pa.struct([("a", pa.int32()), ("b", pa.list_(pa.float32()))]),
        st.one_of(st.none(), st.fixed_dictionaries({"a": st.integers(-9, 9), "b": st.lists(st.just(0.5), max_size=2)})),
    ),
    "nothing": (pa.null(), st.none()),
}


@st.composite
def tables(draw):
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    schema = pa.schema([(name, COLUMNS[name][0]) for name in names])
    batches = []
    for rows in draw(st.lists(st.integers(0, 4), max_size=3)):
        columns = [pa.array(draw(st.lists(COLUMNS[n][1], min_size=rows, max_size=rows)), COLUMNS[n][0]) for n in names]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


@given(tables())
@settings(max_examples=60, deadline=None)
def test_tables_come_back_equal_with_their_chunks(table):
    artifact, content = encode("Table", table)
    back = decode("Table", content)
    assert back.equals(table)
    chunks = [batch.num_rows for batch in table.to_batches() if batch.num_rows]
    assert [batch.num_rows for batch in back.to_batches()] == chunks
    assert artifact.meta["rows"] == table.num_rows
    assert [chunk["rows"] for chunk in artifact.meta["chunks"]] == chunks
    assert encode("Table", back) == (artifact, content)


@given(tables())
@settings(max_examples=40, deadline=None)
def test_the_digest_of_a_chunk_follows_its_values_alone(table):
    whole = encode("Table", table)[0].meta["chunks"]
    for name in table.column_names:
        alone = encode("Table", table.select([name]))[0].meta["chunks"]
        assert [chunk["columns"][name] for chunk in alone] == [chunk["columns"][name] for chunk in whole]
    for batch, chunk in zip(codec.chunks_of(table), whole, strict=True):
        longer = pa.Table.from_batches([pa.concat_batches([batch.slice(0, 1), batch])])
        if sliced := longer.slice(min(1, batch.num_rows)).to_batches():
            assert encode("Table", pa.Table.from_batches(sliced[:1]))[0].meta["chunks"] == [chunk]


def test_every_column_type_gets_a_digest_that_changes_with_the_values():
    def chunk(values):
        return encode("Table", pa.table({"other": [1, 1], "a.b": values}))[0].meta["chunks"][0]["columns"]

    first, second = chunk(["x", "y"]), chunk(["x", "z"])
    assert first["other"] == second["other"]
    assert first["a.b"] != second["a.b"]


def test_a_dictionary_encoded_column_is_stored_as_its_values():
    plain = pa.table({"a": ["x", "y", None, "x"]})
    indices = pa.array([2, 1, None, 2], pa.int8())
    coded = pa.table({"a": pa.DictionaryArray.from_arrays(indices, pa.array(["unused", "y", "x"]))})
    assert encode("Table", coded)[1] == encode("Table", plain)[1]


def test_a_type_that_parquet_does_not_know_is_refused_by_name():
    column = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    with pytest.raises(DataError, match="cannot be stored"):
        encode("Table", pa.table({"a": column}))


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool],
    ids=str,
)
def test_tensors_of_every_type_come_back(dtype):
    value = torch.arange(6).reshape(2, 3).to(dtype)
    back = decode("Tensors", encode("Tensors", Tensors({"a": value}, {"rows": 2}))[1])
    assert back.header == {"rows": 2}
    assert back.values["a"].dtype == dtype
    assert torch.equal(back.values["a"], value)


def test_tensors_are_the_same_bytes_however_they_lie_in_memory():
    value = torch.arange(12.0).reshape(3, 4)
    strided = torch.stack([value, value], dim=2)[:, :, 0].requires_grad_()
    first = encode("Tensors", Tensors({"a": value, "b": value[0]}))
    second = encode("Tensors", Tensors({"b": value[0].clone(), "a": strided.t().t()}))
    assert first == second


def test_tied_weights_are_stored_under_both_names():
    shared = torch.ones(3)
    back = decode("Model", encode("Model", Tensors({"a": shared, "b": shared, "tail": shared[1:]}))[1])
    assert sorted(back.values) == ["a", "b", "tail"]
    assert torch.equal(back.values["tail"], torch.ones(2))


def test_tensors_of_no_rows_and_no_dimensions_come_back():
    back = decode("Tensors", encode("Tensors", Tensors({"none": torch.zeros(0, 3), "one": torch.tensor(2.0)}))[1])
    assert back.values["none"].shape == (0, 3)
    assert back.values["one"].item() == 2.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_json_values_come_back(value):
    try:
        content = encode("Value", value)[1]
    except UnicodeEncodeError:
        return  # a lone surrogate is not text
    assert decode("Value", content) == value


def test_json_is_the_same_bytes_in_any_order_of_keys():
    assert encode("Report", {"b": 1, "a": {"d": 2, "c": 3}}) == encode("Report", {"a": {"c": 3, "d": 2}, "b": 1})


def test_json_that_is_not_json_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode("Report", {"loss": math.nan})


def test_text_comes_back():
    assert decode("Schema", encode("Schema", "[größe]\n")[1]) == "[größe]\n"


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match="'Pickle'; known: Anomalies"):
        encode("Pickle", b"")


def test_only_what_cannot_be_changed_in_place_is_called_immutable():
    assert codec.immutable("Table")
    assert codec.immutable("Schema")
    assert not codec.immutable("Tensors")
    assert not codec.immutable("Report")

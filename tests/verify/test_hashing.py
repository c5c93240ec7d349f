"""The hash of values is stable, blind to representation, and sensitive to every byte."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.verify.arrays import plain
from lineshaft.verify.statistics.hashing import HASH_VERSION, LONG, hash_numbers, hash_text, hash_texts, mix, mix_one


def by_the_book(text):
    """The documented fold in plain Python integers."""

    def scramble(word):
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
        return word ^ (word >> 31)

    content = text.encode()
    state = scramble(len(content) ^ 0xD6E8FEB86659FD93)
    for start in range(0, len(content), 8):
        state = scramble(state ^ int.from_bytes(content[start : start + 8], "little"))
    return state


@given(st.text(max_size=60))
def test_texts_are_folded_as_documented(text):
    assert hash_text(text) == by_the_book(text)


def test_the_hash_is_what_it_was_in_the_first_version():
    assert HASH_VERSION == 1
    assert hash_text("lineshaft") == 0xCA5E57DF3F0A4179
    assert hash_text("x" * 300) == 0x1546D9CAC139B512
    assert int(hash_numbers(np.array([0.5]))[0]) == 0x2414C2909FDAB14A
    # the first outputs of splitmix64 from the seeds 0 and 1, as published
    assert [int(h) for h in hash_numbers(np.array([0, 1]))] == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_mixing_zero_gives_the_first_output_of_splitmix64():
    assert mix_one(0) == 0xE220A8397B1DCDAF
    assert mix_one(2**64) == mix_one(0)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, min_size=2))
def test_mixing_never_maps_two_words_to_one(words):
    assert len(set(mix(np.array(words, np.uint64)).tolist())) == len(words)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_float_hashes_as_the_integer_it_is(value):
    assert hash_numbers(np.array([value]))[0] == hash_numbers(np.array([float(value)]))[0]


def test_negative_zero_is_zero_and_the_top_of_uint64_is_not_minus_one():
    assert hash_numbers(np.array([-0.0])) == hash_numbers(np.array([0.0]))
    top = hash_numbers(np.array([2**64 - 1], np.uint64))
    assert top != hash_numbers(np.array([-1]))
    assert hash_numbers(np.array([7], np.uint64)) == hash_numbers(np.array([7]))


@given(st.lists(st.text(max_size=40)))
def test_texts_hash_alike_in_every_representation(texts):
    reference = hash_texts(pa.array(texts, pa.string())).tolist()
    for form in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert hash_texts(plain(pa.array(texts, pa.string()).cast(form))).tolist() == reference
    assert hash_texts(pa.array([text.encode() for text in texts], pa.binary())).tolist() == reference


@given(st.lists(st.text(max_size=20), min_size=4), st.integers(0, 2), st.integers(0, 2))
def test_a_slice_hashes_as_its_values(texts, front, back):
    array = pa.array(texts, pa.string())
    part = array.slice(front, len(texts) - front - back)
    assert hash_texts(part).tolist() == [hash_text(text) for text in part.to_pylist()]


@given(st.lists(st.binary(max_size=30), unique=True, min_size=2))
def test_different_bytes_hash_differently(values):
    assert len(set(hash_texts(pa.array(values, pa.binary())).tolist())) == len(values)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, LONG - 1, LONG, LONG + 1, 10_000])
def test_every_byte_counts_whatever_the_length(size):
    base = bytearray(b"a" * size)
    variants = [bytes(base)]
    for at in {0, size // 2, size - 1}:
        changed = bytearray(base)
        changed[at] ^= 1
        variants.append(bytes(changed))
    variants.append(bytes(base) + b"\0")
    assert len(set(hash_texts(pa.array(variants, pa.binary())).tolist())) == len(set(variants))


def test_a_short_value_beside_a_long_one_keeps_its_hash():
    mixed = hash_texts(pa.array(["ab", "c" * 5000, ""], pa.string()))
    assert mixed.tolist() == [hash_text("ab"), hash_text("c" * 5000), hash_text("")]


def test_hashes_look_uniform():
    hashes = hash_numbers(np.arange(20_000))
    shares = np.histogram(hashes.astype(np.float64) / 2.0**64, bins=10, range=(0, 1))[0] / len(hashes)
    assert np.all(np.abs(shares - 0.1) < 0.01)

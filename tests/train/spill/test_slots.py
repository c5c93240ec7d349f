"""Objects in slots never overlap, and a write never touches what one of the last two commits names."""

from __future__ import annotations

import mmap
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.memory import PAGE
from lineshaft.errors import IntegrityError
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.slots import open_slots

A, B = Object(0, "p"), Object(0, "s")
SIZES = {A: PAGE, B: 2 * PAGE}


def region(byte, size=PAGE):
    memory = mmap.mmap(-1, size)
    memory[:] = bytes([byte]) * size
    return memoryview(memory)


def read_copy(slots, item, copy):
    memory = mmap.mmap(-1, slots.sizes[item])
    slots.files[copy.slot].read(slots.offsets[item], memoryview(memory))
    return memory[0]


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.builds(Object, st.integers(0, 9), st.sampled_from("ps")), st.integers(1, 4), min_size=1))
def test_places_of_objects_never_overlap_and_fill_the_file(numbers):
    sizes = {item: number * PAGE for item, number in numbers.items()}
    with tempfile.TemporaryDirectory() as folder:
        slots = open_slots(Path(folder) / "objects", sizes, 2)
        spans = sorted((slots.offsets[item], slots.offsets[item] + sizes[item]) for item in sizes)
        assert spans[0][0] == 0
        assert all(end == start for (_, end), (start, _) in pairwise(spans))
        assert all(file.size == spans[-1][1] for file in slots.files)
        slots.close()


@settings(max_examples=40, deadline=None)
@given(moves=st.lists(st.sampled_from(["a", "b", "commit"]), max_size=25))
def test_what_the_last_two_commits_name_is_never_overwritten(moves):
    with tempfile.TemporaryDirectory() as folder:
        slots = open_slots(Path(folder) / "objects", SIZES)
        now, commits = {}, []
        for byte, move in enumerate(moves, 1):
            if move == "commit":
                commits = [(slots.commit(), dict(now)), *commits[:1]]
            else:
                item = A if move == "a" else B
                slots.write(item, region(byte, SIZES[item]))
                now[item] = byte
            for named, bytes_then in commits:
                assert {item: read_copy(slots, item, copy) for item, copy in named.items()} == bytes_then
            assert {item: read_copy(slots, item, slots.current[item]) for item in now} == now
        slots.close()


def test_writing_again_before_a_commit_takes_no_other_slot(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    first = slots.current[A].slot
    slots.write(A, region(2))
    assert slots.current[A].slot == first
    slots.close()


def test_a_commit_is_verified_by_its_bytes(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    slots.write(B, region(2, 2 * PAGE))
    named = slots.commit()
    slots.verify(named, region(0, 2 * PAGE))
    slots.files[named[B].slot].write(slots.offsets[B] + PAGE, region(3))
    with pytest.raises(IntegrityError, match=r"slot-\d holds other bytes than were written for 0s"):
        slots.verify(named, region(0, 2 * PAGE))
    slots.close()


def test_a_commit_is_gone_on_from_in_another_process(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    older = slots.commit()
    slots.write(A, region(2))
    newer = slots.commit()
    slots.close()
    again = open_slots(tmp_path / "objects", SIZES)
    again.adopt([newer, older])
    assert read_copy(again, A, again.current[A]) == 2
    again.write(A, region(3))
    assert [read_copy(again, A, named[A]) for named in (newer, older)] == [2, 1]
    again.close()


def test_a_single_copy_is_gone_when_it_is_closed(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES, 1)
    slots.write(A, region(1))
    slots.close()
    assert list(tmp_path.iterdir()) == []


def test_copies_that_commits_may_name_stay(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.close()
    assert sorted(path.name for path in (tmp_path / "objects").iterdir()) == ["slot-0", "slot-1", "slot-2"]

"""Objects in slots never overlap, and a write never touches what one of the kept commits names."""

from __future__ import annotations

import mmap
import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.memory import PAGE
from lineshaft.errors import IntegrityError, StorageError
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.slots import open_slots, reading

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
@given(moves=st.lists(st.sampled_from(["a", "b", "commit, keep the last", "commit, keep the other"]), max_size=25))
def test_what_the_kept_commits_name_is_never_overwritten(moves):
    with tempfile.TemporaryDirectory() as folder:
        slots = open_slots(Path(folder) / "objects", SIZES)
        now, commits = {}, []
        for byte, move in enumerate(moves, 1):
            if move.startswith("commit"):
                other = commits[:1] if move.endswith("the last") else commits[1:]
                commits = [(dict(slots.current), dict(now)), *other]
                slots.named = [named for named, _ in commits]
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


def test_a_commit_is_verified_by_its_bytes_and_nothing_is_changed(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    slots.write(B, region(2, 2 * PAGE))
    with reading(tmp_path / "objects", SIZES, slots.current) as named:
        named.verify()
    slots.files[slots.current[B].slot].write(slots.offsets[B] + PAGE, region(3))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with (
        reading(tmp_path / "objects", SIZES, slots.current) as named,
        pytest.raises(IntegrityError, match=r"slot-\d holds other bytes than were written for 0s"),
    ):
        named.verify()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    slots.close()


def test_a_file_that_is_missing_or_short_is_damage_and_is_not_made(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(B, region(2, 2 * PAGE))
    slots.close()
    path = tmp_path / "objects" / f"slot-{slots.current[B].slot}"
    os.truncate(path, PAGE)
    with (
        reading(tmp_path / "objects", SIZES, slots.current) as named,
        pytest.raises(IntegrityError, match="it was cut short"),
    ):
        named.verify()
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"), reading(tmp_path / "objects", SIZES, slots.current):
        pass
    assert not path.exists()


def test_no_handle_is_left_where_a_file_cannot_be_opened(tmp_path):
    (tmp_path / "objects" / "slot-2").mkdir(parents=True)
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(StorageError, match="could not use the spill file slot-2"):
        open_slots(tmp_path / "objects", SIZES)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_commit_is_gone_on_from_in_another_process(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    older = dict(slots.current)
    slots.named = [older]
    slots.write(A, region(2))
    newer = dict(slots.current)
    slots.close()
    again = open_slots(tmp_path / "objects", SIZES)
    again.adopt([newer, older])
    assert read_copy(again, A, again.current[A]) == 2
    again.write(A, region(3))
    assert [read_copy(again, A, named[A]) for named in (newer, older)] == [2, 1]
    again.close()


def test_a_single_copy_has_no_name_from_the_start(tmp_path):
    slots = open_slots(tmp_path, SIZES, 1)
    slots.write(A, region(1))
    assert list(tmp_path.iterdir()) == []
    assert slots.whole([A])[A][:] == b"\1" * PAGE
    slots.close()


def test_what_is_apart_stays_as_it_was(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.write(A, region(1))
    slots.write(B, region(2, 2 * PAGE))
    apart = slots.apart([A, B])
    for byte in (7, 8, 9):
        slots.write(A, region(byte))
        slots.write(B, region(byte, 2 * PAGE))
        slots.named = [dict(slots.current)]
    slots.close()
    assert [whole[:] for whole in apart.values()] == [b"\1" * PAGE, b"\2" * 2 * PAGE]
    assert sorted(path.name for path in (tmp_path / "objects").iterdir()) == ["slot-0", "slot-1", "slot-2"]


def test_copies_that_commits_may_name_stay(tmp_path):
    slots = open_slots(tmp_path / "objects", SIZES)
    slots.close()
    assert sorted(path.name for path in (tmp_path / "objects").iterdir()) == ["slot-0", "slot-1", "slot-2"]

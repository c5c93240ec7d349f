"""What is written below comes back as it was, from memory, from a file, or from the one in front of the other."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft.core.memory import PAGE
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.below import InMemory, TwoLevels, choose
from lineshaft.train.spill.slots import open_slots

ITEMS = [Object(shard, what) for shard in range(3) for what in "ps"]
SIZES = {item: (1 + number % 3) * PAGE for number, item in enumerate(ITEMS)}


def content(item, byte):
    region = mmap.mmap(-1, SIZES[item])
    region[:] = bytes([byte]) * SIZES[item]
    return region


def read(below, item):
    region = mmap.mmap(-1, SIZES[item])
    below.read(item, memoryview(region))
    return region[:]


def two_levels(folder):
    return TwoLevels(InMemory(), open_slots(folder, SIZES, 1), frozenset(ITEMS[:2]))


@pytest.fixture(params=["memory", "file", "two levels"])
def below(request, tmp_path):
    made = {
        "memory": InMemory,
        "file": lambda: open_slots(tmp_path / "objects", SIZES, 1),
        "two levels": lambda: two_levels(tmp_path / "objects"),
    }[request.param]()
    yield made
    made.close()


def test_objects_come_back_as_they_were_written(below):
    for number, item in enumerate(ITEMS):
        below.write(item, memoryview(content(item, number)))
    assert all(read(below, item) == bytes([number]) * SIZES[item] for number, item in enumerate(ITEMS))


def test_the_last_write_counts(below):
    for byte in (1, 2, 3):
        below.write(ITEMS[0], memoryview(content(ITEMS[0], byte)))
    assert read(below, ITEMS[0]) == b"\3" * SIZES[ITEMS[0]]


def test_what_is_written_is_a_copy(below):
    for item in ITEMS:
        region = content(item, 1)
        below.write(item, memoryview(region))
        region[:] = bytes([9]) * SIZES[item]
    assert all(read(below, item) == b"\1" * SIZES[item] for item in ITEMS)


def test_the_whole_is_memory_that_holds_the_object(below):
    for item in ITEMS:
        below.write(item, memoryview(content(item, 4)))
    assert all(whole[:] == b"\4" * SIZES[item] for item, whole in below.whole(ITEMS).items())


def test_the_whole_may_be_written_without_harm_to_other_objects(below):
    for item in ITEMS:
        below.write(item, memoryview(content(item, 4)))
    below.whole(ITEMS[1:2])[ITEMS[1]][:] = b"\7" * SIZES[ITEMS[1]]
    assert all(read(below, item) == b"\4" * SIZES[item] for item in ITEMS if item != ITEMS[1])


def test_the_whole_stays_when_the_rest_is_closed(tmp_path):
    below = two_levels(tmp_path / "objects")
    for item in ITEMS:
        below.write(item, memoryview(content(item, 4)))
    wholes = below.whole(ITEMS)
    below.close()
    assert all(whole[:] == b"\4" * SIZES[item] for item, whole in wholes.items())


def test_chosen_objects_lie_in_memory_and_the_others_in_the_file(tmp_path):
    below = two_levels(tmp_path / "objects")
    for item in ITEMS:
        below.write(item, memoryview(content(item, 4)))
    assert set(below.memory.kept) == set(ITEMS[:2])
    assert set(below.files.current) == set(ITEMS[2:])
    below.close()


def test_the_files_are_behind_until_they_are_told(tmp_path):
    below = two_levels(tmp_path / "objects")
    below.write(ITEMS[0], memoryview(content(ITEMS[0], 4)))
    assert below.stale == {ITEMS[0]}
    below.mirror()
    assert below.stale == set()
    assert read(below.files, ITEMS[0]) == b"\4" * SIZES[ITEMS[0]]
    below.close()


OBJECTS = st.builds(Object, st.integers(0, 9), st.sampled_from("ps"))


@given(st.dictionaries(OBJECTS, st.integers(0, 50)), st.integers(0, 300))
def test_what_is_chosen_fits_the_room_and_nothing_more_would(sizes, room):
    chosen = choose(sizes, room)
    left = room - sum(sizes[item] for item in chosen)
    assert left >= 0
    assert all(sizes[item] > left for item in sizes if item not in chosen)


@given(st.dictionaries(OBJECTS, st.integers(1, 50)))
def test_parameters_are_chosen_before_state(sizes):
    room = sum(size for item, size in sizes.items() if item.what == "p")
    assert choose(sizes, room) == {item for item in sizes if item.what == "p"}


@given(st.dictionaries(OBJECTS, st.integers(0, 50)), st.integers(0, 300))
def test_the_choice_does_not_hang_on_the_order_of_objects(sizes, room):
    assert choose(dict(reversed(list(sizes.items()))), room) == choose(sizes, room)

"""Sizes as people write them, regions that stay within their limit, and spill files that give back what was written."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core import durable, memory
from lineshaft.core.memory import PAGE, Regions, SpillFile, pages, parse_size, show_size
from lineshaft.errors import StorageError, UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200MB", 200 * 10**6),
        ("1.5GiB", 3 * 2**29),
        (" 2 kib ", 2048),
        ("7", 7),
        ("7b", 7),
        (".5MB", 500_000),
        ("3.TB", 3 * 10**12),
        (4096, 4096),
        (2.0**31, 2**31),
    ],
)
def test_a_size_is_read_as_it_is_written(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MB", "-5", "1e9", "5 parsecs", "1,000", "0", "0.0001", 0, -3, float("nan"), float("inf"), True, None, b"1MB"],
)
def test_what_is_no_size_is_refused_with_what_was_given(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 2**40))
def test_a_number_of_bytes_is_that_number(size):
    assert parse_size(size) == parse_size(str(size)) == parse_size(f"{size}B") == size


@given(st.integers(1, 999), st.sampled_from(["bytes", "KB", "MB", "GB", "TB"]))
def test_what_is_shown_can_be_read_back(number, unit):
    size = number * {"bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert show_size(size) == f"{number} {unit}"
    assert parse_size(show_size(size).replace(" bytes", "")) == size


@given(st.integers(0, 10**9))
def test_pages_are_the_least_that_hold_it(size):
    assert size <= pages(size) < size + PAGE
    assert pages(size) % PAGE == 0


def test_a_region_has_whole_pages_and_can_be_written():
    region = Regions(10 * PAGE).take(PAGE + 1)
    region[2 * PAGE - 1 :] = b"x"
    assert len(region) == 2 * PAGE


def test_what_is_given_back_goes_to_the_next_that_fits():
    regions = Regions(4 * PAGE)
    region = regions.take(2 * PAGE)
    region[:4] = b"left"
    regions.give(region)
    assert bytes(regions.take(PAGE)[:4]) == b"left"


def test_pieces_side_by_side_become_one_again():
    regions = Regions(3 * PAGE)
    one, other, last = (regions.take(PAGE) for _ in range(3))
    for region in (one, last, other):
        regions.give(region)
    assert len(regions.take(3 * PAGE)) == 3 * PAGE
    assert regions.apart == 0


def test_a_region_that_no_piece_fits_is_taken_apart_and_free_pages_go_back():
    regions = Regions(4 * PAGE)
    pieces = [regions.take(PAGE) for _ in range(4)]
    for piece in pieces:
        piece[:4] = b"left"
    regions.give(pieces[0])
    regions.give(pieces[2])
    apart = regions.take(2 * PAGE)
    assert (regions.apart, regions.used) == (1, 4 * PAGE)
    regions.give(apart)
    assert bytes(regions.take(PAGE)[:4]) == bytes(4)


def test_a_region_over_the_limit_is_refused_with_both_numbers():
    regions = Regions(10 * PAGE)
    regions.take(8 * PAGE)
    with pytest.raises(UsageError, match=r"12\.3 KB beside 32\.8 KB in use is over the limit of 41 KB"):
        regions.take(3 * PAGE)
    assert regions.used == 8 * PAGE


def test_a_refused_region_takes_no_room():
    regions = Regions(2 * PAGE)
    with pytest.raises(UsageError):
        regions.take(3 * PAGE)
    assert len(regions.take(2 * PAGE)) == 2 * PAGE


def test_closing_gives_back_what_is_free_and_leaves_what_is_in_use():
    regions = Regions(4 * PAGE)
    used, free = regions.take(PAGE), regions.take(2 * PAGE)
    used[:4] = free[:4] = b"left"
    regions.give(free)
    regions.close()
    assert bytes(used[:4]) == b"left"
    assert bytes(regions.take(2 * PAGE)[:4]) == bytes(4)


def there(slab):
    """Return the bytes of a mapping that the system has given memory for."""
    count = len(slab) // PAGE
    vector = (ctypes.c_ubyte * count)()
    start = ctypes.addressof(ctypes.c_char.from_buffer(slab))
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(slab)), vector) == 0
    return sum(byte & 1 for byte in vector) * PAGE


def test_regions_taken_apart_one_after_the_other_stay_under_the_limit():
    regions = Regions(8 * PAGE)
    pieces = [regions.take(PAGE) for _ in range(8)]
    for piece in pieces:
        piece[:] = b"x" * PAGE
    for piece in pieces[::2]:
        regions.give(piece)
    apart = [regions.take(2 * PAGE) for _ in range(2)]
    assert regions.apart == len(apart)
    assert there(regions._slab) + regions._beside <= 8 * PAGE


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=40), st.randoms())
def test_regions_never_hold_more_than_their_limit_and_never_overlap(limit, moves, random):
    """A number takes so many pages, None gives any back; what is in use and what is free stay under the limit."""
    regions, held, peak = Regions(limit * PAGE), [], 0
    for number, move in enumerate(moves):
        if move is None:
            if held:
                regions.give(held.pop(random.randrange(len(held)))[0])
        elif move + sum(len(region) for region, _ in held) // PAGE <= limit:
            held.append((regions.take(move * PAGE), number))
            held[-1][0][:] = bytes([number]) * (move * PAGE)
        else:
            with pytest.raises(UsageError):
                regions.take(move * PAGE)
        in_use = sum(len(region) for region, _ in held)
        peak = max(peak, in_use)
        assert (regions.used, regions.peak) == (in_use, peak)
        assert there(regions._slab) + regions._beside <= limit * PAGE
        assert all(bytes(region) == bytes([byte]) * len(region) for region, byte in held)


@pytest.fixture(params=["direct", "cached"])
def way(request, monkeypatch):
    if request.param == "cached":
        monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    return request.param


def filled(size, byte):
    region = Regions(size).take(size)
    region[:] = bytes([byte]) * size
    return region


def read(file, offset, size):
    region = filled(size, 255)
    file.read(offset, memoryview(region))
    return bytes(region)


def test_a_spill_file_gives_back_what_was_written_where_it_was_written(tmp_path, way):
    file = SpillFile(tmp_path / "objects", 4 * PAGE)
    file.write(PAGE, memoryview(filled(2 * PAGE, 7)))
    file.write(3 * PAGE, memoryview(filled(PAGE, 9)))
    assert read(file, 0, 4 * PAGE) == bytes(PAGE) + b"\7" * 2 * PAGE + b"\t" * PAGE
    file.close()


def test_a_cached_file_says_that_it_is_not_direct(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    file = SpillFile(tmp_path / "objects", PAGE)
    assert not file.direct
    file.close()


def test_a_file_system_without_direct_access_is_used_through_the_cache(tmp_path, monkeypatch):
    flag, plain = getattr(os, "O_DIRECT", 1 << 30), os.open
    monkeypatch.setattr(os, "O_DIRECT", flag, raising=False)

    def refusing(path, flags, *rest, **options):
        if flags & flag:
            raise OSError(errno.EINVAL, "no such flag here")
        return plain(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)
    file = SpillFile(tmp_path / "objects", PAGE)
    file.write(0, memoryview(filled(PAGE, 3)))
    assert not file.direct
    assert read(file, 0, PAGE) == b"\3" * PAGE
    file.close()


def test_a_spill_file_reserves_its_room_and_makes_its_folder(tmp_path, way):
    file = SpillFile(tmp_path / "deep" / "er" / "objects", 5 * PAGE - 1)
    found = file.path.stat()
    file.close()
    assert found.st_size == file.size == 5 * PAGE
    assert found.st_blocks * 512 >= 5 * PAGE
    assert found.st_mode & 0o077 == 0


def test_a_file_of_the_right_size_keeps_its_content(tmp_path, way):
    file = SpillFile(tmp_path / "objects", 2 * PAGE)
    file.write(0, memoryview(filled(2 * PAGE, 5)))
    file.sync()
    file.close()
    again = SpillFile(tmp_path / "objects", 2 * PAGE)
    assert read(again, 0, 2 * PAGE) == b"\5" * 2 * PAGE
    again.close()


def test_a_file_of_another_size_gets_the_right_one(tmp_path):
    (tmp_path / "objects").write_bytes(b"z" * 9 * PAGE)
    file = SpillFile(tmp_path / "objects", 2 * PAGE)
    file.close()
    assert (tmp_path / "objects").stat().st_size == 2 * PAGE


@pytest.mark.parametrize("left", [0, PAGE])
def test_a_file_cut_short_behind_our_back_is_named(tmp_path, way, left):
    file = SpillFile(tmp_path / "objects", 3 * PAGE)
    os.truncate(file.path, left)
    with pytest.raises(StorageError, match=rf"objects ends at {left:,} of 12,288 bytes; it was cut short"):
        read(file, 0, 3 * PAGE)
    file.close()


def test_reading_a_closed_file_is_an_error_of_storage(tmp_path):
    file = SpillFile(tmp_path / "objects", PAGE)
    file.close()
    with pytest.raises(StorageError, match="could not read objects"):
        read(file, 0, PAGE)


def failing(monkeypatch, code, number):
    monkeypatch.setattr(durable, "_operations", itertools.count(1))
    monkeypatch.setenv("LINESHAFT_FAULT", f"{code}:{number}")


def test_a_full_disk_shows_before_any_work_is_done(tmp_path, monkeypatch):
    failing(monkeypatch, "ENOSPC", 1)
    with pytest.raises(StorageError, match=r"no room for the spill file objects: 8\.19 KB are wanted .* spill="):
        SpillFile(tmp_path / "objects", 2 * PAGE)


LIMITED = """
import resource, sys
from pathlib import Path
from lineshaft.core.memory import PAGE, SpillFile
from lineshaft.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, PAGE))
try:
    SpillFile(Path(sys.argv[1]), 2 * PAGE)
except StorageError as error:
    print(error)
"""


def test_a_file_larger_than_the_process_may_write_is_an_error_of_storage(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "objects")], capture_output=True, check=True, timeout=60
    )
    assert b"no room for the spill file objects: 8.19 KB are wanted in" in done.stdout


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_disk_that_fills_later_says_how_much_is_wanted_and_left(tmp_path, monkeypatch, code):
    file = SpillFile(tmp_path / "objects", 2 * PAGE)
    failing(monkeypatch, code, 1)
    with pytest.raises(StorageError, match=r"8\.19 KB are wanted in .* and .* are left"):
        file.write(0, memoryview(filled(PAGE, 1)))
    file.close()


def test_another_failure_of_the_disk_is_told_in_its_own_words(tmp_path, monkeypatch):
    file = SpillFile(tmp_path / "objects", PAGE)
    failing(monkeypatch, "EIO", 1)
    with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
        file.sync()
    file.close()


def test_a_folder_that_is_a_file_is_an_error_of_storage(tmp_path):
    (tmp_path / "taken").write_text("not a folder")
    with pytest.raises(StorageError, match="could not use the spill file objects in"):
        SpillFile(tmp_path / "taken" / "objects", PAGE)


def test_a_write_of_a_few_bytes_at_a_time_goes_on_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    plain = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda handle, parts, offset: plain(handle, [parts[0][:1000]], offset))
    file = SpillFile(tmp_path / "objects", PAGE)
    file.write(0, memoryview(filled(PAGE, 6)))
    assert read(file, 0, PAGE) == b"\6" * PAGE
    file.close()


def test_a_read_of_a_few_bytes_at_a_time_goes_on_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    file = SpillFile(tmp_path / "objects", PAGE)
    file.write(0, memoryview(filled(PAGE, 6)))
    plain = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, parts, offset: plain(handle, [parts[0][:999]], offset))
    assert read(file, 0, PAGE) == b"\6" * PAGE
    file.close()


KILLED = """
import sys
from pathlib import Path
from lineshaft.core.memory import PAGE, Regions, SpillFile
file = SpillFile(Path(sys.argv[1]), 2 * PAGE)
region = Regions(PAGE).take(PAGE)
region[:] = b"n" * PAGE
for offset in (0, PAGE):
    file.write(offset, memoryview(region))
"""


def test_a_kill_before_a_write_leaves_what_was_there(tmp_path):
    (tmp_path / "objects").write_bytes(b"o" * 2 * PAGE)
    environment = os.environ | {"LINESHAFT_CRASH": "spill.write:2"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "objects")], env=environment, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "objects").read_bytes() == b"n" * PAGE + b"o" * PAGE


def test_pages_have_the_size_that_direct_access_and_mapping_ask_for():
    assert memory.PAGE % 512 == 0
    assert pages(1) == PAGE

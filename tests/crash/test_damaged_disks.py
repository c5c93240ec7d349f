"""A disk that flips bytes, fails or is full: the error says what happened, nothing is corrupt, the next run completes.

By default a seeded sample of objects and of disk operations; all of them with::

    python -m pytest tests/crash -n 2 --whole
"""

from __future__ import annotations

import errno
import itertools
import os
import random

import pytest

from lineshaft.core.store import SEAL
from lineshaft.errors import IntegrityError

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

SHARES = 4
LEAST_OPERATIONS = 300  # on the disk, of one run


def sample(items, whole, size, share):
    """Return a share of the items, or of a seeded sample of them."""
    chosen = list(items)
    if not whole:
        chosen = random.Random(3).sample(chosen, size)
    return chosen[share::SHARES]


def flip(path, *, sealed):
    """Flip one bit in the middle of a file, as a failing disk does; ``sealed``: its modification time stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    if sealed:
        os.utime(path, ns=(SEAL, SEAL))


@pytest.mark.parametrize("share", range(SHARES))
def test_a_flipped_byte_is_named_by_the_next_read_and_healed_by_the_next_run(done, clean, whole, share):
    for artifact in sample(done.artifacts(), whole, 4, share):
        flip(done.object(artifact), sealed=True)
        with done.home() as home, pytest.raises(IntegrityError, match=artifact.digest):
            home.get(artifact)
        assert done.run()["executed"] >= 1
        assert done.state() == clean.state
        assert done.faults() == []


@pytest.mark.parametrize("share", range(SHARES))
def test_a_flipped_byte_under_a_broken_seal_is_noticed_by_the_run_itself(done, clean, whole, share):
    for artifact in sample(done.artifacts(), whole, 4, share):
        heard = len(done.events("object.damaged"))
        flip(done.object(artifact), sealed=False)
        assert done.run()["executed"] >= 1
        assert str(artifact) in {fact["object"] for fact in done.events("object.damaged")[heard:]}
        assert done.state() == clean.state
        assert done.faults() == []


def test_doctor_names_every_damaged_object(done, clean):
    damaged = done.artifacts()
    for artifact in damaged:
        flip(done.object(artifact), sealed=True)
    ended = done.call("doctor", "--json")
    assert ended.code == 1
    for artifact in damaged:
        assert any(artifact.digest in fault for fault in ended.json["faults"])
    assert done.run()["executed"] >= 20
    assert done.state() == clean.state
    assert done.faults() == []


def test_a_run_over_damage_that_only_reading_shows_says_which_object_and_the_next_run_heals_it(done, clean):
    labels = next(artifact for artifact in done.artifacts() if artifact.kind == "Labels")
    flip(done.object(labels), sealed=True)
    done.edit(("epochs=4", "epochs=3"))
    assert labels.digest in done.fails(3)
    done.edit(("epochs=3", "epochs=4"))
    assert done.run()["executed"] == 1
    assert done.state() == clean.state


def operations(whole, share):
    """Number the disk operations to fail: all from the first on, or a seeded few that every run comes to."""
    if whole:
        return itertools.count(share + 1, SHARES)
    return random.Random(9).sample(range(1, LEAST_OPERATIONS), 8)[share::SHARES]


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_whichever_disk_operation_fails_the_error_is_one_clear_line_and_the_next_run_completes(
    fresh, clean, whole, code, share
):
    for number in operations(whole, share):
        job = fresh()
        ended = job.call(LINESHAFT_FAULT=f"{code}:{number}")
        if ended.code == 0:
            assert whole
            assert number > LEAST_OPERATIONS
            break
        assert ended.code == 3, (number, ended)
        assert ended.err.count("\n") == 1, (number, ended)
        assert ended.err.startswith("StorageError: "), (number, ended)
        assert os.strerror(getattr(errno, code)) in ended.err, (number, ended)
        assert job.faults() == [], number
        job.run()
        assert job.state() == clean.state, number
        assert job.commits() == {1}, number
        assert job.leftovers() == [], number


@pytest.mark.parametrize("kilobytes", [16, 64, 160, 240])
def test_files_that_cannot_grow_any_more_are_a_clear_error_and_the_next_run_completes(fresh, clean, kilobytes):
    """A real limit of the operating system, which SQLite's own writes meet too."""
    job = fresh()
    line = job.fails(3, CRASH_FILE_LIMIT=kilobytes << 10)
    assert line.startswith("StorageError: ")
    assert job.faults() == []
    job.run()
    assert job.state() == clean.state
    assert job.leftovers() == []

"""A write that fails or dies anywhere leaves the old bytes or the new ones, and nothing beside them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest

from lineshaft.core import durable
from lineshaft.core.durable import remove_abandoned, write_atomic
from lineshaft.errors import StorageError

WRITE = """
import sys
from pathlib import Path
from lineshaft.core.durable import write_atomic
write_atomic(Path(sys.argv[1]), b"new" * 1000)
"""


@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EDQUOT", "EROFS"])
def test_any_failing_disk_operation_leaves_whole_bytes_and_no_temporary_file(tmp_path, monkeypatch, code):
    failures = 0
    for number in itertools.count(1):
        path = tmp_path / f"{code}{number}" / "deep" / "object"
        if number % 2:  # a new file in new folders, or an old file
            path.parent.mkdir(parents=True)
            path.write_bytes(b"old")
        monkeypatch.setattr(durable, "_operations", itertools.count(1))
        monkeypatch.setenv("LINESHAFT_FAULT", f"{code}:{number}")
        try:
            write_atomic(path, b"new" * 1000)
        except StorageError as error:
            assert "object" in str(error)
            assert "run again" in str(error) or "LINESHAFT_HOME" in str(error)
            failures += 1
        else:
            assert path.read_bytes() == b"new" * 1000
            break
        content = path.read_bytes() if path.exists() else b"old"
        assert content in {b"old", b"new" * 1000}
        assert [file.name for file in path.parent.glob("*")] in ([], ["object"])
    assert failures >= 5


@pytest.mark.crash
@pytest.mark.parametrize("point", ["write.begun", "write.synced", "write.renamed"])
def test_a_kill_leaves_old_or_new_bytes(tmp_path, point):
    path = tmp_path / "object"
    path.write_bytes(b"old")
    environment = {**os.environ, "LINESHAFT_CRASH": f"{point}:1"}
    done = subprocess.run([sys.executable, "-c", WRITE, str(path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == (b"new" * 1000 if point == "write.renamed" else b"old")


def test_crash_points_are_logged_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("LINESHAFT_CRASH_LOG", str(tmp_path / "log"))
    write_atomic(tmp_path / "object", b"x")
    assert (tmp_path / "log").read_text().split() == ["write.begun", "write.synced", "write.renamed"]


def test_the_modification_time_is_set(tmp_path):
    write_atomic(tmp_path / "object", b"", modified_ns=10**18)
    assert (tmp_path / "object").stat().st_mtime_ns == 10**18


def test_a_file_in_the_way_of_a_folder_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="could not write object"):
        write_atomic(tmp_path / "file" / "object", b"x")


def test_a_name_that_another_writer_took_is_left_to_him(tmp_path, monkeypatch):
    monkeypatch.setattr(durable.secrets, "token_hex", lambda length: "0" * 2 * length)
    names = []
    monkeypatch.setattr(durable, "disk_operation", lambda: names.extend(tmp_path.glob(".object.*")))
    write_atomic(tmp_path / "object", b"mine")
    (taken,) = set(names)
    taken.write_bytes(b"his")
    with pytest.raises(StorageError, match="could not write object"):
        write_atomic(tmp_path / "object", b"new")
    assert taken.read_bytes() == b"his"
    assert (tmp_path / "object").read_bytes() == b"mine"


def test_two_writes_of_one_process_have_different_names(tmp_path, monkeypatch):
    names = set()
    monkeypatch.setattr(durable, "disk_operation", lambda: names.update(tmp_path.glob(".object.*")))
    for _ in range(2):
        write_atomic(tmp_path / "object", b"x")
    assert len(names) == 2


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    environment = {**os.environ, "LINESHAFT_CRASH": "write.synced:1"}
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "object")], env=environment, check=False)
    (left,) = tmp_path.glob(".object.*.tmp")
    mine = tmp_path / f".object.{durable._writer()}.0.tmp"
    mine.touch()
    assert remove_abandoned([left, mine]) == 1
    assert (left.exists(), mine.exists()) == (False, True)


def test_a_reused_process_number_does_not_keep_a_leftover(tmp_path):
    left = tmp_path / f".object.{durable._here()}.{os.getpid()}.1.0.tmp"
    left.touch()
    assert remove_abandoned([left]) == 1


@pytest.mark.parametrize("name", [".object.elsewhere.1.99.0.tmp", ".object.77.0.tmp"])
def test_what_a_writer_elsewhere_left_goes_by_age(tmp_path, monkeypatch, name):
    left = tmp_path / name
    left.touch()
    assert remove_abandoned([left]) == 0
    monkeypatch.setattr(durable, "ABANDONED_SECONDS", -1)
    assert remove_abandoned([left]) == 1
    assert not left.exists()

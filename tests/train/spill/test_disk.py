"""The disk tier is on a disk: a folder in memory is passed over, or refused where it was asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lineshaft.errors import StorageError, UsageError
from lineshaft.train.spill import disk
from lineshaft.train.spill.disk import disk_folder, in_memory

SHARED = Path("/dev/shm")
on_tmpfs = pytest.mark.skipif(not (SHARED.is_dir() and in_memory(SHARED)), reason="/dev/shm is no tmpfs here")


def test_the_folder_that_is_given_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MEMORY", set())
    assert disk_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@on_tmpfs
def test_a_folder_in_memory_is_refused():
    with pytest.raises(UsageError, match=r"/dev/shm lie in memory \(tmpfs\), .*: name a folder on a disk with spill="):
        disk_folder(SHARED)


@on_tmpfs
@pytest.mark.skipif(in_memory(Path("/var/tmp")), reason="/var/tmp lies in memory here")
def test_temporary_files_in_memory_are_passed_over(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(SHARED))
    assert disk_folder(None) == Path("/var/tmp")


@pytest.mark.parametrize("where", ["/proc/nowhere", "file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"could not use spill='.*': .*; name a folder that can be written"):
        disk_folder(tmp_path / where)

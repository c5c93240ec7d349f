"""A write that fails or dies anywhere leaves the old bytes or the new ones, and nothing beside them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import pytest

from lineshaft.core import durable
from lineshaft.core.durable import write_atomic
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

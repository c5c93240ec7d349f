"""Writing so that a kill, a crash or a full disk leaves either the old bytes or the new ones, never a mixture.

::

    write_atomic:  create temp ──► write ──► fsync ──► rename over the name ──► fsync the folder
                        └─ crash point: write.begun ┘      write.synced ┘             write.renamed ┘

Tests stop the process or fail the disk at any of these places: ``LINESHAFT_CRASH=write.synced:3`` kills it (SIGKILL)
the third time it passes there, ``LINESHAFT_FAULT=ENOSPC:7`` makes the seventh disk operation fail, and
``LINESHAFT_CRASH_LOG=FILE`` lists the points passed. Unset, all three cost one dictionary look-up.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lineshaft.core.process import machine, started
from lineshaft.errors import StorageError

_passed: Counter[str] = Counter()
_operations = itertools.count(1)
ABANDONED_SECONDS = 86_400  # an unfinished file of another machine that is so old has nobody who finishes it


def crash_point(name: str) -> None:
    """Mark a place in the commit path where a kill must do no harm."""
    if log := os.environ.get("LINESHAFT_CRASH_LOG"):
        with Path(log).open("a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")
    if wanted := os.environ.get("LINESHAFT_CRASH"):
        _passed[name] += 1
        if wanted == f"{name}:{_passed[name]}":
            os.kill(os.getpid(), signal.SIGKILL)


def disk_operation() -> None:
    """Stand for one call that changes the disk; fails where a test asked for it."""
    if wanted := os.environ.get("LINESHAFT_FAULT"):
        code, _, number = wanted.partition(":")
        if next(_operations) == int(number):
            value = getattr(errno, code)
            raise OSError(value, os.strerror(value))


def write_atomic(path: Path, content: bytes | memoryview, modified_ns: int | None = None) -> None:
    """Replace the file at ``path`` by ``content``, durably and all or nothing.

    Parameters
    ----------
    path
        Where to write; missing parent folders are made.
    content
        The whole new content.
    modified_ns
        Modification time to set, in nanoseconds since the epoch.

    Raises
    ------
    StorageError
        The disk refused; the old file, if any, is untouched and nothing of ours is left beside it.

    """
    try:
        make_folder(path.parent)
        with _replacing(path) as handle:
            _write_synced(handle, content, modified_ns)
        crash_point("write.renamed")
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"could not write {path.name}: {_reason(error)}") from error


@contextmanager
def writing_atomic(path: Path, size: int) -> Iterator[int]:
    """Give the handle of a file of so many bytes that replaces the one at ``path``, durably, after the block.

    Raises
    ------
    StorageError
        The disk refused; the old file, if any, is untouched and nothing of ours is left beside it.

    """
    try:
        make_folder(path.parent)
        with _replacing(path) as handle:
            disk_operation()
            os.posix_fallocate(handle, 0, size)
            yield handle
            disk_operation()
            os.fsync(handle)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"could not write {path.name}: {_reason(error)}") from error


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """Give the handle of a file beside ``path``, which takes its name after the block."""
    temporary = path.with_name(f".{path.name}.{_writer()}.{secrets.token_hex(8)}.tmp")
    disk_operation()
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)  # what is there already is another's
    try:
        try:
            yield handle
        finally:
            os.close(handle)
        disk_operation()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_abandoned(temporary: Iterable[Path]) -> int:
    """Remove those of our temporary files whose writer was killed; return how many that were."""
    left = [path for path in temporary if not _writer_lives(path)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def make_folder(folder: Path) -> None:
    """Make a folder, and those it is in, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        disk_operation()
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    disk_operation()
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _writer() -> str:
    """Name this process within a file's name: machine, number, start."""
    return f"{_here()}.{os.getpid()}.{started(os.getpid())}"


def _here() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:12]


def _writer_lives(path: Path) -> bool:
    """Say whether the process named in a temporary file's name may still run.

    Of a process of another machine, or another container on this one, only the file's age tells.
    """
    where, number, since = path.name.rsplit(".", 5)[1:4] if path.name.count(".") > 5 else ("", "", "")
    if where == _here() and number.isdigit():
        return started(int(number)) == since
    try:
        return time.time() - path.stat().st_ctime < ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _write_synced(handle: int, content: bytes | memoryview, modified_ns: int | None) -> None:
    crash_point("write.begun")
    rest = memoryview(content)
    while rest:
        disk_operation()
        rest = rest[os.write(handle, rest) :]
    if modified_ns is not None:
        os.utime(handle, ns=(modified_ns, modified_ns))
    disk_operation()
    os.fsync(handle)
    crash_point("write.synced")


def _reason(error: OSError) -> str:
    advice = {
        errno.ENOSPC: "free some space and run again",
        errno.EDQUOT: "your quota is used up; free some space and run again",
        errno.EROFS: "choose a writable folder with LINESHAFT_HOME",
        errno.EACCES: "choose a folder you may write with LINESHAFT_HOME",
    }
    return f"{error.strerror or error} ({advice.get(error.errno or 0, 'nothing was changed; run again')})"

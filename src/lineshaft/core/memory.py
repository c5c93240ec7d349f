"""Memory below the fast memory: budgets as people write them, regions used again, and files that hold the rest.

A region is page-aligned anonymous memory outside of Python's and torch's heaps: what is given back goes back to the
system or to the next region of the same size, never into fragments. A spill file is read and written straight into
such regions, past the system's page cache where the file system can do that (O_DIRECT): otherwise a file larger than
memory would push out what others use, and be counted twice.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import re
import secrets
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Literal

from lineshaft.core.durable import crash_point, disk_operation, make_folder, sync_folder
from lineshaft.errors import IntegrityError, StorageError, UsageError

PAGE = 4096
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*\Z", re.IGNORECASE)
_DROP = getattr(os, "POSIX_FADV_DONTNEED", None)
_LARGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)
_UNCOUNTED = 0x4000 if sys.platform == "linux" else 0  # MAP_NORESERVE: Python names it from 3.13 on
_HUGE = 1 << 22  # bytes from which memory is asked for in large pages


def parse_size(text: str | float) -> int:
    """Return bytes: of a number as it is, of ``"200MB"`` (10^6) or ``"1.5GiB"`` (2^30) as written."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise UsageError(f"a size is a number of bytes or a text like '200MB' or '1.5GiB', not {text!r}")
    match = _SIZE.match(text) if isinstance(text, str) else None
    known = match is not None and match[2].lower() in _UNITS if isinstance(text, str) else math.isfinite(text)
    if not known:
        raise UsageError(f"{text!r} is no size; write a number of bytes, or say '200MB' or '1.5GiB'")
    size = int(Decimal(match[1]) * _UNITS[match[2].lower()]) if match else int(text)
    if size <= 0:
        raise UsageError(f"a size must be above 0, not {text!r}")
    return size


def show_size(size: float, *, up: bool = False) -> str:
    """Write bytes for people, ``38.2 MB``: rounded to three digits, or rounded ``up`` to them."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= 0.9995 * unit:
            digits = 2 - math.floor(math.log10(max(size / unit, 1)))
            step = unit / 10**digits
            return f"{(math.ceil(size / step) if up else round(size / step)) * step / unit:.3g} {name}"
    return f"{size:.0f} bytes"


def pages(size: int) -> int:
    """Round up to whole pages."""
    return -(-size // PAGE) * PAGE


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def available() -> int:
    """Return the bytes of memory that the machine has left."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise UsageError("this system does not say how much memory is left; say how much training may hold with memory=")


def private() -> int:
    """Return the bytes among them that no file stands behind: of those, no disk can take any."""
    held, shared = Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3]
    return (int(held) - int(shared)) * PAGE


Region = memoryview | mmap.mmap


class Regions:
    """Page-aligned memory that is used again and again: pages that the system gave once are not asked for twice.

    ::

        slab   | in use |  free  | in use      | free |        a region is cut from the smallest free piece that fits;
                                                               where none does, free pages go back to the system and
                                                               the region is a mapping of its own

    Parameters
    ----------
    limit
        Bytes that may be held, in use or free.

    Attributes
    ----------
    used, peak
        Bytes in use now, and at most so far.
    apart
        How many regions found no piece of the slab.

    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.peak, self.apart = limit, 0, 0, 0
        self._beside = 0  # bytes in use that are not in the slab: so many of its free pages are with the system
        self._slab = anonymous(max(limit, PAGE))
        self._free = {0: limit // PAGE * PAGE}  # offset -> bytes, no two of them neighbours
        self._taken: dict[int, int] = {}  # id of a region -> its offset

    def take(self, size: int) -> memoryview:
        """Return a region of at least so many bytes, whole pages; its content is arbitrary."""
        size = pages(size)
        if self.used + size > self.limit:
            raise UsageError(
                f"a region of {show_size(size)} beside {show_size(self.used)} in use is over the limit of "
                f"{show_size(self.limit)}"
            )
        self.used += size
        self.peak = max(self.peak, self.used)
        fitting = [(long, offset) for offset, long in self._free.items() if long >= size]
        if not fitting:
            self._drop()  # all of them: which ones are with the system already is not known
            self.apart += 1
            self._beside += size
            return memoryview(anonymous(size))
        long, offset = min(fitting)
        del self._free[offset]
        if long > size:
            self._free[offset + size] = long - size
        region = memoryview(self._slab)[offset : offset + size]
        self._taken[id(region)] = offset
        return region

    def give(self, region: Region) -> None:
        """Take a region back; nothing may look into it any more."""
        size = len(region)
        self.used -= size
        offset = self._taken.pop(id(region), None)
        if offset is None:
            self._beside -= size
            return  # unmapped with its last reference
        if self._beside:
            self._slab.madvise(mmap.MADV_DONTNEED, offset, size)
        after = self._free.pop(offset + size, 0)
        before = next((start for start, long in self._free.items() if start + long == offset), offset)
        self._free[before] = offset + size + after - before

    def close(self) -> None:
        """Give what is free back to the system."""
        self._drop()

    def _drop(self) -> None:
        for offset, long in self._free.items():
            self._slab.madvise(mmap.MADV_DONTNEED, offset, long)


def anonymous(size: int) -> mmap.mmap:
    """Return memory of this process's own, whole pages, that no file stands behind."""
    memory = mmap.mmap(-1, pages(size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and _LARGE_PAGES is not None:
        with suppress(OSError):  # a system without them
            memory.madvise(_LARGE_PAGES)
    return memory


class SpillFile:
    """A file of fixed size for bytes that left memory, read and written in whole pages.

    Parameters
    ----------
    path
        Where; an existing file of this size keeps its content.
    size
        Bytes, reserved on the disk at once: a full disk shows before any work is done.
    mode
        ``named``: it stays when it is closed. ``unnamed``: it has no name, and goes with the process at the latest.
        ``read``: it is there, and nothing about it is changed.

    Attributes
    ----------
    direct
        Whether it goes past the page cache; else its pages are dropped from there after use.

    Raises
    ------
    StorageError
        The disk has no room for it, or refuses.
    IntegrityError
        There is no file to read.

    """

    def __init__(self, path: Path, size: int, mode: Literal["named", "unnamed", "read"] = "named") -> None:
        self.path, self.size, self._handle = path, pages(size), -1
        try:
            if mode == "read":
                self._handle, self.direct = _open(path, os.O_RDONLY)
            else:
                self._make(mode)
        except OSError as error:
            self.close()
            if mode == "read" and isinstance(error, FileNotFoundError):
                raise IntegrityError(f"{path.name} is missing in {path.parent}") from error
            raise StorageError(_about(error, path, self.size)) from error

    def read(self, offset: int, into: memoryview) -> None:
        """Fill memory with what lies at an offset."""
        rest = into
        while rest:
            try:
                count = os.preadv(self._handle, [rest], offset)
            except OSError as error:
                raise StorageError(f"could not read {self.path.name}: {error.strerror}") from error
            if not count:
                raise StorageError(f"{self.path.name} ends at {offset:,} of {self.size:,} bytes; it was cut short")
            if not self.direct:
                self._drop(offset, count)
            rest, offset = rest[count:], offset + count

    def write(self, offset: int, content: memoryview) -> None:
        """Write memory to an offset."""
        start, rest = offset, content
        while rest:
            try:
                disk_operation()
                crash_point("spill.write")
                count = os.pwritev(self._handle, [rest], offset)
            except OSError as error:
                raise StorageError(_about(error, self.path, self.size)) from error
            rest, offset = rest[count:], offset + count
        if not self.direct:
            self._drop(start, len(content))

    def sync(self) -> None:
        """Make what was written survive a loss of power."""
        try:
            disk_operation()
            os.fdatasync(self._handle)
        except OSError as error:
            raise StorageError(_about(error, self.path, self.size)) from error

    def mapped(self) -> mmap.mmap:
        """Return all of it as memory: pages come when they are looked at, and changes never go to the file."""
        kind, access = mmap.MAP_PRIVATE | _UNCOUNTED, mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(self._handle, self.size, flags=kind, prot=access)

    def close(self) -> None:
        """Close it; its content stays, if it has a name."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _make(self, mode: str) -> None:
        make_folder(self.path.parent)
        if mode == "unnamed":
            at = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
            self._handle, self.direct = _open(at, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            at.unlink()
            self._reserve()
            return
        new = not self.path.exists()
        self._handle, self.direct = _open(self.path, os.O_RDWR | os.O_CREAT)
        self._reserve()
        if new:
            sync_folder(self.path.parent)

    def _reserve(self) -> None:
        now = os.fstat(self._handle).st_size
        if now > self.size:
            os.ftruncate(self._handle, self.size)
        if now < self.size:
            disk_operation()
            os.posix_fallocate(self._handle, 0, self.size)

    def _drop(self, offset: int, count: int) -> None:
        if _DROP is not None:
            os.posix_fadvise(self._handle, offset, count, _DROP)


def _open(path: Path, flags: int) -> tuple[int, bool]:
    direct = getattr(os, "O_DIRECT", 0)
    try:
        return os.open(path, flags | direct, 0o600), bool(direct)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags & ~os.O_EXCL, 0o600), False  # it may have been made before it was refused


def _about(error: OSError, path: Path, size: int) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        free = os.statvfs(next(folder for folder in path.parents if folder.is_dir()))
        left = show_size(free.f_bavail * free.f_frsize)
        return (
            f"no room for the spill file {path.name}: {show_size(size)} are wanted in {path.parent} and {left} are "
            f"left; free some, or name a folder on a larger disk with spill= or checkpoint="
        )
    return (
        f"could not use the spill file {path.name} in {path.parent}: {error.strerror or error}; name a folder that can "
        f"be written with spill= or checkpoint="
    )

"""Memory below the fast memory: budgets as people write them, regions used again, and files that hold the rest.

A region is page-aligned anonymous memory outside of Python's and torch's heaps: what is given back goes back to the
system or to the next region of the same size, never into fragments. A spill file is read and written straight into
such regions, past the system's page cache where the file system can do that (O_DIRECT): otherwise a file larger than
memory would push out what others use, and be counted twice.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from lineshaft.core.durable import crash_point, disk_operation
from lineshaft.errors import StorageError, UsageError

PAGE = 4096
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*\Z", re.IGNORECASE)
_C = ctypes.CDLL(None) if sys.platform == "linux" else None
_trim, _tune = getattr(_C, "malloc_trim", None), getattr(_C, "mallopt", None)
_MAPPED_FROM = -3  # glibc's M_MMAP_THRESHOLD
_DROP = getattr(os, "POSIX_FADV_DONTNEED", None)


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


def give_back() -> None:
    """Give memory that the C library keeps for later back to the system, where it can do that (glibc)."""
    if _trim is not None:
        _trim(0)


@contextmanager
def outside_the_heap() -> Iterator[None]:
    """Let large blocks that are asked for inside the block be mapped one by one, where the C library can do that.

    Work of many sizes at once, once, would leave a heap that all later work is spread over. Mapping costs time, so
    afterwards blocks come from the heap again, as they would have with the library's own rule after a while.
    """
    if _tune is not None:
        _tune(_MAPPED_FROM, PAGE * 16)
    try:
        yield
    finally:
        if _tune is not None:
            _tune(_MAPPED_FROM, 1 << 25)  # the most that glibc allows, and where its rule ends up


class Regions:
    """Page-aligned memory; what is given back is kept for the next that asks for the same size.

    Parameters
    ----------
    limit
        Bytes that may be held, in use or kept.

    Attributes
    ----------
    used, peak
        Bytes in use now, and at most so far.

    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.peak = limit, 0, 0
        self._kept: dict[int, list[mmap.mmap]] = defaultdict(list)
        self._held = 0

    def take(self, size: int) -> mmap.mmap:
        """Return a region of at least so many bytes, whole pages; its content is arbitrary."""
        size = pages(size)
        if self.used + size > self.limit:
            raise UsageError(
                f"a region of {show_size(size)} beside {show_size(self.used)} in use is over the limit of "
                f"{show_size(self.limit)}"
            )
        self.used += size
        self.peak = max(self.peak, self.used)
        if self._kept[size]:
            return self._kept[size].pop()
        self._shrink(self.limit - size)
        self._held += size
        return mmap.mmap(-1, size)

    def give(self, region: mmap.mmap) -> None:
        """Take a region back; nothing may look into it any more."""
        self.used -= len(region)
        self._kept[len(region)].append(region)

    def close(self) -> None:
        """Give what is kept back to the system."""
        self._shrink(0)

    def _shrink(self, limit: int) -> None:
        """Unmap kept regions until at most so many bytes are held."""
        for size, kept in self._kept.items():
            while kept and self._held > limit:
                self._held -= size
                kept.pop()  # unmapped with its last reference


class SpillFile:
    """A file of fixed size for bytes that left memory, read and written in whole pages.

    Parameters
    ----------
    path
        Where; an existing file of this size keeps its content.
    size
        Bytes, reserved on the disk at once: a full disk shows before any work is done.

    Attributes
    ----------
    direct
        Whether it goes past the page cache; else its pages are dropped from there after use.

    Raises
    ------
    StorageError
        The disk has no room for it, or refuses.

    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, pages(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle, self.direct = _open(path)
            self._reserve()
        except OSError as error:
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

    def close(self) -> None:
        """Close it; its content stays."""
        os.close(self._handle)

    def _reserve(self) -> None:
        if os.fstat(self._handle).st_size != self.size:
            disk_operation()
            os.ftruncate(self._handle, 0)
            os.posix_fallocate(self._handle, 0, self.size)

    def _drop(self, offset: int, count: int) -> None:
        if _DROP is not None:
            os.posix_fadvise(self._handle, offset, count, _DROP)


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    direct = getattr(os, "O_DIRECT", 0)
    try:
        return os.open(path, flags | direct, 0o600), bool(direct)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags, 0o600), False


def _about(error: OSError, path: Path, size: int) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        free = os.statvfs(path.parent)
        left = show_size(free.f_bavail * free.f_frsize)
        return (
            f"no room for the spill file {path.name}: {show_size(size)} are wanted in {path.parent} and {left} are "
            f"left; free some, or name a folder on a larger disk with spill="
        )
    return f"could not use the spill file {path.name} in {path.parent}: {error.strerror or error}"

"""What the C library keeps of freed memory: how much that may be, and giving it back (glibc; elsewhere nothing).

::

    main heap      | small | free | small | free .......... |     `give_back` takes what is free, its end too
    a thread's     | small | free | ... its end ........... |     of these, all but the end: `tight_heap` says how long
    mapped         | one block |   | one block |                  blocks that come and go with the system, one by one

There is a heap for each thread that runs; when it is over, the next thread takes it on as it is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")
_C = ctypes.CDLL(None) if sys.platform == "linux" else None
_trim, _tune = getattr(_C, "malloc_trim", None), getattr(_C, "mallopt", None)
_MAPPED_FROM, _TRIMMED_FROM = -3, -1  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
_PIECES = 1 << 16  # bytes from which blocks are mapped outside of heaps
_LOOSE, _TIGHT, _SHARE = 1 << 22, 1 << 17, 64  # bytes that a heap may keep: at most, at least, as part of a budget
_kept = [_LOOSE]  # by the blocks of `tight_heap` that are open


def give_back() -> None:
    """Give memory that the C library keeps for later back to the system."""
    if _trim is not None:
        _trim(0)


def kept(budget: int) -> int:
    """Return the bytes that a heap may keep within a budget."""
    return min(_LOOSE, max(_TIGHT, budget // _SHARE))


@contextmanager
def tight_heap(budget: int) -> Iterator[None]:
    """Let each heap keep a small part of a budget only, inside the block.

    Larger blocks are mapped, because a heap keeps holes of their sizes. Both cost time, so a large budget changes
    nothing.
    """
    _kept.append(kept(budget))
    _keep(_kept[-1])
    try:
        yield
    finally:
        _kept.pop()
        _keep(_kept[-1])


@contextmanager
def outside_the_heap() -> Iterator[None]:
    """Let large blocks that are asked for inside the block be mapped one by one.

    Work of many sizes at once, once, would leave a heap that all later work is spread over. Mapping costs time, so
    afterwards blocks come from the heap again, as they would have with the library's own rule after a while.
    """
    if _tune is not None:
        _tune(_MAPPED_FROM, _PIECES)
    try:
        yield
    finally:
        _keep(_kept[-1])


def in_another_heap(work: Callable[[], Result]) -> Result:
    """Run work in a thread of its own, so that what it leaves lies in another heap than this one's.

    Small things that outlive large ones beside them keep the room of those from being used as a whole again.
    """
    with ThreadPoolExecutor(1, "lineshaft-heap") as pool:
        return pool.submit(work).result()


def _keep(size: int) -> None:
    if _tune is not None:
        _tune(_MAPPED_FROM, size)
        _tune(_TRIMMED_FROM, size)

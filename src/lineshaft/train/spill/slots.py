"""Objects in files with spare copies, so that the spill files are the checkpoint.

::

    commit 7 names    2p in slot 0      2s in slot 1       an object is written to a slot that neither of the last two
    commit 8 names    2p in slot 1      2s in slot 2       commits names: a kill at any moment leaves both of them
    being written     2p in slot 2      2s in slot 0       whole, and one that was damaged later leaves the other

A commit says of every object where it lies and what its bytes hash to; see `commits`.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from lineshaft.core.memory import SpillFile, show_size
from lineshaft.errors import IntegrityError

if TYPE_CHECKING:
    from lineshaft.train.program.actions import Object

COPIES = 3


@dataclass(frozen=True)
class Copy:
    """Where an object lies and what its bytes hash to (xxh3, 64 bits)."""

    slot: int
    check: int


@dataclass
class Slots:
    """Objects in as many files as there are copies, each at the same offset in all.

    Attributes
    ----------
    files
        One per slot; a single one is gone when it is closed, and no commit names it.
    sizes, offsets
        Of every object.
    current
        Object -> where it was written last.
    named
        What the last two commits name.

    """

    files: Sequence[SpillFile]
    sizes: Mapping[Object, int]
    offsets: Mapping[Object, int]
    current: dict[Object, Copy] = field(default_factory=dict)
    named: list[dict[Object, Copy]] = field(default_factory=list)

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self.files[self.current[item].slot].read(self.offsets[item], into)

    def write(self, item: Object, content: memoryview) -> None:
        """Write the object where no commit needs what lies there."""
        slot = self._free(item)
        self.files[slot].write(self.offsets[item], content)
        self.current[item] = Copy(slot, xxhash.xxh3_64_intdigest(content) if len(self.files) > 1 else 0)

    def whole(self, item: Object, size: int) -> mmap.mmap:
        """Return the object as memory that the file stands behind: pages come when they are looked at."""
        with self.files[self.current[item].slot].path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY, offset=self.offsets[item])

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory: none."""
        del items
        return ()

    def commit(self) -> dict[Object, Copy]:
        """Name what is there now, and keep it until two more commits were made."""
        now = dict(self.current)
        self.named = [now, *self.named[:1]]
        return now

    def adopt(self, named: Sequence[dict[Object, Copy]]) -> None:
        """Go on from commits, the newest first."""
        self.named = list(named[:2])
        self.current = dict(self.named[0])

    def verify(self, named: Mapping[Object, Copy], into: memoryview) -> None:
        """Read every object that a commit names; refuse one whose bytes are others."""
        for item, copy in named.items():
            self.read_named(item, copy, into[: self.sizes[item]])

    def read_named(self, item: Object, copy: Copy, into: memoryview) -> None:
        """Fill memory with what a commit names; refuse bytes that are others."""
        self.files[copy.slot].read(self.offsets[item], into)
        if xxhash.xxh3_64_intdigest(into) != copy.check:
            raise IntegrityError(
                f"{self.files[copy.slot].path.name} holds other bytes than were written for {item} "
                f"({show_size(self.sizes[item])} at {self.offsets[item]:,})"
            )

    def sync(self) -> None:
        """Make what was written survive a loss of power."""
        for file in self.files:
            file.sync()

    def close(self) -> None:
        """Close the files; their content stays where commits may name it."""
        for file in self.files:
            file.close()
        if len(self.files) == 1:
            self.files[0].path.unlink(missing_ok=True)
            self.files[0].path.parent.rmdir()

    def _free(self, item: Object) -> int:
        taken = {named[item].slot for named in self.named if item in named}
        now = self.current.get(item)
        if now is not None and now.slot not in taken:
            return now.slot  # written since the last commit: nobody needs that
        return next(slot for slot in range(len(self.files)) if slot not in taken)


def open_slots(folder: Path, sizes: Mapping[Object, int], copies: int = COPIES) -> Slots:
    """Make or open the files of a folder for objects of these sizes."""
    offsets, end = {}, 0
    for item in sorted(sizes):
        offsets[item], end = end, end + sizes[item]
    return Slots([SpillFile(folder / f"slot-{number}", end) for number in range(copies)], dict(sizes), offsets)

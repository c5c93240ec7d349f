"""What lies below the fast memory: other memory, a file, or the one in front of the other."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineshaft.core.memory import SpillFile
    from lineshaft.train.program.actions import Object


@dataclass
class InMemory:
    """Objects in memory of their own, as large as they are."""

    kept: dict[Object, mmap.mmap] = field(default_factory=dict)

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        into[:] = memoryview(self.kept[item])

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        if item not in self.kept:
            self.kept[item] = mmap.mmap(-1, len(content))
        self.kept[item][:] = content

    def whole(self, item: Object, size: int) -> mmap.mmap:
        """Return the object as memory that may be used."""
        del size
        return self.kept[item]

    def close(self) -> None:
        """Do nothing: memory goes when nobody looks at it."""


@dataclass
class InFile:
    """Objects in a file, each at its place."""

    file: SpillFile
    offsets: Mapping[Object, int]

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self.file.read(self.offsets[item], into)

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        self.file.write(self.offsets[item], content)

    def whole(self, item: Object, size: int) -> mmap.mmap:
        """Return the object as memory that the file stands behind: pages come when they are looked at."""
        with self.file.path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY, offset=self.offsets[item])

    def close(self) -> None:
        """Remove the file and its folder; what is mapped stays until it is let go."""
        self.file.close()
        self.file.path.unlink(missing_ok=True)
        self.file.path.parent.rmdir()


@dataclass
class TwoLevels:
    """Some objects in memory, the others in a file."""

    memory: InMemory
    file: InFile
    chosen: frozenset[Object]

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self._level(item).read(item, into)

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        self._level(item).write(item, content)

    def whole(self, item: Object, size: int) -> mmap.mmap:
        """Return the object as memory that may be used."""
        return self._level(item).whole(item, size)

    def close(self) -> None:
        """Leave nothing behind but what `whole` gave."""
        self.file.close()

    def _level(self, item: Object) -> InMemory | InFile:
        return self.memory if item in self.chosen else self.file


def choose(sizes: Mapping[Object, int], room: int) -> frozenset[Object]:
    """Choose what lies in memory: parameters first, because a step moves them three times and optimizer state twice."""
    chosen = set()
    for item in sorted(sizes, key=lambda one: (one.what != "p", one.shard)):
        if sizes[item] <= room:
            chosen.add(item)
            room -= sizes[item]
    return frozenset(chosen)


def offsets(sizes: Mapping[Object, int]) -> tuple[dict[Object, int], int]:
    """Return a place in one file for every object, and the size of the file."""
    places, end = {}, 0
    for item in sorted(sizes):
        places[item], end = end, end + sizes[item]
    return places, end

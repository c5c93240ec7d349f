"""What lies below the fast memory: other memory, files, or the one in front of the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lineshaft.core.memory import anonymous

if TYPE_CHECKING:
    from lineshaft.core.memory import Region
    from lineshaft.train.program.actions import Object


class Below(Protocol):
    """Where objects lie that are not in memory."""

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""

    def lies(self, item: Object, size: int) -> Region | None:
        """Return the memory that the object lies in, made where it has none yet; None where it is in a file."""

    def changed(self, item: Object) -> None:
        """Note that such memory has another content now."""

    def whole(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that may be used."""

    def apart(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that may be used, and stays as it is when training goes on."""

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory."""

    def close(self) -> None:
        """Let go of everything but what `whole` gave."""


@dataclass
class InMemory:
    """Objects in memory of their own, as large as they are.

    Attributes
    ----------
    make
        Returns so many bytes of memory.
    kept
        Object -> its memory.

    """

    make: Callable[[int], Region] = anonymous
    kept: dict[Object, Region] = field(default_factory=dict)

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        into[:] = memoryview(self.kept[item])

    def lies(self, item: Object, size: int) -> Region:
        """Return the memory that the object lies in, made where it has none yet."""
        if item not in self.kept:
            self.kept[item] = self.make(size)
        return self.kept[item]

    def changed(self, item: Object) -> None:
        """Do nothing: there is no other version."""

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        memoryview(self.lies(item, len(content)))[: len(content)] = content

    def whole(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that may be used."""
        return {item: self.kept[item] for item in items}

    apart = whole

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory: all."""
        return items

    def close(self) -> None:
        """Do nothing: memory goes when nobody looks at it."""


@dataclass
class TwoLevels:
    """Some objects in memory, the others in files.

    Attributes
    ----------
    memory, files
        The two levels.
    chosen
        The objects in memory.
    stale
        The objects in memory of which the files have an older version, or none.

    """

    memory: InMemory
    files: Below
    chosen: frozenset[Object]
    stale: set[Object] = field(default_factory=set)

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self._level(item).read(item, into)

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        self._level(item).write(item, content)
        self.changed(item)

    def lies(self, item: Object, size: int) -> Region | None:
        """Return the memory that the object lies in, made where it has none yet; None where it is in a file."""
        return self._level(item).lies(item, size)

    def changed(self, item: Object) -> None:
        """Note that the files have an older version."""
        if item in self.chosen:
            self.stale.add(item)

    def mirror(self) -> None:
        """Bring the files up to date with memory."""
        for item in sorted(self.stale):
            self.files.write(item, memoryview(self.memory.kept[item]))
        self.stale.clear()

    def whole(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that may be used."""
        near, far = self._levels(items)
        return self.memory.whole(near) | self.files.whole(far)

    def apart(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that may be used, and stays as it is when training goes on."""
        near, far = self._levels(items)
        return self.memory.apart(near) | self.files.apart(far)

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory."""
        return self.chosen & frozenset(items)

    def close(self) -> None:
        """Let go of everything but what `whole` gave."""
        self.files.close()

    def _levels(self, items: Collection[Object]) -> tuple[list[Object], list[Object]]:
        return [item for item in items if item in self.chosen], [item for item in items if item not in self.chosen]

    def _level(self, item: Object) -> Below:
        return self.memory if item in self.chosen else self.files


@dataclass
class Apart:
    """What lasts, and beside it, where no commit names it, what passes.

    Attributes
    ----------
    lasting, passing
        Where they lie.

    """

    lasting: Below
    passing: Below

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self._of(item).read(item, into)

    def write(self, item: Object, content: memoryview) -> None:
        """Keep the object."""
        self._of(item).write(item, content)

    def lies(self, item: Object, size: int) -> Region | None:
        """Return the memory that the object lies in, made where it has none yet; None where it is in a file."""
        return self._of(item).lies(item, size)

    def changed(self, item: Object) -> None:
        """Note that such memory has another content now."""
        self._of(item).changed(item)

    def whole(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects that last as memory that may be used."""
        return self.lasting.whole(items)

    def apart(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects that last as memory that may be used, and stays as it is when training goes on."""
        return self.lasting.apart(items)

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory."""
        kinds = {passing: {item for item in items if item.passing is passing} for passing in (False, True)}
        return {*self.lasting.near(kinds[False]), *self.passing.near(kinds[True])}

    def close(self) -> None:
        """Let go of everything but what `whole` gave."""
        self.lasting.close()
        self.passing.close()

    def _of(self, item: Object) -> Below:
        return self.passing if item.passing else self.lasting


def choose(sizes: Mapping[Object, int], room: int) -> frozenset[Object]:
    """Choose what lies in memory: parameters first, because a step moves them three times and optimizer state twice."""
    chosen = set()
    for item in sorted(sizes, key=lambda one: (one.what != "p", one)):
        if sizes[item] <= room:
            chosen.add(item)
            room -= sizes[item]
    return frozenset(chosen)

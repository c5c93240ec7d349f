"""Objects in files with spare copies, so that the spill files are the checkpoint.

::

    commit 1, synced last   2p in slot 0    2s in slot 0      an object is written to a slot that neither of the kept
    commit 7, the newest    2p in slot 1    2s in slot 2      commits names: a kill at any moment leaves both whole, a
    being written           2p in slot 2    2s in slot 1      loss of power the synced one, damage of one the other

A commit says of every object where it lies and what its bytes hash to; see `commits`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from lineshaft.core.memory import Region, SpillFile, anonymous, show_size
from lineshaft.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from lineshaft.train.program.actions import Object

COPIES = 3
_PIECE = 1 << 20  # bytes copied at a time


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
        One per slot; a single one has no name, and no commit names it.
    sizes, offsets
        Of every object.
    current
        Object -> where it was written last.
    named
        What the commits name that are kept: two at most.

    """

    files: Sequence[SpillFile]
    sizes: Mapping[Object, int]
    offsets: Mapping[Object, int]
    current: dict[Object, Copy] = field(default_factory=dict)
    named: Sequence[Mapping[Object, Copy]] = ()

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with the object."""
        self.files[self.current[item].slot].read(self.offsets[item], into)

    def write(self, item: Object, content: memoryview) -> None:
        """Write the object where no commit needs what lies there."""
        slot = self._free(item)
        self.files[slot].write(self.offsets[item], content)
        self.current[item] = Copy(slot, xxhash.xxh3_64_intdigest(content) if len(self.files) > 1 else 0)

    def lies(self, item: Object, size: int) -> None:
        """Return no memory: it is in a file."""
        del item, size

    def changed(self, item: Object) -> None:
        """Do nothing: what is in files changes by `write` only."""

    def whole(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as memory that the files stand behind: pages come when they are looked at."""
        mapped = {slot: memoryview(self.files[slot].mapped()) for slot in {self.current[item].slot for item in items}}
        return {item: self._part(mapped[self.current[item].slot], item) for item in items}

    def apart(self, items: Collection[Object]) -> dict[Object, Region]:
        """Return objects as such memory that stays as it is, whatever commits come later: a copy of its own."""
        if len(self.files) == 1 or not items:
            return self.whole(items)
        folder = self.files[0].path.parent
        try:
            copy = SpillFile(folder / "model", self.files[0].size, "unnamed")
            try:
                for item in items:
                    self._copy(item, copy)
                mapped = memoryview(copy.mapped())
            finally:
                copy.close()
        except StorageError as error:
            raise StorageError(
                f"the state is kept in {folder.parent}, but the model could not be brought from there: {error}"
            ) from error
        return {item: self._part(mapped, item) for item in items}

    def near(self, items: Collection[Object]) -> Collection[Object]:
        """Return those of the objects that lie in memory: none."""
        del items
        return ()

    def adopt(self, named: Sequence[Mapping[Object, Copy]]) -> None:
        """Go on from commits, the newest first."""
        self.named = named
        self.current = dict(named[0])

    def sync(self) -> None:
        """Make what was written survive a loss of power."""
        for file in self.files:
            file.sync()

    def close(self) -> None:
        """Close the files; their content stays where commits may name it."""
        for file in self.files:
            file.close()

    def _copy(self, item: Object, target: SpillFile) -> None:
        piece = memoryview(anonymous(min(self.sizes[item], _PIECE)))
        source, end = self.files[self.current[item].slot], self.offsets[item] + self.sizes[item]
        for start in range(self.offsets[item], end, _PIECE):
            part = piece[: min(_PIECE, end - start)]
            source.read(start, part)
            target.write(start, part)

    def _part(self, mapped: memoryview, item: Object) -> memoryview:
        return mapped[self.offsets[item] : self.offsets[item] + self.sizes[item]]

    def _free(self, item: Object) -> int:
        taken = {named[item].slot for named in self.named if item in named}
        now = self.current.get(item)
        if now is not None and now.slot not in taken:
            return now.slot  # written since the last commit: nobody needs that
        return next(slot for slot in range(len(self.files)) if slot not in taken)


def open_slots(folder: Path, sizes: Mapping[Object, int], copies: int = COPIES) -> Slots:
    """Make or open the files of a folder for objects of these sizes; a single copy is in a file without a name."""
    offsets, end = _offsets(sizes)
    with ExitStack() as stack:
        files = []
        for number in range(copies):
            files.append(SpillFile(folder / f"slot-{number}", end, "named" if copies > 1 else "unnamed"))
            stack.callback(files[-1].close)
        stack.pop_all()  # all are open: they stay so
    return Slots(files, dict(sizes), offsets)


@dataclass(frozen=True)
class Named:
    """The objects of a commit, only to be read."""

    files: Mapping[int, SpillFile]
    sizes: Mapping[Object, int]
    offsets: Mapping[Object, int]
    objects: Mapping[Object, Copy]

    def verify(self) -> None:
        """Read every object; refuse one whose bytes are others."""
        memory = memoryview(anonymous(max(self.sizes.values(), default=1)))
        for item in self.objects:
            self.read(item, memory[: self.sizes[item]])

    def read(self, item: Object, into: memoryview) -> None:
        """Fill memory with an object; refuse bytes that are others, and those that the disk does not give."""
        file = self.files[self.objects[item].slot]
        try:
            file.read(self.offsets[item], into)
        except StorageError as error:
            raise IntegrityError(str(error)) from error
        if xxhash.xxh3_64_intdigest(into) != self.objects[item].check:
            raise IntegrityError(
                f"{file.path.name} holds other bytes than were written for {item} "
                f"({show_size(self.sizes[item])} at {self.offsets[item]:,})"
            )


@contextmanager
def reading(folder: Path, sizes: Mapping[Object, int], objects: Mapping[Object, Copy]) -> Iterator[Named]:
    """Open the files that a commit names; nothing is made, and nothing changed.

    Raises
    ------
    IntegrityError
        One is missing.

    """
    offsets, end = _offsets(sizes)
    with ExitStack() as stack:
        files = {}
        for slot in sorted({copy.slot for copy in objects.values()}):
            files[slot] = SpillFile(folder / f"slot-{slot}", end, "read")
            stack.callback(files[slot].close)
        yield Named(files, sizes, offsets, objects)


def _offsets(sizes: Mapping[Object, int]) -> tuple[dict[Object, int], int]:
    """Return where each object begins, and where the last one ends."""
    offsets, end = {}, 0
    for item in sorted(sizes):
        offsets[item], end = end, end + sizes[item]
    return offsets, end

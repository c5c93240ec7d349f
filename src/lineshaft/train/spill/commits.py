"""Commits: one small file that says where every object lies and holds all else that training is.

::

    folder/
      objects-3f9a…/slot-0  slot-1  slot-2            one folder for each way to cut the model
      commit-000000000017-9be2….safetensors           the digest of a commit's bytes is in its name
      commit-000000000018-04c1….safetensors           the newest whole one counts; its objects are verified

Its rename makes a commit. Every commit survives the kill of the process; every so many seconds one is synced first, and
survives a loss of power too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.artifact import digest_of
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.core.durable import crash_point, disk_operation, sync_folder, write_atomic
from lineshaft.core.events import emit
from lineshaft.core.memory import anonymous
from lineshaft.errors import IntegrityError, StorageError
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.places import Place
from lineshaft.train.spill.slots import Copy, Slots, open_slots
from lineshaft.train.state import unpack_one

if TYPE_CHECKING:
    from lineshaft.train.checkpoint import Cursor

FORMAT = 1
KEPT = 2
_NAME = re.compile(r"commit-(\d{12})-([0-9a-f]{16})\.safetensors\Z")


@dataclass(frozen=True)
class Commit:
    """What a commit file says.

    Attributes
    ----------
    serial
        Its number among the commits of the folder.
    layout
        The folder of its objects, beside the commit file.
    sizes
        Bytes of every object.
    objects
        Where each lies, and its hash.
    places
        Name of a tensor -> object and place within it: ``"h.0.ln.weight"``, ``"h.0.ln.weight exp_avg"``.
    state
        All else, as `lineshaft.train.state` packs it.

    """

    serial: int
    layout: str
    sizes: dict[Object, int]
    objects: dict[Object, Copy]
    places: dict[str, tuple[Object, Place]]
    state: Tensors

    @property
    def cursor(self) -> Cursor:
        """Where in the data it stands: epochs over, batches of the running one done."""
        found = unpack_one(self.state, "cursor")
        return found["epoch"], found["batch"]


@dataclass
class Journal:
    """Writes commits to a folder.

    Attributes
    ----------
    folder
        Of the training.
    layout
        Name of the objects' folder.
    slots
        The objects.
    places
        Of all tensors.
    seconds
        How often a commit is made to survive a loss of power; None: never.
    serial
        Of the last commit.

    """

    folder: Path
    layout: str
    slots: Slots
    places: Mapping[str, tuple[Object, Place]]
    seconds: float | None = 60.0
    serial: int = 0
    _synced: float = 0.0

    def commit(self, state: Tensors) -> None:
        """Make what was written the state to go on from."""
        crash_point("commit.begun")
        due = self.seconds is not None and time.monotonic() - self._synced >= self.seconds
        if due:
            self.slots.sync()
            self._synced = time.monotonic()
        content = self._content(state)
        self.serial += 1
        path = self.folder / f"commit-{self.serial:012d}-{digest_of(content)[:16]}.safetensors"
        write_atomic(path, content) if due else _write(path, content)
        crash_point("commit.renamed")
        self.slots.commit()
        self._prune()

    def _content(self, state: Tensors) -> bytes:
        now = self.slots.current
        header = {
            "format": FORMAT,
            "layout": self.layout,
            "objects": {
                str(item): [self.slots.sizes[item], copy.slot, f"{copy.check:016x}"] for item, copy in now.items()
            },
            "places": {name: [str(item), *place.plain()] for name, (item, place) in self.places.items()},
        }
        return encode("Tensors", Tensors(state.values, state.header | {"commit": header}))[1]

    def _prune(self) -> None:
        """Keep the last two commits, and the objects that they name."""
        try:
            files = commit_files(self.folder)
            for path in files[KEPT:]:
                path.unlink(missing_ok=True)
            if len(files) >= KEPT and (old := _other_layouts(self.folder, self.layout)):
                _remove_unnamed(old, files[:KEPT])
        except OSError as error:
            raise StorageError(f"could not tidy {self.folder}: {error.strerror or error}") from error


def commit_files(folder: Path) -> list[Path]:
    """Return the commit files of a folder, the newest first."""
    paths = folder.iterdir() if folder.is_dir() else []
    return sorted((path for path in paths if _NAME.match(path.name)), reverse=True)


def read_commit(path: Path) -> Commit:
    """Read a commit file.

    Raises
    ------
    IntegrityError
        Its bytes are not those that its name says.

    """
    match = _NAME.match(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {path.name}: {error.strerror or error}") from error
    if match is None or digest_of(content)[:16] != match[2]:
        raise IntegrityError(f"{path.name} holds {len(content)} bytes that are not those that its name says")
    state: Tensors = decode("Tensors", content)
    header: dict[str, Any] = state.header.pop("commit")
    if header["format"] != FORMAT:
        raise IntegrityError(f"{path.name} has format {header['format']!r}, this version reads {FORMAT}")
    objects = {Object.parse(text): facts for text, facts in header["objects"].items()}
    places = {name: (Object.parse(facts[0]), Place.of(*facts[1:])) for name, facts in header["places"].items()}
    return Commit(
        int(match[1]),
        header["layout"],
        {item: facts[0] for item, facts in objects.items()},
        {item: Copy(facts[1], int(facts[2], 16)) for item, facts in objects.items()},
        places,
        state,
    )


def whole_commits(folder: Path, verify: Callable[[Commit], None]) -> Iterator[Commit]:
    """Go through a folder's commits that are whole, the newest first; damaged ones are told and removed."""
    for path in commit_files(folder):
        try:
            commit = read_commit(path)
            verify(commit)
        except IntegrityError as error:
            emit("checkpoint.damaged", file=path.name, reason=str(error))
            path.unlink(missing_ok=True)
        else:
            yield commit


def require_objects(commit: Commit, folder: Path) -> None:
    """Read all that a commit names, and refuse it where bytes are not those that were written."""
    slots = open_slots(folder / commit.layout, commit.sizes)
    try:
        slots.verify(commit.objects, memoryview(anonymous(max(commit.sizes.values()))))
    finally:
        slots.close()


def _write(path: Path, content: bytes) -> None:
    """Write a file that survives the kill of the process, not a loss of power: nothing waits for the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        disk_operation()
        temporary.write_bytes(content)
        crash_point("commit.written")
        disk_operation()
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"could not write {path.name}: {error.strerror or error}") from error


def _other_layouts(folder: Path, layout: str) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith("objects-") and path.name != layout]


def _remove_unnamed(layouts: list[Path], files: list[Path]) -> None:
    named = {read_commit(path).layout for path in files}
    for folder in layouts:
        if folder.name not in named:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            sync_folder(folder.parent)

"""Commits: one small file that says where every object lies and holds all else that training is.

::

    folder/
      objects-3f9a…/slot-0  slot-1  slot-2            one folder for each way to cut the model
      commit-000000000017-9be2….safetensors           the digest of a commit's bytes is in its name
      commit-000000000018-04c1….safetensors           the newest whole one counts; its objects are verified

Its rename makes a commit. Every commit survives the kill of the process; every so many seconds one is synced first, and
survives a loss of power too. Two are kept: the newest, and the one that was synced last (where the newest is that one,
or none is ever synced, the one before).
"""

from __future__ import annotations

import errno
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.artifact import digest_of
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.core.durable import crash_point, disk_operation, sync_folder, write_atomic
from lineshaft.errors import IntegrityError, StorageError
from lineshaft.train.checkpoint import Damage, discard, require_format
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.places import Place
from lineshaft.train.spill.slots import Copy, Slots, reading
from lineshaft.train.state import unpack_one

if TYPE_CHECKING:
    from lineshaft.train.checkpoint import Cursor

FORMAT = 2
_NAME = re.compile(r"commit-(\d{12})-([0-9a-f]{16})\.safetensors\Z")
_LEFTOVER = re.compile(r"\.commit-.*\.tmp\Z")
_LAYOUT = re.compile(r"objects-[0-9a-f]{12}\Z")


@dataclass(frozen=True)
class Commit:
    """What a commit file says.

    Attributes
    ----------
    path
        Its file; a number among the commits of the folder is in the name.
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

    path: Path
    layout: str
    sizes: dict[Object, int]
    objects: dict[Object, Copy]
    places: dict[str, tuple[Object, Place]]
    state: Tensors

    def kept(self) -> Kept:
        """Return what has to stay where the commit does."""
        return Kept(self.path, self.layout, self.objects)

    @property
    def cursor(self) -> Cursor:
        """Where in the data it stands: epochs over, batches of the running one done."""
        found = unpack_one(self.state, "cursor")
        return found["epoch"], found["batch"]


@dataclass(frozen=True)
class Kept:
    """A commit that is kept: its file, its objects' folder, and where they lie there."""

    path: Path
    layout: str
    objects: Mapping[Object, Copy]


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
    kept
        The commits that are kept, the newest first; all others in the folder go with the next one.
    stale
        Damaged checkpoints, which go with it too.

    """

    folder: Path
    layout: str
    slots: Slots
    places: Mapping[str, tuple[Object, Place]]
    seconds: float | None = 60.0
    serial: int = 0
    kept: Sequence[Kept] = ()
    stale: Sequence[Path] = ()
    _synced: Kept | None = None
    _time: float = -math.inf

    def commit(self, state: Tensors) -> None:
        """Make what was written the state to go on from."""
        crash_point("commit.begun")
        due = self.seconds is not None and time.monotonic() - self._time >= self.seconds
        if due:
            self.slots.sync()
            self._time = time.monotonic()
        content = self._content(state)
        self.serial += 1
        path = self.folder / f"commit-{self.serial:012d}-{digest_of(content)[:16]}.safetensors"
        write_atomic(path, content) if due else _write(path, content)
        crash_point("commit.renamed")
        self._keep(Kept(path, self.layout, dict(self.slots.current)), synced=due)
        self._prune()

    def _keep(self, now: Kept, *, synced: bool) -> None:
        other = self.kept[:1] if synced or self._synced is None else [self._synced]
        self.kept, self._synced = [now, *other], now if synced else self._synced
        self.slots.named = [one.objects for one in self.kept if one.layout == self.layout]

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
        """Remove what is not kept: older and damaged commits, their objects, and what killed runs left."""
        files, layouts = {one.path for one in self.kept}, {one.layout for one in self.kept}
        try:
            for path in self.stale:
                discard(path)
            self.stale = ()
            for path in self.folder.iterdir():
                if _LEFTOVER.match(path.name) or (_NAME.match(path.name) and path not in files):
                    path.unlink(missing_ok=True)
                elif _LAYOUT.match(path.name) and path.name not in layouts:
                    _remove_folder(path)
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
        It is gone, the disk fails, or its bytes are not those that its name says.
    StorageError
        It may not be read, or is of another format.

    """
    match = _NAME.match(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = IntegrityError if error.errno in {errno.EIO, errno.ENOENT} else StorageError
        raise kind(f"could not read {path.name}: {error.strerror or error}") from error
    if match is None or digest_of(content)[:16] != match[2]:
        raise IntegrityError(f"{path.name} holds {len(content)} bytes that are not those that its name says")
    state: Tensors = decode("Tensors", content)
    header: dict[str, Any] = state.header.pop("commit")
    require_format(path, header["format"], FORMAT)
    objects = {Object.parse(text): facts for text, facts in header["objects"].items()}
    places = {name: (Object.parse(facts[0]), Place.of(*facts[1:])) for name, facts in header["places"].items()}
    return Commit(
        path,
        header["layout"],
        {item: facts[0] for item, facts in objects.items()},
        {item: Copy(facts[1], int(facts[2], 16)) for item, facts in objects.items()},
        places,
        state,
    )


def whole_commits(folder: Path) -> tuple[list[Commit], list[Damage]]:
    """Return a folder's commits, the newest whole one first and those before it as they seem, and the damaged ones."""
    found: list[Commit] = []
    damaged: list[Damage] = []
    for path in commit_files(folder):
        try:
            commit = read_commit(path)
            if not found:
                with reading(folder / commit.layout, commit.sizes, commit.objects) as named:
                    named.verify()
        except IntegrityError as error:
            damaged.append(Damage(path, str(error)))
        else:
            found.append(commit)
    return found, damaged


def last_serial(folder: Path) -> int:
    """Return the highest number that a commit in a folder has, whole or not; 0 where there is none."""
    return max((int(match[1]) for path in commit_files(folder) if (match := _NAME.match(path.name))), default=0)


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


def _remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    sync_folder(folder.parent)

"""Checkpoints in a folder: each is a state file and a manifest that names it by digest; the newest whole one counts.

::

    epoch-000002-batch-000000017.safetensors   the state; written, synced and renamed first
    epoch-000002-batch-000000017.json          the manifest {file, size, sha256}; its rename is the commit

A kill leaves the last commit whole. A checkpoint that was damaged later is found by its digest, and the one before it
takes over; the damaged one goes when the next is written. With no whole one left a resume is refused
(`lineshaft.train.handover.furthest`): only who deletes them starts over.
"""

from __future__ import annotations

import errno
import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.artifact import digest_of
from lineshaft.core.codec import Tensors, decode, encode
from lineshaft.core.durable import crash_point, write_atomic
from lineshaft.errors import StorageError, UsageError
from lineshaft.train.lock import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FORMAT = 1
Cursor = tuple[int, int]  # epochs over, batches of the running epoch done
_OURS = re.compile(r"epoch-\d{6,}-batch-\d{9,}\.(json|safetensors)\Z")
_LEFTOVER = re.compile(r"\.epoch-\d{6,}-batch-\d{9,}\.(json|safetensors)\..*\.tmp\Z")


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often to write checkpoints. When they are written never changes a bit of the result.

    Attributes
    ----------
    folder
        One folder for one training at a time.
    every
        Optimizer steps between checkpoints; None: at the end of each epoch.
    seconds
        Write also when this much time has passed since the last one; None: never for that reason.
    keep
        How many of the newest to keep; 2 survive the damage of one.
    leased
        Whether a lease says whose the folder is: one whose lease has run out may still be in it, and is kept clear of.

    """

    folder: Path
    every: int | None = None
    seconds: float | None = 60.0
    keep: int = 2
    leased: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if (self.every is not None and self.every < 1) or self.keep < 1:
            raise UsageError(f"every={self.every} and keep={self.keep} must be 1 or more")

    @classmethod
    def of(cls, where: str | Path | Checkpoints | None) -> Checkpoints | None:
        """Read what people give: a folder, or all of it."""
        return cls(Path(where)) if isinstance(where, (str, Path)) else where

    @classmethod
    @contextmanager
    def alone(cls, where: str | Path | Checkpoints | None) -> Iterator[Checkpoints | None]:
        """Read what people give, and keep other trainings out of it inside the block (`lineshaft.train.lock`)."""
        kept = cls.of(where)
        if kept is None:
            yield None
            return
        with alone(kept.folder, leased=kept.leased) as folder:
            yield replace(kept, folder=folder)


@dataclass(frozen=True)
class Damage:
    """A checkpoint or commit that is not whole, and why."""

    path: Path
    reason: str


class Writer:
    """Writes checkpoints as often as wanted, each moment once; without a place to write it does nothing.

    Attributes
    ----------
    stale
        Damaged checkpoints, which go when the next one is written.

    """

    def __init__(self, where: Checkpoints | None) -> None:
        self._where = where
        self.stale: Sequence[Path] = ()
        self._last: Cursor | None = None
        self._time = time.monotonic()

    def after_step(self, step: int, cursor: Cursor, take: Callable[[], Tensors]) -> None:
        """Write if the number of steps or the time says so."""
        where = self._where
        if where and ((where.every and step % where.every == 0) or self._late(where)):
            self.finish(cursor, take)

    def after_epoch(self, cursor: Cursor, take: Callable[[], Tensors]) -> None:
        """Write if epochs are the measure."""
        if self._where and not self._where.every:
            self.finish(cursor, take)

    def finish(self, cursor: Cursor, take: Callable[[], Tensors]) -> None:
        """Write this moment, unless it was the last one written."""
        if self._where and self._last != cursor:
            save(self._where, take(), cursor, self.stale)
            self.stale = ()
            self._last, self._time = cursor, time.monotonic()

    def _late(self, where: Checkpoints) -> bool:
        return where.seconds is not None and time.monotonic() - self._time >= where.seconds


def save(where: Checkpoints, state: Tensors, cursor: Cursor, stale: Sequence[Path] = ()) -> None:
    """Write a checkpoint durably, then remove the stale ones and those that are not among the newest ``keep``."""
    _, content = encode("Tensors", state)
    path = where.folder / "epoch-{:06d}-batch-{:09d}.safetensors".format(*cursor)
    manifest = {"format": FORMAT, "file": path.name, "size": len(content), "sha256": digest_of(content)}
    crash_point("checkpoint.begun")
    write_atomic(path, content)
    crash_point("checkpoint.state_written")
    write_atomic(path.with_suffix(".json"), json.dumps(manifest, sort_keys=True).encode())
    crash_point("checkpoint.written")
    _prune(where, [old for old in stale if old != path.with_suffix(".json")])


def newest(folder: Path) -> tuple[Tensors | None, list[Damage]]:
    """Return the newest whole checkpoint, or None, and the damaged ones that are newer.

    Raises
    ------
    StorageError
        The folder or a file in it cannot be read, or is of another format.

    """
    damaged: list[Damage] = []
    try:
        for manifest in reversed(_manifests(folder)):
            found = _verified(manifest)
            if isinstance(found, bytes):
                state: Tensors = decode("Tensors", found)
                return state, damaged
            damaged.append(Damage(manifest, found))
    except OSError as error:
        raise StorageError(f"could not read the checkpoints in {folder}: {error.strerror or error}") from error
    return None, damaged


def require_format(path: Path, found: Any, known: int) -> None:
    """Refuse a file of another format, and leave it as it is."""
    if found != known:
        newer = isinstance(found, int) and found > known
        raise StorageError(
            f"{path} was written by {'a newer' if newer else 'another'} lineshaft: its format is {found!r}, this one's "
            f"is {known}; {'upgrade' if newer else 'go on with that one'}, or use another folder"
        )


def discard(path: Path) -> None:
    """Remove a checkpoint, its manifest first (a manifest without a state would look like damage), or a commit."""
    path.unlink(missing_ok=True)
    path.with_suffix(".safetensors").unlink(missing_ok=True)


def _verified(manifest: Path) -> bytes | str:
    """Return the state's bytes, or what is wrong with them."""
    try:
        facts: dict[str, Any] = json.loads(manifest.read_bytes())
        form, name, size, digest = facts["format"], facts["file"], facts["size"], facts["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        return f"the manifest is not readable: {error}"
    require_format(manifest, form, FORMAT)
    path = manifest.with_suffix(".safetensors")
    if name != path.name:
        return f"the manifest names {name!r}; {path.name} is wanted"
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"{path.name} cannot be read: {error.strerror}"
    if digest_of(content) != digest:
        return f"{path.name} holds {len(content)} bytes that are not the {size} bytes the manifest names"
    return content


def _manifests(folder: Path) -> list[Path]:
    """Return the manifests, oldest first: their names sort as the cursor does."""
    paths = folder.iterdir() if folder.is_dir() else []
    return sorted(path for path in paths if _OURS.match(path.name) and path.suffix == ".json")


def _prune(where: Checkpoints, stale: Sequence[Path]) -> None:
    """Remove stale and older checkpoints, states without a manifest and the temporary files of killed runs."""
    try:
        for path in stale:
            discard(path)
        manifests = _manifests(where.folder)
        kept = {path.stem for path in manifests[-where.keep :]}
        for manifest in manifests[: -where.keep]:
            discard(manifest)
        for path in where.folder.iterdir():
            if _LEFTOVER.match(path.name) or (_OURS.match(path.name) and path.stem not in kept):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"could not tidy {where.folder}: {error.strerror or error}") from error

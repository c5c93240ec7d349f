"""What an offline job is, and which of its parts are done: the only word on what in its folder counts.

::

    out/
      manifest.json               {"job": ..., "parts": [...], "complete": false}    replaced as a whole, last
      predictions/0000-000000.parquet      source 0, part 0
      rejected/0000-000000.parquet         only where rows of the part were rejected

A part counts once the manifest names it with its digest. A kill before that leaves a file that nobody names; the
next run deletes it and makes it again, with the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lineshaft.core.artifact import digest_of
from lineshaft.core.durable import crash_point, write_atomic
from lineshaft.errors import DataError, Refused, StorageError

MANIFEST, LOCK = "manifest.json", ".lock"
PREDICTIONS, REJECTED = "predictions", "rejected"
PARTS = "[0-9]*-[0-9]*.parquet"  # files of parts, not what people put beside them

_FORMAT = 1
# Files of parts, and drafts of them.
_OURS = re.compile(r"[0-9]{4,}-[0-9]{6,}\.parquet\Z|\.[0-9]{4,}-[0-9]{6,}\.parquet\..*\.tmp\Z")


@dataclass(frozen=True)
class Part:
    """A committed part.

    Attributes
    ----------
    source, number
        Which part of which input.
    rows, rejected
        Rows read, and how many of them were rejected; the others are predicted.
    digest, rejected_digest
        Names of the bytes of its files; empty where there is no such file.

    """

    source: int
    number: int
    rows: int
    rejected: int
    digest: str
    rejected_digest: str

    @property
    def file(self) -> str:
        """The name of its files, a function of what they hold."""
        return f"{self.source:04d}-{self.number:06d}.parquet"


@dataclass
class Manifest:
    """The job and its committed parts, in one file of one folder."""

    folder: Path
    job: dict[str, Any]
    parts: dict[tuple[int, int], Part] = field(default_factory=dict)
    complete: bool = False

    def commit(self, part: Part, predictions: bytes | None, rejected: bytes | None) -> None:
        """Write a part's files, then the manifest that names them."""
        for place, content in ((PREDICTIONS, predictions), (REJECTED, rejected)):
            if content is not None:
                write_atomic(self.folder / place / part.file, content)
                crash_point(f"score.{place}")
        self.parts[part.source, part.number] = part
        self.save()
        crash_point("score.committed")

    def finish(self) -> None:
        """Mark the job as complete."""
        if not self.complete:
            self.complete = True
            self.save()

    def save(self) -> None:
        """Replace the file."""
        listed = [asdict(self.parts[place]) for place in sorted(self.parts)]
        content = {"format": _FORMAT, "job": self.job, "complete": self.complete, "parts": listed}
        write_atomic(self.folder / MANIFEST, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode())

    def forget(self, places: Iterable[tuple[int, int]]) -> None:
        """Take parts back that turned out not to be of this job."""
        for place in places:
            del self.parts[place]
        self.save()
        self.delete_strays()

    def drop_damaged(self) -> None:
        """Forget parts whose files are not those that were committed, so that they are made again."""
        sound = {place: part for place, part in self.parts.items() if self._is_sound(part)}
        if len(sound) < len(self.parts):
            self.parts, self.complete = sound, False

    def delete_strays(self) -> None:
        """Delete what a kill left: parts' files that no committed part names, and drafts. Other files stay."""
        named = {self.folder / PREDICTIONS / part.file for part in self.parts.values() if part.digest}
        named |= {self.folder / REJECTED / part.file for part in self.parts.values() if part.rejected_digest}
        for place in (PREDICTIONS, REJECTED):
            for path in (self.folder / place).glob("*"):
                if _OURS.match(path.name) and path not in named and path.is_file():
                    path.unlink()
        for path in self.folder.glob(f".{MANIFEST}.*.tmp"):
            path.unlink()

    def _is_sound(self, part: Part) -> bool:
        wanted = ((PREDICTIONS, part.digest), (REJECTED, part.rejected_digest))
        return all(_digest_at(self.folder / place / part.file) == digest for place, digest in wanted if digest)


def _digest_at(path: Path) -> str:
    return digest_of(path.read_bytes()) if path.is_file() else ""


def open_manifest(folder: Path, job: dict[str, Any]) -> Manifest:
    """Begin a job in an empty folder, or go on with it where it stopped.

    Raises
    ------
    DataError
        The folder holds another job, or other files.

    """
    path = folder / MANIFEST
    if path.is_file():
        return _resume(folder, path, job)
    if foreign := sorted(p.name for p in folder.iterdir() if p.name != LOCK and not _is_draft(p.name)):
        raise DataError(f"the folder {folder.name!r} holds {foreign[0]!r} and is no scoring job; name an empty folder")
    manifest = Manifest(folder, job)
    manifest.delete_strays()
    manifest.save()
    return manifest


def _is_draft(name: str) -> bool:
    return name.startswith(f".{MANIFEST}.") and name.endswith(".tmp")


def _resume(folder: Path, path: Path, job: dict[str, Any]) -> Manifest:
    try:
        content = json.loads(path.read_bytes())
        kept, complete = content["job"], content["complete"]
        parts = [Part(**part) for part in content["parts"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{MANIFEST} in {folder.name!r} is not one of ours ({error}); name another folder") from error
    if kept != job:
        differ = [name for name in sorted({*kept, *job}) if kept.get(name) != job.get(name)]
        shown = "; ".join(f"{name}: there {_short(kept.get(name))}, here {_short(job.get(name))}" for name in differ)
        raise DataError(f"the folder {folder.name!r} belongs to another job ({shown}); name another folder")
    manifest = Manifest(folder, job, {(part.source, part.number): part for part in parts}, complete)
    manifest.drop_damaged()
    manifest.delete_strays()
    return manifest


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."


@contextmanager
def only_here(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; the system lets go of it when the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise StorageError(f"cannot use the folder {folder.name!r}: {error.strerror}; name another") from error
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Refused(
            f"another process is scoring into {folder.name!r}; wait for it, or name another folder"
        ) from error

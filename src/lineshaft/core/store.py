"""Objects by digest: put once, verified on every read, sealed so that a change shows without reading.

::

    objects/3f/a1b2...      the bytes, named by their SHA-256; modification time set to SEAL
    damaged/3fa1b2...       what no longer matched its name, kept for a look

Writing to a file moves its modification time, so ``has`` trusts a sealed file of the right size and reads any other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lineshaft.core.artifact import DIGEST, Artifact, digest_of
from lineshaft.core.durable import crash_point, disk_operation, remove_abandoned, write_atomic
from lineshaft.errors import IntegrityError, StorageError

SEAL = 946_684_800_000_000_000  # 2000-01-01, in nanoseconds: no file of ours is that old


class Store(Protocol):
    """What a home needs of a place for objects; a local folder today, object storage later."""

    def put(self, artifact: Artifact, content: bytes) -> None:
        """Keep the bytes durably under their digest; putting what is there does nothing."""

    def get(self, artifact: Artifact) -> bytes:
        """Return the bytes, verified; IntegrityError if they are gone or changed."""

    def has(self, artifact: Artifact) -> bool:
        """Say whether the bytes are there and whole."""

    def digests(self) -> Iterator[tuple[str, int]]:
        """Yield digest and size of everything kept."""

    def delete(self, digest: str) -> None:
        """Forget one object."""


class LocalStore:
    """Objects in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, artifact: Artifact, content: bytes) -> None:
        """Keep the bytes durably under their digest; putting what is there does nothing."""
        if self.has(artifact):
            return
        crash_point("object.before_put")
        write_atomic(self._path(artifact.digest), content, modified_ns=SEAL)
        crash_point("object.after_put")

    def get(self, artifact: Artifact) -> bytes:
        """Return the bytes, verified; a changed object is set aside so that the next run makes it again."""
        path = self._path(artifact.digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise IntegrityError(f"object {artifact} is missing from the store; run again to make it anew") from error
        except OSError as error:
            raise StorageError(f"object {artifact} cannot be read: {error.strerror}") from error
        if (found := digest_of(content)) != artifact.digest:
            self._set_aside(artifact)
            raise IntegrityError(
                f"object {artifact.kind} {artifact.digest} is damaged: its bytes now have digest {found[:12]}... "
                f"It was set aside in damaged/; run again to make it anew"
            )
        return content

    def has(self, artifact: Artifact) -> bool:
        """Say whether the bytes are there and whole; reads them only where the seal is broken."""
        path = self._path(artifact.digest)
        try:
            facts = path.stat()
            if facts.st_mtime_ns == SEAL:
                return facts.st_size == artifact.size or self._whole(path, artifact)
            return self._whole(path, artifact)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"object {artifact} cannot be read: {error.strerror}") from error

    def digests(self) -> Iterator[tuple[str, int]]:
        """Yield digest and size of everything kept."""
        for path in sorted(self.folder.glob("objects/??/*")):
            name = path.parent.name + path.name
            if DIGEST.match(name) and path.is_file():
                yield name, path.stat().st_size

    def delete(self, digest: str) -> None:
        """Forget one object."""
        self._path(digest).unlink(missing_ok=True)

    def sweep_temporary(self) -> int:
        """Remove what killed writers left behind; return how many files that were."""
        return remove_abandoned(self.folder.glob("objects/??/.*.tmp"))

    def _path(self, digest: str) -> Path:
        if not DIGEST.match(digest):
            raise IntegrityError(f"{digest!r} is not a digest")
        return self.folder / "objects" / digest[:2] / digest[2:]

    def _whole(self, path: Path, artifact: Artifact) -> bool:
        if digest_of(path.read_bytes()) == artifact.digest:
            os.utime(path, ns=(SEAL, SEAL))
            return True
        self._set_aside(artifact)
        return False

    def _set_aside(self, artifact: Artifact) -> None:
        try:
            disk_operation()
            (self.folder / "damaged").mkdir(exist_ok=True)
            self._path(artifact.digest).replace(self.folder / "damaged" / artifact.digest)
        except FileNotFoundError:
            return  # another process has just done it
        except OSError as error:
            raise StorageError(f"damaged object {artifact} cannot be set aside: {error.strerror}") from error

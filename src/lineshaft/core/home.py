"""A home: the folder that holds a project's objects, catalog and work in progress.

::

    .lineshaft/
      objects/       artifacts by digest
      catalog.db     what happened
      work/KEY/      checkpoints of a step that is not committed yet
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core import codec, script
from lineshaft.core.store import LocalStore
from lineshaft.errors import StorageError

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.catalog import Catalog

_KEPT_BYTES = 512 << 20  # inputs kept for the next step; twelve candidates read the same embeddings


def home_folder(folder: str | Path | None = None) -> Path:
    """Return where a home is, whether or not it was made: as given, ``$LINESHAFT_HOME``, else ``.lineshaft``."""
    return Path(folder or os.environ.get("LINESHAFT_HOME") or ".lineshaft").resolve()


class Home:
    """Where a project's state lives."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = home_folder(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make {self.folder.name}: {error.strerror}; choose another with LINESHAFT_HOME"
            ) from error
        self.store = LocalStore(self.folder)
        self._kept: OrderedDict[tuple[str, str], tuple[int, Any]] = OrderedDict()

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, opened when first needed; the scripts it knows become those that models may name."""
        import sqlalchemy as sa

        from lineshaft.core.catalog import Catalog, scripts

        catalog = Catalog(self.folder / "catalog.db")
        with catalog.read() as connection:
            for module, path in connection.execute(sa.select(scripts.c.module, scripts.c.path)):
                if module not in script.allowed():
                    script.allow(module, path)
        return catalog

    def put(self, kind: str, payload: codec.Payload) -> Artifact:
        """Encode and keep a payload."""
        artifact, content = codec.encode(kind, payload)
        self.store.put(artifact, content)
        return artifact

    def get(self, artifact: Artifact) -> codec.Payload:
        """Read, verify and decode an artifact; recently read ones are kept.

        What can be changed in place (tensors, JSON values) is kept as bytes: a step that writes to its input must not
        change what the next step reads.
        """
        name = (artifact.kind, artifact.digest)
        fixed = codec.immutable(artifact.kind)
        if name in self._kept:
            self._kept.move_to_end(name)
            kept = self._kept[name][1]
            return kept if fixed else codec.decode(artifact.kind, kept)
        content = self.store.get(artifact)
        payload = codec.decode(artifact.kind, content)
        self._kept[name] = (_in_memory(payload, content), payload if fixed else content)
        while sum(size for size, _ in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return payload

    def work(self, key: str) -> Path:
        """Return the folder for a step's checkpoints; it outlives a killed process and goes with the commit."""
        return self.folder / "work" / key

    def clear_work(self, key: str) -> None:
        """Remove a step's checkpoints."""
        shutil.rmtree(self.work(key), ignore_errors=True)


def _in_memory(payload: codec.Payload, content: bytes) -> int:
    """Return the bytes that a kept payload takes; a table in memory is many times its compressed bytes."""
    return max(len(content), int(getattr(payload, "nbytes", 0)))

"""A full examination of a home: the catalog's own check, and every object against its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import executions, names, outputs, uses
from lineshaft.errors import StorageError

if TYPE_CHECKING:
    from lineshaft.core.home import Home


def examine(home: Home) -> list[str]:
    """Return one sentence per fault; an empty list says that all is well. Damaged objects are set aside.

    Objects must be there that a run used or a name points at; of older steps behind a published model ``gc`` keeps the
    record alone.
    """
    faults = home.catalog.check()
    used = sa.select(outputs.c.digest, outputs.c.kind, executions.c.step).join(executions)
    used = used.where(executions.c.id.in_(sa.select(uses.c.execution)))
    with home.catalog.read() as connection:
        makers = {row.digest: (row.kind, f"made by step {row.step}") for row in connection.execute(used)}
        for row in connection.execute(sa.select(names)):
            makers[row.digest] = (row.kind, f"published as {row.name}")
    there = dict.fromkeys(digest for digest, _ in home.store.digests())
    for digest in {**there, **makers}:
        kind, maker = makers.get(digest, ("object", "nothing refers to it"))
        faults += _object(home, Artifact(kind, digest, -1), maker)
    return sorted(faults)


def _object(home: Home, artifact: Artifact, maker: str) -> list[str]:
    try:
        home.store.get(artifact)
    except StorageError as error:
        return [f"{error} ({maker})"]
    return []

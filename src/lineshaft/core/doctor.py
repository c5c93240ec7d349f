"""A full examination of a home: the catalog's own check, and every object against its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import executions, names, outputs
from lineshaft.errors import IntegrityError

if TYPE_CHECKING:
    from lineshaft.core.home import Home


def examine(home: Home) -> list[str]:
    """Return one sentence per fault; an empty list says that all is well. Damaged objects are set aside."""
    faults = home.catalog.check()
    with home.catalog.read() as connection:
        for row in connection.execute(sa.select(outputs.c.digest, outputs.c.kind, executions.c.step).join(executions)):
            faults += _object(home, Artifact(row.kind, row.digest, -1), row.step)
        published = {row.digest: row.name for row in connection.execute(sa.select(names))}
    kept = dict(home.store.digests())
    faults += [
        f"{name} points at {digest[:12]}, which is gone" for digest, name in published.items() if digest not in kept
    ]
    return sorted(set(faults))


def _object(home: Home, artifact: Artifact, step: str) -> list[str]:
    try:
        home.store.get(artifact)
    except IntegrityError as error:
        return [f"{error} (made by step {step})"]
    return []

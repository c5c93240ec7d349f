"""Names point at artifacts and remember what they pointed at: publish, look up, go back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lineshaft.core.admit import is_name
from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import Catalog, as_json, history, names, now, outputs
from lineshaft.core.durable import crash_point
from lineshaft.errors import Refused, UsageError


@dataclass(frozen=True)
class Entry:
    """One publication.

    Attributes
    ----------
    digest, previous
        What the name points at since then, and before (None: nothing).
    at
        Seconds since the epoch.
    run
        The run that published.
    note
        JSON facts, such as the blessing's digest.

    """

    digest: str
    previous: str | None
    at: float
    run: str | None
    note: dict[str, Any]


def check(name: str) -> str:
    """Return the name, or refuse it: names travel in URLs and are never joined to a path."""
    if not is_name(name):
        raise UsageError(
            f"{name!r} is not a name: use NAME or NAME@VERSION, each of a-z 0-9 . _ - with a letter or digit first, "
            "64 characters in all"
        )
    return name


def look_up(catalog: Catalog, name: str) -> Artifact | None:
    """Return what a name points at."""
    with catalog.read() as connection:
        row = connection.execute(sa.select(names).where(names.c.name == check(name))).first()
        return None if row is None else _artifact(connection, row.kind, row.digest)


def publish(catalog: Catalog, name: str, artifact: Artifact, run: str | None, note: dict[str, Any]) -> bool:
    """Point a name at an artifact; False where it points there already."""
    crash_point("publish.before")
    with catalog.write() as connection:
        before = connection.execute(sa.select(names.c.digest).where(names.c.name == check(name))).scalar()
        if before == artifact.digest:
            return False
        _point(connection, name, artifact.kind, artifact.digest, before, run, note)
        crash_point("publish.inside")
    crash_point("publish.after")
    return True


def go_back(catalog: Catalog, name: str) -> Entry:
    """Point a name at what it pointed at before its present artifact was published."""
    with catalog.write() as connection:
        current = connection.execute(sa.select(names).where(names.c.name == check(name))).first()
        if current is None:
            raise UsageError(f"nothing is published as {name!r}")
        stack = _stack(connection, name)
        if len(stack) < 2:
            raise Refused(f"{name} points at its first artifact, {current.digest[:12]}; there is nothing before it")
        kind, digest = stack[-2]
        note = {"rollback": True, "from": current.digest}
        _point(connection, name, kind, digest, current.digest, None, note)
        return Entry(digest, current.digest, now(), None, note)


def entries(catalog: Catalog, name: str) -> list[Entry]:
    """Return a name's history, oldest first."""
    with catalog.read() as connection:
        rows = connection.execute(sa.select(history).where(history.c.name == name).order_by(history.c.id))
        return [Entry(row.digest, row.previous, row.at, row.run, json.loads(row.note)) for row in rows]


def published_entry(catalog: Catalog, name: str, digest: str) -> Entry | None:
    """Return the publication (not a going back) that last made a name point at a digest."""
    with catalog.read() as connection:
        return _published(connection, name, digest)


def all_names(catalog: Catalog) -> dict[str, str]:
    """Return every name with the digest it points at."""
    with catalog.read() as connection:
        rows = connection.execute(sa.select(names.c.name, names.c.digest).order_by(names.c.name))
        return {row.name: row.digest for row in rows}


def _stack(connection: sa.Connection, name: str) -> list[tuple[str, str]]:
    """Replay a name's history: publishing puts an artifact (kind, digest) on top, going back takes one away."""
    stack: list[tuple[str, str]] = []
    for row in connection.execute(sa.select(history).where(history.c.name == name).order_by(history.c.id)):
        if json.loads(row.note).get("rollback"):
            stack.pop()
        else:
            stack.append((row.kind, row.digest))
    return stack


def _published(connection: sa.Connection, name: str, digest: str) -> Entry | None:
    mine = sa.and_(history.c.name == name, history.c.digest == digest)
    for row in connection.execute(sa.select(history).where(mine).order_by(history.c.id.desc())):
        note = json.loads(row.note)
        if not note.get("rollback"):
            return Entry(row.digest, row.previous, row.at, row.run, note)
    return None


def _point(
    connection: sa.Connection,
    name: str,
    kind: str,
    digest: str,
    before: str | None,
    run: str | None,
    note: dict[str, Any],
) -> None:
    connection.execute(sa.delete(names).where(names.c.name == name))
    connection.execute(sa.insert(names).values(name=name, kind=kind, digest=digest))
    row = {
        "name": name,
        "kind": kind,
        "digest": digest,
        "previous": before,
        "at": now(),
        "run": run,
        "note": as_json(note),
    }
    connection.execute(sa.insert(history).values(**row))


def _artifact(connection: sa.Connection, kind: str, digest: str) -> Artifact:
    row = connection.execute(sa.select(outputs).where(outputs.c.digest == digest)).first()
    return Artifact(kind, digest, -1 if row is None else row.size, {} if row is None else json.loads(row.meta))

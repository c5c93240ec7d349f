"""The record of a run in the catalog: begun, ended and how, what it said meanwhile, which scripts it may name."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core import script
from lineshaft.core.catalog import as_json, events, now, runs, scripts, uses
from lineshaft.core.events import Event, emit, in_run, listening
from lineshaft.core.lease import holder_now, is_dead
from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from lineshaft.core.home import Home

_QUIET = {"progress.advance"}  # too many to keep


def new_id() -> str:
    """Make a run id that sorts by time: ``20260131-174500-3fa1b2``."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


@contextmanager
def recorded(home: Home, run: str, name: str) -> Iterator[None]:
    """Keep the record of a run while the block runs."""
    with home.catalog.write() as connection:
        values = {"id": run, "script": name, "started": now(), "status": "running", "holder": holder_now()}
        connection.execute(sa.insert(runs).values(**values))
    heard: list[Event] = []
    status = "failed"
    with listening(heard.append), in_run(run):
        emit("run.started", run=run, script=name)
        try:
            _remember_scripts(home)
            yield
            _remember_scripts(home)  # helpers that the script imported on the way
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            emit("run.ended", run=run, status=status)
            _end(home, run, status, heard)


def _remember_scripts(home: Home) -> None:
    """Keep which modules models of this home may name: those that its runs have used.

    Raises
    ------
    UsageError
        A name that models of this home lead to would lead to another file: they could not be served any more.

    """
    with home.catalog.read() as connection:
        known = {row.module: row.path for row in connection.execute(sa.select(scripts))}
    allowed = script.allowed()
    for module, path in {**allowed, **script.in_use(known)}.items():
        if module in known and not _same(home, known[module], path):
            raise UsageError(
                f"models of this home name {known[module]} as {module}, and so would those of {path}; rename one of "
                "the two files, or give this script a home of its own (LINESHAFT_HOME)"
            )
    fresh = {module: path for module, path in allowed.items() if known.get(module) != path}
    if not fresh:
        return
    with home.catalog.write() as connection:
        for module, path in fresh.items():
            connection.execute(sa.delete(scripts).where(scripts.c.module == module))
            connection.execute(sa.insert(scripts).values(module=module, path=path))


def _same(home: Home, known: str, path: str) -> bool:
    """Whether a path is where a known file lies, has moved to, or was copied to: alone, or with the home beside it."""
    before, now_at, project = Path(known), Path(path), home.folder.parent
    if before == now_at or not before.is_file():
        return True
    if now_at.is_relative_to(project) and not before.is_relative_to(project):
        return True
    return now_at.is_file() and before.read_bytes() == now_at.read_bytes()


def _end(home: Home, run: str, status: str, heard: list[Event]) -> None:
    """Write how the run ended, and then what it said: the one must not hang on the other."""
    with home.catalog.write() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run).values(status=status, ended=now()))
    kept = [
        {"run": run, "at": event.at, "kind": event.kind, "facts": _written(event.facts)}
        for event in heard
        if event.kind not in _QUIET and event.run in (None, run)
    ]
    with home.catalog.write() as connection:
        connection.execute(sa.insert(events), kept)


def _written(facts: dict[str, Any]) -> str:
    """Write facts as JSON; what JSON has no words for (a number of numpy's, a path) as its text."""
    try:
        return as_json(facts, default=str)
    except (TypeError, ValueError):  # keys that are no strings, or a circle
        return as_json({"unwritable": ", ".join(sorted(map(str, facts)))})


def latest(home: Home, limit: int) -> list[dict[str, Any]]:
    """Return the latest runs as JSON facts, newest first."""
    with home.catalog.read() as connection:
        found = connection.execute(sa.select(runs).order_by(runs.c.started.desc()).limit(limit)).all()
        counts: dict[tuple[str, bool], int] = {}
        for run, reused in connection.execute(sa.select(uses.c.run, uses.c.reused)):
            counts[run, bool(reused)] = counts.get((run, bool(reused)), 0) + 1
    return [
        {
            "run": row.id,
            "script": row.script,
            "started": row.started,
            "ended": row.ended,
            "status": "killed" if row.status == "running" and is_dead(row.holder) else row.status,
            "executed": counts.get((row.id, False), 0),
            "reused": counts.get((row.id, True), 0),
        }
        for row in found
    ]

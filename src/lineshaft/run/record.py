"""The record of a run in the catalog: begun, ended and how, what it said meanwhile, which scripts it may name."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core import script
from lineshaft.core.catalog import as_json, events, now, runs, scripts, uses
from lineshaft.core.events import Event, emit, listening
from lineshaft.core.lease import holder_now, is_dead

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
    with listening(heard.append):
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
    """Keep which modules models of this home may name: those that its runs have used."""
    with home.catalog.read() as connection:
        known = {row.module: row.path for row in connection.execute(sa.select(scripts))}
    fresh = {module: path for module, path in script.allowed().items() if known.get(module) != path}
    if not fresh:
        return
    with home.catalog.write() as connection:
        for module, path in fresh.items():
            connection.execute(sa.delete(scripts).where(scripts.c.module == module))
            connection.execute(sa.insert(scripts).values(module=module, path=path))


def _end(home: Home, run: str, status: str, heard: list[Event]) -> None:
    kept = [
        {"run": run, "at": event.at, "kind": event.kind, "facts": as_json(event.facts)}
        for event in heard
        if event.kind not in _QUIET
    ]
    with home.catalog.write() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run).values(status=status, ended=now()))
        connection.execute(sa.insert(events), kept)


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

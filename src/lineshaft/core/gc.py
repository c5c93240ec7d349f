"""Sweep what nothing can reach: neither a published name, past or present, nor a kept run.

Safe beside running jobs: a job's commit checks, inside its own write transaction, that its objects are still there,
and the sweep deletes under that same write lock, a few objects at a time, each looked up again; what a run reuses is
pinned before it is trusted. Listing and counting hold no lock.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lineshaft.core.catalog import events, executions, history, inputs, leases, now, outputs, runs, uses
from lineshaft.core.lease import is_dead

if TYPE_CHECKING:
    from lineshaft.core.home import Home

KEEP_RUNS = 10
BATCH = 50  # objects deleted under one hold of the write lock
STALE_SECONDS = 7 * 86_400  # a checkpoint that nobody has touched for so long is given up


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, and what stayed."""

    runs: int
    objects: int
    bytes: int
    kept: int


def sweep(home: Home, keep_runs: int = KEEP_RUNS, *, dry_run: bool = False) -> Swept:
    """Forget old runs and delete the objects that nothing reaches any more.

    Parameters
    ----------
    home
        What to sweep.
    keep_runs
        How many of the latest runs of each script to keep, besides those still running.
    dry_run
        Only count.

    """
    there = dict(home.store.digests())
    with home.catalog.read() as connection:
        old = _old_runs(connection, keep_runs)
        alive = _reachable(connection, old)
    swept = [digest for digest in there if digest not in alive]
    if not dry_run:
        with home.catalog.write() as connection:
            old = _old_runs(connection, keep_runs)
            _forget(connection, old)
            _clear_work(home, connection)
        swept = _delete(home, swept)
        home.store.sweep_temporary()
    return Swept(len(old), len(swept), sum(there[digest] for digest in swept), len(there) - len(swept))


def _delete(home: Home, digests: list[str]) -> list[str]:
    """Delete what is still unreachable, a few at a time; return what was."""
    deleted: list[str] = []
    for first in range(0, len(digests), BATCH):
        with home.catalog.write() as connection:
            began = time.monotonic()
            batch = digests[first : first + BATCH]
            wanted = _wanted(connection, batch)
            for digest in batch:
                if digest not in wanted:
                    home.store.delete(digest)
                    deleted.append(digest)
        time.sleep(time.monotonic() - began)  # who waits for the lock looks now and then: leave it half of the time
    return deleted


def _wanted(connection: sa.Connection, digests: list[str]) -> set[str]:
    """Return those of the digests that names or the runs on record reach, by `_reachable`'s rule."""
    published = sa.select(history.c.digest)
    makers = sa.select(outputs.c.execution).where(outputs.c.digest.in_(published))
    used = sa.select(uses.c.execution)
    questions = [
        sa.select(history.c.digest).where(history.c.digest.in_(digests)),
        sa.select(inputs.c.digest).where(inputs.c.digest.in_(digests), inputs.c.execution.in_(makers)),
        sa.select(inputs.c.digest).where(inputs.c.digest.in_(digests), inputs.c.execution.in_(used)),
        sa.select(outputs.c.digest).where(outputs.c.digest.in_(digests), outputs.c.execution.in_(used)),
    ]
    return {digest for question in questions for digest in connection.execute(question).scalars()}


def _old_runs(connection: sa.Connection, keep: int) -> set[str]:
    seen: dict[str, int] = {}
    old = set()
    for run in connection.execute(sa.select(runs).order_by(runs.c.started.desc())):
        if run.status == "running" and not is_dead(run.holder):
            continue
        seen[run.script] = seen.get(run.script, 0) + 1
        if seen[run.script] > keep:
            old.add(run.id)
    return old


def _reachable(connection: sa.Connection, old: set[str]) -> set[str]:
    """Collect the digests that names ever pointed at, with what these were made of, and that kept runs ate or made.

    A published model is served under the schema that it was made with, however long ago that was.
    """
    alive = set(connection.execute(sa.select(history.c.digest)).scalars())
    makers = sa.select(outputs.c.execution).where(outputs.c.digest.in_(sa.select(history.c.digest)))
    alive |= set(connection.execute(sa.select(inputs.c.digest).where(inputs.c.execution.in_(makers))).scalars())
    kept = {row.execution for row in connection.execute(sa.select(uses)) if row.run not in old}
    for table in (inputs, outputs):
        alive |= {row.digest for row in connection.execute(sa.select(table)) if row.execution in kept}
    return alive


def _forget(connection: sa.Connection, old: set[str]) -> None:
    """Drop old runs, and executions that no kept run used; those behind a published name stay, for its lineage."""
    for run in old:
        connection.execute(sa.delete(uses).where(uses.c.run == run))
        connection.execute(sa.delete(events).where(events.c.run == run))
        connection.execute(sa.delete(runs).where(runs.c.id == run))
    used = set(connection.execute(sa.select(uses.c.execution)).scalars())
    keep = used | _ancestors(connection, set(connection.execute(sa.select(history.c.digest)).scalars()))
    for number in set(connection.execute(sa.select(executions.c.id)).scalars()) - keep:
        for table in (inputs, outputs):
            connection.execute(sa.delete(table).where(table.c.execution == number))
        connection.execute(sa.delete(executions).where(executions.c.id == number))


def _ancestors(connection: sa.Connection, digests: set[str]) -> set[int]:
    makers: dict[str, set[int]] = {}
    eaten: dict[int, set[str]] = {}
    for row in connection.execute(sa.select(outputs.c.digest, outputs.c.execution)):
        makers.setdefault(row.digest, set()).add(row.execution)
    for row in connection.execute(sa.select(inputs.c.digest, inputs.c.execution)):
        eaten.setdefault(row.execution, set()).add(row.digest)
    found: set[int] = set()
    waiting = list(digests)
    while waiting:
        for number in makers.get(waiting.pop(), set()) - found:
            found.add(number)
            waiting += eaten.get(number, set())
    return found


def _clear_work(home: Home, connection: sa.Connection) -> None:
    """Remove checkpoints that no resumed run will want: their step is committed since, or lay still for a week."""
    held = connection.execute(sa.select(leases.c.key).where(leases.c.expires > now())).scalars()
    live = {key.partition(":")[0] for key in held}  # an impure step's lease also names its run
    committed = set(connection.execute(sa.select(executions.c.key)).scalars())
    for folder in (home.folder / "work").glob("*"):
        idle = now() - folder.stat().st_mtime > STALE_SECONDS
        if folder.name not in live and (folder.name in committed or idle):
            home.clear_work(folder.name)

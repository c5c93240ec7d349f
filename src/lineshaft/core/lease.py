"""Leases: one process computes a step, the others wait; a holder that died or slept too long is fenced off.

::

    acquire ──► heartbeat every third of the term ──► commit checks holder, fence and term ──► release
                   └─ misses its term (killed, stopped, asleep): another may acquire, with the next fence;
                      the old holder's commit then finds the lease gone and commits nothing
"""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from lineshaft.core.catalog import Catalog, leases, now
from lineshaft.core.process import machine, started
from lineshaft.errors import LeaseLost, StorageError, UsageError


def term() -> float:
    """Return for how many seconds a lease holds without a heartbeat (``LINESHAFT_LEASE_SECONDS``, default 30)."""
    text = os.environ.get("LINESHAFT_LEASE_SECONDS", "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"LINESHAFT_LEASE_SECONDS is a number of seconds above 0, not {text!r}")
    return seconds


@dataclass(frozen=True)
class Lease:
    """The right to compute one step."""

    key: str
    holder: str
    fence: int


def acquire(catalog: Catalog, key: str) -> Lease | None:
    """Take the lease of a step, None while another live process holds it."""
    with catalog.read() as connection:  # who waits asks often: without the write lock
        if _held(connection, key) is not None:
            return None
    with catalog.write() as connection:
        if _held(connection, key) is not None:
            return None
        row = connection.execute(sa.select(leases).where(leases.c.key == key)).first()
        lease = Lease(key, f"{_process()} {uuid.uuid4().hex}", 1 if row is None else row.fence + 1)
        connection.execute(sa.delete(leases).where(leases.c.key == key))
        values = {"key": key, "holder": lease.holder, "fence": lease.fence, "expires": now() + term()}
        connection.execute(sa.insert(leases).values(**values))
        return lease


def _held(connection: sa.Connection, key: str) -> str | None:
    """Return the holder of a lease, None if it is free, ran out or its holder is dead."""
    row = connection.execute(sa.select(leases).where(leases.c.key == key)).first()
    return row.holder if row is not None and row.expires > now() and not _dead(row.holder) else None


def confirm(connection: sa.Connection, lease: Lease) -> None:
    """Raise LeaseLost unless the lease is still ours and within its term; called inside the committing transaction."""
    row = connection.execute(sa.select(leases).where(leases.c.key == lease.key)).first()
    if row is None or (row.holder, row.fence) != (lease.holder, lease.fence):
        raise LeaseLost(
            f"another process took over step {lease.key[:12]} (fence {lease.fence}); its result counts, not ours"
        )
    if row.expires <= now():
        raise LeaseLost(
            f"the lease of step {lease.key[:12]} ran out {now() - row.expires:.1f} s ago; nothing was committed"
        )


def release(connection: sa.Connection, lease: Lease) -> None:
    """Give the lease up."""
    connection.execute(sa.delete(leases).where(leases.c.key == lease.key, leases.c.holder == lease.holder))


@contextmanager
def heartbeat(catalog: Catalog, lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread while the block runs; a lease that once ran out is never renewed."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(term() / 3):
            try:
                renewed = _renew(catalog, lease)
            except StorageError:
                continue  # a full or busy disk: try at the next beat; the commit decides
            if not renewed:
                return

    thread = threading.Thread(target=beat, name=f"lease {lease.key[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew(catalog: Catalog, lease: Lease) -> bool:
    with catalog.write() as connection:
        mine = sa.and_(leases.c.key == lease.key, leases.c.holder == lease.holder, leases.c.expires > now())
        return bool(connection.execute(sa.update(leases).where(mine).values(expires=now() + term())).rowcount)


def _process() -> str:
    return f"{machine()} {os.getpid()} {started(os.getpid())}"


def _dead(holder: str) -> bool:
    """Say whether the holder surely is gone: a process of this very machine and boot that no longer runs."""
    where, number, since, _ = holder.split(" ")
    return where == machine() and str(started(int(number))) != since


def holder_now() -> str:
    """Name this process, for the record of a run."""
    return f"{_process()} -"


def is_dead(holder: str) -> bool:
    """Say whether a recorded process surely is gone."""
    return _dead(holder)

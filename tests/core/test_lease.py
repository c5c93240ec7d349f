"""One process holds a step's lease; the dead lose it at once, the slow when their term is over."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from lineshaft.core import lease
from lineshaft.core.catalog import leases, now
from lineshaft.errors import LeaseLost, UsageError

HOLDER = """
import sys, time
from pathlib import Path
from lineshaft.core import lease
from lineshaft.core.catalog import Catalog
assert lease.acquire(Catalog(Path(sys.argv[1])), "step") is not None
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def catalog(home):
    return home.catalog


def expire(catalog, key="step"):
    with catalog.write() as connection:
        connection.execute(sa.update(leases).where(leases.c.key == key).values(expires=now() - 1))


def confirm(catalog, held):
    with catalog.write() as connection:
        lease.confirm(connection, held)


def test_a_held_lease_is_not_given_twice(catalog):
    held = lease.acquire(catalog, "step")
    assert lease.acquire(catalog, "step") is None
    assert lease.acquire(catalog, "other") is not None
    confirm(catalog, held)


def test_a_released_lease_is_free(catalog):
    held = lease.acquire(catalog, "step")
    with catalog.write() as connection:
        lease.release(connection, held)
    assert lease.acquire(catalog, "step") is not None


def test_a_lease_past_its_term_goes_to_the_next_and_the_first_is_fenced(catalog):
    first = lease.acquire(catalog, "step")
    expire(catalog)
    second = lease.acquire(catalog, "step")
    assert second.fence == first.fence + 1
    with pytest.raises(LeaseLost, match="took over"):
        confirm(catalog, first)
    confirm(catalog, second)


def test_a_fenced_holder_cannot_release_the_others_lease(catalog):
    first = lease.acquire(catalog, "step")
    expire(catalog)
    second = lease.acquire(catalog, "step")
    with catalog.write() as connection:
        lease.release(connection, first)
    confirm(catalog, second)


def test_a_lease_past_its_term_commits_nothing_even_if_nobody_took_it(catalog):
    held = lease.acquire(catalog, "step")
    expire(catalog)
    with pytest.raises(LeaseLost, match="ran out"):
        confirm(catalog, held)


def test_a_heartbeat_keeps_the_lease(catalog, monkeypatch):
    monkeypatch.setenv("LINESHAFT_LEASE_SECONDS", "0.6")
    held = lease.acquire(catalog, "step")
    with lease.heartbeat(catalog, held):
        time.sleep(1.5)
        confirm(catalog, held)


def test_a_heartbeat_never_revives_a_lease_that_ran_out(catalog, monkeypatch):
    monkeypatch.setenv("LINESHAFT_LEASE_SECONDS", "0.3")
    held = lease.acquire(catalog, "step")
    expire(catalog)
    with lease.heartbeat(catalog, held):
        time.sleep(0.5)
    with pytest.raises(LeaseLost):
        confirm(catalog, held)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_holder_is_replaced_at_once(catalog, home, reaped):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.folder / "catalog.db")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert lease.acquire(catalog, "step") is None
    holder.kill()
    if reaped:
        holder.wait()
    deadline = time.monotonic() + 10
    while (taken := lease.acquire(catalog, "step")) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    holder.wait()
    holder.stdout.close()
    assert taken.fence == 2


def test_a_reused_process_number_is_another_process():
    machine, number, _, _ = lease.holder_now().split(" ")
    assert not lease.is_dead(lease.holder_now())
    assert lease.is_dead(f"{machine} {number} 1 -")
    assert not lease.is_dead(f"another-machine {number} 1 -")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_term_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("LINESHAFT_LEASE_SECONDS", text)
    with pytest.raises(UsageError, match="LINESHAFT_LEASE_SECONDS"):
        lease.term()

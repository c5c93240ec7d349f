"""A sweep takes what nothing reaches, and nothing else, even beside a running job."""

from __future__ import annotations

import os
import threading
import time

import pytest
import sqlalchemy as sa

from core.jobs import after, marks, session, start, step_of
from lineshaft.core import gc, lease, names
from lineshaft.core.catalog import executions, now, runs, uses
from lineshaft.core.gc import STALE_SECONDS, sweep
from lineshaft.core.home import Home
from lineshaft.core.session import Session
from lineshaft.errors import StorageError


def one_run(home, value, script="a.py", log=None):
    with session(home, script) as shaft:
        made = shaft.one(step_of(start, value, log=log))["x"]
        return made, shaft.one(after(made))["y"]


def count(home, table):
    with home.catalog.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()


def test_objects_of_kept_runs_stay_and_those_of_forgotten_runs_go(home):
    made = [one_run(home, value) for value in (1, 10, 100)]
    swept = sweep(home, keep_runs=2)
    assert (swept.runs, swept.objects, swept.kept) == (1, 2, 4)
    assert swept.bytes == 2
    assert [home.store.has(artifact) for pair in made for artifact in pair] == [False, False, True, True, True, True]
    assert count(home, runs) == 2
    assert count(home, executions) == 4
    assert home.catalog.check() == []


def test_each_script_keeps_its_own_last_runs(home):
    made = [*one_run(home, 1, "a.py"), *one_run(home, 10, "b.py")]
    assert sweep(home, keep_runs=1).objects == 0
    assert all(home.store.has(artifact) for artifact in made)


def test_what_a_later_run_reused_stays(home):
    made = one_run(home, 1)
    assert one_run(home, 1) == made
    assert sweep(home, keep_runs=1).runs == 1
    assert all(home.store.has(artifact) for artifact in made)


def test_a_dry_run_counts_and_takes_nothing(home):
    one_run(home, 1)
    would = sweep(home, keep_runs=0, dry_run=True)
    assert (would.runs, would.objects) == (1, 2)
    assert count(home, runs) == 1
    assert sweep(home, keep_runs=0) == would
    assert list(home.store.digests()) == []


def test_what_a_name_points_at_or_ever_did_stays_with_its_lineage(home):
    (_, first), (_, second) = one_run(home, 1), one_run(home, 10)
    names.publish(home.catalog, "live", first, None, {})
    names.publish(home.catalog, "live", second, None, {})
    sweep(home, keep_runs=0)
    assert home.store.has(first)
    assert home.store.has(second)
    assert count(home, executions) == 4
    assert count(home, uses) == 0


def test_what_was_swept_is_made_again_when_asked_for(home, tmp_path):
    log = tmp_path / "log"
    made = one_run(home, 1, log=log)
    sweep(home, keep_runs=0)
    assert one_run(Home(home.folder), 1, log=log) == made
    assert len(marks(log)) == 2


def test_objects_that_no_step_named_go(home):
    stray = home.put("Value", "stray")
    assert sweep(home).objects == 1
    assert not home.store.has(stray)


def test_a_running_run_keeps_its_objects_and_a_dead_one_counts_as_over(home):
    with session(home) as shaft:
        made = shaft.one(step_of(start))["x"]
        assert sweep(home, keep_runs=0).objects == 0
        assert home.store.has(made)
        with home.catalog.write() as connection:
            dead = " ".join([*lease.holder_now().split(" ")[:1], "4194305", "1", "-"])
            connection.execute(sa.update(runs).values(holder=dead))
        assert sweep(home, keep_runs=0, dry_run=True).runs == 1


def lay_still(folder, seconds):
    then = folder.stat().st_mtime - seconds
    os.utime(folder, (then, then))


def test_old_checkpoints_stay_while_their_step_is_computed_and_go_after(home):
    held = lease.acquire(home.catalog, "a" * 64)
    impure = lease.acquire(home.catalog, "b" * 64 + ":run")
    for name in "abc":
        home.work(name * 64).mkdir(parents=True)
        lay_still(home.work(name * 64), STALE_SECONDS + 60)
    sweep(home)
    assert [home.work(name * 64).exists() for name in "abc"] == [True, True, False]
    with home.catalog.write() as connection:
        lease.release(connection, held)
        lease.release(connection, impure)
    sweep(home)
    assert not any((home.folder / "work").iterdir())


def test_checkpoints_of_a_killed_step_wait_for_its_resume(home):
    home.work("a" * 64).mkdir(parents=True)
    sweep(home)
    assert home.work("a" * 64).exists()


def test_checkpoints_of_a_committed_step_go(home):
    with session(home) as shaft:
        step = step_of(start)
        shaft.one(step)
        home.work(step.key).mkdir(parents=True)
        sweep(home)
    assert not home.work(step.key).exists()


def test_sweeping_all_the_time_does_not_harm_a_run(home, monkeypatch):
    stop, swept, lost = threading.Event(), [], []

    def sweep_on():
        other = Home(home.folder)
        while not stop.is_set():
            swept.append(sweep(other, keep_runs=0))

    commit = Session._commit

    def slow_commit(self, step, held, made, seconds, position):
        if len(lost) < 3:  # the first few times the sweep gets between writing and naming
            lost.append(step.name)
            before, deadline = len(swept), now() + 20
            while len(swept) < before + 2 and now() < deadline:
                stop.wait(0.01)
        commit(self, step, held, made, seconds, position)

    monkeypatch.setattr(Session, "_commit", slow_commit)
    thread = threading.Thread(target=sweep_on)
    thread.start()
    try:
        with session(home) as shaft:
            made = shaft.one(step_of(start, 1))["x"]
            for _ in range(4):
                made = shaft.one(after(made))["y"]
            assert home.store.get(made) == b"16"
            assert shaft.executed == 5
    finally:
        stop.set()
        thread.join()
    assert sum(item.objects for item in swept) >= 3
    assert home.catalog.check() == []


def writes_at_once(home, monkeypatch):
    """Say whether another writer gets the lock, without waiting for it."""
    monkeypatch.setattr("lineshaft.core.catalog.BUSY_SECONDS", 0.0)
    other = Home(home.folder).catalog
    monkeypatch.undo()
    try:
        with other.write():
            return True
    except StorageError:
        return False
    finally:
        other.close()


@pytest.mark.parametrize("dry_run", [True, False])
def test_listing_does_not_keep_others_from_writing(home, monkeypatch, dry_run):
    one_run(home, 1)
    listed, free = home.store.digests, []

    def watching():
        for item in listed():
            free.append(writes_at_once(home, pytest.MonkeyPatch()))
            yield item

    monkeypatch.setattr(home.store, "digests", watching)
    assert sweep(home, keep_runs=0, dry_run=dry_run).objects == 2
    assert free == [True, True]


def test_others_write_between_two_batches_of_deletions(home, monkeypatch):
    monkeypatch.setattr(gc, "BATCH", 1)
    for number in range(3):
        home.put("Value", number)
    free, pause = [], time.sleep

    def look(seconds):
        free.append(writes_at_once(home, pytest.MonkeyPatch()))
        pause(seconds)

    monkeypatch.setattr(gc.time, "sleep", look)
    assert sweep(home).objects == 3
    assert free == [True] * 3


def test_what_is_named_while_the_sweep_is_under_way_stays(home, monkeypatch):
    """Between the listing and the deletion a run computes the very bytes that lay there unnamed."""
    stray = home.put("Value", 3)
    delete = gc._delete

    def late(home_, digests):
        with session(Home(home.folder)) as shaft:
            assert shaft.one(step_of(start))["x"] == stray
        return delete(home_, digests)

    monkeypatch.setattr(gc, "_delete", late)
    assert sweep(home, keep_runs=1).objects == 0
    assert home.store.has(stray)


@pytest.mark.parametrize("keep_runs", [0, 1, 2])
def test_the_second_look_finds_alive_what_the_first_did(home, keep_runs):
    for value in (1, 10, 100):
        _, last = one_run(home, value)
        names.publish(home.catalog, "live", last, None, {})
    home.put("Value", "stray")
    there = [digest for digest, _ in home.store.digests()]
    with home.catalog.write() as connection:
        old = gc._old_runs(connection, keep_runs)
        alive = gc._reachable(connection, old)
        gc._forget(connection, old)
        assert gc._wanted(connection, there) == alive & set(there)

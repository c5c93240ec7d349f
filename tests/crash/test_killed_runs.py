"""A run that is killed and run again ends as if it had never been killed.

By default each named crash point is tried at one of its occurrences, and a few kills fall at random moments. All points
at all occurrences, and more than thirty random kills::

    python -m pytest tests/crash -n 2 --whole
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

SHARES = 8  # parts of the matrix, so that several processes can work on it
KILLS = 4  # on the way of one job


def assert_as_if_never_killed(job, clean):
    job.run()
    assert job.state() == clean.state
    assert job.commits() == {1}
    assert job.leftovers() == []
    assert job.faults() == []


def places(clean, whole):
    """List ``point:occurrence``; without ``whole`` one seeded occurrence of each point."""
    dice = random.Random(5)
    for point, count in sorted(clean.points.items()):
        chosen = range(1, count + 1) if whole else [dice.randint(1, count)]
        yield from (f"{point}:{occurrence}" for occurrence in chosen)


def test_the_run_passes_all_points_and_is_long_enough(clean):
    assert set(clean.points) == {
        "step.before_compute", "step.computed", "commit.before", "commit.inside", "commit.after",
        "object.before_put", "object.after_put", "write.begun", "write.synced", "write.renamed",
        "checkpoint.begun", "checkpoint.state_written", "checkpoint.written",
        "publish.before", "publish.inside", "publish.after",
    }  # fmt: skip
    assert clean.points["commit.after"] == clean.document["executed"] >= 15
    assert clean.points["checkpoint.written"] >= 12


@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_a_crash_point_changes_nothing_in_the_end(fresh, clean, whole, share):
    for place in list(places(clean, whole))[share::SHARES]:
        job = fresh()
        assert job.call("run", "mill.py", "--json", LINESHAFT_CRASH=place).killed, place
        assert job.faults() == [], place
        assert_as_if_never_killed(job, clean)


@pytest.mark.parametrize("number", range(10))
def test_kills_at_random_moments_change_nothing_in_the_end(fresh, clean, whole, number):
    if not whole and number:
        pytest.skip("one job of ten without --whole")
    dice, job = random.Random(number), fresh()
    killed = 0
    while killed < KILLS:
        running = job.start()
        time.sleep(dice.uniform(0, 0.8) * clean.seconds)
        running.kill()
        ended = running.wait()
        killed += ended.killed
        if not ended.killed:  # too late: the job was done
            assert_as_if_never_killed(job, clean)
            job = fresh()
    assert_as_if_never_killed(job, clean)


@pytest.mark.parametrize("number", range(3))
def test_kills_inside_training_change_nothing_in_the_end(fresh, clean, whole, number):
    if not whole and number:
        pytest.skip("one job of three without --whole")
    dice, job = random.Random(number), fresh()
    seen: set[str] = set()
    for _ in range(KILLS):
        running = job.start()
        while not (new := checkpoints(job) - seen):
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.05))
        running.kill()
        assert running.wait().killed
        seen |= new
    assert_as_if_never_killed(job, clean)


def checkpoints(job):
    return {str(path) for path in (job.folder / "home" / "work").glob("*/epoch-*.json")}


def test_a_killed_run_is_listed_as_killed(fresh):
    job = fresh()
    job.call("run", "mill.py", LINESHAFT_CRASH="commit.after:3")
    job.run()
    assert job.statuses() == ["done", "killed"]


def test_worker_processes_end_with_the_run_that_started_them(fresh, clean, whole):
    if not whole:
        pytest.skip("starting worker processes takes long; with --whole")
    job = fresh()
    running = job.start("run", "mill.py", "--json", "--workers", "2")
    deadline = time.monotonic() + 120
    while not checkpoints(job):
        assert time.monotonic() < deadline, "the run never came to train"
        time.sleep(0.01)
    workers = children_of(running.pid)
    assert len(workers) >= 2
    running.kill()
    assert running.wait().killed
    deadline = time.monotonic() + 60
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives the run"
        time.sleep(0.05)
    assert_as_if_never_killed(job, clean)


def children_of(pid):
    """Name the children of a process with their start times, for numbers are given out again."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [(child, started(child)) for child in found]


def alive(child):
    return started(child[0]) == child[1]


def started(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def test_what_a_kill_leaves_beside_the_users_schema_is_tidied_by_the_next_run(fresh):
    job = fresh()
    assert job.call("run", "mill.py", LINESHAFT_CRASH="write.begun:4").killed  # after two tables and the proposal
    (left,) = [path.name for path in job.folder.iterdir() if path.name.endswith(".tmp")]
    assert left.startswith(".mill.schema.toml.")
    job.run()
    assert {path.name for path in job.folder.iterdir()} <= {
        "__pycache__",
        "home",
        "mill.py",
        "mill.schema.toml",
        "raw.parquet",
    }

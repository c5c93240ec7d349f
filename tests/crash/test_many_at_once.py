"""Eight processes on one home compute each step once; who slept past its lease commits nothing."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

TERM = 1.0  # seconds of a lease in the tests that let one run out


def notes(log):
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to it"
        time.sleep(0.002)


def test_eight_processes_compute_each_step_once(fresh, clean):
    job = fresh()
    log = job.folder / "log"
    running = [job.start(MILL_LOG=log) for _ in range(8)]
    ended = [one.wait() for one in running]
    assert [one.code for one in ended] == [0] * 8, [one.err for one in ended]
    log.rename(job.folder.parent / "log")

    assert job.state() == clean.state
    assert sum(one.json["executed"] for one in ended) == clean.document["executed"]
    assert {one.json["steps"] for one in ended} == {clean.document["steps"]}
    assert job.commits() == {1}
    assert set(Counter(fact["key"] for fact in job.events("step.executed")).values()) == {1}
    assert len(job.events("model.published")) == 1
    assert len(job.events("model.unchanged")) == 7
    assert job.leftovers() == []
    assert job.faults() == []

    seen = Counter(note.split()[0] for note in notes(job.folder.parent / "log"))
    assert seen["count_labels"] == 1
    assert seen["leaning"] == 1
    assert seen["balance"] == rows_of(job, "vote balance")


def rows_of(job, step):
    import sqlalchemy as sa

    from lineshaft.core.catalog import executions, outputs

    with job.catalog() as connection:
        query = sa.select(outputs.c.digest).join(executions).where(executions.c.step == step)
        digest = connection.execute(query).scalar_one()
    artifact = next(item for item in job.artifacts() if item.digest == digest)
    with job.home() as home:
        return len(home.get(artifact))


def test_processes_that_are_killed_leave_their_steps_to_the_others(fresh, clean):
    job = fresh()
    running = [job.start() for _ in range(4)]
    for number, one in enumerate(running[:3]):
        time.sleep(clean.seconds / 10)  # early: with less other work than then, all might be over
        one.kill()
        assert one.wait().killed, number
    assert running[3].wait().code == 0
    assert job.state() == clean.state
    assert job.commits() == {1}


def stopped_in_own_step(job, **environment):
    """Start the job, stop it inside the user's step, and return it with the folder of its gate."""
    gate = job.folder / "gate"
    gate.mkdir()
    running = job.start(MILL_GATE=gate, LINESHAFT_LEASE_SECONDS=TERM, **environment)
    wait_for((gate / "count_labels.reached").exists)
    running.kill(signal.SIGSTOP)
    return running, gate


def go_on(running, gate):
    (gate / "open").touch()
    running.kill(signal.SIGCONT)
    return running.wait()


def test_a_process_stopped_past_its_lease_commits_nothing_once_another_took_over(fresh, clean):
    job = fresh()
    stopped, gate = stopped_in_own_step(job)
    other = job.run(LINESHAFT_LEASE_SECONDS=TERM)  # waits until the lease is over
    before = job.state()
    ended = go_on(stopped, gate)
    assert ended.code == 0, ended.err
    assert job.state() == before == clean.state
    assert job.commits() == {1}
    assert [fact["step"] for fact in job.events("lease.lost")] == ["step count_labels"]
    assert other["executed"] + ended.json["executed"] == clean.document["executed"]
    assert by_run(job, "step count_labels") == {other["run"]}


def test_a_process_stopped_past_its_lease_computes_again_when_nobody_took_over(fresh, clean):
    job = fresh()
    log = job.folder.parent / "log"
    stopped, gate = stopped_in_own_step(job, MILL_LOG=log)
    time.sleep(TERM * 1.5)
    ended = go_on(stopped, gate)
    assert ended.code == 0, ended.err
    assert notes(log).count("count_labels") == 2
    assert [fact["step"] for fact in job.events("lease.lost")] == ["step count_labels"]
    assert job.commits() == {1}
    assert job.state() == clean.state


@pytest.mark.parametrize("number", range(3))
def test_a_process_stopped_inside_training_past_its_lease_harms_nothing(fresh, clean, whole, number):
    if not whole and number:
        pytest.skip("one of three without --whole")
    job = fresh()
    stopped = job.start(LINESHAFT_LEASE_SECONDS=TERM)
    work = job.folder / "home" / "work"
    wait_for(lambda: len(list(work.glob("*/epoch-*.json"))) > number)
    stopped.kill(signal.SIGSTOP)
    job.run(LINESHAFT_LEASE_SECONDS=TERM)
    stopped.kill(signal.SIGCONT)
    ended = stopped.wait()
    assert ended.code == 0, ended.err
    assert job.state() == clean.state
    assert job.commits() == {1}
    assert job.leftovers() == []
    assert job.faults() == []


def by_run(job, step):
    import sqlalchemy as sa

    from lineshaft.core.catalog import executions, uses

    with job.catalog() as connection:
        query = sa.select(uses.c.run).join(executions).where(executions.c.step == step, uses.c.reused.is_(False))
        return set(connection.execute(query).scalars())

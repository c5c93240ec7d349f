"""With workers, what is done is kept at once, what is said is heard, and nothing is let go that still runs."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa

from core import jobs
from core.jobs import marks, session, step_of
from lineshaft.core import lease
from lineshaft.core.catalog import executions, leases, uses
from lineshaft.core.engine import InProcess, LocalProcesses
from lineshaft.core.events import listening
from lineshaft.core.home import Home
from lineshaft.core.session import Session
from lineshaft.core.step import make
from lineshaft.errors import StepFailed, UsageError


@pytest.fixture(scope="module")
def workers():
    with LocalProcesses(2) as engine:
        yield engine


def slow(value, log, seconds):
    how = {"value": value, "seconds": seconds}
    return make(f"slow {value}", jobs.slow, {}, {"x": "Value"}, how, aside={"log": str(log)})


def talking(value, seconds=0.0):
    return step_of(jobs.talking, parameters={"value": value, "seconds": seconds}, name=f"talking {value}")


def committed(home):
    with home.catalog.read() as connection:
        return sorted(connection.execute(sa.select(executions.c.step)).scalars())


def test_a_step_that_is_done_is_committed_while_an_earlier_one_still_runs(home, tmp_path, workers):
    seen = []
    with (
        listening(lambda event: seen.append((event.facts["step"], committed(home), marks(tmp_path / "log")))
                  if event.kind == "step.executed" else None),
        session(home, engine=workers) as shaft,
    ):  # fmt: skip
        made = shaft.all([slow(0, tmp_path / "log", 1.0), slow(1, tmp_path / "other", 0.0)])
    name, kept, lines = seen[0]
    assert (name, kept) == ("slow 1", ["slow 1"])
    assert not any(line.startswith("ended") for line in lines)
    assert [home.get(item["x"]) for item in made] == [0, 1]  # given in order all the same


def test_where_a_step_fails_what_runs_beside_it_is_committed_before_the_error_is_raised(home, tmp_path, workers):
    log = tmp_path / "log"
    steps = [talking(-1), slow(1, log, 0.5), *[slow(n, tmp_path / f"log{n}", 0.5) for n in (2, 3, 4, 5)]]
    with pytest.raises(StepFailed, match="talking -1 failed"), session(home, engine=workers) as shaft:
        shaft.all(steps)
    assert "slow 1" in committed(home)
    assert not marks(tmp_path / "log5")  # never begun
    assert (shaft.executed, shaft.reused) == (len(committed(home)), 0)
    with session(Home(home.folder)) as again:
        again.all(steps[1:2])
        assert (again.executed, again.reused) == (0, 1)


def test_leases_are_held_until_what_runs_has_ended(home, tmp_path, workers, monkeypatch):
    log, release, lines = tmp_path / "log", lease.release, []

    def noting(connection, held):
        lines.append(len([line for line in marks(log) if line.startswith("ended")]))
        release(connection, held)

    monkeypatch.setattr(lease, "release", noting)
    with pytest.raises(StepFailed), session(home, engine=workers) as shaft:
        shaft.all([talking(-1), slow(1, log, 0.5)])
    assert lines
    assert set(lines) == {1}
    with home.catalog.read() as connection:
        assert connection.execute(sa.select(leases)).all() == []


def test_steps_after_a_failure_do_not_take_the_places_of_those_before(home):
    with session(home) as shaft:
        with pytest.raises(StepFailed):
            shaft.all([step_of(jobs.start), step_of(jobs.failing, 0)])
        shaft.one(step_of(jobs.start, 5))
    with home.catalog.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(uses)).scalar() == 2


@pytest.mark.parametrize("engine", ["in process", "workers"])
def test_what_steps_say_is_heard_wherever_they_run(home, workers, engine):
    heard = []
    with (
        listening(heard.append),
        session(home, engine=workers if engine == "workers" else InProcess()) as shaft,
    ):
        shaft.all([talking(1), talking(2)])
    said = sorted(event.facts["reason"] for event in heard if event.kind == "source.failed")
    assert said == ["talk 1", "talk 2"]
    assert sum(event.kind == "step.started" for event in heard) == 2
    assert {event.run for event in heard if event.kind == "source.failed"} == {shaft.run}


def test_what_a_failing_step_said_in_a_worker_is_heard(home, workers):
    heard = []
    with pytest.raises(StepFailed), listening(heard.append), session(home, engine=workers) as shaft:
        shaft.all([talking(-1), talking(2, 0.2)])
    assert {event.facts["reason"] for event in heard if event.kind == "source.failed"} == {"talk -1", "talk 2"}


def test_an_event_keeps_the_time_at_which_it_happened(home, workers):
    heard, began = [], time.time()
    with listening(heard.append), session(home, engine=workers) as shaft:
        shaft.all([talking(1, 0.4), talking(2, 0.4)])
    started = [event.at for event in heard if event.kind == "step.started"]
    ended = [event.at for event in heard if event.kind == "step.executed"]
    assert began < min(started)
    assert max(started) < min(ended) - 0.1


def test_a_session_that_is_not_open_takes_no_steps(home):
    with pytest.raises(UsageError, match="has not begun, or is over"):
        Session(home, "run", InProcess(), open=False).one(step_of(jobs.start))


def test_an_interrupt_that_another_error_hides_ends_the_work_at_once():
    from lineshaft.core.session import _ended

    told = []

    def work():
        try:
            yield 1
        except KeyboardInterrupt:
            told.append("ended")
            raise

    with pytest.raises(KeyboardInterrupt), _ended(work()) as worked:
        next(worked)
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError("the transaction was cut off")
    assert told == ["ended"]

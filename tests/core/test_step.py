"""Steps run once and are reused; what fails, dies or falls asleep commits nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from core import jobs
from core.jobs import after, marks, session, slow_steps, start, step_of
from lineshaft.core import lease
from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import executions, leases, now, uses
from lineshaft.core.engine import LocalProcesses
from lineshaft.core.events import listening
from lineshaft.core.home import Home
from lineshaft.core.session import Session
from lineshaft.core.step import make
from lineshaft.core.store import SEAL
from lineshaft.errors import IntegrityError, LineshaftError, StepFailed, StorageError, UsageError

TESTS = Path(__file__).resolve().parents[1]


def spawn(home, log, seconds=0.0, count=1, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "core.jobs", str(home.folder), str(log), str(seconds), str(count)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
    )  # fmt: skip


def wait_for(log, lines):
    deadline = time.monotonic() + 30
    while len(marks(log)) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def committed(home):
    with home.catalog.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(executions)).scalar()


def object_of(home, artifact):
    return home.folder / "objects" / artifact.digest[:2] / artifact.digest[2:]


# reuse


def test_a_step_runs_once_and_is_reused_ever_after(home, tmp_path):
    log = tmp_path / "log"
    with session(home) as shaft:
        first = shaft.one(step_of(start, log=log))
        again = shaft.one(step_of(start, log=log))
        assert (shaft.executed, shaft.reused) == (1, 1)
    with session(Home(home.folder)) as shaft:
        assert shaft.one(step_of(start, log=log)) == first == again
        assert (shaft.executed, shaft.reused) == (0, 1)
    assert len(marks(log)) == 1
    assert home.get(first["x"]) == 3


KEYS = {
    "parameter": lambda: step_of(start, 4),
    "code": lambda: step_of(jobs.setting),
    "name": lambda: step_of(start, name="other"),
    "version": lambda: step_of(start, version="1"),
    "kind of output": lambda: make("start", start, {}, {"x": "Report"}, {"value": 3}),
    "name of output": lambda: make("start", start, {}, {"other": "Value"}, {"value": 3}),
    "input": lambda: make("start", start, {"value": Artifact("Value", "0" * 64, 1)}, {"x": "Value"}),
    "type of parameter": lambda: step_of(start, 3.0),
}


@pytest.mark.parametrize("other", KEYS.values(), ids=KEYS)
def test_the_key_covers(other):
    assert other().key != step_of(start).key


def test_the_key_does_not_cover_what_stands_aside(tmp_path):
    assert step_of(start, log=tmp_path).key == step_of(start).key
    assert make("a", start, {}, {"x": "Value"}, {"value": 1}, aside={"log": 1}).key == step_of(start, 1, name="a").key


def test_the_key_follows_inputs_and_versions():
    first, second = (Artifact("Value", digit * 64, 1) for digit in "01")
    assert after(first).key != after(second).key
    assert after([first, second]).key != after([second, first]).key
    assert step_of(start, version="1").key != step_of(start, version="2").key
    assert step_of(start, version="1").key == step_of(jobs.setting, version="1", name="start").key


def test_a_name_is_an_input_or_a_parameter():
    with pytest.raises(UsageError, match="input and a parameter called 'x'"):
        make("a", start, {"x": Artifact("Value", "0" * 64, 1)}, {"y": "Value"}, {"x": 1})


def test_equal_bytes_upstream_cut_off_the_work_downstream(home, tmp_path):
    log = tmp_path / "log"
    with session(home) as shaft:
        for value in (1, 2):
            made = shaft.one(step_of(start, value))["x"]
            seven = shaft.one(after(made, jobs.constant))["y"]
            shaft.one(after(seven, jobs.double, log))
        assert shaft.executed == 5
    assert len(marks(log)) == 1


def test_an_impure_step_runs_every_time_and_still_cuts_off(home, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for _ in range(2):
        with session(home) as shaft:
            made = shaft.one(step_of(start, log=first, impure=True))["x"]
            shaft.one(after(made, log=second))
    assert (len(marks(first)), len(marks(second))) == (2, 1)


def test_two_equal_impure_steps_in_one_call_both_run(home, tmp_path):
    with session(home) as shaft:
        shaft.all([step_of(start, log=tmp_path / "log", impure=True)] * 2)
    assert len(marks(tmp_path / "log")) == 2


def test_equal_steps_in_one_call_run_once(home, tmp_path):
    with session(home) as shaft:
        first, second = shaft.all([step_of(start, log=tmp_path / "log")] * 2)
        assert (shaft.executed, shaft.reused) == (1, 1)
    assert first == second


def test_a_run_remembers_what_it_used_in_order(home):
    with session(home) as shaft:
        made = shaft.one(step_of(start))["x"]
        shaft.one(after(made))
        shaft.one(step_of(start))
    with home.catalog.read() as connection:
        rows = connection.execute(sa.select(uses).order_by(uses.c.position)).all()
    assert [(row.position, row.execution, row.reused) for row in rows] == [(0, 1, False), (1, 2, False), (2, 1, True)]


def test_known_says_what_would_be_reused(home):
    with session(home) as shaft:
        assert not shaft.known(step_of(start))
        made = shaft.one(step_of(start))["x"]
        assert shaft.known(step_of(start))
        home.store.delete(made.digest)
        assert not shaft.known(step_of(start))


# inputs


def test_a_step_that_writes_to_its_input_does_not_spoil_it_for_the_next(home):
    with session(home) as shaft:
        made = shaft.one(step_of(start, [1]))["x"]
        home.get(made)
        shaft.one(after(made, jobs.spoiling))
        assert home.get(made) == [1]
        assert home.get(shaft.one(after(made, jobs.double))["y"]) == [1, 1]


@pytest.mark.parametrize("sequence", [list, tuple])
def test_several_artifacts_may_be_one_input(home, sequence):
    def total(parts):
        return {"y": sum(parts)}

    with session(home) as shaft:
        parts = sequence(shaft.one(step_of(start, value))["x"] for value in (1, 2))
        assert home.get(shaft.one(make("total", total, {"parts": parts}, {"y": "Value"}))["y"]) == 3


def test_inputs_without_an_object_count_for_the_key_alone(home):
    file = Artifact("File", "1" * 64, 0)
    with session(home) as shaft:
        step = make("start", start, {"file": file, "views": [file]}, {"x": "Value"}, {"value": 1})
        assert home.get(shaft.one(step)["x"]) == 1


# damage


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_what_is_gone_or_damaged_is_made_anew(home, tmp_path, damage):
    log = tmp_path / "log"
    with session(home) as shaft:
        made = shaft.one(step_of(start, log=log))["x"]
    path = object_of(home, made)
    path.unlink() if damage == "gone" else path.write_bytes(b"4")
    heard = []
    with listening(heard.append), session(Home(home.folder)) as shaft:
        assert shaft.one(step_of(start, log=log))["x"] == made
        assert shaft.executed == 1
    assert "object.damaged" in {event.kind for event in heard}
    assert len(marks(log)) == 2
    assert committed(home) == 1
    assert Home(home.folder).get(made) == 3


def test_a_byte_flipped_under_its_seal_is_named_on_read_and_healed_by_the_next_run(home):
    with session(home) as shaft:
        made = shaft.one(step_of(start))["x"]
    object_of(home, made).write_bytes(b"4")
    os.utime(object_of(home, made), ns=(SEAL, SEAL))
    with session(Home(home.folder)) as shaft:
        assert shaft.one(step_of(start))["x"] == made
        with pytest.raises(IntegrityError, match=made.digest):
            shaft.one(after(made))
    with session(Home(home.folder)) as shaft:
        assert home.get(shaft.one(after(shaft.one(step_of(start))["x"]))["y"]) == 6


# failures


@pytest.mark.parametrize(
    ("function", "value", "says"),
    [
        (jobs.failing, 0, r"step failing failed in jobs\.py:\d+: ZeroDivisionError: division by zero"),
        (jobs.odd, 1, r"step odd failed in jobs\.py:\d+: OddError: 1"),
        (jobs.mislabelled, 1, r"step mislabelled gave \['z'\], it declares \['x'\]"),
    ],
)
def test_a_failing_step_is_named_with_its_line_and_commits_nothing(home, function, value, says):
    with pytest.raises(StepFailed, match=says), session(home) as shaft:
        shaft.one(step_of(function, value))
    assert committed(home) == 0
    with home.catalog.read() as connection:
        assert connection.execute(sa.select(leases)).all() == []


def test_the_line_named_is_the_users_even_when_a_library_raised(home):
    def reading(value):
        import json

        return {"x": json.loads(value)}  # this very line

    line = reading.__code__.co_firstlineno + 3
    with pytest.raises(StepFailed, match=rf"failed in test_step\.py:{line}: JSONDecodeError"), session(home) as shaft:
        shaft.one(step_of(reading, "{"))


def test_an_interrupt_goes_through_and_releases_the_lease(home):
    with pytest.raises(KeyboardInterrupt), session(home) as shaft:
        shaft.one(step_of(jobs.interrupted))
    assert lease.acquire(home.catalog, step_of(jobs.interrupted).key) is not None


def test_a_disk_that_fails_while_leases_are_taken_leaves_none_behind(home, monkeypatch):
    steps = [step_of(start, value) for value in range(3)]
    acquire, calls = lease.acquire, []

    def third_fails(catalog, key):
        calls.append(key)
        if len(calls) == 3:
            raise StorageError("no space")
        return acquire(catalog, key)

    monkeypatch.setattr(lease, "acquire", third_fails)
    with pytest.raises(StorageError), session(home) as shaft:
        shaft.all(steps)
    monkeypatch.undo()
    assert all(lease.acquire(home.catalog, step.key) is not None for step in steps)


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_any_failing_disk_operation_is_a_clear_error_and_a_rerun_completes(tmp_path, code):
    """The k-th disk operation of a run of two steps fails, for every k."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[3])\n"
        "import itertools, os\n"
        "from pathlib import Path\n"
        "from core import jobs\n"
        "from lineshaft.core import durable\n"
        "from lineshaft.core.home import Home\n"
        "from lineshaft.errors import StorageError\n"
        "def once(home):\n"
        "    with jobs.session(home) as shaft:\n"
        "        made = shaft.one(jobs.step_of(jobs.start))['x']\n"
        "        return home.get(shaft.one(jobs.after(made))['y'])\n"
        "failed = 0\n"
        "for k in range(1, 100):\n"
        "    home = Home(Path(sys.argv[1]) / str(k))\n"
        "    home.catalog\n"
        "    durable._operations = itertools.count(1)\n"
        "    os.environ['LINESHAFT_FAULT'] = f'{sys.argv[2]}:{k}'\n"
        "    try:\n"
        "        once(home)\n"
        "        done = True\n"
        "    except StorageError:\n"
        "        failed, done = failed + 1, False\n"
        "    os.environ.pop('LINESHAFT_FAULT')\n"
        "    assert once(Home(home.folder)) == 6\n"
        "    assert home.catalog.check() == []\n"
        "    if done: break\n"
        "print(failed)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), code, str(TESTS)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= 15


def test_a_resumable_step_keeps_its_folder_until_it_is_committed(home, tmp_path):
    log = tmp_path / "log"
    step = step_of(jobs.resuming, log=log, resumable=True)
    for _ in range(2):
        with pytest.raises(StepFailed, match="not yet"), session(home) as shaft:
            shaft.one(step)
        assert home.work(step.key).is_dir()
    with session(home) as shaft:
        shaft.one(step)
    assert [line.rpartition(" ")[0] for line in marks(log)] == ["from 0", "from 1", "from 2"]
    assert not home.work(step.key).exists()


# engines


def test_local_processes_give_what_one_process_gives(tmp_path):
    results = []
    for engine in (None, LocalProcesses(2)):
        home = Home(tmp_path / str(engine is None))
        with session(home, engine=engine) as shaft:
            results.append(shaft.all([step_of(start, value) for value in range(4)]))
            assert shaft.executed == 4
    assert results[0] == results[1]


def test_a_step_that_means_something_else_in_a_worker_is_refused(home, monkeypatch):
    monkeypatch.setattr(jobs, "SETTING", 2)
    with (
        pytest.raises(UsageError, match=r"constant core\.jobs\.SETTING"),
        session(home, engine=LocalProcesses(2)) as shaft,
    ):
        shaft.all([step_of(jobs.setting, value) for value in range(2)])
    assert committed(home) == 0


def test_a_worker_that_dies_is_reported_and_its_steps_are_free(home):
    steps = [step_of(jobs.dying, value) for value in range(2)]
    with pytest.raises(StepFailed, match="worker process died"), session(home, engine=LocalProcesses(2)) as shaft:
        shaft.all(steps)
    assert lease.acquire(home.catalog, steps[0].key) is not None


# several processes


@pytest.mark.crash
def test_eight_processes_compute_each_step_once(home, tmp_path):
    home.catalog
    log = tmp_path / "log"
    started = [spawn(home, log, seconds=0.05, count=6) for _ in range(8)]
    said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 8, said
    assert sum(int(out.split()[0]) for out, _ in said) == 6
    assert len({out.split(maxsplit=1)[1] for out, _ in said}) == 1
    assert len(marks(log)) == 12
    assert home.catalog.check() == []


@pytest.mark.crash
def test_a_killed_holder_is_replaced_by_the_one_that_waits(home, tmp_path):
    log = tmp_path / "log"
    first = spawn(home, log, seconds=60)
    wait_for(log, 1)
    second = spawn(home, log, seconds=60)
    time.sleep(0.3)
    assert len(marks(log)) == 1  # the second waits
    first.kill()
    first.communicate()
    wait_for(log, 2)
    second.kill()
    second.communicate()
    assert committed(home) == 0


@pytest.mark.crash
def test_a_holder_stopped_past_its_term_commits_nothing_and_takes_the_others_result(home, tmp_path):
    log = tmp_path / "log"
    first = spawn(home, log, seconds=0.8, LINESHAFT_LEASE_SECONDS="1")
    wait_for(log, 1)
    first.send_signal(signal.SIGSTOP)
    try:
        second = spawn(home, log, seconds=0.8, LINESHAFT_LEASE_SECONDS="1")
        out, error = second.communicate(timeout=30)
        assert out.split()[0] == "1", error
        with home.catalog.read() as connection:
            before = connection.execute(sa.select(executions)).all()
    finally:
        first.send_signal(signal.SIGCONT)
    out, error = first.communicate(timeout=30)
    assert out.split()[0] == "0", error
    with home.catalog.read() as connection:
        assert connection.execute(sa.select(executions)).all() == before


POINTS = [
    "step.before_compute",
    "step.computed",
    "object.before_put",
    "object.after_put",
    "write.begun",
    "write.synced",
]
POINTS += ["write.renamed", "commit.before", "commit.inside", "commit.after"]


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_is_made_good_by_the_next_run(home, tmp_path, point):
    log = tmp_path / "log"
    died = spawn(home, log, count=2, LINESHAFT_CRASH=f"{point}:1")
    died.communicate()
    assert died.returncode == -signal.SIGKILL
    again = spawn(home, log, count=2)
    out, error = again.communicate()
    assert again.returncode == 0, error
    assert int(out.split()[0]) == (1 if point == "commit.after" else 2)
    assert committed(home) == 2
    assert home.catalog.check() == []
    assert all(home.store.get(Artifact("Value", digest, 1)) for digest in out.split()[1:])


def test_objects_swept_before_they_were_named_are_made_anew(home, monkeypatch, tmp_path):
    log, commit, heard = tmp_path / "log", Session._commit, []

    def sweep_first(self, step, held, made, seconds, position):
        if not heard:
            heard.append("swept")
            home.store.delete(made[0][1].digest)
        commit(self, step, held, made, seconds, position)

    monkeypatch.setattr(Session, "_commit", sweep_first)
    began = now()
    with session(home) as shaft:
        made = shaft.one(step_of(start, log=log))["x"]
    assert home.store.has(made)
    assert len(marks(log)) == 2
    assert now() - began < lease.term() / 2  # its own lease was not in its way


def test_slow_steps_are_what_the_processes_run(home, tmp_path):
    with session(home) as shaft:
        made = [shaft.one(step)["x"] for step in slow_steps(tmp_path / "log", 0.0, 2)]
    assert [home.get(artifact) for artifact in made] == [0, 1]


def test_every_error_on_purpose_goes_through_as_it_is(home):
    def refusing(value):
        raise UsageError("so it is")

    with pytest.raises(LineshaftError, match=r"^so it is$"), session(home) as shaft:
        shaft.one(step_of(refusing))

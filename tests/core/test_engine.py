"""Engines give results in the order of the parts and report what goes wrong in a worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lineshaft.core import script
from lineshaft.core.engine import InProcess, LocalProcesses, merge
from lineshaft.errors import StepFailed, UsageError

ENGINES = [InProcess(), LocalProcesses(2)]


def power(exponent, part):
    return part**exponent


def slower_first(part):
    time.sleep(0.2 / (part + 1))
    return part, os.getpid()


def threads(_):
    return os.environ["OMP_NUM_THREADS"]


def die(part):
    if part == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def refuse(part):
    raise UsageError(f"part {part}")


@pytest.mark.parametrize("engine", ENGINES, ids=["in process", "local processes"])
def test_results_come_in_the_order_of_the_parts(engine):
    assert list(engine.map(partial(power, 2), range(5))) == [0, 1, 4, 9, 16]
    assert list(engine.map(partial(power, 2), [])) == []


def test_whatever_order_they_finished_in():
    found = list(LocalProcesses(2).map(slower_first, range(4)))
    assert [part for part, _ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process in found}


def test_a_worker_computes_with_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert list(LocalProcesses(1).map(threads, [0])) == ["1"]


@pytest.mark.parametrize("engine", ENGINES, ids=["in process", "local processes"])
def test_an_error_comes_through_as_it_is(engine):
    with pytest.raises(UsageError, match="part 0"):
        list(engine.map(refuse, range(2)))


def test_a_worker_that_dies_is_reported():
    with pytest.raises(StepFailed, match="worker process died"):
        list(LocalProcesses(2).map(die, range(3)))


def test_at_least_one_worker_is_wanted():
    with pytest.raises(UsageError, match="at least 1, not 0"):
        LocalProcesses(0)


def test_results_are_folded_in_order():
    assert merge(lambda a, b: a + b, iter("abc")) == "abc"


def test_workers_know_the_scripts_that_are_loaded_and_only_those(tmp_path):
    (tmp_path / "engine_script.py").write_text("def half(x): return x / 2\n")
    module = script.load(tmp_path / "engine_script.py")
    script.allow("lineshaft_script_long_gone", str(tmp_path / "long_gone.py"))
    try:
        assert list(LocalProcesses(1).map(module.half, [4])) == [2]
    finally:
        script._allowed.pop("lineshaft_script_long_gone")


@pytest.mark.crash
def test_workers_leave_with_the_process_that_started_them(tmp_path):
    (tmp_path / "worker_script.py").write_text(
        "import os, time, sys\n"
        "from lineshaft.core.engine import LocalProcesses\n"
        "def sleep(n):\n"
        "    open(sys.argv[0] + f'.{n}', 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    list(LocalProcesses(1).map(sleep, [1]))\n"
    )
    path = tmp_path / "worker_script.py"
    started = subprocess.Popen([sys.executable, str(path)])
    noted, deadline = tmp_path / "worker_script.py.1", time.monotonic() + 30
    while not (noted.exists() and noted.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(noted.read_text())
    started.kill()
    started.wait()
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_work_that_cannot_be_sent_is_named():
    with LocalProcesses(1) as engine, pytest.raises(UsageError, match=r"lambda.* top level"):
        list(engine.map(lambda part: part, [1, 2]))


def first_is_slow(part):
    time.sleep(0.5 if part == 0 else 0)
    return part * 10


def second_fails(log, part):
    with Path(log).open("a") as stream:
        stream.write(f"{part}\n")
    if part == 1:
        raise UsageError("part 1")
    time.sleep(0.5)
    return part * 10


@pytest.mark.parametrize("engine", ENGINES, ids=["in process", "local processes"])
def test_what_is_completed_comes_with_its_number_and_equals_what_map_gives(engine):
    found = dict(engine.completed(partial(power, 2), range(5)))
    assert [found[number] for number in range(5)] == list(engine.map(partial(power, 2), range(5)))
    assert list(engine.completed(partial(power, 2), [])) == []


def test_what_is_completed_first_comes_first():
    assert list(ENGINES[1].completed(first_is_slow, range(3))) == [(1, 10), (2, 20), (0, 0)]


def test_where_a_part_fails_those_that_run_are_yielded_and_no_other_begins(tmp_path):
    found = []
    with pytest.raises(UsageError, match="part 1"):
        found.extend(ENGINES[1].completed(partial(second_fails, str(tmp_path / "log")), range(6)))
    assert found in ([(0, 0)], [(0, 0), (2, 20)])  # whether the third began before the second failed is the clock's
    assert len((tmp_path / "log").read_text().split()) == len(found) + 1


def test_closing_early_waits_for_what_runs(tmp_path):
    began = ENGINES[1].completed(partial(leave_a_file, str(tmp_path)), range(2))
    next(began)
    began.close()
    assert (tmp_path / "1").exists()


def test_an_interrupt_ends_what_runs_and_leaves_other_children_alone():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    with LocalProcesses(2) as engine:
        began = engine.completed(time.sleep, [0, 600])
        next(began)
        with pytest.raises(KeyboardInterrupt):
            began.throw(KeyboardInterrupt())
        assert other.is_alive()
        other.kill()
        assert list(engine.map(abs, [-1])) == [1]


def leave_a_file(folder, part):
    time.sleep(0.6 * part)
    (Path(folder) / str(part)).touch()
    return part


def test_a_worker_that_dies_leaves_the_results_that_came_before():
    with LocalProcesses(1) as engine, pytest.raises(StepFailed, match="worker process died"):
        for found in engine.completed(die, range(3)):
            assert found == (0, 0)


def test_unsendable_work_is_named_as_it_completes_too():
    with LocalProcesses(1) as engine, pytest.raises(UsageError, match=r"lambda.* top level"):
        list(engine.completed(lambda part: part, [1, 2, 3]))

"""Ctrl-C ends a run in order: exit code 130, on record as interrupted, and the next run goes on."""

from __future__ import annotations

import signal
import time


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def interrupt_in_own_step(job, *options):
    gate = job.folder / "gate"
    gate.mkdir()
    running = job.start("run", "mill.py", *options, MILL_GATE=gate)
    wait_for((gate / "count_labels.reached").exists)
    running.kill(signal.SIGINT)
    return running.wait()


def test_an_interrupt_inside_a_step_ends_the_run_in_order(fresh, clean):
    job = fresh()
    ended = interrupt_in_own_step(job)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert job.statuses() == ["interrupted"]
    before = len(job.last())
    assert "fuse" in job.executed()
    assert "step count_labels" not in job.executed()

    again = job.run()  # at once: the lease was given back
    assert again["reused"] >= before
    assert job.state() == clean.state
    assert job.commits() == {1}
    assert job.statuses() == ["done", "interrupted"]


def test_an_interrupt_inside_training_keeps_its_checkpoints(fresh, clean):
    job = fresh()
    work = job.folder / "home" / "work"
    running = job.start()
    wait_for(lambda: list(work.glob("*/epoch-*.json")))
    running.kill(signal.SIGINT)
    assert running.wait().code == 130
    job.run()
    assert job.state() == clean.state
    assert job.leftovers() == []


def test_the_events_of_an_interrupted_run_are_kept(fresh):
    job = fresh()
    interrupt_in_own_step(job)
    assert {fact["step"] for fact in job.events("step.executed")} >= {"read raw.parquet", "fuse"}
    assert job.events("run.ended")[0]["status"] == "interrupted"

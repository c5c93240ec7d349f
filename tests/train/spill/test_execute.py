"""Lanes run their actions in order once what they need is done; the first failure anywhere ends all and is raised."""

from __future__ import annotations

import threading

import pytest

from lineshaft.core.memory import PAGE
from lineshaft.errors import StorageError, TrainingError
from lineshaft.train.program.actions import Action, Object, Program
from lineshaft.train.program.generate import spilled
from lineshaft.train.program.place import place
from lineshaft.train.spill import execute
from lineshaft.train.spill.execute import Executor
from training_threads import training_threads

SOON = 30.0  # seconds that a test waits for what must come


class Recorder:
    """Handlers that note what they were called with, and may wait or fail at an action."""

    def __init__(self, gates=(), failures=()):
        self.seen, self.gates, self.failures = [], dict(gates), dict(failures)
        self.executor = Executor(self.handle, self.handle, self.handle)

    def handle(self, action):
        name = str(action)
        if name in self.gates:
            assert self.gates[name].wait(SOON)
        if name in self.failures:
            raise self.failures[name]
        self.seen.append(name)
        return 5 if action.kind in "LW" else None


@pytest.fixture
def recorder():
    made = []

    def make(**options):
        made.append(Recorder(**options))
        return made[-1]

    yield make
    for one in made:
        for gate in one.gates.values():
            gate.set()
        one.executor.close()
    assert not [thread for thread in training_threads() if thread.name in {"lineshaft-in", "lineshaft-out"}]


def program(*actions):
    return Program(actions, 1, 1)


def placed(shards=4, micros=2, room=3, before=None):
    sizes = {Object(k, what): PAGE for k in range(shards) for what in "ps"}
    return place(spilled(shards, micros), sizes, room * PAGE, before)


F, S = Action("F", 0, 0), Action("S", 0)
LOAD = Action("L", 0, what="p")


def needing(action, *numbers, drops=()):
    return Action(action.kind, action.shard, action.micro, action.what, action.graph, tuple(drops), numbers)


def write(*needs):
    return Action("W", 0, what="p", needs=needs)


def test_an_action_starts_when_what_it_needs_is_done(recorder):
    one = recorder()
    one.executor.run(program(LOAD, needing(F, 0), needing(S, 1), write(2)))
    one.executor.settle()
    assert one.seen == ["L0p", "F0.0", "S0", "W0p"]


def test_lanes_that_need_nothing_of_each_other_do_not_wait(recorder):
    gate = threading.Event()
    one = recorder(gates={"L0p": gate})
    one.executor.run(program(LOAD, F, S))
    assert one.seen == ["F0.0", "S0"]
    gate.set()
    one.executor.settle()
    assert one.seen == ["F0.0", "S0", "L0p"]


@pytest.mark.parametrize("room", [2, 3, 5, 8])
def test_a_placed_program_runs_every_action_once_and_after_its_needs(recorder, room):
    one = recorder()
    made = placed(room=room)
    one.executor.run(made)
    one.executor.settle()
    trace = one.executor._last.trace
    assert sorted(map(str, made.actions)) == sorted(one.seen)
    ends = {id(span.action): span.end for span in trace.spans}
    starts = {id(span.action): span.start for span in trace.spans}
    for action in made.actions:
        assert all(ends[id(made.actions[need])] <= starts[id(action)] for need in action.needs)
    for lane in ("in", "compute", "out"):
        own = [str(made.actions[number]) for number in made.lane(lane)]
        assert [str(span.action) for span in trace.spans if span.action.lane == lane] == own


def test_many_steps_follow_each_other(recorder):
    one, before = recorder(), None
    for _ in range(5):
        made = placed(before=before)
        one.executor.run(made)
        before = made.after
    one.executor.settle()
    assert one.seen.count("S0") == 5
    assert one.seen.count("F3.1+") == 5


def test_a_trace_has_the_bytes_moved_and_the_time_waited(recorder):
    one = recorder()
    trace = one.executor.run(program(LOAD, needing(F, 0)))
    assert [(str(span.action), span.size) for span in trace.spans] == [("L0p", 5), ("F0.0", 0)]
    assert all(span.start <= span.end for span in trace.spans)
    assert trace.stalled >= 0


def test_a_step_returns_while_its_last_writes_are_under_way(recorder):
    gate = threading.Event()
    one = recorder(gates={"W0p": gate})
    one.executor.run(program(S, write(0)))
    assert one.seen == ["S0"]
    gate.set()
    one.executor.settle()
    assert one.seen == ["S0", "W0p"]


@pytest.mark.parametrize("next_load", [LOAD, Action("L", 1, what="p", drops=(Object(0, "p"),))])
def test_a_load_waits_for_the_write_of_the_step_before_of_what_it_brings_or_drops(recorder, next_load):
    gate = threading.Event()
    one = recorder(gates={"W0p": gate})
    one.executor.run(program(S, write(0)))
    one.executor.run(program(next_load, F))  # F needs no load, so this step's computing ends
    assert one.seen == ["S0", "F0.0"]
    gate.set()
    one.executor.settle()
    assert one.seen == ["S0", "F0.0", "W0p", str(next_load)]


def test_an_optimizer_step_waits_for_the_write_of_the_step_before_of_what_it_changes(recorder):
    """Else a commit would name bytes that a later step has changed."""
    gate, second = threading.Event(), threading.Event()
    one = recorder(gates={"W0p": gate})
    one.executor.run(program(S, write(0)))

    def go():
        one.executor.run(program(F, needing(S, 0)))
        second.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert not second.wait(0.1)
    assert one.seen == ["S0", "F0.0"]
    gate.set()
    thread.join(SOON)
    assert one.seen == ["S0", "F0.0", "W0p", "S0"]


def test_a_load_of_another_object_does_not_wait_for_it(recorder):
    gate = threading.Event()
    one = recorder(gates={"W0p": gate})
    one.executor.run(program(S, write(0)))
    other = Action("L", 1, what="p")
    one.executor.run(program(other, needing(F, 0)))
    assert one.seen == ["S0", "L1p", "F0.0"]


def test_a_step_waits_for_the_writes_of_the_step_before_the_last(recorder):
    gate = threading.Event()
    one, third = recorder(gates={"W0p": gate}), threading.Event()
    one.executor.run(program(S, write(0)))
    one.executor.run(program(F))

    def go():
        one.executor.run(program(F))
        third.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert not third.wait(0.1)
    gate.set()
    thread.join(SOON)
    assert third.is_set()


class MineError(Exception):
    pass


@pytest.mark.parametrize("failing", ["L0p", "F0.0", "S0"])
def test_a_failure_of_any_lane_is_raised_where_the_step_was_asked_for(recorder, failing):
    one = recorder(failures={failing: MineError("mine")})
    with pytest.raises(MineError, match="mine"):
        one.executor.run(program(LOAD, needing(F, 0), needing(S, 1)))
    assert failing not in one.seen


def test_a_failure_of_the_last_write_is_raised_when_it_is_waited_for(recorder):
    one = recorder(failures={"W0p": StorageError("no room")})
    one.executor.run(program(S, write(0)))
    with pytest.raises(StorageError, match="no room"):
        one.executor.settle()


def test_a_failure_of_the_last_write_is_raised_by_the_next_step_that_needs_it(recorder):
    one = recorder(failures={"W0p": StorageError("no room")})
    one.executor.run(program(S, write(0)))
    with pytest.raises(StorageError, match="no room"):
        one.executor.run(program(LOAD, needing(F, 0)))


def test_a_failure_stays_and_later_steps_do_nothing(recorder):
    one = recorder(failures={"F0.0": MineError("first")})
    with pytest.raises(MineError):
        one.executor.run(program(F))
    with pytest.raises(MineError, match="first"):
        one.executor.run(program(S))
    assert one.seen == []


def test_the_first_failure_is_the_one_that_is_raised():
    entered, gate = threading.Event(), threading.Event()

    def compute(action):
        assert entered.wait(SOON)
        raise MineError("first")

    def load(action):
        entered.set()
        assert gate.wait(SOON)
        raise MineError("second")

    executor = Executor(compute, load, load)
    with pytest.raises(MineError, match="first"):
        executor.run(program(LOAD, F))
    gate.set()
    executor.close()  # the reader has failed too, by now
    with pytest.raises(MineError, match="first"):
        executor.settle()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_all_lanes(recorder, error):
    one = recorder(failures={"F0.0": error()})
    with pytest.raises(error):
        one.executor.run(program(F, Action("L", 0, what="p", needs=(0,))))
    assert one.seen == []


def test_an_action_that_waits_for_ever_is_given_up_with_what_it_waits_for(recorder, monkeypatch):
    monkeypatch.setattr(execute, "PATIENCE", 0.05)
    gate = threading.Event()
    one = recorder(gates={"L0p": gate})
    with pytest.raises(TrainingError, match=r"F0\.0, which waits for L0p; the reader has been at L0p; check"):
        one.executor.run(program(LOAD, needing(F, 0)))


def test_a_load_that_waits_for_ever_names_the_write_of_the_step_before(recorder, monkeypatch):
    monkeypatch.setattr(execute, "PATIENCE", 0.2)
    gate = threading.Event()
    one = recorder(gates={"W0p": gate})
    one.executor.run(program(S, write(0)))
    with pytest.raises(TrainingError, match=r"(L0p, which waits for a write of the step before|F0\.0, which waits)"):
        one.executor.run(program(LOAD, needing(F, 0)))


def test_last_writes_that_never_end_are_given_up(recorder, monkeypatch):
    monkeypatch.setattr(execute, "PATIENCE", 0.05)
    one = recorder(gates={"W0p": threading.Event()})
    one.executor.run(program(S, write(0)))
    with pytest.raises(TrainingError, match="the last writes"):
        one.executor.settle()


def test_settling_before_any_step_is_nothing(recorder):
    recorder().executor.settle()


def test_closing_ends_reader_and_writer_even_after_a_failure():
    one = Recorder(failures={"L0p": MineError("mine")})
    with pytest.raises(MineError):
        one.executor.run(program(LOAD, needing(F, 0), write(1)))
    one.executor.close()
    assert all(not thread.is_alive() for thread in one.executor._threads)


def test_a_program_without_loads_and_writes_computes_only(recorder):
    one = recorder()
    one.executor.run(program(F, Action("B", 0, 0), S))
    assert one.seen == ["F0.0", "B0.0", "S0"]


def test_who_computes_for_long_is_waited_for(recorder, monkeypatch):
    monkeypatch.setattr(execute, "PATIENCE", 0.05)
    gate = threading.Event()
    one = recorder(gates={"S0": gate})
    threading.Timer(0.5, gate.set).start()
    one.executor.run(program(LOAD, needing(S, 0), Action("W", 0, what="p", needs=(1,))))
    one.executor.settle()


def test_a_failure_leaves_the_writes_of_the_step_before_their_time(recorder):
    gate = threading.Event()
    one = recorder(gates={"W0p": gate}, failures={"F0.0": ValueError("mine")})
    one.executor.run(program(LOAD, needing(S, 0), Action("W", 0, what="p", needs=(1,))))
    threading.Timer(0.2, gate.set).start()
    with pytest.raises(ValueError, match="mine"):
        one.executor.run(program(F))
    assert "W0p" in one.seen

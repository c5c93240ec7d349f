"""Every wait ends with a named cause: each lane in turn raises, dies or stalls, and nobody waits for ever.

Of the executor alone, and of a whole training: there threads and files are gone afterwards, and the last commit is gone
on from to the same bits.
"""

from __future__ import annotations

import itertools
import re
import threading

import pytest
import torch
from plain_loop import all_state, assert_same_bits
from zoo import ZOO, spilled

from lineshaft.core.memory import SpillFile
from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import Action, Program
from lineshaft.train.spill import execute, keeper
from lineshaft.train.spill.execute import Executor
from lineshaft.train.spill.paged import Paged
from training_threads import training_threads

SOON = 30.0  # seconds that a test waits for what must come
PATIENCE = 0.5


class BrokenError(Exception):
    pass


@pytest.fixture
def hurried(monkeypatch):
    for module in (execute, keeper):
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    monkeypatch.setattr(execute, "GRACE", PATIENCE)


@pytest.fixture
def gate():
    """Holds up whoever stalls, until the test is over; then no thread is left."""
    held = threading.Event()
    yield held
    held.set()
    require_no_thread()


@pytest.fixture
def executor(gate):
    """Make executors, and close them."""
    made = []

    def make(*handlers):
        made.append(Executor(*handlers))
        return made[-1]

    yield make
    gate.set()
    for one in made:
        one.close()


def require_no_thread():
    for thread in training_threads():
        thread.join(SOON)
    assert training_threads() == []


def told(error):
    """Return what people see of an error."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def faulty(how, gate):
    """Return what goes wrong in a lane."""

    def fault():
        if how == "raises":
            raise BrokenError("broken")
        if how == "dies":
            raise SystemExit
        gate.wait(SOON)

    return fault


ACTIONS = {"in": "L0p", "compute": "F0.0", "out": "W0p"}
STEP = Program(
    (
        Action("L", 0, what="p"),
        Action("F", 0, 0, needs=(0,)),
        Action("S", 0, needs=(1,)),
        Action("W", 0, what="p", needs=(2,)),
        Action("L", 1, what="p", needs=(3,)),
        Action("F", 1, 0, needs=(4,)),
    ),
    2,
    1,
)


@pytest.fixture
def failure(executor, gate):
    """Let a lane fail at its first action; return what the caller is told."""

    def fail(how, lane):
        fault = faulty(how, gate)

        def handle(action):
            if str(action) == ACTIONS[lane]:
                fault()

        one = executor(handle, handle, handle)
        with pytest.raises((BrokenError, TrainingError)) as caught:
            one.run(STEP)
            one.settle()
        return caught.value

    return fail


@pytest.mark.parametrize("lane", ACTIONS)
def test_an_action_that_raises_is_named_beside_what_it_raised(lane, failure):
    error = failure("raises", lane)
    assert isinstance(error, BrokenError)
    assert ACTIONS[lane] in told(error)


@pytest.mark.parametrize("lane", ["in", "out"])
def test_a_thread_that_dies_is_an_error_and_does_not_end_the_program(lane, failure):
    error = failure("dies", lane)
    assert isinstance(error, TrainingError)
    assert ACTIONS[lane] in told(error)


@pytest.mark.parametrize("lane", ["in", "out"])
def test_a_lane_that_stalls_is_named_by_whoever_waits_for_it(lane, failure, hurried):
    error = failure("stalls", lane)
    assert isinstance(error, TrainingError)
    assert re.search(f"nothing went on .* (reader|writer) has been at {ACTIONS[lane]}", str(error))


def test_last_writes_that_stall_are_named(executor, gate, hurried):
    one = executor(lambda action: None, lambda action: None, lambda action: gate.wait(SOON))
    one.run(Program((Action("S", 0), Action("W", 0, what="p", needs=(0,))), 1, 1))
    with pytest.raises(TrainingError, match="the last writes; the writer has been at W0p"):
        one.settle()


def test_a_reader_that_is_gone_is_not_waited_for_for_ever(executor, hurried):
    one = executor(lambda action: None, lambda action: None, lambda action: None)
    one.close()
    with pytest.raises(TrainingError, match=r"F0\.0, which waits for L0p; no lane is at work"):
        one.run(STEP)


PLACES = {"in": (SpillFile, "read"), "compute": (Paged, "step"), "out": (SpillFile, "write")}
NAMED = {"in": r"\bL\d+(\.\d+)?[psxg]", "compute": r"\bS\d+", "out": r"\bW\d+(\.\d+)?[psxg]"}
CASE = ZOO["mlp"]
WHEN = [1, 4, 11]  # times that a lane has done what it does


def break_training(lane, fault, number, monkeypatch):
    """Let what a lane does fail at one time."""
    owner, name = PLACES[lane]
    real, times = getattr(owner, name), itertools.count(1)

    def broken(*args):
        own = threading.current_thread()
        if own.name == f"lineshaft-{lane}" or (lane == "compute" and own is threading.main_thread()):
            if next(times) == number:
                fault()
        return real(*args)

    monkeypatch.setattr(owner, name, broken)


@pytest.fixture(scope="module")
def straight():
    return spilled(CASE, epochs=3, micro_batch=3)


def goes_on(folder, straight):
    resumed = spilled(CASE, epochs=3, micro_batch=3, checkpoint=folder)
    assert resumed.losses == straight.losses
    assert_same_bits(all_state(resumed.model, resumed.optimizer), all_state(straight.model, straight.optimizer))


@pytest.mark.parametrize("number", WHEN)
@pytest.mark.parametrize("how", ["raises", "dies"])
@pytest.mark.parametrize("lane", PLACES)
def test_a_training_whose_lane_breaks_says_where_and_is_gone_on_from(tmp_path, lane, how, number, gate, straight):
    with pytest.MonkeyPatch.context() as patch:
        break_training(lane, faulty(how, gate), number, patch)
        with pytest.raises(BaseException) as caught:
            spilled(CASE, epochs=3, micro_batch=3, checkpoint=tmp_path)
    if (lane, how) == ("compute", "dies"):  # the caller's own thread: what ends it is the caller's own wish
        assert isinstance(caught.value, SystemExit)
    else:
        assert isinstance(caught.value, BrokenError if how == "raises" else TrainingError)
        assert re.search(NAMED[lane], told(caught.value)), told(caught.value)
    require_no_thread()
    goes_on(tmp_path, straight)


@pytest.mark.parametrize("number", WHEN)
@pytest.mark.parametrize("lane", ["in", "out"])
def test_a_training_whose_lane_stalls_is_given_up_and_gone_on_from(tmp_path, lane, number, gate, hurried, straight):
    with pytest.MonkeyPatch.context() as patch:
        break_training(lane, faulty("stalls", gate), number, patch)
        with pytest.raises(TrainingError, match="nothing went on"):
            spilled(CASE, epochs=3, micro_batch=3, checkpoint=tmp_path)
        gate.set()
        require_no_thread()
    goes_on(tmp_path, straight)


@pytest.mark.parametrize("how", ["raises", "stalls"])
@pytest.mark.parametrize("lane", ["in", "out"])
def test_a_training_that_keeps_nothing_leaves_nothing_when_a_lane_breaks(
    tmp_path, lane, how, gate, hurried, monkeypatch
):
    break_training(lane, faulty(how, gate), 3, monkeypatch)
    with pytest.raises((BrokenError, TrainingError)):
        spilled(CASE, epochs=3, spill=tmp_path)
    gate.set()
    require_no_thread()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_between_a_step_and_its_commit_costs_that_step(tmp_path, straight):
    """The writer waits for what the commit says beside objects; it is told that nothing comes."""
    turns = itertools.count(1)

    class Failing(torch.optim.lr_scheduler.LambdaLR):
        def step(self, *args):
            if next(turns) == 5:  # the first is the schedule's own
                raise BrokenError("broken")
            super().step(*args)

    def schedule(optimizer):
        return Failing(optimizer, lambda step: 1.0)

    with pytest.raises(BrokenError):
        spilled(CASE, epochs=3, micro_batch=3, schedule=schedule, checkpoint=tmp_path)
    require_no_thread()
    turns = itertools.count(100)
    resumed = spilled(CASE, epochs=3, micro_batch=3, schedule=schedule, checkpoint=tmp_path)
    assert resumed.losses == straight.losses

"""The executor: runs a program's three lanes, and records what happened when.

::

    caller's thread   compute  F0.0 F0.1 F1.0 ...      waits for what an action needs, then runs it
    reader            in       L2p L3p ...             each lane runs its list in order
    writer            out      W3p W3s C ...           and may still be writing when the next step computes

On a GPU to run an action is to queue it; the GPU, too, runs it behind all that it needs (`device`). The first failure,
wherever it happens, ends all lanes and is raised where the step was asked for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from queue import SimpleQueue
from typing import Any

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import Action, Lane, Object, Program, Span
from lineshaft.train.program.picture import diagram, gantt
from lineshaft.train.program.place import uses
from lineshaft.train.spill.device import Device, Mark

PATIENCE = 600.0  # seconds without any action ending, or one computing, before that is taken for a fault
GRACE = 10.0  # seconds in which the reader and the writer should end after a fault
LOOK = 5.0  # seconds between looks at whether anything goes on
OURS: dict[Lane, str] = {"in": "the reader", "out": "the writer", "compute": "computing"}
Handler = Callable[[Action], int | None]


@dataclass
class Trace:
    """What happened in one step.

    Attributes
    ----------
    device
        On which.
    since
        The mark of its beginning.
    marked
        The program's actions in the order they ended, each from one mark to another, and the bytes moved.
    waits
        The marks between which computing waited.

    """

    device: Device
    since: Mark
    marked: list[tuple[Action, Mark, Mark, int]] = field(default_factory=list)
    waits: list[tuple[Mark, Mark]] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """The actions, in seconds since the beginning of the step; on a GPU, waits until they are over."""
        when = self.device.seconds
        return [
            Span(one, when(self.since, start), when(self.since, end), size) for one, start, end, size in self.marked
        ]

    @cached_property
    def stalled(self) -> float:
        """The seconds that computing waited."""
        return sum(self.device.seconds(start, end) for start, end in self.waits)

    def diagram(self, width: int = 100) -> str:
        """Draw it in letters."""
        return diagram(self.spans, width)

    def _repr_html_(self) -> str:
        return gantt(self.spans)


class Executor:
    """Runs programs with the given handlers; the reader and the writer live as long as it does.

    Parameters
    ----------
    compute, load, write
        What to do for an action of each lane; they return the bytes moved.
    device
        Where.

    """

    def __init__(self, compute: Handler, load: Handler, write: Handler, device: Device | None = None) -> None:
        self._device = device or Device()
        self._handlers: dict[Lane, Handler] = {"compute": compute, "in": load, "out": write}
        self._queues: dict[Lane, SimpleQueue[Any]] = {"in": SimpleQueue(), "out": SimpleQueue()}
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._last: _Run | None = None
        self._under: dict[Lane, Action] = {}
        self._moved = time.monotonic()  # when an action began or ended last
        self._threads = [
            threading.Thread(target=self._serve, args=(lane,), name=f"lineshaft-{lane}", daemon=True)
            for lane in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def run(self, program: Program) -> Trace:
        """Run a step; its last writes may still be under way when this returns."""
        run = _Run(program, self._last, Trace(self._device, self._device.mark()))
        if self._last is not None and self._last.before is not None:
            self._wait(self._last.before.over, "the writes of the step before the last")
            self._last.before = None
        self._last = run
        for lane, queue in self._queues.items():
            queue.put((run, program.lane(lane)))
        try:
            with self._device.lane("compute"):
                for number in program.lane("compute"):
                    self._start(run, number, run.trace.waits)
                    self._do("compute", run, number)
        except BaseException as error:
            self._abandon(run, error)
            raise
        return run.trace

    def settle(self) -> None:
        """Wait for the last writes."""
        if self._last is not None:
            self._wait(self._last.over, "the last writes")
            self._device.sync()

    def close(self) -> None:
        """End the reader and the writer, once they have finished what they are at; after a fault, not for ever."""
        for queue in self._queues.values():
            queue.put(None)
        for thread in self._threads:
            thread.join(None if self._error is None else GRACE)

    def _abandon(self, run: _Run, error: BaseException) -> None:
        """End all lanes, once what the last whole step writes is written: nobody shall lose that."""
        before = run.before
        try:
            if before is not None:
                with self._changed:
                    self._changed.wait_for(lambda: self._error is not None or before.over(), PATIENCE)
        finally:
            self._fail(error)

    def _serve(self, lane: Lane) -> None:
        with self._device.lane(lane):
            self._serve_all(lane)

    def _serve_all(self, lane: Lane) -> None:
        while (item := self._queues[lane].get()) is not None:
            run, numbers = item
            try:
                for number in numbers:
                    self._start(run, number)
                    self._do(lane, run, number)
            except Exception as error:  # noqa: BLE001 - raised where the step was asked for
                self._fail(error)
            except BaseException as error:  # noqa: BLE001 - what ends this thread shall not end the program unsaid
                self._fail(TrainingError(f"{OURS[lane]} was ended by {error!r} at {run.program.actions[number]}"))

    def _start(self, run: _Run, number: int, waits: list[tuple[Mark, Mark]] | None = None) -> None:
        """Wait until an action may start; note for how long."""
        before = self._device.mark()
        ready = self._error is None and run.ready(number)
        if not ready:
            what = f"{run.program.actions[number]}, which waits for {run.missing(number)}"
            self._wait(lambda: run.ready(number), what)
        for mark in run.behind(number) if self._device.apart else ():
            self._device.after(mark)
        if waits is not None and (self._device.apart or not ready):
            waits.append((before, self._device.mark()))

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        with self._changed:
            while not self._changed.wait_for(lambda: self._error is not None or ready(), min(LOOK, PATIENCE)):
                idle = time.monotonic() - self._moved
                if idle > PATIENCE and "compute" not in self._under:
                    raise TrainingError(self._stuck(idle, what))
        if self._error is not None:
            raise self._error

    def _stuck(self, idle: float, what: str) -> str:
        under = [f"{OURS[lane]} has been at {action}" for lane, action in self._under.items()]
        return (
            f"nothing went on for {idle:.0f} s: {what}; {' and '.join(under) or 'no lane is at work'}; check the disk "
            f"under spill= or checkpoint=, then go on from the last commit"
        )

    def _do(self, lane: Lane, run: _Run, number: int) -> None:
        action = run.program.actions[number]
        self._under[lane], self._moved = action, time.monotonic()
        start = self._device.mark()
        try:
            size = self._handlers[lane](action) or 0
        except Exception as error:
            error.add_note(f"{OURS[lane]} was at {action}")
            raise
        finally:
            del self._under[lane]
        with self._changed:
            self._moved = time.monotonic()
            run.finish(number, start, self._device.mark(), size)
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()


class _Run:
    """One program under way."""

    def __init__(self, program: Program, before: _Run | None, trace: Trace) -> None:
        self.program, self.before, self.trace = program, before, trace
        self.marks: dict[int, Mark] = {}  # number of an action -> where its lane was when it was over
        self.written: dict[Object, Mark] = {}  # the same, of the last write of an object
        self.done = [False] * len(program.actions)
        self.left = len(program.actions)
        self.unwritten = Counter(action.object for action in program.actions if action.kind == "W")

    def ready(self, number: int) -> bool:
        """Say whether all is done that an action needs, in this step and in the one before."""
        action = self.program.actions[number]
        if not all(self.done[need] for need in action.needs):
            return False
        return self.before is None or not any(self.before.unwritten[item] for item in _changed(action))

    def behind(self, number: int) -> Iterator[Mark]:
        """Go through the marks that an action comes after, once it is ready."""
        action = self.program.actions[number]
        yield self.trace.since
        yield from (self.marks[need] for need in action.needs)
        if self.before is not None:
            yield from (self.before.written[one] for one in _changed(action) if one in self.before.written)

    def missing(self, number: int) -> str:
        action = self.program.actions[number]
        own = [str(self.program.actions[need]) for need in action.needs if not self.done[need]]
        return ", ".join(own) or "a write of the step before"

    def over(self) -> bool:
        return not self.left

    def finish(self, number: int, start: Mark, end: Mark, size: int) -> None:
        action = self.program.actions[number]
        self.trace.marked.append((action, start, end, size))
        self.marks[number], self.done[number] = end, True
        self.left -= 1
        if action.kind == "W":
            self.unwritten[action.object] -= 1
            self.written[action.object] = end


def _changed(action: Action) -> tuple[Object, ...]:
    """Return the objects that must not be under way to below, from the step before, when an action starts."""
    if action.kind == "L":
        return action.object, *action.drops
    return uses(action) if action.kind == "S" else ()

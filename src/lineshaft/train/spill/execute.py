"""The executor: runs a program's three lanes, and records what happened when.

::

    caller's thread   compute  F0.0 F0.1 F1.0 ...      waits for what an action needs, then runs it
    reader            in       L2p L3p ...             each lane runs its list in order
    writer            out      W3p W3s C ...           and may still be writing when the next step computes

The first failure, wherever it happens, ends all lanes and is raised where the step was asked for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import Action, Lane, Program, Span
from lineshaft.train.program.picture import diagram, gantt
from lineshaft.train.program.place import uses

PATIENCE = 600.0  # seconds without any action ending, or one computing, before that is taken for a fault
GRACE = 10.0  # seconds in which the reader and the writer should end after a fault
LOOK = 5.0  # seconds between looks at whether anything goes on
OURS: dict[Lane, str] = {"in": "the reader", "out": "the writer", "compute": "computing"}
Handler = Callable[[Action], int | None]


@dataclass
class Trace:
    """What happened in one step: the program's actions in the order they ended, and how long computing waited."""

    spans: list[Span] = field(default_factory=list)
    stalled: float = 0.0

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

    """

    def __init__(self, compute: Handler, load: Handler, write: Handler) -> None:
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
        run = _Run(program, self._last)
        if self._last is not None and self._last.before is not None:
            self._wait(self._last.before.over, "the writes of the step before the last")
            self._last.before = None
        self._last = run
        for lane, queue in self._queues.items():
            queue.put((run, program.lane(lane)))
        try:
            for number in program.lane("compute"):
                run.trace.stalled += self._start(run, number)
                self._do("compute", run, number)
        except BaseException as error:
            self._abandon(run, error)
            raise
        return run.trace

    def settle(self) -> None:
        """Wait for the last writes."""
        if self._last is not None:
            self._wait(self._last.over, "the last writes")

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

    def _start(self, run: _Run, number: int) -> float:
        """Wait until an action may start; return for how long."""
        started = time.perf_counter()
        if self._error is None and run.ready(number):
            return 0.0
        self._wait(lambda: run.ready(number), f"{run.program.actions[number]}, which waits for {run.missing(number)}")
        return time.perf_counter() - started

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
        start = time.perf_counter()
        try:
            size = self._handlers[lane](action) or 0
        except Exception as error:
            error.add_note(f"{OURS[lane]} was at {action}")
            raise
        finally:
            del self._under[lane]
        with self._changed:
            self._moved = time.monotonic()
            run.finish(number, Span(action, start, time.perf_counter(), size))
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()


class _Run:
    """One program under way."""

    def __init__(self, program: Program, before: _Run | None) -> None:
        self.program, self.before = program, before
        self.trace = Trace()
        self.done = [False] * len(program.actions)
        self.left = len(program.actions)
        self.unwritten = Counter(action.object for action in program.actions if action.kind == "W")

    def ready(self, number: int) -> bool:
        """Say whether all is done that an action needs, in this step and in the one before."""
        action = self.program.actions[number]
        if not all(self.done[need] for need in action.needs):
            return False
        if self.before is None or action.kind not in {"L", "S"}:
            return True
        changed = (action.object, *action.drops) if action.kind == "L" else uses(action)
        return not any(self.before.unwritten[item] for item in changed)

    def missing(self, number: int) -> str:
        action = self.program.actions[number]
        own = [str(self.program.actions[need]) for need in action.needs if not self.done[need]]
        return ", ".join(own) or "a write of the step before"

    def over(self) -> bool:
        return not self.left

    def finish(self, number: int, span: Span) -> None:
        self.trace.spans.append(span)
        self.done[number] = True
        self.left -= 1
        if span.action.kind == "W":
            self.unwritten[span.action.object] -= 1

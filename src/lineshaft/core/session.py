"""Steps in the name of one run: run once, reused ever after.

::

    key known and its objects whole? ── yes ──► reuse
        │ no
    acquire the lease ── held by another ──► wait, look again
        │
    compute ──► put the objects ──► one transaction: confirm lease and objects, record, release

A kill at any point leaves objects that nothing names, which the next attempt or ``gc`` takes care of.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lineshaft.core import lease
from lineshaft.core.catalog import uses
from lineshaft.core.durable import crash_point
from lineshaft.core.engine import Engine, InProcess
from lineshaft.core.events import emit, repeat
from lineshaft.core.executions import find, outputs_of, record
from lineshaft.core.step import Done, Step
from lineshaft.core.work import Worked, said_by, work_elsewhere, work_here
from lineshaft.errors import LeaseLost, StorageError, UsageError

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.home import Home
    from lineshaft.core.lease import Lease

SHORTEST_WAIT, LONGEST_WAIT = 0.02, 0.5  # seconds between two looks at a step that is being computed elsewhere


@dataclass
class Session:
    """Steps in the name of one run.

    Attributes
    ----------
    home
        Where objects and catalog live.
    run
        The run's id.
    engine
        Where steps that are independent of each other run.
    open
        Whether the run has begun and is not over: only then are there steps in its name.
    executed, reused
        How many steps were computed and how many were there.

    """

    home: Home
    run: str
    engine: Engine
    open: bool = True
    executed: int = 0
    reused: int = 0
    _positions: int = 0

    def one(self, step: Step) -> dict[str, Artifact]:
        """Run or reuse one step."""
        return self.all([step])[0]

    def all(self, steps: Sequence[Step]) -> list[dict[str, Artifact]]:
        """Run or reuse steps that do not depend on each other; the missing ones go to the engine together.

        Where one fails, those that were done or had begun are committed before its error is raised.
        """
        if not self.open:
            raise UsageError(
                "a step was asked of a run that has not begun, or is over: use `with ls.Run(...) as run:` and work "
                "inside the block, or ls.run(main)"
            )
        first, self._positions = self._positions, self._positions + len(steps)
        results: dict[int, Done] = {}
        try:
            self._run(steps, results, first)
        finally:
            for done in results.values():
                self.executed += not done.reused
                self.reused += done.reused
        return [results[index].outputs for index in range(len(steps))]

    def known(self, step: Step) -> bool:
        """Say whether a step would be reused."""
        with self.home.catalog.read() as connection:
            number = find(connection, step.key)
            found = {} if number is None else outputs_of(connection, number)
        return bool(found) and all(self.home.store.has(artifact) for artifact in found.values())

    def _run(self, steps: Sequence[Step], results: dict[int, Done], first: int) -> None:
        pause = SHORTEST_WAIT
        while len(results) < len(steps):
            open_, held = self._sort(steps, results, first)
            if held:
                self._compute(steps, held, results, first)
                pause = SHORTEST_WAIT
            elif open_:
                time.sleep(pause)  # all that is missing is being computed elsewhere
                pause = min(2 * pause, LONGEST_WAIT)

    def _sort(self, steps: Sequence[Step], results: dict[int, Done], first: int) -> tuple[list[int], dict[int, Lease]]:
        """Reuse what is known; take the leases of what is free."""
        missing: list[int] = []
        held: dict[int, Lease] = {}
        try:
            for index, step in enumerate(steps):
                if index not in results:
                    self._sort_one(step, index, results, first, missing, held)
        except BaseException:
            for taken in held.values():
                self._release(taken)
            raise
        return missing, held

    def _sort_one(
        self, step: Step, index: int, results: dict[int, Done], first: int, missing: list[int], held: dict[int, Lease]
    ) -> None:
        if not step.impure and (found := self._reuse(step, first + index)) is not None:
            results[index] = found
            emit("step.reused", step=step.name, key=step.key)
            return
        missing.append(index)
        if (taken := lease.acquire(self.home.catalog, self._lease_key(step))) is None:
            return
        held[index] = taken
        # Another process may have committed between our look and our lease.
        if not step.impure and (found := self._reuse(step, first + index)) is not None:
            self._release(held.pop(index))
            results[index] = found
            emit("step.reused", step=step.name, key=step.key)

    def _compute(self, steps: Sequence[Step], held: dict[int, Lease], results: dict[int, Done], first: int) -> None:
        """Compute the steps whose leases we hold, and commit each as soon as it is done, whatever becomes of others."""
        order = sorted(held)
        waiting = dict(held)
        with _beating(self.home, list(held.values())):
            try:
                with _ended(self._worked([steps[index] for index in order])) as worked:
                    for place, done in worked:
                        index = order[place]
                        for event in done.said:
                            repeat(event)
                        self._finish(steps[index], waiting[index], done, first + index, results, index)
                        del waiting[index]
            except BaseException as error:
                for event in said_by(error):
                    repeat(event)
                lost = [index for index in sorted(waiting) if not self._ours(waiting[index])]
                if not lost or not isinstance(error, StorageError):
                    raise
                # Whoever took over has cleared the folder of checkpoints under us: his result counts.
                emit("lease.lost", step=steps[lost[0]].name, reason=str(error))
            finally:
                for left in waiting.values():
                    self._release(left)

    def _worked(self, steps: Sequence[Step]) -> Generator[tuple[int, Worked]]:
        """Let the engine compute; one step alone needs no process of its own."""
        jobs = [(self.home.folder, step, self.home.work(step.key)) for step in steps]
        if isinstance(self.engine, InProcess) or len(jobs) == 1:
            return InProcess().completed(functools.partial(work_here, home=self.home), jobs)
        return self.engine.completed(work_elsewhere, jobs)

    def _finish(
        self, step: Step, held: Lease, done: Worked, position: int, results: dict[int, Done], index: int
    ) -> None:
        try:
            self._commit(step, held, done.made, done.seconds, position)
        except LeaseLost as lost:
            emit("lease.lost", step=step.name, reason=str(lost))  # look again: the other's result, or a new lease
            self._release(held)  # where objects were swept it is still ours
            return
        self.home.clear_work(step.key)
        emit("step.executed", step=step.name, key=step.key, seconds=done.seconds)
        results[index] = Done(dict(done.made), reused=False)

    def _commit(self, step: Step, held: Lease, made: list[tuple[str, Artifact]], seconds: float, position: int) -> None:
        """Name the objects in one transaction; a re-made step (damaged objects) replaces its old record."""
        crash_point("commit.before")
        key = step.key if not step.impure else f"{step.key}:{self.run}:{position}"
        with self.home.catalog.write() as connection:
            lease.confirm(connection, held)
            gone = [artifact for _, artifact in made if not self.home.store.has(artifact)]
            if gone:
                raise LeaseLost(f"{gone[0]} was swept away before it was named")
            number = record(connection, step, key, self.run, made, seconds)
            connection.execute(sa.delete(uses).where(uses.c.run == self.run, uses.c.position == position))
            connection.execute(sa.insert(uses).values(run=self.run, position=position, execution=number, reused=False))
            lease.release(connection, held)
            crash_point("commit.inside")
        crash_point("commit.after")

    def _reuse(self, step: Step, position: int) -> Done | None:
        """Find the step's outputs, and pin them to this run before trusting that they are there."""
        with self.home.catalog.read() as connection:
            number = find(connection, step.key)
        if number is None:
            return None
        with self.home.catalog.write() as connection:
            number = find(connection, step.key)
            if number is None:
                return None
            found = outputs_of(connection, number)
            connection.execute(sa.delete(uses).where(uses.c.run == self.run, uses.c.position == position))
            connection.execute(sa.insert(uses).values(run=self.run, position=position, execution=number, reused=True))
        damaged = [artifact for artifact in found.values() if not self.home.store.has(artifact)]
        for artifact in damaged:
            emit("object.damaged", step=step.name, object=str(artifact))
        if damaged:
            return None
        if step.resumable:  # a holder that was killed after its commit, or fenced, may have left checkpoints
            self.home.clear_work(step.key)
        return Done(found, reused=True)

    def _ours(self, held: Lease) -> bool:
        with self.home.catalog.read() as connection:
            try:
                lease.confirm(connection, held)
            except LeaseLost:
                return False
        return True

    def _release(self, held: Lease) -> None:
        with self.home.catalog.write() as connection:
            lease.release(connection, held)

    def _lease_key(self, step: Step) -> str:
        return f"{step.key}:{self.run}" if step.impure else step.key


@contextmanager
def _beating(home: Home, held: Sequence[Lease]) -> Iterator[None]:
    """Keep several leases alive while a block runs."""
    with ExitStack() as beats:
        for item in held:
            beats.enter_context(lease.heartbeat(home.catalog, item))
        yield


@contextmanager
def _ended(worked: Generator[tuple[int, Worked]]) -> Iterator[Generator[tuple[int, Worked]]]:
    """Close an engine's work at the end of a block, and let it know where Ctrl-C is why."""
    try:
        yield worked
    except BaseException as error:
        if not _interrupted(error):
            raise
        worked.throw(KeyboardInterrupt())
        raise KeyboardInterrupt from error
    finally:
        worked.close()


def _interrupted(error: BaseException | None) -> bool:
    """Say whether an error is Ctrl-C, or came of it: in the midst of a transaction the catalog raises its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False

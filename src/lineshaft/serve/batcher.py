"""Natural batching: while one batch runs the next one gathers, so batches grow with load and idle rows never wait.

::

    worker    │ batch 1: a  │ batch 2: b c d(0:2) │ batch 3: d(2:5) e │
    arrivals  a   b c   d            e
                 └── wait, because the worker is busy; no timer starts or ends a batch

The queue is bounded in rows. A batch takes waiting rows in order of arrival, up to ``max_rows``; a request that is
larger runs in several batches. If a batch fails, its requests run again one by one, so that a row which the model
cannot take fails its own sender only.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from lineshaft.core.admit import refused
from lineshaft.errors import StepFailed
from lineshaft.serve.model import BATCH_ROWS, Servable, predict

if TYPE_CHECKING:
    from lineshaft.errors import AdmissionError

Outcome = np.ndarray | BaseException
FAREWELL = 2.0  # seconds: the drain is over by then, so only a model that hangs is still at work


@dataclass(eq=False)
class _Job:
    batch: pa.RecordBatch
    answer: asyncio.Future[np.ndarray]
    taken: int = 0  # rows handed to the worker so far
    parts: list[np.ndarray] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return int(self.batch.num_rows) - self.taken


class _Piece(NamedTuple):
    job: _Job
    rows: pa.RecordBatch


def _unwatched(_rows: int, _seconds: float) -> None:
    """Stand in where nobody counts batches."""


class Batcher:
    """Gathers rows of concurrent requests for one model; belongs to the event loop that calls `predict`.

    Parameters
    ----------
    model
        Called from one worker thread, one batch at a time.
    queue_rows
        Rows that may wait; a request beyond that is refused at once.
    max_rows
        Rows of one batch at most.
    ran
        Called with (rows, seconds) after each batch.

    """

    def __init__(
        self,
        model: Servable,
        queue_rows: int,
        max_rows: int = BATCH_ROWS,
        ran: Callable[[int, float], None] = _unwatched,
    ) -> None:
        self._model = model
        self._queue_rows = queue_rows
        self._max_rows = max_rows
        self.ran = ran
        self._waiting: dict[_Job, None] = {}  # in order of arrival; a client that leaves is taken out at once
        self._row_seconds = 0.0
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self.waiting_rows = 0  # that no batch has taken yet
        self.busy = False
        self.draining = False

    async def predict(self, batch: pa.RecordBatch, seconds: float) -> np.ndarray:
        """Return the probabilities of these rows, float32 [rows, classes], in their order.

        Raises
        ------
        AdmissionError
            ``queue_full``, ``draining``, or ``deadline`` when the answer is not there after ``seconds``.
        StepFailed
            The model raised for these rows, or answered with something else than probabilities.

        """
        loop = asyncio.get_running_loop()
        self._admit(batch.num_rows)
        job = _Job(batch, loop.create_future())
        self._waiting[job] = None
        self.waiting_rows += job.waiting
        timer = loop.call_later(seconds, self._expire, job, seconds)
        if not self.busy:
            loop.call_soon(self._kick, loop)  # requests parsed in this turn of the loop join the batch
        try:
            return await job.answer
        finally:
            timer.cancel()
            self._leave(job)

    def drain(self) -> None:
        """Refuse new rows from now on; what waits is still answered."""
        self.draining = True

    def close(self) -> None:
        """End the worker thread after the batch it is at, unless that takes longer than `FAREWELL`."""
        self._tasks.put(None)
        if self._worker is not None:
            # A thread that is still leaving native code while the interpreter ends would abort the process.
            self._worker.join(FAREWELL)

    def _admit(self, rows: int) -> None:
        if self.draining:
            raise refused("draining", "the server is stopping", "ask another replica", retry_after=1)
        if self.waiting_rows + rows > self._queue_rows:
            wait = self._expected_wait()
            raise refused(
                "queue_full",
                f"{self.waiting_rows} rows wait already and {rows} more pass the limit of {self._queue_rows}",
                f"try again in {wait} s",
                retry_after=wait,
            )

    def _expected_wait(self) -> int:
        return max(1, math.ceil(self.waiting_rows * self._row_seconds))

    def _expire(self, job: _Job, seconds: float) -> None:
        if not job.answer.done():
            self._leave(job)
            job.answer.set_exception(self._too_late(job, seconds))

    def _leave(self, job: _Job) -> None:
        if job in self._waiting:
            del self._waiting[job]
            self.waiting_rows -= job.waiting

    def _too_late(self, job: _Job, seconds: float) -> AdmissionError:
        wait = self._expected_wait()
        return refused(
            "deadline",
            f"no answer within {seconds:g} s ({job.waiting} of {job.batch.num_rows} rows were still waiting)",
            f"try again in {wait} s, or allow more time",
            retry_after=wait,
        )

    def _kick(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.busy or not (pieces := self._take()):
            return
        self.busy = True
        if self._worker is None:
            # A daemon: a model that never returns must not keep the process from ending after its drain.
            self._worker = threading.Thread(target=self._work, name="lineshaft-model", daemon=True)
            self._worker.start()
        self._tasks.put(lambda: self._run(loop, pieces))

    def _take(self) -> list[_Piece]:
        pieces, room = list[_Piece](), self._max_rows
        while room and self._waiting:
            job = next(iter(self._waiting))
            rows = job.batch.slice(job.taken, min(room, job.waiting))
            job.taken += rows.num_rows
            self.waiting_rows -= rows.num_rows
            room -= rows.num_rows
            pieces.append(_Piece(job, rows))
            if not job.waiting:
                del self._waiting[job]
        return pieces

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()

    def _run(self, loop: asyncio.AbstractEventLoop, pieces: list[_Piece]) -> None:
        """Run one batch in the worker thread and hand the outcomes to the event loop."""
        started = time.perf_counter()
        outcomes = self._outcomes([piece.rows for piece in pieces])
        seconds = time.perf_counter() - started
        try:
            loop.call_soon_threadsafe(self._done, loop, pieces, outcomes, seconds)
        except RuntimeError:
            if not loop.is_closed():  # a closed loop has nobody left who waits
                raise

    def _outcomes(self, parts: list[pa.RecordBatch]) -> list[Outcome]:
        whole = self._attempt(parts[0] if len(parts) == 1 else pa.concat_batches(parts))
        if isinstance(whole, BaseException):
            return [whole] if len(parts) == 1 else [self._attempt(part) for part in parts]
        borders = np.cumsum([part.num_rows for part in parts])[:-1]
        return list(np.split(whole, borders))

    def _attempt(self, batch: pa.RecordBatch) -> Outcome:
        try:
            return predict(self._model, batch)
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything, and its sender gets it
            return error

    def _done(
        self, loop: asyncio.AbstractEventLoop, pieces: list[_Piece], outcomes: list[Outcome], seconds: float
    ) -> None:
        for piece, outcome in zip(pieces, outcomes, strict=True):
            self._deliver(piece.job, outcome)
        rows = sum(piece.rows.num_rows for piece in pieces)
        self._row_seconds = 0.8 * self._row_seconds + 0.2 * seconds / rows if self._row_seconds else seconds / rows
        self.ran(rows, seconds)
        self.busy = False
        self._kick(loop)

    def _deliver(self, job: _Job, outcome: Outcome) -> None:
        if job.answer.done():  # its sender left, or was told that time is up
            return
        if isinstance(outcome, BaseException):
            self._leave(job)
            job.answer.set_exception(_failure(outcome))
            return
        job.parts.append(outcome)
        if sum(map(len, job.parts)) == job.batch.num_rows:
            job.answer.set_result(job.parts[0] if len(job.parts) == 1 else np.concatenate(job.parts))


def _failure(error: BaseException) -> StepFailed:
    """Name what the model raised. Raised as it is, SystemExit would end the server and StopIteration get lost."""
    if isinstance(error, StepFailed):
        return error
    failure = StepFailed(f"the model raised {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure

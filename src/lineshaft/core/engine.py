"""Map and merge over partitions. Stages say what to do to a part; an engine says where.

``map`` gives results in the order of the parts, whatever order they finished in; ``completed`` gives each as it comes,
for work that is kept at once. Functions are importable ones (or partials of such), so that another process, and later
another machine, can be told which to call.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NoReturn, Protocol, Self, TypeVar

from lineshaft.core import script
from lineshaft.errors import StepFailed, UsageError

Part = TypeVar("Part")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where work on partitions runs."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order."""

    def completed(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Generator[tuple[int, Result]]:
        """Yield the number of a part and ``function(part)``, each as it is done.

        Where one fails, no other is begun; those that run are waited for and yielded, then the first error is raised.
        Closing the generator early begins no other either, and waits for those that run; a KeyboardInterrupt, here or
        thrown in, does not wait: it ends them.
        """


class InProcess:
    """The engine that needs nothing: one part after the other, here."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order."""
        return map(function, parts)

    def completed(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Generator[tuple[int, Result]]:
        """Yield the number of a part and ``function(part)``, each as it is done."""
        yield from enumerate(map(function, parts))


class LocalProcesses:
    """Parts spread over processes of this machine, each with one thread for numerical work.

    Parameters
    ----------
    workers
        Number of processes.

    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise UsageError(f"workers must be at least 1, not {workers}")
        self.workers = workers
        self._others: set[int | None] = set()  # children of this process that are none of our workers
        self._pool: ProcessPoolExecutor | None = None  # kept between calls: a worker that imports torch takes seconds

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order; a worker that dies is reported, not waited for."""
        try:
            yield from self._open().map(function, parts)
        except Exception as error:  # noqa: BLE001 - raised again, in plainer words where it is the pool's own
            self._raise(error)

    def completed(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Generator[tuple[int, Result]]:
        """Yield the number of a part and ``function(part)``, each as it is done; as many run as there are workers."""
        rest = deque(enumerate(parts))
        running: dict[Future[Result], int] = {}
        errors: list[BaseException] = []

        def begin() -> None:
            while rest and not errors and len(running) < self.workers:
                index, part = rest.popleft()
                try:
                    running[self._open().submit(function, part)] = index
                except BrokenProcessPool as error:
                    errors.append(error)

        try:
            begin()
            while running:
                over, _ = wait(running, return_when=FIRST_COMPLETED)
                done = sorted(((running.pop(future), future) for future in over), key=lambda item: item[0])
                errors += [error for _, future in done if (error := future.exception()) is not None]
                begin()  # before the caller has what is done: he may take his time over it
                yield from ((index, future.result()) for index, future in done if future.exception() is None)
        except KeyboardInterrupt:
            self._abandon()
            raise
        finally:
            wait(running)
        if errors:
            self._raise(errors[0])

    def close(self) -> None:
        """Let the workers go."""
        if self._pool is not None:
            # Not cancel_futures=True: while work that cannot be pickled is on its way, Python 3.11 then waits for ever.
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _abandon(self) -> None:
        """End the workers at once: whoever interrupts does not wait for hours of work, and steps survive a kill."""
        for worker in multiprocessing.active_children():
            if worker.pid not in self._others:
                worker.kill()
        self.close()

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise what ended the work, in plainer words where it is the pool's own."""
        if isinstance(error, BrokenProcessPool):
            self.close()
            raise StepFailed("a worker process died (killed, or out of memory); run again to go on") from error
        if _unsendable(error):
            raise UsageError(
                f"a worker process cannot be sent this work: {error}; give a function that is defined at the top "
                "level of a file instead of a lambda or an inner one, or run without workers"
            ) from error
        raise error

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            loaded = [module for module in script.allowed() if module in sys.modules]
            context = multiprocessing.get_context("spawn")
            told = (script.allowed(), loaded)
            self._others = {other.pid for other in multiprocessing.active_children()}
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=told)
        return self._pool


def _unsendable(error: BaseException) -> bool:
    """Say whether sending failed, and not the work: Python has no one class for that."""
    return type(error).__name__ == "PicklingError" or (
        isinstance(error, AttributeError | TypeError) and "pickle" in str(error)
    )


def merge(function: Callable[[Result, Result], Result], results: Iterable[Result]) -> Result:
    """Fold partial results into one, in order."""
    return functools.reduce(function, results)


def _begin(scripts: dict[str, str], loaded: list[str]) -> None:
    """Prepare a worker: the loaded scripts under their stable names, one thread for torch if it comes to that."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends us
    os.dup2(2, 1)  # what the user's functions print must not end up beside the caller's document
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for module, path in scripts.items():
        script.allow(module, path)
        if module.startswith(script.PREFIX) and module in loaded:
            script.load(path)


def _leave_with_parent() -> None:
    """End this worker when the process that started it is gone: a killed one cannot tell it to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

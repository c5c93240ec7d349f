"""Map and merge over partitions. Stages say what to do to a part; an engine says where.

An engine gives results in the order of the parts, whatever order they finished in. Functions are importable ones (or
partials of such), so that another process, and later another machine, can be told which to call.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from lineshaft.core import script
from lineshaft.errors import StepFailed, UsageError

Part = TypeVar("Part")
Result = TypeVar("Result")


class Engine(Protocol):
    """Where work on partitions runs."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order."""


class InProcess:
    """The engine that needs nothing: one part after the other, here."""

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order."""
        return map(function, parts)


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

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """Yield ``function(part)`` for every part, in order; a worker that dies is reported, not waited for."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(self.workers, max(1, len(parts))), context, initializer=_begin, initargs=(script.allowed(),)
        ) as pool:
            try:
                yield from pool.map(function, parts)
            except BrokenProcessPool as error:
                raise StepFailed("a worker process died (killed, or out of memory); run again to go on") from error


def merge(function: Callable[[Result, Result], Result], results: Iterable[Result]) -> Result:
    """Fold partial results into one, in order."""
    return functools.reduce(function, results)


def _begin(scripts: dict[str, str]) -> None:
    """Prepare a worker: the user's scripts under their stable names, one thread for torch if it comes to that."""
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module, path in scripts.items():
        if module.startswith(script.PREFIX):
            script.load(path)
        else:
            script.allow(module, path)

"""One stream of events: whoever wants to show, log, keep or count them listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    kind
        ``step.reused``, ``progress.advance``, ...; the part before the dot groups them.
    at
        Seconds since the epoch.
    facts
        JSON values.
    run
        The run that it happened in; None where that is not known, as in a thread that a script started.

    """

    kind: str
    at: float
    facts: dict[str, Any]
    run: str | None = None


class Advance(Protocol):
    """Say that so much more is done."""

    def __call__(self, amount: float, note: str = "") -> None:
        """Say that so much more is done, with a note for people."""


Listener = Callable[[Event], None]
_listeners: list[Listener] = []
_here = threading.local()  # .run: what happens in this thread belongs to it


def emit(kind: str, **facts: Any) -> None:
    """Tell every listener."""
    if _listeners:
        repeat(Event(kind, time.time(), facts, _run()))


def repeat(event: Event) -> None:
    """Tell every listener what happened elsewhere, in a worker process say, in the name of the present run."""
    event = replace(event, run=event.run or _run())
    for listener in tuple(_listeners):  # a listener may leave while it listens
        listener(event)


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Let the listeners hear what happens inside the block."""
    _listeners.extend(listeners)
    try:
        yield
    finally:
        for listener in listeners:
            _listeners.remove(listener)


@contextmanager
def in_run(run: str) -> Iterator[None]:
    """Tag what happens inside the block, in this thread, with a run."""
    before, _here.run = _run(), run
    try:
        yield
    finally:
        _here.run = before


def _run() -> str | None:
    run: str | None = getattr(_here, "run", None)
    return run


def heard() -> bool:
    """Say whether anybody listens."""
    return bool(_listeners)


@contextmanager
def progress(name: str, total: float | None = None, unit: str = "rows") -> Iterator[Advance]:
    """Report long work: yields a function to call with the amount done since the last call, and a note for people."""
    emit("progress.begin", name=name, total=total, unit=unit)

    def advance(amount: float, note: str = "") -> None:
        emit("progress.advance", name=name, amount=amount, note=note)

    try:
        yield advance
    finally:
        emit("progress.end", name=name)

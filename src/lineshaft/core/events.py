"""One stream of events: whoever wants to show, log, keep or count them listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


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

    """

    kind: str
    at: float
    facts: dict[str, Any]


Listener = Callable[[Event], None]
_listeners: list[Listener] = []


def emit(kind: str, **facts: Any) -> None:
    """Tell every listener."""
    if _listeners:
        event = Event(kind, time.time(), facts)
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
def progress(name: str, total: float | None = None, unit: str = "rows") -> Iterator[Callable[[float], None]]:
    """Report long work: yields a function to call with the amount done since the last call."""
    emit("progress.begin", name=name, total=total, unit=unit)

    def advance(amount: float) -> None:
        emit("progress.advance", name=name, amount=amount)

    try:
        yield advance
    finally:
        emit("progress.end", name=name)

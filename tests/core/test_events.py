"""Events reach those who listen, while they listen."""

from __future__ import annotations

import threading
import time

import pytest

from lineshaft.core import events
from lineshaft.core.events import Event, emit, in_run, listening, progress, repeat


def test_an_event_reaches_every_listener_in_the_block_only():
    first, second = [], []
    emit("before")
    with listening(first.append, second.append):
        began = time.time()
        emit("step.reused", step="fuse")
    emit("after")
    assert first == second
    (event,) = first
    assert (event.kind, event.facts) == ("step.reused", {"step": "fuse"})
    assert began <= event.at <= time.time()


def test_listeners_leave_even_when_the_block_fails():
    heard = []
    with pytest.raises(KeyError), listening(heard.append):
        raise KeyError
    emit("later")
    assert heard == []
    assert events._listeners == []


def test_a_listener_may_leave_while_it_listens():
    heard = []

    def once(event):
        heard.append(event.kind)
        events._listeners.remove(once)

    with pytest.raises(ValueError, match="not in list"), listening(once, heard.append):
        emit("first")
    assert heard[0] == "first"
    assert heard[1].kind == "first"
    events._listeners.clear()


def test_progress_begins_advances_and_ends_even_on_failure():
    heard = []
    with pytest.raises(KeyError), listening(heard.append), progress("train", 10, unit="steps") as advance:
        advance(3, "42 rows/s")
        raise KeyError
    assert [event.kind for event in heard] == ["progress.begin", "progress.advance", "progress.end"]
    assert heard[0].facts == {"name": "train", "total": 10, "unit": "steps"}
    assert heard[1].facts == {"name": "train", "amount": 3, "note": "42 rows/s"}


def test_what_happened_elsewhere_is_told_with_its_time_and_in_the_name_of_the_present_run():
    heard = []
    with listening(heard.append), in_run("here"):
        repeat(Event("step.started", 5.0, {"step": "a"}))
        repeat(Event("step.started", 5.0, {"step": "a"}, run="there"))
    assert heard == [Event("step.started", 5.0, {"step": "a"}, run=name) for name in ("here", "there")]


def test_events_are_tagged_by_the_innermost_run_of_their_thread():
    heard = []
    with listening(heard.append):
        emit("a")
        with in_run("outer"):
            with in_run("inner"):
                emit("b")
            emit("c")
            beside = threading.Thread(target=emit, args=("d",))
            beside.start()
            beside.join()
        emit("e")
    assert [(event.kind, event.run) for event in heard] == [
        ("a", None), ("b", "inner"), ("c", "outer"), ("d", None), ("e", None),
    ]  # fmt: skip

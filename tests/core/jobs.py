"""Steps for the tests, importable by other processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lineshaft.core.engine import InProcess
from lineshaft.core.events import emit
from lineshaft.core.home import Home
from lineshaft.core.session import Session
from lineshaft.core.step import Step, make
from lineshaft.run.record import new_id, recorded

SETTING = 1


@contextmanager
def session(home: Home, name: str = "script.py", engine=None) -> Iterator[Session]:
    run = new_id()
    with recorded(home, run, name):
        yield Session(home, run, engine or InProcess())


def mark(log, word="computed") -> None:
    """Add a line that says who was here."""
    if log is not None:
        with Path(log).open("a") as stream:
            stream.write(f"{word} {os.getpid()}\n")


def marks(log) -> list[str]:
    return Path(log).read_text().splitlines() if Path(log).exists() else []


def start(value, log=None):
    mark(log)
    return {"x": value}


def double(x, log=None):
    mark(log)
    return {"y": x * 2}


def constant(x, log=None):
    mark(log)
    return {"y": 7}


def slow(value, log, seconds):
    mark(log, "began")
    time.sleep(seconds)
    mark(log, "ended")
    return {"x": value}


def setting(value):
    return {"x": [value, SETTING]}


def failing(value):
    return {"x": 1 / value}


class OddError(Exception):
    """An error of the user's own, not derived from any usual one."""


def talking(value, seconds=0.0):
    emit("source.failed", reason=f"talk {value}")
    time.sleep(seconds)
    if value < 0:
        raise ValueError(value)
    return {"x": value}


def odd(value):
    raise OddError(value)


def interrupted(value):
    raise KeyboardInterrupt


def mislabelled(value):
    return {"z": value}


def spoiling(x):
    x.append("spoilt")
    return {"y": x}


def resuming(value, work, log=None):
    path = work / "progress"
    done = int(path.read_text()) if path.exists() else 0
    mark(log, f"from {done}")
    path.write_text(str(done + 1))
    if done < 2:
        raise RuntimeError("not yet")
    return {"x": value}


def dying(value):
    os.kill(os.getpid(), signal.SIGKILL)


def step_of(function, value=3, log=None, **how) -> Step:
    """A step that makes a Value of nothing but a parameter."""
    name = how.pop("name", function.__name__)
    parameters = how.pop("parameters", {"value": value})
    return make(name, function, {}, {"x": "Value"}, parameters, aside={} if log is None else {"log": str(log)}, **how)


def after(artifact, function=double, log=None, **how) -> Step:
    """A step that makes a Value of another."""
    aside = {} if log is None else {"log": str(log)}
    return make(function.__name__, function, {"x": artifact}, {"y": "Value"}, aside=aside, **how)


def slow_steps(log, seconds, count=1) -> list[Step]:
    return [
        make(f"slow {n}", slow, {}, {"x": "Value"}, {"value": n, "seconds": seconds}, aside={"log": str(log)})
        for n in range(count)
    ]


def main(folder: str, log: str, seconds: str, count: str) -> None:
    """Run slow steps one after the other in a process of their own, and print their digests."""
    with session(Home(folder)) as shaft:
        made = [shaft.one(step)["x"].digest for step in slow_steps(log, float(seconds), int(count))]
        print(shaft.executed, *made, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

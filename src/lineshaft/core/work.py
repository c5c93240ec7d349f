"""Computing one step, wherever the engine put us: read the inputs, call the function, keep what it gave.

In a process of its own the step is checked to mean what it meant where its key was made, and what it says is carried
home: with its result, or with the error that it raised.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.artifact import Artifact
from lineshaft.core.durable import crash_point
from lineshaft.core.events import Event, emit, listening
from lineshaft.core.fingerprint import fingerprint
from lineshaft.core.home import Home
from lineshaft.core.owner import owner_of_file
from lineshaft.core.step import Step
from lineshaft.errors import LineshaftError, StepFailed, UsageError

if TYPE_CHECKING:
    from lineshaft.core import codec

UNSTORED = {"File", "View"}  # kinds of inputs that have a digest but no object: raw files, columns of a table
Job = tuple[Path, Step, Path]


@dataclass(frozen=True)
class Worked:
    """What computing a step gave.

    Attributes
    ----------
    made
        Output names with the artifacts kept.
    seconds
        How long it took.
    said
        Events that nobody in the caller's process could hear.

    """

    made: list[tuple[str, Artifact]]
    seconds: float
    said: tuple[Event, ...] = ()


def work_here(job: Job, home: Home) -> Worked:
    """Compute one step in the process that asked for it."""
    _, step, folder = job
    emit("step.started", step=step.name, key=step.key)
    crash_point("step.before_compute")
    started = time.perf_counter()
    made = _call(step, home, folder)
    if set(made) != set(step.outputs):
        raise StepFailed(f"step {step.name} gave {sorted(made)}, it declares {sorted(step.outputs)}")
    crash_point("step.computed")
    kept = [(name, home.put(kind, made[name])) for name, kind in step.outputs.items()]
    return Worked(kept, time.perf_counter() - started)


def work_elsewhere(job: Job) -> Worked:
    """Compute one step in another process than the one that asked for it."""
    folder, step, _ = job
    with _overheard() as said:
        _same_meaning(step)
        done = work_here(job, Home(folder))
    return Worked(done.made, done.seconds, tuple(said))


def said_by(error: BaseException) -> tuple[Event, ...]:
    """Return the events that came with an error from another process."""
    said: tuple[Event, ...] = vars(error).get("said", ())
    return said


@contextmanager
def _overheard() -> Iterator[list[Event]]:
    """Collect what is said; an error takes it along. Progress is left out: at home the work is over when it arrives."""
    said: list[Event] = []

    def keep(event: Event) -> None:
        if not event.kind.startswith("progress."):
            said.append(event)

    with listening(keep):
        try:
            yield said
        except BaseException as error:
            vars(error)["said"] = tuple(said)
            raise


def _same_meaning(step: Step) -> None:
    """Refuse to compute where the code means something else than where the key was made.

    A worker process loads the script anew: the file may have been edited since, and what the script's ``main`` put into
    global variables is not there.
    """
    compute = step.compute
    assert isinstance(compute, functools.partial)  # noqa: S101 - `make` made it
    there = {item.name: item for item in step.ingredients}
    parts = [("=code", fingerprint(compute.func, step.name))] if "=code" in there else []
    parts += [(f"={name}", fingerprint(value, name)) for name, value in sorted(compute.keywords.items())]
    for name, here in parts:
        if here.digest != there[name].digest:
            other = [item.name for item in here.ingredients if there.get(item.name, item).digest != item.digest]
            raise UsageError(
                f"step {step.name} means something else in a worker process ({', '.join(other) or name[1:]}): the "
                f"script was edited meanwhile, or changes globals after loading; set these at top level"
            )


def _call(step: Step, home: Home, work: Path) -> Mapping[str, codec.Payload]:
    """Call the step's function. It is the border to the user's code, so everything it raises is caught and named."""
    arguments: dict[str, Any] = {
        name: _load(home, given) for name, given in {**step.inputs, **step.aside}.items() if not _unstored(given)
    }
    if step.resumable:
        work.mkdir(parents=True, exist_ok=True)
        arguments["work"] = work
    try:
        return step.compute(**arguments)
    except LineshaftError:
        raise
    except Exception as error:
        place = _place(error)
        raise StepFailed(
            f"step {step.name} failed in {Path(place.filename).name}:{place.lineno}: {type(error).__name__}: {error}"
        ) from error


def _load(home: Home, given: Any) -> Any:
    if isinstance(given, Artifact):
        return home.get(given)
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], Artifact):
        return [home.get(item) for item in given]
    return given


def _unstored(given: Any) -> bool:
    """Whether an input counts for the key alone."""
    first = given[0] if isinstance(given, (list, tuple)) and given else given
    return isinstance(first, Artifact) and first.kind in UNSTORED


def _place(error: BaseException) -> traceback.FrameSummary:
    """Find where the user's code failed: the innermost line of theirs, else of anyone."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parents[1])
    theirs = [f for f in frames if owner_of_file(f.filename) is None and not f.filename.startswith((ours, "<"))]
    return (theirs or frames)[-1]

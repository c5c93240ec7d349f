"""A step is a pure function from artifacts to artifacts, named by what it is made of: run it once, reuse it ever after.

::

    key = digest(name, code and parameters, inputs, outputs asked for)

    key known and its objects whole? ── yes ──► reuse
        │ no
    acquire the lease ── held by another ──► wait, look again
        │
    compute ──► put the objects ──► one transaction: confirm lease and objects, record, release

A kill at any point leaves objects that nothing names, which the next attempt or ``gc`` takes care of.
"""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core import codec, lease
from lineshaft.core.artifact import Artifact, digest_of
from lineshaft.core.catalog import as_json, executions, inputs, now, outputs, uses
from lineshaft.core.durable import crash_point
from lineshaft.core.engine import Engine, InProcess
from lineshaft.core.events import emit
from lineshaft.core.fingerprint import Ingredient, brief, fingerprint
from lineshaft.core.home import Home
from lineshaft.core.owner import owner_of_file
from lineshaft.errors import LeaseLost, LineshaftError, StepFailed, StorageError, UsageError

if TYPE_CHECKING:
    from lineshaft.core.lease import Lease

KEY_FORMAT = 1
SHORTEST_WAIT, LONGEST_WAIT = 0.02, 0.5  # seconds between two looks at a step that is being computed elsewhere
UNSTORED = {"File", "View"}  # kinds of inputs that have a digest but no object: raw files, columns of a table
Compute = Callable[..., Mapping[str, codec.Payload]]


@dataclass(frozen=True)
class Step:
    """One application of a function to artifacts.

    Attributes
    ----------
    name
        For people: ``vote short_and_angry``.
    compute
        ``compute(name=payload, ..., [work=Path])`` -> output name to payload; importable, or a partial of such.
    inputs
        Input name to artifact, or to a list of them.
    outputs
        Output name to artifact kind.
    ingredients
        What the function and its parameters are made of.
    impure
        Runs every time; its outputs are compared by bytes, so work behind it is cut off when they did not change.
    resumable
        Wants a folder ``work`` for its checkpoints.
    aside
        More arguments, which do not count: where a file lies whose digest is an input, the table that a view is of.
        Artifacts among them are loaded, and shown by lineage.

    """

    name: str
    compute: Compute
    inputs: Mapping[str, Artifact | Sequence[Artifact]]
    outputs: Mapping[str, str]
    ingredients: tuple[Ingredient, ...]
    impure: bool = False
    resumable: bool = False
    aside: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def key(self) -> str:
        """The name of this application; equal keys give equal outputs."""
        made_of = [
            KEY_FORMAT,
            self.name,
            [[item.name, item.digest] for item in self.ingredients if item.name.startswith("=")],
            [[name, artifact.kind, artifact.digest] for name, artifact in self.flat_inputs],
            sorted(self.outputs.items()),
        ]
        return digest_of(json.dumps(made_of, ensure_ascii=False).encode())

    @property
    def flat_inputs(self) -> list[tuple[str, Artifact]]:
        """Input names with artifacts, lists spread out."""
        flat: list[tuple[str, Artifact]] = []
        for name, given in self.inputs.items():
            flat += [(name, given)] if isinstance(given, Artifact) else [(name, item) for item in given]
        return flat

    @property
    def flat_aside(self) -> list[tuple[str, Artifact]]:
        """The artifacts among ``aside``, for lineage."""
        return [(f"~{name}", given) for name, given in self.aside.items() if isinstance(given, Artifact)]

    @property
    def pending(self) -> bool:
        """Whether an input is not there yet, as happens in a dry run."""
        return any(is_pending(artifact) for _, artifact in self.flat_inputs)


def make(
    name: str,
    compute: Compute,
    inputs: Mapping[str, Artifact | Sequence[Artifact]],
    outputs: Mapping[str, str],
    parameters: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    impure: bool = False,
    resumable: bool = False,
    aside: Mapping[str, Any] | None = None,
) -> Step:
    """Describe a step: fingerprint its code and parameters.

    Parameters
    ----------
    name, compute, inputs, outputs, impure, resumable, aside
        As in `Step`; ``compute`` is called with the inputs and the parameters by name.
    parameters
        Values that ``compute`` also takes; each is an ingredient of its own.
    version
        Stands for the code of ``compute`` where that cannot be fingerprinted.

    """
    given = dict(parameters or {})
    if clash := set(given) & set(inputs):
        raise UsageError(f"step {name} has an input and a parameter called {min(clash)!r}; rename one")
    if version is not None:
        ingredients = [Ingredient("=version", digest_of(version.encode()), "", version)]
    else:
        code = fingerprint(compute, name)
        ingredients = [Ingredient("=code", code.digest), *code.ingredients]
    for parameter, value in sorted(given.items()):
        print_ = fingerprint(value, parameter)
        ingredients += [Ingredient(f"={parameter}", print_.digest, "", brief(value)), *print_.ingredients]
    return Step(
        name,
        functools.partial(compute, **given),
        inputs,
        outputs,
        tuple(ingredients),
        impure,
        resumable,
        dict(aside or {}),
    )


@dataclass(frozen=True)
class Done:
    """What a step gave.

    Attributes
    ----------
    outputs
        Output name to artifact.
    reused
        Whether it was found rather than computed.

    """

    outputs: dict[str, Artifact]
    reused: bool


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

    """

    home: Home
    run: str
    engine: Engine
    executed: int = 0
    reused: int = 0

    def one(self, step: Step) -> dict[str, Artifact]:
        """Run or reuse one step."""
        return self.all([step])[0]

    def all(self, steps: Sequence[Step]) -> list[dict[str, Artifact]]:
        """Run or reuse steps that do not depend on each other; the missing ones go to the engine together."""
        first = self.executed + self.reused
        results: dict[int, Done] = {}
        pause = SHORTEST_WAIT
        while len(results) < len(steps):
            open_, held = self._sort(steps, results, first)
            if held:
                self._compute(steps, held, results, first)
                pause = SHORTEST_WAIT
            elif open_:
                time.sleep(pause)  # all that is missing is being computed elsewhere
                pause = min(2 * pause, LONGEST_WAIT)
        for index in range(len(steps)):
            self.executed += not results[index].reused
            self.reused += results[index].reused
        return [results[index].outputs for index in range(len(steps))]

    def known(self, step: Step) -> bool:
        """Say whether a step would be reused."""
        with self.home.catalog.read() as connection:
            number = find(connection, step.key)
            found = {} if number is None else outputs_of(connection, number)
        return bool(found) and all(self.home.store.has(artifact) for artifact in found.values())

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
        order = sorted(held)
        jobs = [(self.home.folder, steps[index], self.home.work(steps[index].key)) for index in order]
        local = isinstance(self.engine, InProcess) or len(jobs) == 1
        work = functools.partial(_work, home=self.home) if local else _work
        engine = InProcess() if local else self.engine
        with _beating(self.home, list(held.values())):
            waiting = dict(held)
            try:
                for index, (made, seconds) in zip(order, engine.map(work, jobs), strict=True):
                    self._finish(steps[index], waiting[index], made, seconds, first + index, results, index)
                    del waiting[index]
            except StorageError as error:
                lost = [index for index in sorted(waiting) if not self._ours(waiting[index])]
                if not lost:
                    raise
                # Whoever took over has cleared the folder of checkpoints under us: his result counts.
                emit("lease.lost", step=steps[lost[0]].name, reason=str(error))
            finally:
                for left in waiting.values():
                    self._release(left)

    def _finish(
        self, step: Step, held: Lease, made: list[tuple[str, Artifact]], seconds: float, position: int,
        results: dict[int, Done], index: int,
    ) -> None:  # fmt: skip
        try:
            self._commit(step, held, made, seconds, position)
        except LeaseLost as lost:
            emit("lease.lost", step=step.name, reason=str(lost))  # look again: the other's result, or a new lease
            self._release(held)  # where objects were swept it is still ours
            return
        self.home.clear_work(step.key)
        emit("step.executed", step=step.name, key=step.key, seconds=seconds)
        results[index] = Done(dict(made), reused=False)

    def _commit(self, step: Step, held: Lease, made: list[tuple[str, Artifact]], seconds: float, position: int) -> None:
        """Name the objects in one transaction; a re-made step (damaged objects) replaces its old record."""
        crash_point("commit.before")
        key = step.key if not step.impure else f"{step.key}:{self.run}:{position}"
        with self.home.catalog.write() as connection:
            lease.confirm(connection, held)
            gone = [artifact for _, artifact in made if not self.home.store.has(artifact)]
            if gone:
                raise LeaseLost(f"{gone[0]} was swept away before it was named")
            number = self._record(connection, step, key, made, seconds)
            connection.execute(sa.delete(uses).where(uses.c.run == self.run, uses.c.position == position))
            connection.execute(sa.insert(uses).values(run=self.run, position=position, execution=number, reused=False))
            lease.release(connection, held)
            crash_point("commit.inside")
        crash_point("commit.after")

    def _record(
        self, connection: sa.Connection, step: Step, key: str, made: list[tuple[str, Artifact]], seconds: float
    ) -> int:
        known = connection.execute(sa.select(executions.c.id).where(executions.c.key == key)).scalar()
        facts = {
            "key": key, "step": step.name, "run": self.run, "started": now() - seconds, "seconds": seconds,
            "ingredients": as_json([[i.name, i.digest, i.where, i.text] for i in step.ingredients]),
        }  # fmt: skip
        if known is None:
            connection.execute(sa.insert(executions).values(**facts))
            number = int(connection.execute(sa.select(executions.c.id).where(executions.c.key == key)).scalar_one())
            rows = [
                {"execution": number, "position": place, "name": name, "kind": item.kind, "digest": item.digest}
                for place, (name, item) in enumerate([*step.flat_inputs, *step.flat_aside])
            ]
            if rows:
                connection.execute(sa.insert(inputs), rows)
        else:
            number = int(known)
            connection.execute(sa.update(executions).where(executions.c.id == number).values(**facts))
            connection.execute(sa.delete(outputs).where(outputs.c.execution == number))
        rows = [
            {"execution": number, "position": place, "name": name, "kind": item.kind, "digest": item.digest,
             "size": item.size, "meta": as_json(item.meta)}
            for place, (name, item) in enumerate(made)
        ]  # fmt: skip
        connection.execute(sa.insert(outputs), rows)
        return number

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


def find(connection: sa.Connection, key: str) -> int | None:
    """Return the execution committed under a key."""
    number: int | None = connection.execute(sa.select(executions.c.id).where(executions.c.key == key)).scalar()
    return number


def outputs_of(connection: sa.Connection, number: int) -> dict[str, Artifact]:
    """Return what an execution gave."""
    rows = connection.execute(sa.select(outputs).where(outputs.c.execution == number).order_by(outputs.c.position))
    return {row.name: Artifact(row.kind, row.digest, row.size, json.loads(row.meta)) for row in rows}


PENDING = "pending:"


def is_pending(artifact: Artifact) -> bool:
    """Whether the artifact stands for bytes that a dry run did not make."""
    return artifact.digest.startswith(PENDING)


def pending(kind: str, maker: str) -> Artifact:
    """Stand for what a step would have made."""
    return Artifact(kind, f"{PENDING}{maker}", -1)


def _work(job: tuple[Path, Step, Path], home: Home | None = None) -> tuple[list[tuple[str, Artifact]], float]:
    """Compute one step wherever the engine put us: read inputs, call, keep the objects."""
    folder, step, work = job
    if home is None:
        home = Home(folder)
        _same_meaning(step)
    emit("step.started", step=step.name, key=step.key)
    crash_point("step.before_compute")
    started = time.perf_counter()
    made = _call(step, home, work)
    if set(made) != set(step.outputs):
        raise StepFailed(f"step {step.name} gave {sorted(made)}, it declares {sorted(step.outputs)}")
    crash_point("step.computed")
    kept = [(name, home.put(kind, made[name])) for name, kind in step.outputs.items()]
    return kept, time.perf_counter() - started


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


class _beating:  # noqa: N801 - used as a function
    """Keep several leases alive while a block runs."""

    def __init__(self, home: Home, held: Sequence[Lease]) -> None:
        self._beats = [lease.heartbeat(home.catalog, item) for item in held]

    def __enter__(self) -> None:
        for beat in self._beats:
            beat.__enter__()

    def __exit__(self, *error: object) -> None:
        for beat in reversed(self._beats):
            beat.__exit__(None, None, None)

"""What a run did, as its page tells it: read from the catalog and the store, so that an old run can be told as well."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core.catalog import events, executions, inputs, uses
from lineshaft.core.executions import outputs_of
from lineshaft.errors import IntegrityError, UsageError
from lineshaft.run.record import latest

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.home import Home


@dataclass(frozen=True)
class Used:
    """A step that a run computed or reused.

    Attributes
    ----------
    number
        Of its execution; a run can use one twice.
    step, seconds, reused
        What it was called, how long it took when it was computed, and whether this run found it done.
    inputs
        Input name to digests.
    outputs
        Output name to artifact.

    """

    number: int
    step: str
    seconds: float
    reused: bool
    inputs: dict[str, list[str]]
    outputs: dict[str, Artifact]


@dataclass(frozen=True)
class Story:
    """A run.

    Attributes
    ----------
    home
        Where its objects are.
    facts
        ``run``, ``script``, ``started``, ``ended``, ``status``, ``executed``, ``reused``.
    steps
        What it used, in order.
    told
        What it said: kinds and facts of its events; there are none while it runs, and none of a killed one.
    gaps
        What could not be read any more, noted while the story is told.

    """

    home: Home
    facts: dict[str, Any]
    steps: list[Used]
    told: list[tuple[str, dict[str, Any]]]
    gaps: list[str] = field(default_factory=list)

    def of(self, *beginnings: str) -> list[Used]:
        """Return the steps of these names, each execution once; a beginning ends in a blank, a whole name does not."""
        found = {
            item.number: item
            for item in self.steps
            if any(item.step == name or (name.endswith(" ") and item.step.startswith(name)) for name in beginnings)
        }
        return list(found.values())

    def heard(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the facts of the events of some kinds."""
        return [facts for kind, facts in self.told if kind in kinds]

    def content(self, item: Used, output: str) -> Any:
        """Read an output; None, and a gap, where its object is gone or damaged."""
        try:
            return self.home.get(item.outputs[output])
        except IntegrityError as error:
            self.gaps.append(str(error))
            return None

    @cached_property
    def published(self) -> list[str]:
        """The names that this run published, or found published."""
        return sorted({facts["name"] for facts in self.heard("model.published", "model.unchanged")})

    @cached_property
    def titles(self) -> dict[str, str]:
        """Digests of models, and of the training states and labels behind them, with what people call the model."""
        called: dict[str, dict[str, None]] = {}
        for facts in self.heard("report"):
            for name, digest in facts.get("digests", {}).items():
                for item in self.of("evaluate"):
                    if item.outputs["report"].digest == digest:
                        called.setdefault(item.inputs["model"][0], {})[name] = None
        for facts in self.heard("model.published", "model.unchanged"):
            called.setdefault(facts["digest"], {})[facts["name"]] = None
        self._pass_on(called, "model", "model", "state")
        self._pass_on(called, "train ", "state", "labels")
        return {digest: ", ".join(names) for digest, names in called.items()}

    def title(self, digest: str, kind: str) -> str:
        """Say what people call a model, or what it was made of; where they call it nothing, its digest."""
        return self.titles.get(digest) or f"{kind} {digest[:12]}"

    def _pass_on(self, called: dict[str, dict[str, None]], step: str, made: str, eaten: str) -> None:
        for item in self.of(step):
            names = called.get(item.outputs[made].digest, {})
            for digest in item.inputs[eaten] if names else []:
                called.setdefault(digest, {}).update(names)


def story_of(home: Home, run: str) -> Story:
    """Read what a run did.

    Raises
    ------
    UsageError
        There is no such run.

    """
    facts = next((row for row in latest(home, limit=-1) if row["run"] == run), None)
    if facts is None:
        raise UsageError(f"there is no run {run!r}")
    with home.catalog.read() as connection:
        query = sa.select(executions.c.id, executions.c.step, executions.c.seconds, uses.c.reused)
        query = query.join(uses, uses.c.execution == executions.c.id).where(uses.c.run == run).order_by(uses.c.position)
        steps = [
            Used(row.id, row.step, row.seconds, row.reused, _inputs(connection, row.id), outputs_of(connection, row.id))
            for row in connection.execute(query).all()
        ]
        said = sa.select(events.c.kind, events.c.facts).where(events.c.run == run).order_by(events.c.id)
        told = [(row.kind, json.loads(row.facts)) for row in connection.execute(said)]
    return Story(home, facts, steps, told)


def _inputs(connection: sa.Connection, execution: int) -> dict[str, list[str]]:
    query = sa.select(inputs.c.name, inputs.c.digest).where(inputs.c.execution == execution).order_by(inputs.c.position)
    found: dict[str, list[str]] = {}
    for name, digest in connection.execute(query):
        found.setdefault(name, []).append(digest)
    return found

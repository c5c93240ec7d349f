"""A folder with the mini job, and what its home says of itself: what was committed, how often, and whether all is whole."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from crash import grain
from crash.prepared import Prepared
from lineshaft.core import names
from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import events, executions, outputs, runs, uses
from lineshaft.core.doctor import examine
from lineshaft.core.gc import sweep
from lineshaft.core.home import Home


@dataclass(frozen=True)
class State:
    """What a home holds: step key to output digests, name to digest."""

    outputs: dict[str, dict[str, str]]
    names: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One copy of the job and the process that runs it."""

    prepared: Prepared
    folder: Path

    def start(self, *argv, **environment):
        return self.prepared.start(self.folder, *argv or ("run", "mill.py", "--json"), **environment)

    def call(self, *argv, **environment):
        return self.start(*argv, **environment).wait()

    def run(self, *options, **environment):
        """Run the job to its end; return its JSON document."""
        ended = self.call("run", "mill.py", "--json", *options, **environment)
        assert ended.code == 0, ended
        return ended.json

    def fails(self, code, *argv, **environment):
        """Call a command that must fail in one line; return the line."""
        ended = self.call(*argv or ("run", "mill.py", "--json"), **environment)
        assert ended.code == code, ended
        assert ended.err.count("\n") == 1, ended.err
        return ended.err

    def edit(self, *edits):
        grain.edit(self.folder, *edits)

    def rewrite(self, rows):
        grain.write(self.folder / "raw.parquet", rows)

    @contextmanager
    def home(self):
        home = Home(self.folder / "home")
        try:
            yield home
        finally:
            home.catalog.close()

    @contextmanager
    def catalog(self):
        with self.home() as home, home.catalog.read() as connection:
            yield connection

    def state(self) -> State:
        with self.home() as home:
            with home.catalog.read() as connection:
                rows = connection.execute(sa.select(executions.c.key, outputs.c.name, outputs.c.digest).join(outputs))
                made: dict[str, dict[str, str]] = {}
                for key, name, digest in rows:
                    made.setdefault(key, {})[name] = digest
            return State(made, names.all_names(home.catalog))

    def last(self) -> list[tuple[str, bool]]:
        """Name the steps of the latest run in order, each with whether it was reused."""
        with self.catalog() as connection:
            run = connection.execute(sa.select(runs.c.id).order_by(runs.c.started.desc())).scalars().first()
            query = sa.select(executions.c.step, uses.c.reused).join(uses).where(uses.c.run == run)
            return [(step, reused) for step, reused in connection.execute(query.order_by(uses.c.position))]

    def executed(self) -> list[str]:
        """Name the steps that the latest run executed."""
        return [step for step, reused in self.last() if not reused]

    def commits(self) -> set[int]:
        """Say how often steps were committed: {1} is what should be."""
        with self.catalog() as connection:
            query = sa.select(executions.c.key).join(uses).where(uses.c.reused.is_(False))
            return set(Counter(connection.execute(query).scalars()).values())

    def events(self, kind) -> list[dict]:
        with self.catalog() as connection:
            query = sa.select(events.c.facts).where(events.c.kind == kind).order_by(events.c.id)
            return [json.loads(facts) for facts in connection.execute(query).scalars()]

    def statuses(self) -> list[str]:
        return [row["status"] for row in self.call("runs", "--json").json["runs"]]

    def artifacts(self) -> list[Artifact]:
        """Return every stored output once, by step."""
        with self.catalog() as connection:
            rows = connection.execute(sa.select(outputs).order_by(outputs.c.execution, outputs.c.position))
            return list({row.digest: Artifact(row.kind, row.digest, row.size) for row in rows}.values())

    def made(self, step, output) -> list[Artifact]:
        """Return what steps of this name gave under an output's name, oldest first."""
        with self.catalog() as connection:
            query = sa.select(outputs).join(executions).where(executions.c.step == step, outputs.c.name == output)
            rows = connection.execute(query.order_by(outputs.c.execution))
            return [Artifact(row.kind, row.digest, row.size) for row in rows]

    def content(self, step, output):
        """Read the one artifact that a step gave."""
        (artifact,) = self.made(step, output)
        with self.home() as home:
            return home.get(artifact)

    def object(self, artifact: Artifact) -> Path:
        return self.folder / "home" / "objects" / artifact.digest[:2] / artifact.digest[2:]

    def faults(self) -> list[str]:
        """Examine catalog and objects."""
        with self.home() as home:
            return examine(home)

    def leftovers(self) -> list[str]:
        """Sweep, and name what should not be left: temporary files, checkpoints, objects that nothing names."""
        with self.home() as home:
            sweep(home)
            kept = {digest for digest, _ in home.store.digests()}
        named = {artifact.digest for artifact in self.artifacts()}
        files = [path for path in self.folder.rglob("*") if path.name.endswith(".tmp") or path.parent.name == "work"]
        return [*map(str, files), *sorted(kept - named)]

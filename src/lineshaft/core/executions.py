"""Executions in the catalog: which step was computed under which key, what it was made of and what it gave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lineshaft.core.artifact import Artifact
from lineshaft.core.catalog import as_json, executions, inputs, now, outputs

if TYPE_CHECKING:
    from lineshaft.core.step import Step


def find(connection: sa.Connection, key: str) -> int | None:
    """Return the execution committed under a key."""
    number: int | None = connection.execute(sa.select(executions.c.id).where(executions.c.key == key)).scalar()
    return number


def outputs_of(connection: sa.Connection, number: int) -> dict[str, Artifact]:
    """Return what an execution gave."""
    rows = connection.execute(sa.select(outputs).where(outputs.c.execution == number).order_by(outputs.c.position))
    return {row.name: Artifact(row.kind, row.digest, row.size, json.loads(row.meta)) for row in rows}


def record(
    connection: sa.Connection, step: Step, key: str, run: str, made: list[tuple[str, Artifact]], seconds: float
) -> int:
    """Name what a step gave under a key, in place of what was named there before; return the execution."""
    known = connection.execute(sa.select(executions.c.id).where(executions.c.key == key)).scalar()
    facts = {
        "key": key, "step": step.name, "run": run, "started": now() - seconds, "seconds": seconds,
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

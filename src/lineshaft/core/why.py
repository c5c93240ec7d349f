"""Why a step would run: which of its ingredients differs from those of the last time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core.catalog import Catalog, executions, inputs, runs, uses
from lineshaft.core.fingerprint import Ingredient

if TYPE_CHECKING:
    from lineshaft.core.step import Step


@dataclass(frozen=True)
class Reason:
    """Why one step would run.

    Attributes
    ----------
    step
        Its name.
    verdict
        ``reused``, ``runs`` or ``depends``: runs again if the bytes made before it change.
    changes
        One line per ingredient that differs.

    """

    step: str
    verdict: str
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = {"reused": "reused", "runs": "runs", "depends": "runs again if these bytes change"}[self.verdict]
        return "\n".join([f"{self.step}: {said}", *(f"    {change}" for change in self.changes)])


def explain(catalog: Catalog, step: Step, script: str) -> Reason:
    """Compare a step that is not known with its namesake of the last time, in this script first.

    One name may stand for several steps of a run (one per chunk, say): the one that differs least is the one compared.
    """
    with catalog.read() as connection:
        query = (
            sa.select(executions, uses.c.run.label("used_by"))
            .join(uses, uses.c.execution == executions.c.id)
            .join(runs, runs.c.id == uses.c.run)
            .where(executions.c.step == step.name)
            .order_by((runs.c.script == script).desc(), runs.c.started.desc(), uses.c.position.desc())
        )
        known = connection.execute(query).all()
        last = [_changes(connection, row, step) for row in known if row.used_by == known[0].used_by]
    if not last:
        return Reason(step.name, "runs", ("never ran before",))
    least = min(last, key=len)
    return Reason(step.name, "runs", tuple(least) or ("its objects are missing or damaged",))


def _changes(connection: sa.Connection, execution: Any, step: Step) -> list[str]:
    rows = connection.execute(sa.select(inputs).where(inputs.c.execution == execution.id).order_by(inputs.c.position))
    eaten = [(row.name, row.digest) for row in rows if not row.name.startswith("~")]
    before = [Ingredient(*item) for item in json.loads(execution.ingredients)]
    return [*_code(before, list(step.ingredients)), *_inputs(eaten, step)]


def _code(before: list[Ingredient], after: list[Ingredient]) -> list[str]:
    """Say what changed, the most telling first; the totals (``=``) only where nothing more precise is known."""
    old, new = {item.name: item for item in before}, {item.name: item for item in after}
    precise = [
        _change(old.get(name), new.get(name))
        for name in {**old, **new}
        if not name.startswith("=") and (old.get(name) or new[name]).digest != (new.get(name) or old[name]).digest
    ]
    precise += [_change(old.get(name), new.get(name)) for name in {**old, **new} if (name in old) != (name in new)]
    totals = [
        _change(old[name], new[name])
        for name in old.keys() & new.keys()
        if name.startswith("=") and old[name].digest != new[name].digest
        if old[name].text != new[name].text or not precise
    ]
    return [*dict.fromkeys(precise), *sorted(totals)]


def _change(old: Ingredient | None, new: Ingredient | None) -> str:
    item = new or old
    assert item is not None  # noqa: S101 - one of the two is always given
    name = item.name.replace("=", "parameter ", 1) if item.name.startswith("=") else item.name
    place = f" ({item.where})" if item.where else ""
    if old is None:
        return f"{name}{place} is new"
    if new is None:
        return f"{name}{place} is gone"
    if item.where or old.text == new.text:
        return f"{name}{place} changed"
    return f"{name}: {old.text} → {new.text}"


def _inputs(before: list[tuple[str, str]], step: Step) -> list[str]:
    after = [(name, artifact.digest) for name, artifact in step.flat_inputs]
    changes = []
    for name in dict.fromkeys(name for name, _ in [*before, *after]):
        old = [digest for given, digest in before if given == name]
        new = [digest for given, digest in after if given == name]
        if old != new:
            changes.append(f"input {name}: {_brief(old)} → {_brief(new)}")
    return changes


def _brief(digests: list[str]) -> str:
    shown = ", ".join(digest[:12] for digest in digests[:3])
    return f"{shown or 'nothing'}{f' and {len(digests) - 3} more' if len(digests) > 3 else ''}"

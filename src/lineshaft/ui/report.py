"""A run as one HTML page that needs nothing else: steps, sources, schema, curves, metrics, lineage.

Everything on it is read from the catalog and the store, so the page of an old run can be made at any time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from lineshaft.core.catalog import events, executions, history, uses
from lineshaft.core.durable import write_atomic
from lineshaft.core.lineage import lineage
from lineshaft.core.step import outputs_of
from lineshaft.ui import chart
from lineshaft.ui.tree import draw

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact
    from lineshaft.core.home import Home

METRICS = ("accuracy", "f1", "log_loss", "ece")


@dataclass(frozen=True)
class Used:
    """A step of the run with what it gave."""

    step: str
    seconds: float
    reused: bool
    outputs: dict[str, Artifact]


def write_report(home: Home, run: str, path: str | Path) -> None:
    """Write the page of a run."""
    write_atomic(Path(path), render(home, run).encode())


def render(home: Home, run: str) -> str:
    """Make the page of a run."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    pages = Environment(loader=PackageLoader("lineshaft.ui"), autoescape=select_autoescape(), trim_blocks=True)
    steps = _steps(home, run)
    return pages.get_template("report.html").render(
        run=run,
        steps=steps,
        metrics=METRICS,
        comparisons=_comparisons(home, run),
        labels=[home.get(item.outputs["analysis"]) for item in steps if item.step == "fuse"][:1],
        schema=next((home.get(item.outputs["schema"]) for item in steps if item.step.startswith("schema ")), ""),
        checks=[(item.step, home.get(item.outputs["anomalies"])) for item in steps if item.step.startswith("check ")],
        curves=_curves(home, steps),
        evaluations=_evaluations(home, steps),
        verdicts=[home.get(item.outputs["blessing"]) for item in steps if item.step == "bless"],
        trees=_trees(home, run),
    )


def _steps(home: Home, run: str) -> list[Used]:
    with home.catalog.read() as connection:
        query = sa.select(executions.c.id, executions.c.step, executions.c.seconds, uses.c.reused)
        query = query.join(uses, uses.c.execution == executions.c.id).where(uses.c.run == run).order_by(uses.c.position)
        rows = connection.execute(query).all()
        return [Used(row.step, row.seconds, bool(row.reused), outputs_of(connection, row.id)) for row in rows]


def _comparisons(home: Home, run: str) -> list[dict[str, Any]]:
    with home.catalog.read() as connection:
        query = sa.select(events.c.facts).where(events.c.run == run, events.c.kind == "report").order_by(events.c.id)
        return [json.loads(facts) for facts in connection.execute(query).scalars()]


def _curves(home: Home, steps: list[Used]) -> str:
    """Draw the validation loss of every candidate over its epochs."""
    series: dict[str, list[tuple[float, float]]] = {}
    for item in steps:
        if item.step.startswith("train "):
            curve = home.get(item.outputs["curves"])["curves"]
            value = "validation_loss" if "validation_loss" in curve[0] else "train_loss"
            series.setdefault(item.step, [(point["epoch"], point[value]) for point in curve])
    return chart.lines(series, "epoch", "validation loss", legend=False)


def _evaluations(home: Home, steps: list[Used]) -> list[dict[str, Any]]:
    found = []
    for item in steps:
        if item.step == "evaluate":
            content = home.get(item.outputs["report"])
            found.append(content | {"plot": chart.reliability(content["reliability"])})
    return found


def _trees(home: Home, run: str) -> list[tuple[str, str]]:
    """Draw the lineage of what this run published, or found published already."""
    with home.catalog.read() as connection:
        names = set(connection.execute(sa.select(history.c.name).where(history.c.run == run)).scalars())
        told = sa.select(events.c.facts).where(events.c.run == run, events.c.kind == "model.unchanged")
        names |= {json.loads(facts)["name"] for facts in connection.execute(told).scalars()}
    return [(name, draw(lineage(home.catalog, name))) for name in sorted(names)]

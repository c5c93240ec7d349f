"""A run as one HTML page that needs nothing else: metrics, sources of labels, curves, schema, lineage, steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.durable import write_atomic
from lineshaft.core.lineage import Graph, lineage
from lineshaft.errors import UsageError
from lineshaft.release.evaluate import SHOWN, shown
from lineshaft.ui import chart
from lineshaft.ui.story import Story, story_of
from lineshaft.ui.tree import draw

if TYPE_CHECKING:
    from lineshaft.core.home import Home


def write_report(home: Home, run: str, path: str | Path) -> None:
    """Write the page of a run."""
    write_atomic(Path(path), render(home, run).encode("utf-8", "backslashreplace"))


def render(home: Home, run: str) -> str:
    """Make the page of a run, however it ended and however long ago.

    Raises
    ------
    UsageError
        There is no such run.

    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    story = story_of(home, run)
    sections = {
        "comparisons": story.heard("report"),
        "blessings": [found for item in story.of("bless") if (found := story.content(item, "blessing"))],
        "labels": _labels(story),
        "training": _training(story),
        "evaluations": _evaluations(story),
        "schemas": [(item.step, story.content(item, "schema") or "") for item in story.of("schema ")],
        "checks": _checks(story),
        "lineages": _lineages(story),
    }
    pages = Environment(
        loader=PackageLoader("lineshaft.ui"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"interval": shown, "number": _number, "json": _json, "moment": _moment}
    return pages.get_template("report.html").render(story=story, metrics=SHOWN, **sections)


def _labels(story: Story) -> list[dict[str, Any]]:
    """Return the sources of each set of labels, with the models that learnt from them."""
    found = []
    for item in story.of("fuse"):
        content = story.content(item, "analysis")
        if content is not None:
            title = story.title(item.outputs["labels"].digest, "labels")
            found.append({"title": title, "sources": content["sources"], "fusion": content["fusion"]})
    return found


def _training(story: Story) -> dict[str, Any]:
    """Draw the loss of every candidate over its epochs, those that became models in colour; list them, best first."""
    series: dict[str, list[tuple[float, float]]] = {}
    candidates, bold, value = [], [], "train_loss"
    for item in story.of("train "):
        content = story.content(item, "curves")
        if content is None:
            continue
        title = story.titles.get(item.outputs["state"].digest, "")
        scores = content["scores"]
        candidates.append({"step": item.step, "title": title, "epochs": len(content["curves"]), "scores": scores,
                           "best": content["best_epoch"], "failed": content.get("failed", "")})  # fmt: skip
        if content["curves"]:
            value = "validation_loss" if "validation_loss" in content["curves"][0] else "train_loss"
            name = title or item.step
            label = name if name not in series else f"{name} ({item.number})"
            series[label] = [(point["epoch"], point[value]) for point in content["curves"]]
            bold += [label] if title else []
    candidates.sort(key=lambda one: one["scores"].get(value, float("inf")))
    names = list(dict.fromkeys(name for one in candidates for name in one["scores"]))
    drawing = chart.lines(series, "epoch", value.replace("_", " "), bold)
    return {"candidates": candidates, "scores": names, "chart": drawing}


def _evaluations(story: Story) -> list[dict[str, Any]]:
    found = []
    for item in story.of("evaluate"):
        content = story.content(item, "report")
        if content is not None:
            title = story.title(item.inputs["model"][0], "model")
            found.append(content | {"title": title, "plot": chart.reliability(content["reliability"])})
    return found


def _checks(story: Story) -> list[dict[str, Any]]:
    found = []
    for item in story.of("check "):
        content = story.content(item, "anomalies")
        if content is not None:
            rejected = item.outputs["rejected"].meta.get("rows", 0)
            found.append({"step": item.step, "rejected": rejected, **content})
    return found


def _lineages(story: Story) -> list[dict[str, Any]]:
    """Draw what the run's published names are made of, with the source of the user's code behind them."""
    found = []
    for name in story.published:
        try:
            graph = lineage(story.home.catalog, name)
        except UsageError as error:  # the name was taken away since
            story.gaps.append(str(error))
            continue
        found.append({"name": name, "tree": draw(graph), "code": _code(graph)})
    return found


def _code(graph: Graph) -> list[tuple[str, str]]:
    return sorted({(node.label, node.text) for node in graph.nodes.values() if node.kind == "Code" and node.text})


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

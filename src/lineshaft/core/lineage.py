"""Where an artifact came from, down to the code and the raw files, and what was made of it.

::

    File reviews.parquet ─► Table ─► Votes ─► Labels ─► Model   reviews@live
                   Code short_and_angry ─┘
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from lineshaft.core.catalog import Catalog, executions, history, inputs, names, outputs, uses
from lineshaft.errors import UsageError


@dataclass(frozen=True)
class Node:
    """An artifact, a raw file or a piece of code.

    Attributes
    ----------
    digest, kind
        Its name and kind; ``File`` and ``Code`` are not in the store.
    step
        The step that made it; for code, the step it works in; empty for raw files.
    label
        What people call it.
    text
        Source of code.

    """

    digest: str
    kind: str
    step: str
    label: str
    text: str = ""


@dataclass
class Graph:
    """Nodes by digest, and edges from what was used to what was made of it."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)

    def reach(self, start: Iterable[str], *, forward: bool) -> Graph:
        """Keep what can be reached from some nodes, along the edges or against them."""
        neighbours: dict[str, list[str]] = {}
        for source, target in self.edges:
            neighbours.setdefault(source if forward else target, []).append(target if forward else source)
        found, waiting = set(start), list(start)
        while waiting:
            for other in neighbours.get(waiting.pop(), []):
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        edges = {edge for edge in self.edges if edge[0] in found and edge[1] in found}
        return Graph({digest: node for digest, node in self.nodes.items() if digest in found}, edges)

    def join(self, other: Graph) -> Graph:
        """Return the union of two graphs."""
        return Graph(self.nodes | other.nodes, self.edges | other.edges)

    def as_json(self) -> dict[str, Any]:
        """Return ``{"nodes": [...], "edges": [[from, to]]}``, sorted."""
        nodes = [
            {"digest": n.digest, "kind": n.kind, "step": n.step, "label": n.label}
            for n in sorted(self.nodes.values(), key=lambda n: (n.kind, n.label, n.digest))
        ]
        return {"nodes": nodes, "edges": [list(edge) for edge in sorted(self.edges)]}


def lineage(catalog: Catalog, wanted: str) -> Graph:
    """Trace a published name, a digest (or its beginning, 6 digits or more) or the name of a function.

    A published name leads back to everything it was made of, in the run that published it. A digest or a function leads
    both ways: to what it was made of, and forward to everything that was made of it.

    Raises
    ------
    UsageError
        Nothing of that name is known, or a beginning fits several digests.

    """
    with catalog.read() as connection:
        name = connection.execute(sa.select(names).where(names.c.name == wanted)).first()
        if name is not None:
            graph = _graph(connection, _publishing_run(connection, wanted, name.digest))
            if name.digest not in graph.nodes:
                graph = _graph(connection, None)
            return graph.reach([name.digest], forward=False)
        graph = _graph(connection, None)
        found = _matching(graph, wanted)
        return graph.reach(found, forward=False).join(graph.reach(found, forward=True))


def _publishing_run(connection: sa.Connection, name: str, digest: str) -> str | None:
    mine = sa.and_(history.c.name == name, history.c.digest == digest, history.c.run.is_not(None))
    query = sa.select(history.c.run).where(mine).order_by(history.c.id.desc())
    run: str | None = connection.execute(query).scalar()
    return run


def _graph(connection: sa.Connection, run: str | None) -> Graph:
    """Build the graph of one run's executions, or of all."""
    graph = Graph()
    query = sa.select(executions)
    if run is not None:
        query = query.where(executions.c.id.in_(sa.select(uses.c.execution).where(uses.c.run == run)))
    steps = {row.id: row for row in connection.execute(query)}
    made: dict[int, list[str]] = {}
    for row in connection.execute(sa.select(outputs).order_by(outputs.c.execution, outputs.c.position)):
        if row.execution in steps:
            made.setdefault(row.execution, []).append(row.digest)
            graph.nodes[row.digest] = Node(row.digest, row.kind, steps[row.execution].step, _label(row))
    for row in connection.execute(sa.select(inputs)):
        if row.execution in steps:
            graph.nodes.setdefault(row.digest, Node(row.digest, row.kind, "", row.name.lstrip("~")))
            # A check that rejects nothing gives the very bytes it took: no edge from an artifact to itself.
            graph.edges |= {(row.digest, target) for target in made.get(row.execution, []) if target != row.digest}
    for number, row in steps.items():
        _add_code(graph, row, made.get(number, []))
    return graph


def _add_code(graph: Graph, execution: Any, made: list[str]) -> None:
    """Show the user's functions and classes that a step ran; constants and built-ins stay in the key alone."""
    for name, digest, where, text in json.loads(execution.ingredients):
        kind, _, called = name.partition(" ")
        if kind in {"function", "class", "source"}:
            label = f"{called.rpartition('.')[2] if kind != 'source' else called} ({where})" if where else called
            graph.nodes[digest] = Node(digest, "Code", execution.step, label, text)
            graph.edges |= {(digest, target) for target in made}


def _label(row: Any) -> str:
    rows = json.loads(row.meta).get("rows")
    return f"{row.name} ({rows} rows)" if rows is not None else str(row.name)


def _matching(graph: Graph, wanted: str) -> list[str]:
    exact = [d for d in graph.nodes if d == wanted]
    called = [d for d, node in graph.nodes.items() if node.kind == "Code" and node.label.split(" (")[0] == wanted]
    begins = [d for d in graph.nodes if len(wanted) >= 6 and d.startswith(wanted)]
    found = exact or called or begins
    if not found:
        raise UsageError(f"nothing is known as {wanted!r}: give a published name, a digest or a function's name")
    if begins and not exact and not called and len(found) > 1:
        raise UsageError(
            f"{wanted!r} begins {len(found)} digests: {', '.join(d[:12] for d in sorted(found)[:5])}; give more of it"
        )
    return found

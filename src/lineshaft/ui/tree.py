"""A lineage graph as a tree of lines: what was made at the top, what it was made of below.

::

    Model 3fa1b2c4d5e6  model  <- model
    └─ Tensors 9bd01c22e0a1  state  <- train head
       ├─ Code 77e0d1f2a3b4  head (reviews.py:212)
       └─ Tensors (13 alike)  tensors  <- features embed
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineshaft.core.lineage import Graph, Node

Group = tuple[str, ...]


def draw(graph: Graph) -> str:
    """Draw a graph.

    Siblings that differ in their digest alone (the chunks of a table, say) share a line. A node that hangs at several
    places is drawn whole once, and referred to after that. Views are left out: the tables that they are of are there.
    """
    made_of: dict[str, set[str]] = {}
    for source, target in graph.edges:
        if graph.nodes[source].kind != "View":
            made_of.setdefault(target, set()).add(source)
    used = {source for source, _ in graph.edges}
    lines: list[str] = []
    seen: set[str] = set()
    drawn = {digest for digest, node in graph.nodes.items() if node.kind != "View"}
    for top in _groups(graph, drawn - used) + _groups(graph, drawn):
        if not seen.issuperset(top):  # the second list is for nodes in a ring: bytes made of what was made of them
            _add(graph, made_of, top, lines, seen)
    return "\n".join(lines)


def _add(graph: Graph, made_of: dict[str, set[str]], top: Group, lines: list[str], seen: set[str]) -> None:
    waiting = [(top, "", "")]
    while waiting:
        group, before, below = waiting.pop()
        parts = set().union(*(made_of.get(digest, set()) for digest in group))
        again = bool(parts) and seen.issuperset(group)
        lines.append(f"{before}{_line(graph.nodes[group[0]], len(group))}{'  (above)' if again else ''}")
        seen.update(group)
        children = [] if again else _groups(graph, parts)
        for place, child in reversed(list(enumerate(children))):
            last = place == len(children) - 1
            waiting.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))


def _groups(graph: Graph, digests: Iterable[str]) -> list[Group]:
    """Put nodes that look alike together, in a fixed order."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for digest in sorted(digests):
        node = graph.nodes[digest]
        alone = digest if node.kind == "Code" else node.step
        groups.setdefault((node.kind, node.label, alone), []).append(digest)
    return [tuple(groups[key]) for key in sorted(groups)]


def _line(node: Node, count: int) -> str:
    name = node.digest[:12] if count == 1 else f"({count} alike)"
    return f"{node.kind} {name}  {node.label}{f'  <- {node.step}' if node.step and node.kind != 'Code' else ''}"

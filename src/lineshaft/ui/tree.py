"""A lineage graph as a tree of lines, what was made at the top, what it was made of below."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineshaft.core.lineage import Graph, Node


def draw(graph: Graph) -> str:
    """Draw a graph. A node that hangs at several places is drawn whole once, and referred to after that."""
    made_of: dict[str, list[str]] = {}
    for source, target in graph.edges:
        made_of.setdefault(target, []).append(source)
    used = {source for source, _ in graph.edges}
    lines: list[str] = []
    seen: set[str] = set()
    tops = sorted(
        (digest for digest in graph.nodes if digest not in used), key=lambda digest: _order(graph.nodes[digest])
    )
    for digest in tops:
        _add(graph, made_of, digest, "", lines, seen)
    return "\n".join(lines)


def _add(
    graph: Graph, made_of: dict[str, list[str]], digest: str, indent: str, lines: list[str], seen: set[str]
) -> None:
    node = graph.nodes[digest]
    again = digest in seen and bool(made_of.get(digest))
    lines.append(f"{indent}{_line(node)}{' (above)' if again else ''}")
    if again:
        return
    seen.add(digest)
    for source in sorted(made_of.get(digest, []), key=lambda item: _order(graph.nodes[item])):
        _add(graph, made_of, source, indent + "  ", lines, seen)


def _line(node: Node) -> str:
    step = f"  <- {node.step}" if node.step and node.kind != "Code" else ""
    return f"{node.kind} {node.digest[:12]}  {node.label}{step}"


def _order(node: Node) -> tuple[str, str, str]:
    return node.kind, node.label, node.digest

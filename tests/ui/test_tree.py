"""A lineage graph as a tree that people can read."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from lineshaft.core.lineage import Graph, Node
from lineshaft.ui.tree import draw


def graph(edges, **nodes):
    made = {name: Node(f"{name}{'0' * 20}", *given) for name, given in nodes.items()}
    return Graph({n.digest: n for n in made.values()}, {(made[a].digest, made[b].digest) for a, b in edges})


def test_what_was_made_stands_above_what_it_was_made_of():
    found = graph(
        [("f", "t"), ("t", "m"), ("c", "m")],
        f=("File", "", "orders.csv"),
        t=("Table", "read orders.csv", "rows (9 rows)"),
        m=("Model", "model", "model"),
        c=("Code", "model", "head (a.py:3)", "def head(): ..."),
    )
    assert draw(found).splitlines() == [
        "Model m00000000000  model  <- model",
        "├─ Code c00000000000  head (a.py:3)",
        "└─ Table t00000000000  rows (9 rows)  <- read orders.csv",
        "   └─ File f00000000000  orders.csv",
    ]


def test_a_node_at_two_places_is_drawn_whole_once():
    found = graph(
        [("f", "t"), ("t", "a"), ("t", "b"), ("a", "m"), ("b", "m")],
        f=("File", "", "raw"), t=("Table", "read", "rows"), a=("Votes", "vote a", "votes"),
        b=("Votes", "vote b", "votes"), m=("Labels", "fuse", "labels"),
    )  # fmt: skip
    lines = draw(found).splitlines()
    assert sum("File" in line for line in lines) == 1
    tables = [line for line in lines if "Table" in line]
    assert len(tables) == 2
    assert tables[0].startswith("│  └─ ") and not tables[0].endswith("(above)")
    assert tables[1].startswith("   └─ ") and tables[1].endswith("(above)")


def test_a_leaf_at_two_places_is_simply_there_twice():
    found = graph([("f", "a"), ("f", "b")], f=("File", "", "raw"), a=("Table", "x", "a"), b=("Table", "y", "b"))
    assert "(above)" not in draw(found)
    assert draw(found).count("File") == 2


def test_siblings_that_look_alike_share_a_line_and_what_is_below():
    chunks = {f"t{n}": ("Tensors", "features embed", "tensors") for n in range(13)}
    edges = [(name, "m") for name in chunks] + [("f", name) for name in chunks]
    found = graph(edges, **chunks, m=("Tensors", "train head", "state"), f=("File", "", "raw"))
    assert draw(found).splitlines() == [
        "Tensors m00000000000  state  <- train head",
        "└─ Tensors (13 alike)  tensors  <- features embed",
        "   └─ File f00000000000  raw",
    ]


def test_code_is_never_put_together():
    found = graph([("a", "m"), ("b", "m")], a=("Code", "vote", "f (x.py:1)"), b=("Code", "vote", "f (x.py:1)"),
                  m=("Votes", "vote", "votes"))  # fmt: skip
    assert draw(found).count("f (x.py:1)") == 2


def test_views_of_tables_are_left_out():
    found = graph([("v", "m"), ("t", "m")], v=("View", "", "view"), t=("Table", "read", "rows"), m=("Votes", "v", "x"))
    assert "View" not in draw(found)
    assert len(draw(found).splitlines()) == 2


def test_bytes_made_of_what_was_made_of_them_are_drawn_and_end():
    ring = graph([("a", "b"), ("b", "a")], a=("Table", "check", "good"), b=("Schema", "infer", "schema"))
    lines = draw(ring).splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("(above)")


def test_a_chain_longer_than_the_stack_is_deep():
    names = [f"n{number:05}" for number in range(3000)]
    found = graph(list(itertools.pairwise(names)), **{name: ("Value", name, name) for name in names})
    assert len(draw(found).splitlines()) == 3000


def test_nothing_is_nothing():
    assert draw(Graph()) == ""


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25))
def test_every_node_is_drawn_whatever_the_graph(edges):
    nodes = {f"n{number}": ("Value", f"step {number}", f"label-{number}") for number in range(10)}
    found = graph([(f"n{a}", f"n{b}") for a, b in edges if a != b], **nodes)
    text = draw(found)
    assert text == draw(found)
    for number in range(10):
        assert f"label-{number}" in text
    whole = [line for line in text.splitlines() if not line.endswith("(above)")]
    made_of = {b for a, b in edges if a != b}
    for number in made_of:
        assert sum(line.endswith(f"label-{number}  <- step {number}") for line in whole) == 1

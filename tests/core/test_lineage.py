"""Lineage leads from an artifact to code and raw files, and from these to all that was made of them."""

from __future__ import annotations

import pytest

from core.jobs import after, constant, session, start, step_of
from lineshaft.core import names
from lineshaft.core.artifact import Artifact
from lineshaft.core.lineage import lineage
from lineshaft.core.step import make
from lineshaft.errors import UsageError

RAW = Artifact("File", "f" * 64, 0)


def read(path):
    return {"rows": path}


@pytest.fixture
def made(home):
    """raw file -> rows -> doubled -> seven; and a second branch that shares nothing."""
    with session(home) as shaft:
        rows = shaft.one(make("read", read, {"raw": RAW}, {"rows": "Value"}, aside={"path": 21}))["rows"]
        doubled = shaft.one(after(rows))["y"]
        seven = shaft.one(after(doubled, constant))["y"]
        other = shaft.one(step_of(start, 5))["x"]
        names.publish(home.catalog, "answer@live", seven, shaft.run, {})
    return {"rows": rows, "doubled": doubled, "seven": seven, "other": other}


def kinds(graph):
    return sorted((node.kind, node.label.split(" (")[0]) for node in graph.nodes.values())


def test_a_name_leads_back_to_code_and_raw_files(home, made):
    graph = lineage(home.catalog, "answer@live")
    assert kinds(graph) == sorted(
        [("File", "raw"), ("Value", "rows"), ("Value", "y"), ("Value", "y")]
        + [("Code", name) for name in ("constant", "double", "mark", "read")]
    )
    assert (RAW.digest, made["rows"].digest) in graph.edges
    assert (made["doubled"].digest, made["seven"].digest) in graph.edges


def test_code_leads_forward_to_all_that_was_made_with_it(home, made):
    graph = lineage(home.catalog, "double")
    assert {made["doubled"].digest, made["seven"].digest} <= graph.nodes.keys()
    assert made["rows"].digest not in graph.nodes
    assert made["other"].digest not in graph.nodes
    node = next(node for node in graph.nodes.values() if node.label.startswith("double"))
    assert node.text.startswith("def double(x, log=None):")
    assert node.label.startswith("double (jobs.py:")


def test_a_digest_or_its_beginning_leads_both_ways(home, made):
    graph = lineage(home.catalog, made["doubled"].digest[:12])
    assert {RAW.digest, made["rows"].digest, made["seven"].digest} <= graph.nodes.keys()
    assert made["other"].digest not in graph.nodes
    assert lineage(home.catalog, made["doubled"].digest).as_json() == graph.as_json()


def test_a_raw_file_leads_to_everything_read_from_it(home, made):
    graph = lineage(home.catalog, RAW.digest)
    assert made["seven"].digest in graph.nodes


def test_a_table_named_by_a_view_is_shown_though_it_does_not_count(home):
    with session(home) as shaft:
        rows = shaft.one(step_of(start))["x"]
        view = Artifact("View", "e" * 64, 0)
        shaft.one(make("vote", vote, {"view": view}, {"votes": "Value"}, aside={"rows": rows}))
    assert rows.digest in lineage(home.catalog, "vote").nodes or rows.digest in lineage(home.catalog, "mark").nodes
    graph = lineage(home.catalog, rows.digest)
    assert "votes" in {node.label for node in graph.nodes.values()}


def vote(rows):
    return {"votes": rows}


def test_json_is_sorted_and_complete(home, made):
    document = lineage(home.catalog, "answer@live").as_json()
    assert document["edges"] == sorted(document["edges"])
    assert all(set(node) == {"digest", "kind", "step", "label"} for node in document["nodes"])
    digests = {node["digest"] for node in document["nodes"]}
    assert all(end in digests for edge in document["edges"] for end in edge)


def test_only_the_run_that_published_is_shown(home, made):
    with session(home) as shaft:  # the same bytes by another way
        shaft.one(step_of(start, 7, name="by hand"))
    assert "by hand" not in {node.step for node in lineage(home.catalog, "answer@live").nodes.values()}


@pytest.mark.parametrize("wanted", ["unknown", "abc", "0" * 64])
def test_what_is_unknown_is_refused(home, made, wanted):
    with pytest.raises(UsageError, match="nothing is known as"):
        lineage(home.catalog, wanted)


def test_a_beginning_that_fits_two_digests_is_refused_with_both(home):
    with session(home) as shaft:
        for tail in "ab":
            raw = Artifact("File", "c" * 63 + tail, 0)
            shaft.one(make("read", read, {"raw": raw}, {"rows": "Value"}, aside={"path": tail}))
    with pytest.raises(UsageError, match="'cccccc' begins 2 digests"):
        lineage(home.catalog, "cccccc")

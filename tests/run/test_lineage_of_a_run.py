"""From the published name back to the source of each labeling function and to the raw file, and forward again."""

from __future__ import annotations

import hashlib

import pytest

from crash import grain

LIVE = "mill@live"


def lineage(job, what):
    document = job.call("lineage", what, "--json").json
    assert set(document) == {"nodes", "edges"}
    assert all(set(node) == {"digest", "kind", "step", "label"} for node in document["nodes"])
    return document


def of_kind(document, kind):
    return {node["digest"]: node["label"] for node in document["nodes"] if node["kind"] == kind}


def back_from(document, digest):
    """Follow the edges backwards; return every digest that leads to this one."""
    found, waiting = set(), [digest]
    while waiting:
        target = waiting.pop()
        for origin in [origin for origin, other in document["edges"] if other == target]:
            if origin not in found:
                found.add(origin)
                waiting.append(origin)
    return found


def test_the_published_name_leads_to_every_function_and_to_the_raw_file(done, clean):
    document = lineage(done, LIVE)
    behind = back_from(document, clean.state.names[LIVE])
    assert behind | {clean.state.names[LIVE]} == {node["digest"] for node in document["nodes"]}

    code = of_kind(document, "Code")
    lines = (done.folder / "mill.py").read_text().splitlines()
    for name in ("balance", "starred", "leaning", "letters", "head"):
        (place,) = [label for label in code.values() if label.startswith(f"{name} (")]
        line = int(place.removesuffix(")").rpartition(":")[2])
        assert lines[line - 1].startswith(f"def {name}("), place
    raw = hashlib.sha256((done.folder / "raw.parquet").read_bytes()).hexdigest()
    assert raw in of_kind(document, "File")
    assert raw in behind


def test_every_source_has_its_votes_in_the_lineage(done):
    steps = {node["step"] for node in lineage(done, LIVE)["nodes"] if node["kind"] == "Votes"}
    assert steps == {f"vote {name}" for name in ("praise", "blame", "fails", "brief", "balance", "starred", "leaning")}


def test_the_source_of_a_labeling_function_is_kept(done):
    from lineshaft.core.lineage import lineage as trace

    with done.home() as home:
        graph = trace(home.catalog, LIVE)
    (node,) = [node for node in graph.nodes.values() if node.label.startswith("balance (")]
    assert node.text.startswith('@ls.labeling_function(reads=["text"])\ndef balance(x):\n')
    assert 'return "good" if score > 0' in node.text


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("praise", 'ls.keywords("text", GOOD[:3]', "keywords fine, sturdy, quiet in text -> good"),
        ("fails", 'ls.regex("text"', "regex "),
        ("brief", "ls.expression(", "expression length(text) < 18 and stars >= 3 -> good"),
    ],
)
def test_sources_that_are_no_functions_stand_there_with_place_and_meaning(done, name, line, text):
    from lineshaft.core.lineage import lineage as trace

    with done.home() as home:
        graph = trace(home.catalog, LIVE)
    (node,) = [node for node in graph.nodes.values() if node.kind == "Code" and node.label.startswith(f"{name} (")]
    number = int(node.label.removesuffix(")").rpartition(":")[2])
    assert (done.folder / "mill.py").read_text().splitlines()[number - 1].strip().startswith(line)
    assert node.text.startswith(text)


@pytest.mark.parametrize("name", ["praise", "brief", "balance", "starred", "leaning", "letters", "head"])
def test_a_function_leads_forward_to_the_model_that_learnt_from_it(done, clean, name):
    document = lineage(done, name)
    model = clean.state.names[LIVE]
    assert model in of_kind(document, "Model")
    (own,) = [digest for digest, label in of_kind(document, "Code").items() if label.startswith(f"{name} (")]
    assert own in back_from(document, model)


def test_the_raw_file_leads_forward_to_the_model(done, clean):
    raw = hashlib.sha256((done.folder / "raw.parquet").read_bytes()).hexdigest()
    assert clean.state.names[LIVE] in of_kind(lineage(done, raw[:10]), "Model")


def test_after_two_publications_the_name_shows_the_run_that_published_it(done):
    (old,) = done.made("vote balance", "votes")
    done.edit(("score > 0 else", "score > 1 else"), ("epochs=4", "epochs=3"))
    done.run()
    new = done.made("vote balance", "votes")[1]
    now = {node["digest"] for node in lineage(done, LIVE)["nodes"]}
    assert new.digest in now
    assert old.digest not in now

    done.call("publish", LIVE, "--previous")
    before = {node["digest"] for node in lineage(done, LIVE)["nodes"]}
    assert old.digest in before
    assert new.digest not in before


def test_a_function_that_taught_two_models_leads_to_both(done):
    done.edit(("batch=32", "batch=16"))
    done.run()
    models = {artifact.digest for artifact in done.made("model", "model")}
    assert len(models) == 2
    assert models <= set(of_kind(lineage(done, "starred"), "Model"))


def test_a_name_that_was_published_from_another_file_shows_that_file(done):
    done.rewrite(grain.sentences(rows=280))
    done.run()
    raw = hashlib.sha256((done.folder / "raw.parquet").read_bytes()).hexdigest()
    assert set(of_kind(lineage(done, LIVE), "File")) >= {raw}


def test_the_tree_for_people_shows_each_function_once_with_its_place(done):
    said = done.call("lineage", LIVE).out
    assert said.startswith("Model ")
    assert "balance (mill.py:" in said
    assert "raw.parquet" in said


def test_what_nobody_knows_is_refused_with_what_may_be_asked(done):
    assert "nothing is known as 'nobody'" in done.fails(2, "lineage", "nobody")

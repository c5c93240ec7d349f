"""Training, scoring and serving give equal answers for equal rows; a model whose code changed is refused by all."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest

from crash import grain

LIVE = "mill@live"
CLASSES = ["bad", "good"]


@contextmanager
def served(job):
    """Serve the live model in a process of its own; yield a function that asks about texts."""
    running = job.start("serve", LIVE, "--port", "0", "--token-file", "token", "--json")
    deadline = time.monotonic() + 60
    while not running.out.read_text().endswith("\n"):
        assert time.monotonic() < deadline, running.err.read_text()
        time.sleep(0.02)
    url = json.loads(running.out.read_text())["url"]
    token = (job.folder / "token").read_text().strip()

    def ask(texts):
        body = json.dumps({"rows": [{"text": text} for text in texts]}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/models/mill/predict", body, headers)) as response:
            return json.load(response)

    try:
        yield ask
    finally:
        running.kill(15)
        assert running.wait().code == 0


def table_of(rows):
    """Probabilities and labels by row id."""
    return {row["row_id"]: ([row[f"p_{name}"] for name in CLASSES], row["label"]) for row in rows}


def scored(job, data="raw.parquet"):
    ended = job.call("score", LIVE, data, "--out", "scored", "--key", "id", "--json")
    assert ended.code == 0, ended
    return table_of(
        row for path in sorted((job.folder / "scored").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    )


def measured(job):
    return table_of(job.content("evaluate", "predictions").to_pylist())


def test_the_probabilities_of_evaluation_scoring_and_serving_agree(done):
    offline, files = measured(done), scored(done)
    assert set(offline) < set(files)
    texts = {row["id"]: row["text"] for row in grain.sentences()}
    ids = sorted(files)
    with served(done) as ask:
        for size in (1, 7, 256, len(ids)):
            asked = ids if size > 1 else ids[:20]
            answers = [
                answer
                for start in range(0, len(asked), size)
                for answer in batch(ask, texts, asked[start : start + size])
            ]
            for row, answer in zip(asked, answers, strict=True):
                online = [answer["probabilities"][name] for name in CLASSES]
                assert answer["label"] == files[row][1]
                np.testing.assert_allclose(online, files[row][0], atol=1e-5, rtol=0)
    for row, (probabilities, label) in offline.items():
        np.testing.assert_allclose(probabilities, files[row][0], atol=1e-5, rtol=0)
        assert label == files[row][1]


def batch(ask, texts, ids):
    answer = ask([texts[row] for row in ids])
    return answer["predictions"]


def test_the_answer_names_the_published_model(done, clean):
    with served(done) as ask:
        assert ask(["a fine lamp"])["model"] == clean.state.names[LIVE]


def test_the_rows_that_came_together_do_not_change_an_answer(done):
    with served(done) as ask:
        alone = ask(["a fine lamp"])["predictions"][0]
        beside = ask(["a fine lamp", *["broken and noisy and slow"] * 40])["predictions"][0]
    assert alone["label"] == beside["label"]
    for name in CLASSES:
        assert alone["probabilities"][name] == pytest.approx(beside["probabilities"][name], abs=1e-5)


# code that changed

BUILDER = ("nn.ReLU(), nn.Dropout(0.1)", "nn.Tanh(), nn.Dropout(0.1)")
FEATURES = ("sum(map(ord, word)) % 30", "sum(map(ord, word[:1])) % 30")
SERVE = ("serve", LIVE, "--port", "0", "--token-file", "token")
SCORE = ("score", LIVE, "raw.parquet", "--out", "scored", "--key", "id")


@pytest.mark.parametrize("command", [SERVE, SCORE], ids=["serve", "score"])
@pytest.mark.parametrize(
    ("edit", "what"), [(BUILDER, "builder head"), (FEATURES, "features function letters")], ids=["builder", "features"]
)
def test_a_model_whose_code_changed_is_refused_with_both_fingerprints(done, command, edit, what):
    done.edit(edit)
    said = done.fails(1, *command)
    assert_both_fingerprints(done, said, what)
    assert not (done.folder / "scored").exists() or not list((done.folder / "scored").rglob("*.parquet"))


def assert_both_fingerprints(job, said, what):
    with job.home() as home:
        spec = home.get(job.made("model", "model")[0]).header
    kind, *_, name = what.split()
    stored = spec[kind]["fingerprint"]
    assert f"the {what} has changed since the model was trained: it was {stored[:12]}, it is " in said
    now = said.partition("it is ")[2].partition(";")[0]
    assert len(now) == 12
    assert now != stored[:12]
    assert spec[kind]["qualname"] == name


def test_blessing_beside_a_live_model_whose_code_changed_uses_what_was_measured_before(done):
    """The live model's report on these rows is on record; nothing of it has to be loaded."""
    done.edit(BUILDER)
    done.run()
    assert done.executed().count("evaluate") == 1


def test_blessing_on_new_rows_beside_a_live_model_whose_code_changed_is_refused(done, clean):
    done.edit(BUILDER)
    done.rewrite(grain.sentences(rows=320))
    said = done.fails(1)
    assert said.startswith("Refused: no_worse_than compares with mill@live, which cannot be measured on these rows: ")
    assert_both_fingerprints(done, said, "builder head")
    assert done.state().names == clean.state.names


def test_other_edits_do_not_matter_nor_does_a_script_without_main(done, clean):
    text = (done.folder / "mill.py").read_text()
    without = text.partition("def main(run):")[0].replace("score > 0", "score > 3").replace("epochs=4", "epochs=40")
    (done.folder / "mill.py").write_text(without)
    assert scored(done)
    with served(done) as ask:
        assert ask(["a fine lamp"])["model"] == clean.state.names[LIVE]


def test_a_script_that_is_gone_is_a_refusal_not_a_traceback(done):
    (done.folder / "mill.py").unlink()
    ended = done.call(*SCORE)
    assert ended.code in {1, 2}
    assert "Traceback" not in ended.err


def test_a_home_that_never_ran_the_script_does_not_load_it(done):
    """Code is found only in what this home has run: a copied object alone is not enough."""
    import sqlalchemy as sa

    from lineshaft.core.catalog import scripts

    with done.home() as home, home.catalog.write() as connection:
        connection.execute(sa.delete(scripts))
    assert "no run of this home has used" in done.fails(1, *SCORE)


def test_a_published_model_can_be_served_after_its_run_and_its_schema_were_swept(done):
    path = done.folder / "mill.schema.toml"
    path.write_text(path.read_text().replace("min = 0,", "min = -1,"))
    done.edit(('ls.at_least("accuracy", 0.5)', 'ls.at_least("accuracy", 1.01)'))
    assert done.call("run", "mill.py").code == 1
    assert done.call("gc", "--keep-runs", "1", "--json").json["runs"] == 1
    assert len(scored(done)) == 300
    assert done.faults() == []

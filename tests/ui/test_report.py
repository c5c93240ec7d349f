"""The page of a run: whole, self-contained, escaped, and there for every run however it ended."""

from __future__ import annotations

import re
import shutil

import pytest
import sqlalchemy as sa
from strict_page import assert_self_contained, read

from lineshaft.core.catalog import names
from lineshaft.core.home import Home
from lineshaft.errors import Refused, StepFailed, UsageError
from lineshaft.run import Run, run
from lineshaft.run.record import latest
from lineshaft.ui.report import render, write_report
from lineshaft.ui.story import story_of
from small_project import EVIL, forget_scripts, write_project, write_rows


@pytest.fixture(scope="module")
def page(project):
    return read(render(project.home, project.run))


@pytest.fixture
def alone(tmp_path, request):
    """A project of this test's own: writes it, and runs it as far as it goes."""

    def make(**edits):
        name = re.sub(r"\W", "_", request.node.name)[-40:]
        return write_project(tmp_path / "own", name, **edits), Home(tmp_path / "own" / "home")

    yield make
    forget_scripts()


def ended(home):
    return latest(home, 1)[0]["run"]


def test_it_loads_nothing_and_runs_nothing(page):
    assert_self_contained(page)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_hostile_names_are_text(project):
    """Column, source, slice and report names and sentences are <script>, and stand there to be read."""
    html = render(project.home, project.run)
    page = read(html)
    assert "<script" not in html.lower()
    assert not page.all("i") and not page.all("b")
    assert page.whole.count(EVIL) > 5
    assert page.text("td").count(EVIL) == 2  # in the comparison, and as a source
    assert {"small <b>orders</b>", "large & <i>dear</i>"} <= set(page.text("td"))
    assert f"side by side {EVIL}" in page.text("h2")
    assert f"delayed {EVIL} 3" in html.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace(
        "&amp;", "&"
    ).replace('\\"', '"')


def test_it_says_which_run_it_is(project, page):
    assert page.text("h1") == [project.script.name]
    assert project.run in page.whole
    assert re.search(r"done\s+after \d+\.\d s", page.whole)
    assert project.run in page.text("title")[0]


def test_it_has_every_part(page):
    heads = page.text("h2")
    for wanted in (
        "Blessing:",
        "Labels",
        "Training",
        "Evaluation on held-out gold",
        "Schema",
        "Lineage of late@live",
        "Steps",
    ):
        assert wanted in heads
    assert page.text("span").count("passed") == 3


def test_evaluations_labels_and_trainings_say_which_model_they_are_of(project, page):
    ours = f"{EVIL}, late@live"
    assert page.text("h3").count(ours) == 2  # labels, evaluation
    assert page.text("h3").count("experts alone") == 2
    assert page.text("small").count(ours) == 1  # the winner among the candidates
    assert {ours, "experts alone"} <= set(page.text("text"))  # and in the key of the curves
    titles = story_of(project.home, project.run).titles
    assert sorted(set(titles.values())) == sorted([ours, "experts alone"])
    assert len(titles) == 6  # model, state and labels of each


def test_it_shows_what_the_stages_found(page):
    cells = page.text("td")
    assert "big_orders" in cells  # the analysis table
    assert cells.count("nobody") == 1 and cells.count("undefined") == 4  # an empty slice
    assert any(re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", cell) for cell in cells)
    assert len(page.all("svg")) == 3  # curves, and a reliability plot for each evaluation
    assert len(page.all("polyline")) == 3 + 2
    assert "check train: 162 rows, 0 set aside, 0 anomalies" in page.text("p")


def test_lineage_leads_to_the_file_and_the_source(page):
    (tree,) = [text for text in page.text("pre") if text.startswith("Model ")]
    assert "File " in tree and "orders.csv" in tree and "└─ " in tree
    assert any("def big_orders(x):" in text for text in page.text("pre"))
    assert any(text.startswith("big_orders (") for text in page.text("summary"))


def test_the_same_run_always_gives_the_same_page(project):
    assert render(project.home, project.run) == render(Home(project.home.folder), project.run)


def test_it_is_written_as_utf_8(project, tmp_path):
    write_report(project.home, project.run, tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == render(project.home, project.run)


def test_there_is_no_page_of_no_run(project):
    with pytest.raises(UsageError, match="there is no run 'nonesuch'"):
        render(project.home, "nonesuch")


def test_an_old_run_has_its_page_after_others_came(alone):
    script, home = alone()
    old = run(script, home)
    before = read(render(home, old.id))
    forget_scripts()
    script.write_text(script.read_text().replace('label="no"', 'label="yes"'))
    new = run(script, home)
    after = read(render(home, old.id))
    assert after.text("td") == before.text("td")
    assert after.text("h3") == before.text("h3")
    assert read(render(home, new.id)).text("td") != before.text("td")


def test_a_reusing_run_tells_the_same_with_reused_steps(alone):
    script, home = alone()
    first = run(script, home)
    forget_scripts()
    second = run(script, home)
    one, two = read(render(home, first.id)), read(render(home, second.id))
    assert two.text("h3") == one.text("h3")
    assert "Lineage of late@live" in two.text("h2")
    steps = story_of(home, second.id).steps
    assert all(item.reused for item in steps)
    assert two.text("td").count("reused") == len(steps)


def test_a_refused_model_is_shown_as_refused(alone):
    script, home = alone(**{"FLOOR = 0.5": "FLOOR = 1.0"})
    with pytest.raises(Refused):
        run(script, home)
    page = read(render(home, ended(home)))
    assert "refused" in page.text("span") and "failed" in page.text("span")
    assert not [head for head in page.text("h2") if head.startswith("Lineage")]
    assert any(text.startswith("model ") for text in page.text("h3"))  # nobody has named it


def test_a_failed_run_shows_how_far_it_came(alone):
    script, home = alone(**{"return nn.Linear(inputs, classes)": 'raise ValueError("no head today")'})
    with pytest.raises(StepFailed):
        run(script, home)
    page = read(render(home, ended(home)))
    assert "failed" in page.text("span")
    assert "Labels" in page.text("h2") and "Training" not in page.text("h2")


def test_a_run_without_labels_or_steps(home):
    with Run("empty.py", home) as empty:
        pass
    page = read(render(home, empty.id))
    assert page.text("h2") == ["Steps"]
    with Run("own.py", home) as own:
        own.step(_seven, n=7)
    page = read(render(home, own.id))
    assert page.text("h2") == ["Steps"]
    assert "step _seven" in page.text("td")


def _seven(n):
    return n


def test_a_running_run(home):
    with Run("slow.py", home) as slow:
        assert "running" in read(render(home, slow.id)).text("span")


def test_anomalies_are_listed(tmp_path, alone):
    script, home = alone()
    run(script, home)
    write_rows(script.parent / "orders.csv", rows=300)
    with (script.parent / "orders.csv").open("a") as stream:
        stream.write('o999,d1,77,"never <u>seen</u>",yes\n')
    forget_scripts()
    run(script, home)
    html = render(home, ended(home))
    page = read(html)
    assert "<u>" not in html
    assert any("set aside" in text and ", 0 set aside" not in text for text in page.text("p"))
    assert {"size", EVIL} <= set(page.text("td"))
    assert "error" in page.text("span")


def test_what_is_damaged_is_a_gap_not_an_end(project, tmp_path):
    shutil.copytree(project.home.folder, tmp_path / "copy")
    home = Home(tmp_path / "copy")
    for item in story_of(home, project.run).steps:
        for artifact in item.outputs.values():
            (home.folder / "objects" / artifact.digest[:2] / artifact.digest[2:]).unlink(missing_ok=True)
    with home.catalog.write() as connection:
        connection.execute(sa.delete(names))
    page = read(render(home, project.run))
    assert "Steps" in page.text("h2") and "Labels" not in page.text("h2")
    gaps = [text for text in page.text("p") if "missing from the store" in text]
    assert len(gaps) > 5
    assert any("nothing is known as 'late@live'" in text for text in page.text("p"))


def test_a_step_used_twice_is_told_once(home):
    with Run("twice.py", home) as twice:
        twice.step(_seven, n=7)
        twice.step(_seven, n=7)
    story = story_of(home, twice.id)
    assert len(story.steps) == 2
    assert len(story.of("step ")) == len(story.of("step _seven")) == 1
    assert story.of("step") == []
    assert (story.facts["executed"], story.facts["reused"]) == (1, 1)

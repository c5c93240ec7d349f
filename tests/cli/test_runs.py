"""run, why, runs, lineage, report."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from lineshaft.core.home import Home
from small_project import EVIL, write_project, written

STEPS = """
import lineshaft as ls

BY = 2


def one():
    return 1


def double(n):
    return n * BY


def main(run):
    print("hello", end="")
    n = run.step(one)
    run.step(double, n)
"""


@pytest.fixture
def steps(tmp_path):
    return written(tmp_path, "two_steps.py", STEPS)


# ---- run


def test_a_run_shows_its_steps_and_counts(steps, lineshaft):
    done = lineshaft("run", steps)
    assert done.code == 0
    assert re.fullmatch(r"hellotwo_steps\.py: 2 steps, 2 executed, 0 reused, \d+\.\d s\n", done.out)
    assert re.fullmatch(r"  step one  \d\.\d\d s\n  step double  \d\.\d\d s\n", done.err)
    again = lineshaft("run", steps)
    assert "2 steps, 0 executed, 2 reused" in again.out
    assert again.err == "  2 steps reused\n"


def test_a_run_as_json_is_one_line_whatever_the_script_prints(steps, lineshaft):
    done = lineshaft("run", steps, "--json")
    assert done.out.count("\n") == 1
    found = done.json
    assert set(found) == {"run", "steps", "executed", "reused", "seconds"}
    assert (found["steps"], found["executed"], found["reused"]) == (2, 2, 0)
    assert found["seconds"] >= 0
    assert done.err == "hello"


def test_only_what_changed_runs_again(steps, lineshaft):
    lineshaft("run", steps)
    steps.write_text(STEPS.replace("BY = 2", "BY = 3"))
    found = lineshaft("run", steps, "--json").json
    assert (found["executed"], found["reused"]) == (1, 1)


def test_workers_compute_the_same(steps, tmp_path):
    """In processes of their own, whose output is nobody's document."""
    text = STEPS.replace("    run.step(double, n)\n", "    [run.step(double, n, times=t) for t in range(2)]\n")
    steps.write_text(text.replace("def double(n):", "def double(n, times):").replace("n * BY", "n * BY * times"))
    done = subprocess.run(
        [sys.executable, "-m", "lineshaft", "run", steps, "--workers", "2", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executed"] == 3


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("x = 1\n", 2, "UsageError: odd_script.py has no function main(run) to run"),
        ("def main(run):\n    run.read('no.csv')\n", 2, "DataError: no file 'no.csv' to read"),
    ],
)
def test_a_script_that_cannot_run(text, code, said, tmp_path, lineshaft):
    lineshaft("run", written(tmp_path, "odd_script.py", text)).refused(code, said)
    lineshaft("run", tmp_path / "nonesuch.py").refused(2, "UsageError: there is no script")
    lineshaft("why", tmp_path / "nonesuch.py").refused(2, "UsageError: there is no script")


def test_refused_is_1_and_the_page_is_written_all_the_same(tmp_path, lineshaft):
    script = write_project(tmp_path / "own", "refused_orders", **{"FLOOR = 0.5": "FLOOR = 1.0"})
    page = tmp_path / "page.html"
    done = lineshaft("run", script, "--report", page, "--json", home=tmp_path / "own home")
    assert done.code == 1
    assert done.out == ""
    last = done.err.partition("Refused: ")[2].splitlines()
    assert last[0] == "late@live is not published: the model is not blessed"
    assert any(line.startswith("FAILED: accuracy at least 1: ") for line in last)
    assert "Blessing:" in page.read_text()
    assert [row["status"] for row in lineshaft("runs", "--json").json["runs"]] == ["failed"]
    assert lineshaft("publish", "late@live").code == 2


def test_a_failing_disk_is_3(steps, tmp_path, lineshaft):
    (tmp_path / "file").write_text("")
    lineshaft("run", steps, home=tmp_path / "file").refused(3, "StorageError: cannot make file")


def test_a_page_that_cannot_be_written_is_3_and_the_run_is_done(steps, tmp_path, lineshaft):
    (tmp_path / "file").write_text("")
    done = lineshaft("run", steps, "--report", tmp_path / "file" / "page.html")
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("StorageError: could not write page.html")
    assert [row["status"] for row in lineshaft("runs", "--json").json["runs"]] == ["done"]


# ---- why


def test_why_tells_what_would_run_and_computes_nothing(steps, lineshaft, tmp_path):
    done = lineshaft("why", steps)
    assert done.code == 0
    assert "step one: runs\n    never ran before\n" in done.out
    assert "step double: runs again if these bytes change" in done.out
    assert not (tmp_path / "empty home").exists()
    assert lineshaft("runs", "--json").json["runs"] == []
    lineshaft("run", steps)
    assert lineshaft("why", steps).out == "hello2 of 2 steps would be reused\n"
    steps.write_text(STEPS.replace("BY = 2", "BY = 3"))
    changed = lineshaft("why", steps).out
    assert re.search(r"step double: runs\n    .*BY.*2 → 3", changed)
    assert "1 of 2 steps would be reused" in changed


def test_why_of_one_step(steps, lineshaft):
    lineshaft("run", steps)
    assert lineshaft("why", steps, "one").out == "hellostep one: reused\n1 of 1 steps would be reused\n"
    found = lineshaft("why", steps, "double", "--json").json
    assert found == {"steps": [{"step": "step double", "verdict": "reused", "changes": []}], "end": ""}
    for extra in ([], ["--json"]):
        done = lineshaft("why", steps, "nonesuch", *extra)
        assert done.code == 2
        assert "no step of two_steps.py is called 'nonesuch'; it has step one, step double" in done.err


def test_why_stops_where_the_script_looks_into_what_is_not_made(tmp_path, lineshaft):
    text = STEPS + "    print(run.step(double, n).load())\n    run.step(one)\n"
    found = lineshaft("why", written(tmp_path, "looks.py", text), "--json")
    assert found.code == 0
    assert "looks into what step" in found.json["end"]
    assert found.out.count("\n") == 1


# ---- runs


def test_runs_lists_the_latest_first(steps, lineshaft):
    assert lineshaft("runs").out == ""
    assert lineshaft("runs", "--json").json == {"runs": []}
    ids = [lineshaft("run", steps, "--json").json["run"] for _ in range(3)]
    steps.write_text(STEPS.replace("n * BY", "n / 0"))
    assert lineshaft("run", steps).code == 3
    found = lineshaft("runs", "--json").json["runs"]
    assert [row["status"] for row in found] == ["failed", "done", "done", "done"]
    assert [row["run"] for row in found[1:]] == ids[::-1]
    assert [(row["executed"], row["reused"]) for row in found] == [(0, 1), (0, 2), (0, 2), (2, 0)]
    assert len(lineshaft("runs", "--limit", "2").out.splitlines()) == 2
    assert re.search(r"two_steps\.py  2 executed, 0 reused", lineshaft("runs").out)


# ---- lineage


def test_lineage_of_a_name_leads_to_the_file_and_the_functions(project, lineshaft):
    done = lineshaft("lineage", "late@live", home=project.home)
    assert done.code == 0
    assert done.out.startswith("Model ")
    assert "orders.csv" in done.out and "big_orders (orders_of_cli.py:" in done.out
    found = lineshaft("lineage", "late@live", "--json").json
    assert set(found) == {"nodes", "edges"}
    assert all(set(node) == {"digest", "kind", "step", "label"} for node in found["nodes"])
    digests = {node["digest"] for node in found["nodes"]}
    assert all(a in digests and b in digests for a, b in found["edges"])
    assert {node["kind"] for node in found["nodes"]} >= {"Model", "Labels", "Votes", "Table", "File", "Code", "Schema"}


def test_lineage_of_a_function_leads_forward_to_the_model(project, lineshaft):
    found = lineshaft("lineage", "big_orders", "--json", home=project.home).json
    live = lineshaft("publish", "late@live", "--json").json["digest"]
    assert live in {node["digest"] for node in found["nodes"]}
    by_digest = lineshaft("lineage", live[:10], "--json").json
    assert live in {node["digest"] for node in by_digest["nodes"]}


def test_lineage_of_nothing(project, lineshaft):
    said = "UsageError: nothing is known as 'nonesuch': give a published name, a digest or a function's name"
    lineshaft("lineage", "nonesuch", home=project.home).refused(2, said)
    lineshaft("lineage", "", home=project.home).refused(2, "UsageError: nothing is known as ''")


# ---- report


def test_the_page_of_the_latest_run_and_of_any(project, tmp_path, lineshaft):
    done = lineshaft("report", home=project.home)
    assert done.out == f"run {project.run}: report.html\n"
    page = (tmp_path / "here" / "report.html").read_text()
    assert "Lineage of late@live" in page and EVIL not in page
    for wanted in (project.run, project.run[:-2]):
        found = lineshaft("report", wanted, "--out", tmp_path / "x" / "p.html", "--json").json
        assert found == {"run": project.run, "report": str(tmp_path / "x" / "p.html")}
    assert (tmp_path / "x" / "p.html").read_text() == page


def test_a_run_writes_its_page_and_says_so(steps, tmp_path, lineshaft):
    done = lineshaft("run", steps, "--report", "p.html")
    assert "report: p.html\n" in done.out
    assert "step double" in (tmp_path / "here" / "p.html").read_text()


def test_the_page_of_no_run_or_of_several(steps, lineshaft):
    lineshaft("report").refused(2, "UsageError: there is no run yet; there are none")
    lineshaft("run", steps)
    lineshaft("run", steps)
    assert "begins 2 runs" in lineshaft("report", "2").refused(2, "UsageError: '2' begins 2 runs: ")
    lineshaft("report", "nonesuch").refused(2, "UsageError: there is no run nonesuch; there are 2")


def test_the_home_is_where_the_environment_says(steps, tmp_path, monkeypatch, lineshaft):
    lineshaft("run", steps)
    assert (tmp_path / "empty home" / "catalog.db").exists()
    monkeypatch.delenv("LINESHAFT_HOME")
    lineshaft("run", steps)
    assert (tmp_path / "here" / ".lineshaft" / "catalog.db").exists()
    assert len(lineshaft("runs", "--json", home=Home(tmp_path / "empty home")).json["runs"]) == 1

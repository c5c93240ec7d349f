"""publish, score: what names point at, and files of predictions."""

from __future__ import annotations

import csv

import pyarrow.parquet as pq
import pytest

from lineshaft.core import names
from lineshaft.run import run
from small_project import EVIL, forget_scripts, write_rows


def table_of(folder):
    return pq.read_table(folder / "predictions").to_pylist()


# ---- publish


def test_publish_shows_what_a_name_points_at(project, lineshaft):
    live = names.look_up(project.home.catalog, "late@live")
    done = lineshaft("publish", "late@live", home=project.home)
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first == f"late@live -> Model {live.digest[:12]}"
    assert second.endswith(f"{live.digest[:12]}  published")
    found = lineshaft("publish", "late@live", "--json").json
    assert (found["name"], found["digest"]) == ("late@live", live.digest)
    (entry,) = found["history"]
    assert (entry["digest"], entry["run"]) == (live.digest, project.run)
    assert set(entry["note"]) == {"blessing"}


def test_an_unknown_name_says_which_there_are(project, lineshaft):
    said = "UsageError: nothing is published as 'lat@live'; there are late@live"
    for extra in ([], ["--previous"], ["--json"]):
        lineshaft("publish", "lat@live", *extra, home=project.home).refused(2, said)


def test_in_an_empty_home_there_are_no_names(lineshaft):
    for command in (["publish", "m"], ["serve", "m"], ["score", "m", "d.csv", "--out", "o"]):
        lineshaft(*command).refused(2, "UsageError: nothing is published as 'm'; there are no names")


@pytest.mark.parametrize("name", ["../etc/passwd", "A", "", "a/b", "a" * 65, "-"])
def test_what_is_no_name_is_refused(name, project, lineshaft):
    done = lineshaft("publish", "--", name, home=project.home)
    done.refused(2, "UsageError: ")
    assert "is not a name" in done.err


def test_back_to_what_was_published_before(copied, lineshaft):
    first = names.look_up(copied.home.catalog, "late@live").digest
    lineshaft("publish", "late@live", "--previous", home=copied.home).refused(1, "Refused: ")
    forget_scripts()
    copied.script.write_text(copied.script.read_text().replace("epochs=8", "epochs=9"))
    # The copy is another file of the same name: its home is told so by running it.
    run(copied.script, copied.home)
    second = names.look_up(copied.home.catalog, "late@live").digest
    assert second != first
    back = lineshaft("publish", "late@live", "--previous", "--json").json
    assert back["digest"] == first
    assert [entry["digest"] for entry in back["history"]] == [first, second, first]
    assert back["history"][-1]["note"]["rollback"] is True
    lines = lineshaft("publish", "late@live").out.splitlines()
    assert [line.split("  ")[-1] for line in lines[1:]] == ["back to it", "published", "published"]
    lineshaft("publish", "late@live", "--previous").refused(1, "Refused: late@live points at its first artifact")


# ---- score


def test_score_predicts_every_row_into_a_folder(project, tmp_path, lineshaft):
    out = tmp_path / "out"
    found = lineshaft("score", "late@live", project.data, "--out", out, "--key", "id", "--json", home=project.home)
    assert found.code == 0
    assert (found.json["rows"], found.json["rejected"], found.json["parts"], found.json["reused"]) == (240, 0, 1, 0)
    assert found.json["model"] == names.look_up(project.home.catalog, "late@live").digest
    rows = table_of(out)
    assert len(rows) == 240
    assert {row["label"] for row in rows} == {"no", "yes"}
    assert all(abs(row["p_no"] + row["p_yes"] - 1) < 1e-5 for row in rows)
    assert rows[0]["row_id"] == "o0"
    again = lineshaft("score", "late@live", project.data, "--out", out, "--key", "id")
    assert again.out == f"240 rows in 1 parts (1 were there), 0 rejected: {out}\n"
    assert table_of(out) == rows


def test_rows_that_break_the_schema_are_rejected_and_counted(project, tmp_path, lineshaft):
    write_rows(tmp_path / "more.csv", rows=20)
    with (tmp_path / "more.csv").open("a", newline="") as stream:
        csv.writer(stream).writerow(["o77", "d1", 9999, f"fine {EVIL} 1", ""])
    command = ["score", "late@live", tmp_path / "more.csv", "--out"]
    found = lineshaft(*command, tmp_path / "out", "--json", home=project.home).json
    assert (found["rows"], found["rejected"]) == (21, 1)
    assert len(table_of(tmp_path / "out")) == 20
    lineshaft(*command, tmp_path / "strict", "--max-rejected", "0").refused(
        1, "Refused: 1 rows rejected, max_rejected is 0"
    )


def test_several_files_are_one_job(project, tmp_path, lineshaft):
    for number in range(2):
        write_rows(tmp_path / f"{number}.csv", rows=10, seed=number)
    files = [tmp_path / "0.csv", tmp_path / "1.csv"]
    found = lineshaft("score", "late@live", *files, "--out", tmp_path / "out", "--json", home=project.home).json
    assert (found["rows"], found["parts"]) == (20, 2)


def test_score_refuses_what_it_cannot_do(project, tmp_path, lineshaft):
    (tmp_path / "narrow.csv").write_text("size\n3\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for data, out, said in [
        (tmp_path / "no.csv", tmp_path / "a", "no.csv"),
        (tmp_path / "narrow.csv", tmp_path / "b", "column"),
        (project.data, tmp_path / "full", "full"),
    ]:
        done = lineshaft("score", "late@live", data, "--out", out, home=project.home)
        assert (done.code, done.out) == (2, ""), done
        assert said in done.err and done.err.startswith("DataError: ")


def test_a_changed_features_function_is_not_scored_with(copied, tmp_path, lineshaft):
    text = copied.script.read_text()
    run(copied.script, copied.home)  # the home learns where this copy lies
    copied.script.write_text(text.replace("size / 10", "size / 11"))
    done = lineshaft("score", "late@live", copied.data, "--out", tmp_path / "out", home=copied.home)
    said = done.refused(1, "Refused: the features function numbers has changed since the model was trained: it was ")
    assert "train again, or restore the code" in said
    copied.script.write_text(text.replace("FLOOR = 0.5", "FLOOR = 0.4"))  # another part of the script is no matter
    assert lineshaft("score", "late@live", copied.data, "--out", tmp_path / "out").code == 0

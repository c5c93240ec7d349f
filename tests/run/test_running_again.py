"""The second run of a script is instant; after an edit only what the edit changed runs again, and `why` says so first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crash import grain
from crash.job import Job

TRAINING = [f"train head [optimizer.lr={rate}]" for rate in (0.003, 0.01, 0.05)]
RELEASE = ["model", "evaluate", "trial", "held out", "bless"]
OTHER_VOTES = {f"vote {name}" for name in ("praise", "blame", "fails", "brief", "starred", "leaning")}
BEFORE = {
    "read raw.parquet",
    "infer schema",
    "schema mill.schema.toml",
    "check train",
    "check test",
    "features letters",
}
STRICTER = ('return "good" if score > 0 else "bad"', 'return "good" if score > 1 else "bad"')
RENAMED = [
    ("words = x.text.split()", "tokens = x.text.split()"),
    ("in words) - sum(word in BAD for word in words)", "in tokens) - sum(word in BAD for word in tokens)"),
]


def line_of(job, text):
    return (job.folder / "mill.py").read_text().splitlines().index(text) + 1


def verdicts(job):
    """Ask `why`: step to its verdicts, and all changes in order."""
    document = job.call("why", "mill.py", "--json").json
    found: dict[str, set[str]] = {}
    for reason in document["steps"]:
        found.setdefault(reason["step"], set()).add(reason["verdict"])
    return found, [change for reason in document["steps"] for change in reason["changes"]]


# nothing changed


def test_the_document_of_a_run(clean):
    assert set(clean.document) == {"run", "steps", "executed", "reused", "seconds"}
    assert clean.document["steps"] == clean.document["executed"] + clean.document["reused"] == len(clean.job.last())
    assert clean.document["seconds"] > 0


def test_the_second_run_and_the_one_after_it_execute_nothing(done, clean):
    assert clean.document["executed"] >= 15
    for _ in range(2):  # the first run published, so the second compares with a live model, which is the candidate
        again = done.run()
        assert (again["executed"], again["reused"]) == (0, clean.document["steps"])
    assert done.state() == clean.state
    assert len(done.events("model.published")) == 1


def test_why_has_nothing_to_say_when_nothing_changed(done, clean):
    found, changes = verdicts(done)
    assert set().union(*found.values()) == {"reused"}
    assert changes == []
    said = done.call("why", "mill.py").out
    assert said == f"{clean.document['steps']} of {clean.document['steps']} steps would be reused\n"


def test_before_the_first_run_why_says_that_nothing_ran_yet_and_writes_no_schema(fresh):
    job = fresh()
    found, changes = verdicts(job)
    assert found["read raw.parquet"] == {"runs"}
    assert found["fuse"] == {"depends"}
    assert changes == ["never ran before"]
    assert not (job.folder / "mill.schema.toml").exists()
    assert job.call("runs", "--json").json == {"runs": []}


def test_a_moved_folder_is_the_same_work(done, clean):
    done.folder.rename(done.folder.with_name("elsewhere"))
    moved = Job(done.prepared, done.folder.with_name("elsewhere"))
    assert moved.run()["executed"] == 0
    assert moved.state() == clean.state


# an edited function


def test_an_edited_labeling_function_runs_again_with_what_depends_on_changed_bytes(done, clean):
    done.edit(STRICTER)
    done.run()
    executed = done.executed()
    assert executed[:2] == ["vote balance", "fuse"]
    assert set(executed) <= {"vote balance", "fuse", "step count_labels", *TRAINING, *RELEASE}
    assert set(TRAINING) <= set(executed)
    assert done.made("vote balance", "votes")[0] != done.made("vote balance", "votes")[1]
    assert clean.state.outputs.items() <= done.state().outputs.items()


def test_why_names_the_edited_function_and_its_line_and_leaves_the_rest_open(done):
    done.edit(STRICTER)
    before = done.state()
    found, changes = verdicts(done)
    place = f"mill.py:{line_of(done, 'def balance(x):')}"
    assert changes == [f"function lineshaft_script_mill.balance ({place}) changed"]
    assert found["vote balance"] == {"runs"}
    for step in OTHER_VOTES | BEFORE:
        assert found[step] == {"reused"}, step
    for step in ("fuse", "step count_labels", "model", "evaluate", "trial", "bless"):
        assert found.get(step, {"depends"}) == {"depends"}, step
    assert any(step.startswith("train head") and verdict == {"depends"} for step, verdict in found.items())
    assert done.state() == before
    assert done.statuses() == ["done"]

    said = done.call("why", "mill.py").out
    assert f"vote balance: runs\n    {changes[0]}\nfuse: runs again if these bytes change\n" in said
    assert "vote praise" not in said


def test_why_of_one_step_shows_that_step_even_if_it_is_reused(done):
    done.edit(STRICTER)
    said = done.call("why", "mill.py", "vote praise").out
    assert said == "vote praise: reused\n1 of 1 steps would be reused\n"
    assert "vote praise" in done.fails(2, "why", "mill.py", "vote nobody")


def test_an_edit_that_changes_no_vote_ends_with_the_vote(done, clean):
    done.edit(*RENAMED)
    assert done.run()["executed"] == 1
    assert done.executed() == ["vote balance"]
    assert done.state().names == clean.state.names
    assert done.run()["executed"] == 0


def test_comments_docstrings_layout_and_main_do_not_count(done):
    done.edit(
        ("    words = x.text.split()\n", "    # one by one\n\n    words = x.text.split()\n"),
        ('"""Count letters and telling words: float32 [rows, 32]."""', '"""Other words."""'),
        ("def main(run):\n", "def main(run):\n    print('a word')\n"),
    )
    assert done.run()["executed"] == 0


def test_an_edited_helper_counts_for_all_who_call_it(done):
    done.edit(('stream.write(f"{what}\\n")', 'stream.write(f"{what};\\n")'))
    found, changes = verdicts(done)
    assert {step for step, verdict in found.items() if verdict == {"runs"}} == {
        "vote balance", "features letters",
    }  # fmt: skip
    assert all("function lineshaft_script_mill.note (mill.py:" in change for change in changes)


# parameters, inputs, candidates


def test_a_changed_parameter_is_shown_old_and_new_and_retrains(done):
    done.edit(("epochs=4", "epochs=5"))
    found, changes = verdicts(done)
    assert found[TRAINING[0]] == {"runs"}
    assert "parameter epochs: 4 → 5" in changes
    done.run()
    assert done.executed()[:3] == TRAINING
    assert set(done.executed()) <= {*TRAINING, *RELEASE}


def test_changed_words_rerun_their_source_alone(done):
    done.edit(("GOOD[:3]", "GOOD[:2]"))
    found, _changes = verdicts(done)
    assert {step for step, verdict in found.items() if verdict == {"runs"}} == {"vote praise"}
    done.run()
    assert done.executed()[:2] == ["vote praise", "fuse"]


def test_a_changed_file_is_named_and_everything_behind_it_is_open(done):
    done.rewrite(grain.sentences()[:-1])
    found, changes = verdicts(done)
    assert found["read raw.parquet"] == {"runs"}
    assert [change for change in changes if change.startswith("input raw.parquet: ")] == changes
    assert found["check train"] == found["fuse"] == {"depends"}
    assert found["schema mill.schema.toml"] == {"reused"}


def test_a_new_candidate_trains_alone(done):
    done.edit(("0.01, 0.05]", "0.01, 0.05, 0.0001]"))
    done.run()
    assert [step for step in done.executed() if step.startswith("train ")] == ["train head [optimizer.lr=0.0001]"]
    assert set(done.executed()) <= {"train head [optimizer.lr=0.0001]", *RELEASE}


def test_a_candidate_less_or_another_order_trains_nothing(done):
    done.edit(("[0.003, 0.01, 0.05]", "[0.05, 0.01]"))
    done.run()
    assert [step for step in done.executed() if step.startswith("train ")] == []


def test_a_changed_rule_judges_again_and_nothing_else(done):
    done.edit(('ls.at_least("accuracy", 0.5)', 'ls.at_least("accuracy", 0.51)'))
    done.run()
    assert done.executed() == ["bless"]


def test_an_edited_schema_checks_again_and_ends_there_where_no_row_is_concerned(done, clean):
    path = done.folder / "mill.schema.toml"
    path.write_text(path.read_text().replace("# What the data must look like", "# What our data must look like"))
    done.run()
    assert done.executed() == ["schema mill.schema.toml"]  # a comment: the same schema
    assert done.state().names == clean.state.names


# columns and chunks


def with_column(rows):
    return [row | {"colour": "red" if number % 3 else "blue"} for number, row in enumerate(rows)]


def test_a_new_column_reruns_only_who_may_read_it(done, clean):
    done.rewrite(with_column(grain.sentences()))
    path = done.folder / "mill.schema.toml"
    path.write_text(path.read_text() + '\n[columns.colour]\ntype = "string"\n')
    done.run()
    executed = set(done.executed())
    assert {"read raw.parquet", "check train", "check test", "vote starred"} <= executed
    assert not executed & {f"vote {name}" for name in ("praise", "blame", "fails", "brief", "balance", "leaning")}
    assert not executed & {"features letters", "fuse", "step count_labels", *TRAINING}


def test_a_changed_text_recomputes_the_features_of_its_chunk_alone(done):
    rows = grain.sentences()
    assert done.last().count(("features letters", False)) == 6  # three chunks of train and of test
    rows[0] = rows[0] | {"text": "a very fine lamp"}
    done.rewrite(rows)
    done.run()
    assert done.executed().count("features letters") == 1


def test_changed_gold_asks_no_source_again(done):
    rows = grain.sentences()
    rows[0] = rows[0] | {"expert": "bad" if rows[0]["expert"] != "bad" else "good"}
    done.rewrite(rows)
    done.run()
    executed = done.executed()
    assert "fuse" in executed or "evaluate" in executed
    assert not set(executed) & (OTHER_VOTES - {"vote starred"} | {"vote balance", "features letters"})


# elsewhere


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes(fresh, clean):
    job = fresh()
    job.run("--workers", "2")
    assert job.state() == clean.state
    assert job.commits() == {1}


def test_ls_run_in_another_process_reuses_what_the_command_made(done, clean):
    program = done.folder / "driver.py"
    program.write_text("import lineshaft as ls\ndone = ls.run('mill.py')\nprint(done.session.executed)\n")
    ended = subprocess.run(
        [sys.executable, "driver.py"], cwd=done.folder, capture_output=True, text=True, check=False,
        env={**os.environ, "LINESHAFT_HOME": str(done.folder / "home")},
    )  # fmt: skip
    assert ended.stdout == "0\n", ended.stderr
    assert done.state() == clean.state


def test_a_dry_run_ends_where_the_script_looks_at_what_is_not_there_yet(done):
    done.edit(
        ("epochs=4", "epochs=5"), ("    model = run.bless(", "    print(search.selection.best)\n    model = run.bless(")
    )
    ended = done.call("why", "mill.py", "--json")
    assert ended.code == 0, ended
    assert "a dry run ends here" in ended.json["end"]
    assert ended.json["steps"][-1]["step"].startswith("train head")

    done.edit(("print(search.selection.best)", "print(len(good['train'].load()))"))
    assert done.call("why", "mill.py", "--json").json["end"] == ""  # those rows are there
    done.rewrite(grain.sentences()[:-1])
    end = done.call("why", "mill.py", "--json").json["end"]
    assert end == "the script looks into what step check train would make; a dry run ends here"

"""What people get wrong in a script is told before it costs or harms anything; what is clear enough is understood."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lineshaft.core import names
from lineshaft.errors import DataError, Refused, UsageError
from small_project import forget_scripts, make_project


def project(folder, **edits):
    forget_scripts()
    return make_project(folder, "late", **edits)


def lineshaft(folder, *words):
    environment = {**os.environ, "LINESHAFT_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "lineshaft", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_model_is_not_blessed_on_rows_that_it_has_learnt_from(tmp_path):
    with pytest.raises(Refused, match=r"FAILED: rows to judge on that the model was trained on"):
        project(tmp_path, **{'on=good["test"], slices=slices': 'on=good["train"], slices=slices'})


def test_a_search_stands_for_its_best_model(tmp_path):
    done = project(tmp_path, **{"bless(search.best": "bless(search", "evaluate(other.best": "evaluate(other"})
    assert names.look_up(done.home.catalog, "late@live") is not None


def test_features_that_read_the_gold_are_refused_before_training(tmp_path):
    with pytest.raises(UsageError, match=r"reads 'truth', the gold of task 'late'"):
        project(tmp_path, **{'@ls.features(reads=["size", EVIL])': '@ls.features(reads=["size", EVIL, "truth"])'})


def test_gold_of_which_no_row_is_to_be_labelled_is_refused(tmp_path):
    said = 'sources, task, gold=run.read(HERE / "orders.csv"))\n    search'
    with pytest.raises(
        DataError, match=r"gold is known for 120 rows, say '.+', and none .* read both with the same key"
    ):
        project(tmp_path, **{"sources, task)\n    search": said})


def test_a_head_that_no_server_could_find_is_refused_before_training(tmp_path):
    with pytest.raises(UsageError, match="top level of a file"):
        project(
            tmp_path,
            **{"recipe = ls.Recipe(head,": "recipe = ls.Recipe(lambda inputs, classes: head(inputs, classes),"},
        )


def test_a_script_under_a_new_name_makes_its_model_anew_and_can_be_served(tmp_path):
    done = project(tmp_path)
    done.script.rename(tmp_path / "later.py")
    again = lineshaft(tmp_path, "run", "later.py", "--json")
    assert again.returncode == 0, again.stderr
    scored = lineshaft(tmp_path, "score", "late@live", "orders.csv", "--out", "scored", "--key", "id")
    assert scored.returncode == 0, scored.stderr


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ('run.label(good["train"], sources', "run.label(raw, sources", "labelling"),
        ('run.select(recipe, good["train"]', "run.select(recipe, raw", "training"),
        ('search.best, on=good["test"]', "search.best, on=raw", "evaluation"),
    ],
)
def test_a_split_where_one_of_its_parts_is_meant_is_named(tmp_path, before, after, what):
    with pytest.raises(UsageError, match=rf"{what} takes one table.* train, test: add \['train'\]"):
        project(tmp_path, **{before: after})


def test_only_what_was_blessed_is_published(tmp_path):
    with pytest.raises(UsageError, match="publish takes what bless gave"):
        project(tmp_path, **{"run.publish(model,": "run.publish(search.best,"})

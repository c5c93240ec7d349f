"""`why` names the ingredient that changed: code by its line, a parameter by its values, an input by its digests."""

from __future__ import annotations

import shutil

import pytest

from core.edits import write
from core.jobs import after, session, start, step_of
from lineshaft.core import script
from lineshaft.core.artifact import Artifact
from lineshaft.core.step import make
from lineshaft.core.why import Reason, explain

SOURCE = """
LIMIT = 3
WORDS = ["good", "bad"]

def helper(x):
    return x * LIMIT

def other(x):
    return x

TABLE = {"h": helper, "o": other}

def work(value, scale=1):
    return {"x": [helper(value), TABLE["o"](scale), WORDS]}
"""


def load(tmp_path, number, source):
    """Load an edited copy; each under a name of its own, as a process of its own would."""
    folder = tmp_path / str(number)
    write(folder, why_script=source)
    shutil.copy(folder / "why_script.py", tmp_path / "why_script.py")
    import sys

    sys.modules.pop(script.module_name(tmp_path / "why_script.py"), None)
    return script.load(tmp_path / "why_script.py")


def step(module, **parameters):
    return make("work", module.work, {}, {"x": "Value"}, {"value": 2, **parameters})


@pytest.fixture
def reasons(home, tmp_path, monkeypatch):
    """Run the script, then say why it would run after an edit."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    with session(home) as shaft:
        shaft.one(step(load(tmp_path, 0, SOURCE)))

    def edited(old="", new="", **parameters):
        assert old in SOURCE
        return explain(
            home.catalog, step(load(tmp_path, 1, SOURCE.replace(old, new)), **parameters), "script.py"
        ).changes

    return edited


def test_an_edited_function_is_named_with_its_place(reasons):
    assert reasons("x * LIMIT", "x + LIMIT") == (
        "function lineshaft_script_why_script.helper (why_script.py:5) changed",
    )


def test_a_function_in_a_table_is_named_rather_than_the_table(reasons):
    assert reasons("    return x\n", "    return -x\n") == (
        "function lineshaft_script_why_script.other (why_script.py:8) changed",
    )


def test_a_changed_constant_is_named_with_both_values(reasons):
    assert reasons("LIMIT = 3", "LIMIT = 4") == ("constant lineshaft_script_why_script.LIMIT: 3 → 4",)


def test_a_changed_table_is_named(reasons):
    changes = reasons('"o": other}', '"o": helper}')
    assert any("TABLE" in change for change in changes)
    assert "function lineshaft_script_why_script.other (why_script.py:8) is gone" in changes


def test_a_changed_parameter_is_named_with_both_values(reasons):
    assert reasons(value=5) == ("parameter value: 2 → 5",)


def test_a_new_parameter_is_named(reasons):
    assert reasons(scale=5) == ("parameter scale is new",)


def test_new_code_is_named(reasons):
    changes = reasons("return x * LIMIT", "return extra(x) * LIMIT\ndef extra(x): return x")
    assert "function lineshaft_script_why_script.extra (why_script.py:7) is new" in changes
    assert "function lineshaft_script_why_script.helper (why_script.py:5) changed" in changes


def test_nothing_that_changed_means_that_objects_are_missing(reasons):
    assert reasons() == ("its objects are missing or damaged",)


def test_a_changed_input_is_named_with_both_digests(home):
    with session(home) as shaft:
        made = shaft.one(step_of(start, 1))["x"]
        shaft.one(after(made))
    reason = explain(home.catalog, after(Artifact("Value", "0" * 64, 1)), "script.py")
    assert reason.changes == (f"input x: {made.digest[:12]} → 000000000000",)


def test_the_namesake_that_differs_least_is_compared(home):
    with session(home) as shaft:
        for value in (1, 2, 3):
            made = shaft.one(step_of(start, value, name=f"start {value}"))["x"]
            shaft.one(make("chunk", start, {"value": made}, {"x": "Value"}, version="1"))
    with home.catalog.read() as connection:
        first = connection.exec_driver_sql("SELECT digest FROM inputs ORDER BY execution").scalar()
    reason = explain(
        home.catalog,
        make("chunk", start, {"value": Artifact("Value", first, 1)}, {"x": "Value"}, version="2"),
        "script.py",
    )
    assert reason.changes == ("parameter version: 1 → 2",)


def test_this_scripts_last_run_is_compared_first(home):
    for name, value in (("mine.py", 1), ("theirs.py", 2)):
        with session(home, name) as shaft:
            shaft.one(step_of(start, value))
    assert explain(home.catalog, step_of(start, 9), "mine.py").changes == ("parameter value: 1 → 9",)
    assert explain(home.catalog, step_of(start, 9), "new.py").changes == ("parameter value: 2 → 9",)


def test_a_step_that_never_ran_says_so(home):
    assert explain(home.catalog, step_of(start), "script.py").changes == ("never ran before",)


def test_a_reason_reads_as_a_sentence():
    assert str(Reason("fuse", "reused")) == "fuse: reused"
    assert str(Reason("fuse", "depends")) == "fuse: runs again if these bytes change"
    assert str(Reason("vote", "runs", ("a", "b"))) == "vote: runs\n    a\n    b"

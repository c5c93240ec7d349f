"""The terminal during a run: lines for steps, bars where somebody watches, nothing where nobody wants it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest

from lineshaft.core.bars import printable
from lineshaft.core.events import emit, listening
from lineshaft.ui.console import Console

METRIC = {"value": 0.5, "low": 0.25, "high": 0.75}
METRICS = dict.fromkeys(("accuracy", "f1", "log_loss", "ece"), METRIC)


@pytest.fixture
def told(capsys):
    """Send events to a console; return what it printed on standard error."""

    def tell(*events, quiet=False):
        with Console(quiet=quiet) as console, listening(console.hear):
            for kind, facts in events:
                emit(kind, **facts)
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return tell


def test_a_line_per_step_and_a_count_of_the_reused(told):
    step = ("step.executed", {"step": "vote short", "key": "k", "seconds": 1.234})
    reused = ("step.reused", {"step": "read", "key": "k"})
    assert told(reused, reused, step, reused) == "  2 steps reused\n  vote short  1.23 s\n  1 step reused\n"


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        ("object.damaged", {"step": "fuse", "object": "Labels 3fa1"}, "Labels 3fa1 of step fuse is missing or damaged"),
        ("lease.lost", {"step": "fuse", "reason": "it ran out"}, "fuse: it ran out"),
        ("anomaly", {"severity": "error", "part": "train", "column": "a", "reason": "range"}, "error in train: a: range"),
        ("anomaly", {"severity": "warning", "part": "train", "column": None, "reason": "rows"}, "data set: rows"),
        ("schema.written", {"file": "x.toml"}, "wrote x.toml: read it, edit it, commit it"),
        ("checkpoint.damaged", {"file": "c.json", "reason": "short"}, "checkpoint c.json is passed over: short"),
        ("training.diverged", {"reason": "loss nan"}, "out of the search: loss nan"),
        ("model.published", {"name": "m@live", "digest": "ab" * 32}, "published m@live -> abababababab"),
        ("model.unchanged", {"name": "m@live", "digest": "ab" * 32}, "m@live is abababababab already"),
    ],
)  # fmt: skip
def test_what_people_should_know(told, kind, facts, said):
    assert said in told((kind, facts))


def test_everything_that_the_library_tells_has_facts_that_fit(told):
    """Events of other kinds, and of kinds yet to come, are passed over."""
    assert (
        told(("run.started", {"run": "r", "script": "s"}), ("step.started", {"step": "a"}), ("say", {}), ("bar", {}))
        == ""
    )


def test_reports_side_by_side_with_what_is_undefined(told):
    nothing = {name: {"value": None, "low": None, "high": None} for name in METRICS}
    reports = {"a rather long name for a model, longer than most": METRICS, "none": nothing}
    lines = told(("report", {"title": "side by side", "reports": reports})).splitlines()
    assert lines[1] == "side by side"
    assert lines[2].split() == ["accuracy", "f1", "log_loss", "ece"]
    assert lines[3].count("0.500 [0.250, 0.750]") == 4
    assert lines[4].count("undefined") == 4
    assert len({len(line) for line in lines[2:]}) == 1


def test_quiet_is_quiet(told):
    events = [("step.reused", {"step": "a"}), ("step.executed", {"step": "a", "seconds": 1.0}),
              ("progress.begin", {"name": "a", "total": 3, "unit": "rows"}),
              ("report", {"title": "t", "reports": {"a": METRICS}})]  # fmt: skip
    assert told(*events, quiet=True) == ""


def test_without_a_terminal_there_are_no_bars_and_no_rich(capsys):
    program = (
        "import sys\n"
        "from lineshaft.core.events import listening, progress\n"
        "from lineshaft.ui.console import Console\n"
        "with Console() as console, listening(console.hear), progress('embed', 10) as advance:\n"
        "    advance(3)\n"
        "print('rich' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_hostile_names_do_not_reach_the_terminal_as_commands(told):
    evil = "\x1b]0;owned\x07\x1b[2Jname\r\x9b"
    said = told(("step.executed", {"step": evil, "seconds": 0.0}))
    assert "\x1b" not in said and "\x07" not in said and "\r" not in said and "\x9b" not in said
    assert "\\x1b]0;owned\\x07\\x1b[2Jname\\x0d\\x9b" in said


def test_printable_keeps_what_is_text():
    assert printable("déjà vu\t→ 日本\n") == "déjà vu\t→ 日本\n"
    assert printable("a\x00b\x7f") == "a\\x00b\\x7f"


BARS = """
import sys, time
from lineshaft.core.events import emit, listening, progress
from lineshaft.ui.console import Console
with Console() as console, listening(console.hear):
    with progress("embed [bold]all[/bold] :smile:", 4) as advance:
        for number in range(4):
            advance(1)
            emit("step.executed", step="step [red]%d[/red] :smile: " % number + "x" * 200, seconds=0.5)
            time.sleep(0.12)
        print("from the script")
    emit("step.executed", step="the end", seconds=0.5)
"""


def watched(program, **streams):
    """Run a program whose standard error is a terminal; return what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"}, **streams
    )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    out = process.stdout.read() if process.stdout else b""
    assert process.wait(60) == 0, seen.decode()
    return seen.decode(), out.decode()


def test_on_a_terminal_long_work_has_a_bar_and_lines_stand_above_it():
    seen, out = watched(BARS, stdout=subprocess.PIPE)
    assert "embed [bold]all[/bold] :smile:" in seen  # names are names, not markup
    assert "%" in seen
    assert "step [red]3[/red] :smile: " + "x" * 200 in seen  # neither markup, nor emoji, nor wrapped
    assert "the end" in seen
    assert out == "from the script\n"  # what the script prints is not drawn into the bars' stream

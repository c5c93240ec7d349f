"""How commands end: exit codes, one line for our errors, tracebacks for theirs alone, JSON that is always JSON."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineshaft import errors
from lineshaft.cli.outcome import reported
from lineshaft.cli.output import document, finish, own_output, say
from lineshaft.errors import LineshaftError, StepFailed
from small_project import written


def ending(error, capsys):
    def command():
        raise error

    with pytest.raises(SystemExit) as left:
        reported(command)()
    out, err = capsys.readouterr()
    assert out == ""
    return left.value.code, err


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LineshaftError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_our_errors_is_one_line_and_its_exit_code(kind, capsys):
    code, err = ending(kind("it went so"), capsys)
    assert err.startswith(f"{kind.__name__}: it went so")
    assert err.count("\n") == 1
    assert code == kind.exit_code
    assert code in {1, 2, 3}


def test_an_interrupt_is_130_and_says_that_work_is_kept(capsys):
    assert ending(KeyboardInterrupt(), capsys) == (130, "interrupted; run again to go on\n")


def test_a_script_may_leave_as_it_likes(capsys):
    assert ending(SystemExit(7), capsys) == (7, "")
    with pytest.raises(SystemExit) as left:
        reported(finish)(yes=False)
    assert left.value.code == 1
    assert reported(finish)(yes=True) is None


@pytest.mark.parametrize("error", [EOFError("short"), RuntimeError("x"), OSError(32, "Broken pipe"), ImportError("y")])
def test_the_users_errors_are_3_with_a_traceback_whatever_their_kind(error, capsys):
    code, err = ending(error, capsys)
    assert code == 3
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1].startswith(type(error).__name__ if type(error) is not OSError else "BrokenPipeError")


def test_a_traceback_begins_in_the_users_code(tmp_path, lineshaft):
    script = written(tmp_path, "theirs.py", "def inner():\n    return 1 / 0\n\n\ndef main(run):\n    inner()\n")
    done = lineshaft("run", script)
    lines = done.err.splitlines()
    assert done.code == 3
    assert 'theirs.py", line 6, in main' in lines[1]
    assert 'theirs.py", line 2, in inner' in done.err
    assert "lineshaft/cli" not in done.err
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_our_error_in_the_users_code_says_where(tmp_path, lineshaft):
    script = written(tmp_path, "ours.py", "def main(run):\n    run.read('nowhere.csv')\n")
    err = lineshaft("run", script).refused(2, "DataError: no file 'nowhere.csv' to read")
    assert err.endswith(" (ours.py, line 2)\n")


def test_an_error_in_a_step_shows_the_users_lines_and_then_ours(tmp_path, lineshaft):
    text = "def half(n):\n    return n / 0\n\n\ndef main(run):\n    run.step(half, n=3)\n"
    done = lineshaft("run", written(tmp_path, "failing_step.py", text))
    assert done.code == 3
    lines = done.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert 'failing_step.py", line 2, in half' in lines[1]
    assert lines[-1] == "StepFailed: step step half failed in failing_step.py:2: ZeroDivisionError: division by zero"


def test_a_failed_step_without_code_of_the_user_has_no_traceback(capsys):
    error = StepFailed("the server did not answer")
    error.__cause__ = ConnectionError("refused")
    assert ending(error, capsys) == (3, "StepFailed: the server did not answer\n")


def test_a_script_that_does_not_parse(tmp_path, lineshaft):
    done = lineshaft("run", written(tmp_path, "odd.py", "def main(run:\n    pass\n"))
    assert done.code == 3
    assert "Traceback" not in done.err
    assert 'odd.py", line 1' in done.err
    assert "SyntaxError" in done.err.splitlines()[-1]


def test_an_error_while_the_script_loads(tmp_path, lineshaft):
    done = lineshaft("run", written(tmp_path, "early.py", "import nonesuch_of_tests\n"))
    assert done.code == 3
    assert done.err.splitlines()[-1] == "ModuleNotFoundError: No module named 'nonesuch_of_tests'"
    assert 'early.py", line 1' in done.err.splitlines()[1]


def test_messages_do_not_command_the_terminal(capsys):
    _, err = ending(errors.DataError("column '\x1b[2J' is odd"), capsys)
    assert err.startswith("DataError: column '\\x1b[2J' is odd")


# ---- documents


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        ([-math.inf, 1.5], ["-Infinity", 1.5]),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC), "2024-02-29T12:30:00+00:00"),
        (dt.time(1, 2), "01:02:00"),
        (b"\xff\x00", "/wA="),
        ({1: (2, None)}, {"1": [2, None]}),
        ({dt.date(2024, 1, 1): {float("nan"): True}}, {"2024-01-01": {"NaN": True}}),
        ("\ud800 → \x1b", "\ud800 → \x1b"),
        (2**80, 2**80),
        ({"a": complex(1, 2)}, {"a": "(1+2j)"}),
    ],
)
def test_a_document_has_words_for_everything(value, wanted, capsys):
    document(value)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == wanted


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.dates()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.dates(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_document_is_one_line_of_strict_json_in_ascii(value):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    document(value, to=stream)
    text = stream.buffer.getvalue().decode("ascii")
    assert text.count("\n") == 1 and text.endswith("\n")
    json.loads(text, parse_constant=pytest.fail)


def test_the_document_has_standard_output_to_itself(capsys):
    with own_output(alone=True) as mine:
        print("the script's")
        document({"a": 1}, to=mine)
    with own_output(alone=False) as mine:
        print("shown")
        assert mine is sys.stdout
    out, err = capsys.readouterr()
    assert (out, err) == ('{"a": 1}\nshown\n', "the script's\n")


def test_what_is_said_cannot_command_the_terminal(capsys):
    say("name\x1b[31m\nnext")
    assert capsys.readouterr().out == "name\\x1b[31m\nnext\n"


# ---- processes


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "lineshaft", *arguments], capture_output=True, text=True, **options)


def test_a_reader_who_leaves_changes_neither_words_nor_exit_code(tmp_path):
    (tmp_path / "many.csv").write_text("a\n" + "1\n" * 50)
    (tmp_path / "s.toml").write_text('[columns.a]\ntype = "string"\n')
    program = f"exec {sys.executable} -m lineshaft check many.csv --schema s.toml"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(["bash", "-c", program], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_terminal_without_the_letters_still_gets_the_rest(tmp_path):
    (tmp_path / "dé.csv").write_text("é→\n1\n", encoding="utf-8")
    done = command("stats", "dé.csv", cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\xe9\\u2192" in done.stdout


def test_control_c_ends_a_run_with_130_and_the_run_is_on_record(tmp_path):
    text = "import time\n\n\ndef wait():\n    print('waiting', flush=True)\n    time.sleep(60)\n\n\ndef main(run):\n    run.step(wait)\n"
    written(tmp_path, "waiting.py", text)
    environment = {**os.environ, "LINESHAFT_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "lineshaft", "run", "waiting.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted; run again to go on\n")
    listed = command("runs", "--json", env=environment)
    (row,) = json.loads(listed.stdout)["runs"]
    assert (row["status"], row["script"]) == ("interrupted", "waiting.py")


def test_a_script_that_exits_with_words_has_failed_and_has_not_answered_no(capsys):
    assert ending(SystemExit("no data today"), capsys) == (3, "no data today\n")


@pytest.mark.parametrize("code", [0, 1, 7, None])
def test_a_script_that_exits_with_a_number_has_chosen_it(code, capsys):
    assert ending(SystemExit(code), capsys) == (code, "")

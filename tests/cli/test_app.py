"""The command as a whole: what it lists, what it loads, how it takes wrong use."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest

HEAVY = ["torch", "pyarrow", "sqlalchemy", "starlette", "uvicorn", "numpy", "rich", "jinja2", "safetensors", "pandas"]
COMMANDS = ["run", "why", "runs", "lineage", "report", "stats", "check", "schema", "label", "publish", "serve", "score",
            "gc", "doctor"]  # fmt: skip


def loaded_by(program: str) -> set[str]:
    """The heavy libraries that a program of its own has loaded at its end."""
    end = f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program + end], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))


def test_importing_lineshaft_loads_nothing_heavy():
    assert loaded_by("import lineshaft as ls; ls.ABSTAIN, ls.__version__, dir(ls)") == set()


def test_help_loads_nothing_heavy():
    program = """
import sys
from lineshaft.cli import main
sys.argv = ["lineshaft", "{}", "--help"]
try:
    main()
except SystemExit as left:
    assert not left.code
"""
    assert loaded_by(program.replace(', "{}"', "")) == set()
    assert loaded_by(program.format("serve")) == set()


def test_help_names_every_command(lineshaft):
    done = lineshaft("--help")
    assert done.code == 0
    listed = [line.split()[0] for line in done.out.partition("Commands:")[2].splitlines() if line.strip()]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "schema infer", "label apply"])
def test_every_command_explains_itself(command, lineshaft):
    done = lineshaft(*command.split(), "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: lineshaft {command}")


def test_every_command_that_prints_data_takes_json(lineshaft):
    for command in [*COMMANDS, "schema infer", "label apply"]:
        if command not in {"schema", "label"}:
            assert "--json" in lineshaft(*command.split(), "--help").out, command


def test_the_version(lineshaft):
    assert lineshaft("--version").out == f"lineshaft {importlib.metadata.version('lineshaft')}\n"


def test_the_console_script_is_the_module():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="lineshaft")
    from lineshaft import cli

    assert script.load() is cli.main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonesuch"], "No such command 'nonesuch'"),
        (["runs", "--nonesuch"], "No such option"),
        (["runs", "--limit", "many"], "'--limit'"),
        (["runs", "--limit", "0"], "'--limit'"),
        (["check", "x.csv"], "--schema"),
        (["run"], "FILE.py"),
        (["serve", "m", "--port", "70000"], "'--port'"),
        (["schema", "nonesuch"], "No such command"),
    ],
)
def test_wrong_use_is_2(arguments, said, lineshaft):
    done = lineshaft(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
    assert "Traceback" not in done.err


def test_without_a_command_there_is_help():
    done = subprocess.run([sys.executable, "-m", "lineshaft"], capture_output=True, text=True)
    assert "Usage: " in done.stdout + done.stderr
    assert done.returncode in {0, 2}  # as the installed typer sees it

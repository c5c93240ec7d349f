"""Running the command in this process, and one small project for the commands that only look at it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass

import pytest

from lineshaft.cli import main
from lineshaft.core.home import Home
from small_project import Project, forget_scripts, make_project


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The last line of standard output, strictly read."""
        assert self.out.endswith("\n")
        return json.loads(self.out.splitlines()[-1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    def refused(self, code: int, beginning: str):
        """One line on standard error and nothing else."""
        assert self.code == code, self
        assert self.err.startswith(beginning), self.err
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.out == ""
        assert "Traceback" not in self.err
        return self.err


@pytest.fixture
def lineshaft(monkeypatch, capsys):
    """Call the command line with arguments, as the shell would."""

    def call(*arguments, home=None) -> Outcome:
        forget_scripts()
        if home is not None:
            monkeypatch.setenv("LINESHAFT_HOME", str(home.folder if isinstance(home, Home) else home))
        monkeypatch.setattr(sys, "argv", ["lineshaft", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Outcome(left.value.code or 0, out, err)

    yield call
    forget_scripts()


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LINESHAFT_HOME", str(tmp_path / "empty home"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Run once; look at it only."""
    made = make_project(tmp_path_factory.mktemp("orders"), "orders_of_cli")
    forget_scripts()
    return made


@pytest.fixture
def copied(project, tmp_path) -> Project:
    """The same with a home of the test's own."""
    shutil.copytree(project.folder, tmp_path / "copy")
    return Project(tmp_path / "copy", Home(tmp_path / "copy" / "home"), project.run)

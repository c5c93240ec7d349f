"""Models lead to files: helpers beside a script as well as the script, and each name to one file of a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import sqlalchemy as sa

from lineshaft.core import script
from lineshaft.core.catalog import scripts
from lineshaft.core.home import Home
from lineshaft.errors import UsageError
from lineshaft.run import run
from small_project import EVIL, SCRIPT, forget_scripts, write_rows

HELPER = "parts_of_late"
SMALL = "import torch\n\ndef main(run):\n    run.read([{'id': 1}], key='id')\n"


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Leave the process as it was: what is loaded, and from where."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    yield
    forget()


def forget():
    forget_scripts()
    script._allowed.pop(HELPER, None)
    sys.modules.pop(HELPER, None)


def with_helper(folder):
    """The small project with builder and features function in a module beside the script."""
    start, end = SCRIPT.index('@ls.features(reads=["size", EVIL])'), SCRIPT.index("recipe = ls.Recipe")
    imports = f"import torch\nfrom torch import nn\n\nimport lineshaft as ls\n\nEVIL = {EVIL!r}\n\n"
    folder.mkdir(parents=True)
    (folder / f"{HELPER}.py").write_text(imports + SCRIPT[start:end])
    (folder / "late.py").write_text(
        SCRIPT[:start].replace("import lineshaft as ls", f"import lineshaft as ls\nfrom {HELPER} import head, numbers")
        + SCRIPT[end:]
    )
    write_rows(folder / "orders.csv")
    return folder / "late.py"


def lineshaft(cwd, home, *words):
    environment = {**os.environ, "LINESHAFT_HOME": str(home)}
    command = [sys.executable, "-m", "lineshaft", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_a_model_whose_code_lies_beside_the_script_is_scored_by_another_process(tmp_path):
    path, home = with_helper(tmp_path / "project"), tmp_path / "home"
    run(path, home)
    (tmp_path / "elsewhere").mkdir()
    words = ("score", "late@live", path.with_name("orders.csv"), "--key", "id", "--out")
    ended = lineshaft(tmp_path / "elsewhere", home, *words, tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    path.with_name(f"{HELPER}.py").unlink()
    ended = lineshaft(tmp_path / "elsewhere", home, *words, tmp_path / "again")
    assert ended.returncode == 1
    assert f"{HELPER}.py, where the model's head is defined, cannot be loaded" in ended.stderr
    assert "Traceback" not in ended.stderr


def known(home):
    with Home(home).catalog.read() as connection:
        return {row.module: row.path for row in connection.execute(sa.select(scripts))}


def written(folder, name="train.py", text=SMALL):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_second_script_of_one_name_does_not_take_the_first_ones_models(tmp_path):
    home, first = tmp_path / "home", written(tmp_path / "a")
    run(first, home)
    forget()
    second = written(tmp_path / "b", text=SMALL + "raise_at_once = 0\n")
    with pytest.raises(
        UsageError, match=r"a/train\.py as lineshaft_script_train, .*b/train\.py; rename one of the two"
    ):
        run(second, home)
    assert known(home)["lineshaft_script_train"] == str(first)
    forget()
    assert run(first, home).id


def test_names_that_differ_in_signs_alone_are_one_name(tmp_path):
    run(written(tmp_path / "a", "my-train.py"), tmp_path / "home")
    forget()
    with pytest.raises(UsageError, match=r"my-train\.py as lineshaft_script_my_train"):
        run(written(tmp_path / "a", "my_train.py", SMALL + "x = 1\n"), tmp_path / "home")


def test_a_helper_of_one_name_is_told_before_the_run_begins(tmp_path):
    home = tmp_path / "home"
    helper = written(tmp_path / "a", f"{HELPER}.py", "def head(): pass\n")
    path = written(tmp_path / "a", "first.py", f"from {HELPER} import head\n\nimport lineshaft.core.script as s\n\n"
                   "def main(run):\n    s.reference(head)\n")  # fmt: skip
    run(path, home)
    assert known(home)[HELPER] == str(helper)
    forget()
    written(tmp_path / "b", f"{HELPER}.py", "def head(): return 2\n")
    sys.path[:] = [place for place in sys.path if place != str(tmp_path / "a")]
    text = f"from pathlib import Path\nimport {HELPER}\n\ndef main(run):\n    (Path(__file__).parent / 'ran').touch()\n"
    with pytest.raises(UsageError, match=rf"a/{HELPER}\.py as {HELPER}, "):
        run(written(tmp_path / "b", "second.py", text), home)
    assert not (tmp_path / "b" / "ran").exists()
    assert known(home)[HELPER] == str(helper)


@pytest.mark.parametrize("way", ["moved", "copied", "gone"])
def test_a_script_that_was_moved_or_copied_is_still_the_same(tmp_path, way):
    home, first = tmp_path / "home", written(tmp_path / "a")
    run(first, home)
    forget()
    (tmp_path / "b").mkdir()
    second = tmp_path / "b" / "train.py"
    (shutil.copy if way == "copied" else shutil.move)(first, second)
    if way == "gone":
        second.write_text(SMALL + "x = 1\n")
    run(second, home)
    assert known(home)["lineshaft_script_train"] == str(second)


def test_a_project_that_was_copied_with_its_home_is_its_own(tmp_path):
    first = written(tmp_path / "a")
    run(first, tmp_path / "a" / "home")
    forget()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = written(tmp_path / "b", text=SMALL + "x = 1\n")
    run(second, tmp_path / "b" / "home")
    assert known(tmp_path / "b" / "home")["lineshaft_script_train"] == str(second)
    assert known(tmp_path / "a" / "home")["lineshaft_script_train"] == str(first)

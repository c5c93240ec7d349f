"""What lineshaft's own steps can lead to is part of their names, though nothing is imported to find it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lineshaft

JOBS = """
import sys
from lineshaft.core.fingerprint import fingerprint
from lineshaft.run import jobs, training, releasing
names = [fingerprint(job).digest for job in (jobs.check, jobs.fuse, training.train, releasing.measure_model)]
print(*names, "torch" in sys.modules)
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, free to edit."""
    shutil.copytree(
        Path(lineshaft.__file__).parent, tmp_path / "lineshaft", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path


def names(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", JOBS], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("file", "job"),
    [("verify/check.py", 0), ("collect/fuse/rates.py", 1), ("train/loop.py", 2), ("release/metrics.py", 3)],
)
def test_an_edit_of_what_a_job_imports_inside_itself_changes_its_name(copy, file, job):
    first = names(copy)
    path = copy / "lineshaft" / file
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    assert names(copy)[job] != first[job]


def test_an_edit_of_what_no_job_imports_changes_nothing(copy):
    first = names(copy)
    path = copy / "lineshaft" / "cli" / "app.py"
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    assert names(copy) == first


def test_naming_a_job_imports_nothing_heavy(copy):
    assert names(copy)[-1] == "False"

"""Worker processes change where steps run, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from small_project import write_project


def run(script, home, *words):
    environment = {**os.environ, "LINESHAFT_HOME": str(home)}
    command = [sys.executable, "-m", "lineshaft", "run", str(script), "--json", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_whole_project_runs_in_workers_and_is_known_without_them(tmp_path):
    script = write_project(tmp_path, "late")
    spread = run(script, tmp_path / "home", "--workers", "2")
    assert spread["executed"] > 15
    again = run(script, tmp_path / "home")
    assert (again["executed"], again["reused"]) == (0, spread["steps"])

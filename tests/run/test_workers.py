"""Worker processes change where steps run, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from small_project import write_project

SLOW = """
import pathlib, time


@ls.labeling_function(reads=["size"])
def big_orders(x):
    gate = pathlib.Path(GATE)
    if gate.exists():
        (gate / "inside").touch()
        time.sleep(600)
"""


def begin(script, home, *words, **options):
    environment = {**os.environ, "LINESHAFT_HOME": str(home)}
    command = [sys.executable, "-m", "lineshaft", "run", str(script), "--json", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run(script, home, *words):
    running = begin(script, home, *words)
    out, err = running.communicate()
    assert running.returncode == 0, err
    return json.loads(out)


def wait_until(true, running):
    deadline = time.monotonic() + 120
    while not true():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_whole_project_runs_in_workers_and_is_known_without_them(tmp_path):
    script = write_project(tmp_path, "late")
    spread = run(script, tmp_path / "home", "--workers", "2")
    assert spread["executed"] > 15
    again = run(script, tmp_path / "home")
    assert (again["executed"], again["reused"]) == (0, spread["steps"])


def test_an_interrupt_ends_the_workers_too_and_the_next_run_goes_on(tmp_path):
    gate = tmp_path / "gate"
    slow = SLOW.replace("GATE", repr(str(gate)))
    script = write_project(tmp_path, "late", **{'\n@ls.labeling_function(reads=["size"])\ndef big_orders(x):\n': slow})
    gate.mkdir()
    running = begin(script, tmp_path / "home", "--workers", "2", start_new_session=True)
    wait_until((gate / "inside").exists, running)
    os.killpg(running.pid, signal.SIGINT)  # what a terminal does
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    gate.joinpath("inside").unlink()
    gate.rmdir()
    again = run(script, tmp_path / "home", "--workers", "2")
    assert again["reused"] > 0

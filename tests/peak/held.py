"""What a process holds: how far it rises while something runs, by the system's own high-water mark.

The mark misses nothing and counts every page, those of files that are mapped too. Anonymous pages, behind which no file
stands, are looked at every millisecond beside it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

import lineshaft as ls

STATUS = Path("/proc/self/status")
LOOK = 0.001  # seconds


def status():
    """Return VmHWM, VmRSS, RssAnon and the others, in bytes."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if line[-1] == "kB"}


@dataclass
class Rise:
    """Bytes above those at the start: the most in all, the most of those that no file stands behind, and at the end."""

    peak: int = 0
    anonymous: int = 0
    end: int = 0


class Rising:
    """Watch how far this process rises inside the block above what it holds at its start, its heap trimmed."""

    def __enter__(self):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self.rise, self._over = Rise(), threading.Event()
        Path("/proc/self/clear_refs").write_text("5")  # the mark begins anew
        self._before = status()
        self._thread = threading.Thread(target=self._look, name="look", daemon=True)
        self._thread.start()
        return self.rise

    def __exit__(self, *error):
        now = status()
        self._over.set()
        self._thread.join()
        self.rise.peak = now["VmHWM"] - self._before["VmRSS"]
        self.rise.end = now["VmRSS"] - self._before["VmRSS"]

    def _look(self):
        while not self._over.wait(LOOK):
            self.rise.anonymous = max(self.rise.anonymous, status()["RssAnon"] - self._before["RssAnon"])


def apart(script, *arguments):
    """Return the lines of JSON that a script of this folder prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def warm_up():
    """Train something small within a budget: what is loaded with the first use is loaded now."""
    torch.set_num_threads(1)
    data = [(torch.randn(8, 12), torch.randint(0, 3, (8,)))]

    def factory():
        wide = [torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()) for _ in range(24)]
        return torch.nn.Sequential(torch.nn.Linear(12, 64), *wide, torch.nn.Linear(64, 3))

    fit = ls.train.fit(factory, data, steps=2, micro_batch=4, memory="600KB", progress=False)
    assert fit.plan.way == "spilled"

"""What a training costs, read from its own data: the clocks of all its threads, and the memory of its process."""

import ctypes
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
MOVERS = ("lineshaft-in", "lineshaft-out")


def resident():
    """Return the bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Clocks:
    """Mini-batches again and again, and the clocks at the beginning of every step.

    A step's seconds: ``wall``; CPU of the threads that compute (``main``: the caller's, and those of lineshaft's lines,
    which take turns with it); CPU of ``all`` threads.
    """

    def __init__(self, batches, steps):
        self.batches, self.steps, self.marks = batches, steps, []
        self.held, self.peak, self._over = 0, 0, threading.Event()

    def __enter__(self):
        ctypes.CDLL(None).malloc_trim(0)
        self.held = self.peak = resident()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def __iter__(self):
        for number in range(self.steps + 1):
            self.marks.append(self._now())
            if number == self.steps:
                return
            yield self.batches[number % len(self.batches)]

    def result(self, warm):
        """Return the medians over the steps after the first ``warm``, and the peak memory above that at the start."""
        steps = list(itertools.pairwise(self.marks))[warm:]
        spent = {name: [after[name] - before[name] for before, after in steps] for name in self.marks[0]}
        found = {name: statistics.median(values) for name, values in spent.items()}
        return found | {"least_main": min(spent["main"]), "least_all": min(spent["all"]), "peak": self.peak - self.held}

    def _now(self):
        movers = sum(
            time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for thread in threading.enumerate()
            if thread.name in MOVERS or thread is self._thread
        )
        looking = time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
        everything = time.process_time()
        system = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        wall = time.perf_counter()
        return {"wall": wall, "main": everything - movers, "all": everything - looking, "system": system}

    def _look(self):
        while not self._over.wait(0.005):
            self.peak = max(self.peak, resident())


def apart(script, *arguments, python=sys.executable, limit=900):
    """Run an arm of a benchmark in a process of its own; return the JSON of its last line, or why there is none."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=limit,
        env=environment,
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])

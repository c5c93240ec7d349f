"""A device as a GPU is, as far as that can be had without one: memory apart from the machine's, and copies that come late.

What is computed is computed here; what is copied is queued, and copied by a thread of the lane at a moment of its own.
Freed regions are used again at once, as a GPU's are: whoever does not wait for a mark that it needs reads other bytes.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager
from queue import SimpleQueue

import torch

from lineshaft.core.memory import pages
from lineshaft.train.spill.device import Apart
from lineshaft.train.spill.places import flat


class Mark:
    def __init__(self):
        self.reached, self.when = threading.Event(), 0.0

    def reach(self):
        self.when = time.perf_counter()
        self.reached.set()


class Queue:
    """Does what it is given in order, late."""

    def __init__(self, seed):
        self._work, self._chance = SimpleQueue(), random.Random(seed)
        self.failed = None
        threading.Thread(target=self._run, name="as-if-apart", daemon=True).start()

    def put(self, work):
        self._work.put(work)

    def _run(self):
        while True:
            work = self._work.get()
            time.sleep(self._chance.choice([0, 0, 0.001]))
            work()


class AsIfApart(Apart):
    def __init__(self, seed=0):
        super().__init__()
        self._queues = {lane: Queue((seed, lane).__repr__()) for lane in ("in", "out")}
        self._mine = threading.local()
        self._free = {}

    def region(self, size):
        free = self._free.get(pages(size))
        return free.pop() if free else torch.full((pages(size),), 0xA5, dtype=torch.uint8)

    def rooms(self, limit):
        rooms = super().rooms(limit)
        give = rooms.give

        def give_at_once(region):
            give(region)
            self._free.setdefault(len(region), []).append(region)

        rooms.give = give_at_once
        return rooms

    @contextmanager
    def peak(self):
        yield lambda: 0

    @contextmanager
    def lane(self, lane):
        self._mine.queue = self._queues.get(lane)
        yield
        self._mine.queue = None

    def copy(self, target, source):
        self._do(lambda: flat(target).copy_(flat(source)))

    def mark(self):
        mark = Mark()
        self._do(mark.reach)
        return mark

    def after(self, mark):
        self._do(mark.reached.wait)

    def seconds(self, since, until):
        since.reached.wait()
        until.reached.wait()
        return until.when - since.when

    def settle(self):
        self._wait(getattr(self._mine, "queue", None))

    def sync(self):
        for queue in self._queues.values():
            self._wait(queue)

    def _do(self, work):
        queue = getattr(self._mine, "queue", None)
        queue.put(work) if queue else work()

    def _wait(self, queue):
        over = threading.Event()
        if queue:
            queue.put(over.set)
            over.wait()

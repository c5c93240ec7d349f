"""Trains in forked children that are killed with SIGKILL, resumes each, and reports what came out. Run as a script.

    killed.py FOLDER points      a kill at every crash point of one training, at each of its occurrences (some: at three)
    killed.py FOLDER moments N   N kills at seeded moments, several on the way of each training
    ... spilled                  the same in a budget that does not hold the model; the reference is in memory

The last line is JSON: {"reference": digest, "runs": [[what, died, digest], ...]}. Forking after torch is loaded makes
a kill cost milliseconds; the children have nothing but the checkpoint folder in common.
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from plain_loop import all_state, norm_net, rows
from zoo import only

import lineshaft as ls
from lineshaft.core.artifact import digest_of
from lineshaft.core.codec import Tensors, encode
from lineshaft.train.checkpoint import Checkpoints

BUDGET = {"device": "60KB", "dram": "8KB"}


class Restless:
    """Mini-batches whose order and noise come from the global generators of Python, numpy and torch, and its own."""

    def __init__(self):
        self.x, self.y = rows(60)
        self.generator = torch.Generator().manual_seed(11)

    def __iter__(self):
        order = torch.randperm(60, generator=self.generator).tolist()
        random.shuffle(order)
        np.random.shuffle(order)
        twist = torch.randn(())
        for start in range(0, 60, 12):
            own = order[start : start + 12]
            yield self.x[own] + 0.01 * twist, self.y[own]


def train(folder, every):
    spilled = "spilled" in sys.argv and folder is not None
    random.seed(3)
    np.random.seed(4)
    with only("spilled"):
        fit = ls.train.fit(
            norm_net,
            Restless(),
            optimizer=ls.adamw(lr=1e-2),
            micro_batch=5,
            epochs=3,
            clip=0.5,
            memory=BUDGET if spilled else None,
            progress=False,
            schedule=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=20),
            checkpoint=Checkpoints(folder, every=every, seconds=None) if folder else None,
        )
    state = all_state(fit.model, fit.optimizer)
    header = {
        "losses": fit.losses,
        "schedule": fit.schedule.get_last_lr(),
        "draws": [random.random(), float(torch.rand(()))],
    }
    return digest_of(encode("Tensors", Tensors(state, header))[1])


def in_child(folder, every, result, after=None, **environment):
    """Train in a child; kill it after so many seconds. Return whether it died of SIGKILL."""
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        result.write_text(train(folder, every))
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the child failed: {environment}")
    return os.WIFSIGNALED(status)


def at_points(base, result):
    log = base / "points"
    in_child(base / "log", 4, result, LINESHAFT_CRASH_LOG=str(log))
    for name, count in sorted(collections.Counter(log.read_text().split()).items()):
        occurrences = range(1, count + 1)
        for occurrence in (
            occurrences if sys.argv[2] == "points" else random.Random(0).sample(occurrences, min(count, 3))
        ):
            folder = base / f"{name}-{occurrence}"
            died = in_child(folder, 4, result, LINESHAFT_CRASH=f"{name}:{occurrence}")
            in_child(folder, 4, result)
            yield f"{name}:{occurrence}", died, result.read_text()
            shutil.rmtree(folder)


def at_moments(base, result, count):
    dice = random.Random(0)
    done = 0
    started = time.monotonic()
    in_child(base / "timed", 1, result)
    seconds = time.monotonic() - started
    while done < count:
        folder = base / f"moment-{done}"
        died = sum(in_child(folder, 1, result, after=dice.uniform(0, 0.6) * seconds) for _ in range(3))
        in_child(folder, 1, result)
        yield f"moment {done}", died, result.read_text()
        shutil.rmtree(folder)
        done += died if "spilled" in sys.argv else 1


if __name__ == "__main__":
    base = Path(sys.argv[1])
    torch.set_num_threads(1)
    result = base / "result"
    reference = train(None, None)  # here, so that the children find all of torch loaded
    runs = at_moments(base, result, int(sys.argv[3])) if sys.argv[2] == "moments" else at_points(base, result)
    print(json.dumps({"reference": reference, "runs": list(runs)}))

"""Trains a model whose parameters alone are several times the budget, from a factory. Run as a script.

large_factory.py MEMORY LAYERS WIDTH      a line of JSON: how far memory rose, and where the model's values are
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from held import Rising, warm_up
from torch import nn

import lineshaft as ls
from lineshaft.core.memory import parse_size

MICRO_BATCH = 16


def deep(layers, width):
    def factory():
        middle = [nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1)) for _ in range(layers)]
        return nn.Sequential(nn.Linear(32, width), *middle, nn.Linear(width, 10))

    return factory


def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(64, 32, generator=generator), torch.randint(0, 10, (64,), generator=generator)) for _ in range(2)
    ]


def mapped(tensors):
    """Return the bytes of tensors that files stand behind, and how many of those mappings' bytes are in memory."""
    found, held, own = 0, 0, None
    starts = sorted((tensor.data_ptr(), tensor.nbytes) for tensor in tensors)
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+)", line):
            low, high, file = int(head[1], 16), int(head[2], 16), int(head[3])
            own = sum(size for start, size in starts if file and low <= start < high)
            found += own
        elif own and line.startswith("Rss:"):
            held += 1024 * int(line.split()[1])
    return found, held


def train(memory, layers, width):
    with Rising() as rise:
        fit = ls.train.fit(deep(layers, width), batches(), micro_batch=MICRO_BATCH, memory=memory, progress=False)
    parameters = list(fit.model.parameters())
    found, held = mapped(parameters)
    finite = all(bool(parameter.isfinite().all()) for parameter in parameters)
    return {
        "budget": parse_size(memory), "least": fit.plan.least, "way": fit.plan.way, "steps": len(fit.losses),
        "parameters": sum(parameter.nbytes for parameter in parameters), "mapped": found, "held": held,
        "touched": mapped(parameters)[1], "finite": finite, **asdict(rise),
    }  # fmt: skip


if __name__ == "__main__":
    warm_up()
    print(json.dumps(train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

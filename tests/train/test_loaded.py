"""What torch loads once is loaded before a budget begins, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys

import torch

from lineshaft.train.loaded import load

FIRST = """
import torch
from lineshaft.core.memory import private
from lineshaft.train.loaded import load
load()
before = private()
layer = torch.nn.Linear(4, 4)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 4)).sum().backward()
optimizer.step()
print(private() - before)
"""


def test_a_first_training_loads_nothing_more():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 << 20  # without it, some 80 MB


def test_random_numbers_stay():
    load.cache_clear()
    before = torch.get_rng_state()
    load()
    assert torch.equal(torch.get_rng_state(), before)

"""Calibration: how fast bytes move and optimizers step on this machine, measured in a moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lineshaft.core.memory import SpillFile, anonymous, pages
from lineshaft.train.spill.stepping import step_seconds

if TYPE_CHECKING:
    import torch

TRIED = 1 << 24  # bytes
LEAST = 1 << 16
ROUNDS = 3


@dataclass(frozen=True)
class Rate:
    """How fast a tier is: bytes a second each way, and whether both ways at once share that."""

    read: float
    write: float
    shared: bool


def tried(budget: int) -> int:
    """Return the bytes to measure with: two times as many are held meanwhile, and that shall fit a budget."""
    return max(LEAST, min(TRIED, budget // 4))


@cache
def disk_rate(folder: Path, size: int = TRIED) -> Rate:
    """Measure the disk that a folder is on, as spilled training uses it; once per folder.

    Two times ``size`` is held in memory and on the disk, less where that would be a quarter of what the disk has left.
    """
    disk = os.statvfs(folder)
    size = pages(max(LEAST, min(size, disk.f_bavail * disk.f_frsize // 8)))
    regions = [anonymous(size), anonymous(size)]
    file = SpillFile(folder / "rate", 2 * size, "unnamed")
    try:
        for place, region in enumerate(regions):
            file.write(place * size, memoryview(region))

        def write() -> None:
            file.write(0, memoryview(regions[0]))

        def read() -> None:
            file.read(size, memoryview(regions[1]))

        alone, other = _best(write), _best(read)
        together = _best(lambda: _at_once(write, read))
    finally:
        file.close()
    return Rate(size / other, size / alone, together > 0.75 * (alone + other))


@cache
def memory_rate(size: int = TRIED) -> Rate:
    """Measure copying from memory to memory; two times ``size`` is held meanwhile."""
    one, other = anonymous(size), anonymous(size)

    def copy() -> None:
        memoryview(one)[:] = memoryview(other)

    rate = size / _best(copy)
    return Rate(rate, rate, shared=False)


def step_rate(optimizer: torch.optim.Optimizer, budget: int) -> float:
    """Measure the optimizer's step: seconds for each byte of parameters; as many of them as fit a budget."""
    return step_seconds(optimizer, min(TRIED, budget // 8))


def _best(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return max(min(seconds), 1e-9)


def _at_once(one: Callable[[], None], other: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1, "lineshaft-rate") as pool:
        beside = pool.submit(one)
        other()
        beside.result()

"""Calibration: how fast bytes move and optimizers step on this machine, measured in a moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lineshaft.core.memory import SpillFile, anonymous, pages
from lineshaft.train.spill.device import Device
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
def memory_rate(size: int, device: Device) -> Rate:
    """Measure copying within a device's memory; two times ``size`` is held meanwhile."""
    one, other = device.region(size), device.region(size)
    rate = size / _best(lambda: device.copy(one, other), device)
    return Rate(rate, rate, shared=False)


@cache
def link_rate(size: int, device: Device) -> Rate:
    """Measure copying to a device from the machine's memory, and back."""
    one, other = device.region(size), device.under(size)
    there, back = _best(lambda: device.copy(one, other), device), _best(lambda: device.copy(other, one), device)
    return Rate(size / there, size / back, shared=False)


def step_rate(optimizer: torch.optim.Optimizer, budget: int, device: Device) -> float:
    """Measure the optimizer's step: seconds for each byte of parameters; as many of them as fit a budget."""
    return step_seconds(optimizer, min(TRIED, budget // 8), device)


def _best(work: Callable[[], None], device: Device | None = None) -> float:
    own, seconds = device or Device(), []
    for _ in range(ROUNDS):
        started = own.mark()
        work()
        seconds.append(own.seconds(started, own.mark()))
    return max(min(seconds), 1e-9)


def _at_once(one: Callable[[], None], other: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1, "lineshaft-rate") as pool:
        beside = pool.submit(one)
        other()
        beside.result()

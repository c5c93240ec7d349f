"""The states of all random generators that training may draw from: torch, Python, numpy, and the data's own.

A state is plain data (tensors, numbers), so that it goes into a checkpoint; restoring it continues the draws exactly.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

State = dict[str, Any]


def capture(data: Any = None) -> State:
    """Return the states of the global generators, and of the ``torch.Generator`` objects that a DataLoader holds."""
    # The old global generator is what user code draws from, if it draws from numpy at all.
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ),
        "data": [generator.get_state() for generator in _generators(data)],
    }


def restore(state: State, data: Any = None) -> None:
    """Set all generators to a captured state; with ``data`` None the data's own generators are left alone."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    for generator, own in zip(_generators(data), state["data"], strict=False):
        generator.set_state(own)


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed all global generators for the block and give the caller's states back after it."""
    before = capture()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        restore(before)


@contextmanager
def untouched() -> Iterator[None]:
    """Leave the global generators after the block as they were before it."""
    before = capture()
    try:
        yield
    finally:
        restore(before)


def _generators(data: Any) -> list[torch.Generator]:
    """Return the generators of a DataLoader and of its sampler, in a fixed order, each once."""
    sampler = getattr(data, "sampler", None)
    found: list[torch.Generator] = []
    for holder in (data, sampler, getattr(getattr(data, "batch_sampler", None), "sampler", None)):
        own = getattr(holder, "generator", None)
        if isinstance(own, torch.Generator) and all(own is not other for other in found):
            found.append(own)
    return found

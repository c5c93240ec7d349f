"""The first batches of data, looked at before training, which then goes on from there: data is gone through once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import torch

from lineshaft.train import randomness
from lineshaft.train.batches import Batch, read_batch
from lineshaft.train.spill.calls import tensors_of

TRIED = "the batch tried out"


class Peeked:
    """What a step may look like, by its first batches; of a list or tuple, by the largest of all.

    Parameters
    ----------
    data
        As `lineshaft.train.fit` takes it.
    batches
        How many make one step.

    """

    def __init__(self, data: Any, batches: int) -> None:
        self._rest: Iterator[Any] | None = None
        if isinstance(data, (list, tuple)):
            largest = max(data, key=lambda item: sum(value.numel() for value in tensors_of(item)), default=None)
            self._items = [] if largest is None else [largest] * batches
            return
        if hasattr(data, "set_epoch"):
            data.set_epoch(0)
        self._before = randomness.capture(data)
        self._rest = iter(data)
        self._items = list(islice(self._rest, batches))
        self._after = randomness.capture(data)
        randomness.restore(self._before, data)

    @property
    def group(self) -> Sequence[Batch]:
        """The batches of a step."""
        return [read_batch(item, TRIED) for item in self._items]

    def open(self, data: Any, epoch: int) -> Iterator[Any]:
        """Begin an epoch: with the first, what was looked at is not gone through again."""
        rest, self._rest = self._rest, None
        if rest is None or epoch or not _same(randomness.capture(data), self._before):
            return iter(data)
        randomness.restore(self._after, data)
        items, self._items = self._items, []
        return chain(items, rest)


def _same(one: Any, other: Any) -> bool:
    """Say whether two states of generators are one."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)

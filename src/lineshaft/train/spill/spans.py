"""Where parameters lie in memory: which of them a tensor shows, whole or in part, whichever object it is.

::

    a buffer   [ h.0.weight | h.0.bias | h.1.weight | ... ]     a tensor shows those whose bytes its own span touches

Storages say less: parameters may be pieces of one, and two storages may be one piece of memory.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

import numpy as np
import torch

from lineshaft.errors import TrainingError

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Spans:
    """The spans of named tensors."""

    def __init__(self, named: Mapping[str, torch.Tensor]) -> None:
        self._named = named
        spans = sorted((*_span(value), name) for name, value in named.items())
        self._spans = [(start, end, name) for start, end, name in spans if start < end]
        self._starts = [start for start, _, _ in self._spans]
        self._reach = list(accumulate((end for _, end, _ in self._spans), max))

    def of(self, value: torch.Tensor) -> list[str]:
        """Return the names of those that a tensor shows."""
        start, end = _span(value)
        found, place = [], bisect_left(self._starts, end)
        while start < end and place and self._reach[place - 1] > start:
            place -= 1
            if self._spans[place][1] > start:
                found.append(self._spans[place][2])
        return found

    def require_apart(self) -> None:
        """Refuse two parameters that have memory in common.

        Raises
        ------
        TrainingError
            Both are named.

        """
        for _, _, name in self._spans:
            for other in self.of(self._named[name]):
                if other < name and _common(self._named[name], self._named[other]):
                    raise TrainingError(
                        f"{other!r} and {name!r} are two parameters on the same memory, which cannot be kept so within "
                        f"memory=: make them one (b.weight = a.weight), give each its own (.clone()), or leave memory= "
                        f"out"
                    )


def _span(value: torch.Tensor) -> tuple[int, int]:
    """Return where a tensor begins and ends in memory; nowhere, if it has none of its own."""
    while torch._C._functorch.is_functorch_wrapped_tensor(value):  # noqa: SLF001 - there is no other
        value = torch._C._functorch.get_unwrapped(value)  # noqa: SLF001
    if not value.numel() or value.is_meta or value.layout != torch.strided:
        return 0, 0
    start = value.data_ptr()
    steps = zip(value.shape, value.stride(), strict=True)
    return start, start + value.element_size() * (1 + sum((size - 1) * stride for size, stride in steps))


def _common(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors have an element in common, though their spans do: columns of a matrix do not."""
    return np.shares_memory(_array(one.detach()), _array(other.detach()))


def _array(value: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    size = value.element_size()
    return (value.view(_WORDS[size]) if size in _WORDS else value).numpy()

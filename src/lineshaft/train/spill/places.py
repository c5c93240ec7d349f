"""Where tensors lie within a region of bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lineshaft.core.memory import Region as HostRegion

_ALIGN = 64
Region = HostRegion | torch.Tensor  # of a GPU: bytes
Form = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]  # shape, strides, type


@dataclass(frozen=True)
class Place:
    """A tensor within an object."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def plain(self) -> list[Any]:
        """Return it as JSON has it; `of` reads that."""
        return [self.offset, list(self.shape), list(self.stride), str(self.dtype).removeprefix("torch.")]

    @classmethod
    def of(cls, offset: int, shape: list[int], stride: list[int], dtype: str) -> Place:
        """Read what `plain` wrote."""
        return cls(offset, tuple(shape), tuple(stride), getattr(torch, dtype))

    def view(self, region: torch.Tensor) -> torch.Tensor:
        """Return the tensor within a region of bytes."""
        size = math.prod(self.shape) * self.dtype.itemsize
        flat = region[self.offset : self.offset + size].view(self.dtype)
        return flat.as_strided(self.shape, self.stride)


def flat(region: Region) -> torch.Tensor:
    """Return a region's bytes as a tensor ``[bytes]`` whose changes are counted from here on."""
    return region.data if isinstance(region, torch.Tensor) else torch.frombuffer(region, dtype=torch.uint8)


def nothing(like: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """Return not-a-number everywhere (0, where there is no such thing), in the shape and type of a tensor."""
    fill: Any = math.nan if like.is_floating_point() else 0
    return torch.full((), fill, dtype=like.dtype, device=device).expand(like.shape)


def lay(forms: Sequence[Form], end: int = 0) -> tuple[list[Place], int]:
    """Give tensors places one behind the other; return the places, and where the last of them ends."""
    places = []
    for shape, stride, dtype in forms:
        places.append(Place(aligned(end), shape, stride, dtype))
        end = places[-1].offset + math.prod(shape) * dtype.itemsize
    return places, end


def aligned(size: int) -> int:
    """Round up to where a tensor may begin."""
    return -(-size // _ALIGN) * _ALIGN


def strides(value: torch.Tensor) -> tuple[int, ...]:
    """Return a tensor's strides (channels last, say) where it has no holes and no overlaps, else contiguous ones."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(value.stride(), value.shape, strict=True)):
        if size != 1 and stride != expected:
            return contiguous(tuple(value.shape))
        expected *= size
    return tuple(value.stride())


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))

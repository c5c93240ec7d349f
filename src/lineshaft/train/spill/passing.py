"""What a step makes anew and may send below meanwhile: inputs of shards, and gradients that wait for all the others.

::

    F2.1   the inputs of shard 2's units move into region x[2,1]  ┐ the region may be written below and come back
    R2.1   and are found there                                    ┘
    B2.1   the gradients of shard 2 move into region g[2], and later micro-batches add to them there
    S2     the optimizer finds them there
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from lineshaft.core.memory import pages
from lineshaft.train.spill.places import Place, Region, flat, lay, strides

if TYPE_CHECKING:
    from lineshaft.train.spill.lines import Kept


@dataclass
class Gradients:
    """The gradients of one shard, in a region of their own.

    Attributes
    ----------
    parameters
        Name -> parameter.
    places
        Name -> where its gradient lies.
    size
        Bytes.
    held
        The names of those that lie there.

    """

    parameters: Mapping[str, nn.Parameter]
    places: Mapping[str, Place]
    size: int
    held: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, parameters: Mapping[str, nn.Parameter]) -> Gradients:
        """Give the gradients of these parameters their places."""
        trained = {name: one for name, one in parameters.items() if one.requires_grad}
        places, size = lay([(tuple(one.shape), strides(one), one.dtype) for one in trained.values()])
        return cls(trained, dict(zip(trained, places, strict=True)), pages(size))

    def collect(self, region: Region) -> None:
        """Move into the region what has come since; what is added to it later is added there."""
        here = flat(region)
        for name, parameter in self.parameters.items():
            gradient = parameter.grad
            if gradient is not None and name not in self.held and gradient.layout == torch.strided:
                parameter.grad = self.places[name].view(here).copy_(gradient)
                self.held.add(name)

    def bind(self, region: Region) -> None:
        """Find them in a region that was brought back."""
        here = flat(region)
        for name in tuple(self.held):
            self.parameters[name].grad = self.places[name].view(here)

    def unbind(self) -> None:
        """Let nobody look into the region any more."""
        for name in tuple(self.held):
            self.parameters[name].grad = None

    def clear(self) -> None:
        """Forget them: they are used up."""
        for parameter in self.parameters.values():
            parameter.grad = None
        self.held.clear()


@dataclass
class Inputs:
    """What the units of a shard were called with, on one micro-batch, in a region of its own.

    Attributes
    ----------
    moved
        What holds each tensor, its number there, and its place in the region.

    """

    moved: list[tuple[Kept, int, Place]] = field(default_factory=list)

    @classmethod
    def collect(cls, found: list[tuple[Kept, int]], region: Region) -> Inputs:
        """Move tensors into the region, as many as it has room for; those with holes stay where they are."""
        here = flat(region)
        moved, end = [], 0
        for kept, number in found:
            value = kept.tensors()[number]
            if strides(value) != value.stride():
                continue
            (place,), after = lay([(tuple(value.shape), value.stride(), value.dtype)], end)
            if after > len(region):
                break
            place.view(here).copy_(value)
            kept.moved_finite = kept.moved_finite and bool(value.isfinite().all())
            moved.append((kept, number, place))
            end = after
        made = cls(moved)
        made.replace({(id(kept), number): torch.empty(0, dtype=place.dtype) for kept, number, place in moved})
        return made

    def bind(self, region: Region) -> None:
        """Find them in the region."""
        here = flat(region)
        self.replace({(id(kept), number): place.view(here) for kept, number, place in self.moved})

    def replace(self, others: Mapping[tuple[int, int], torch.Tensor]) -> None:
        """Put others in the places of the tensors."""
        for kept in {id(kept): kept for kept, _, _ in self.moved}.values():
            kept.replace({number: other for (one, number), other in others.items() if one == id(kept)})

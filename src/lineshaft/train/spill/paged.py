"""Parameters and optimizer state that live below the fast memory, and come up shard by shard.

::

    object 2p   [ h.2.ln.weight | h.2.attn.weight | ... ]     one region, one piece of the file: parameter.data is a
    object 2s   [ exp_avg | exp_avg_sq | exp_avg | ... ]      view into the first, optimizer.state[...] into the second

A parameter that is not in memory has its shape and type, and not-a-number everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from lineshaft.core.memory import Region, Regions, anonymous, in_another_heap, outside_the_heap, pages
from lineshaft.errors import StorageError, TrainingError
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.stepping import Form, only

if TYPE_CHECKING:
    from lineshaft.train.spill.below import Below

_ALIGN = 64
WHAT: tuple[Literal["p", "s"], ...] = ("p", "s")


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


@dataclass
class Part:
    """A shard's parameters, their places, and those of what the optimizer keeps for them.

    Attributes
    ----------
    parameters
        Name -> parameter.
    values
        Name -> its place in ``p``.
    kept
        Name -> what is kept -> its place in ``s``.
    sizes
        Bytes of ``p`` and ``s``, whole pages.
    pinned
        Whether it always stays in memory.
    born
        Whether the optimizer has stepped it, so that there is state.

    """

    parameters: dict[str, nn.Parameter]
    values: dict[str, Place]
    kept: dict[str, dict[str, Place]]
    sizes: dict[str, int]
    pinned: bool = False
    born: bool = False


def lay_out(
    parameters: Mapping[str, nn.Parameter], forms: Mapping[int, Sequence[Form]], *, pinned: bool = False
) -> Part:
    """Give every tensor of a shard its place."""
    values, end = {}, 0
    for name, parameter in parameters.items():
        values[name], end = _place(end, tuple(parameter.shape), _dense(parameter), parameter.dtype)
    kept: dict[str, dict[str, Place]] = {}
    end_s = 0
    for name, parameter in parameters.items():
        kept[name] = {}
        for form in forms.get(id(parameter), ()) if parameter.requires_grad else ():
            stride = _dense(parameter) if form.shape == tuple(parameter.shape) else _contiguous(form.shape)
            kept[name][form.name], end_s = _place(end_s, form.shape, stride, form.dtype)
    return Part(dict(parameters), values, kept, {"p": pages(end), "s": pages(end_s)}, pinned)


@dataclass
class Paged:
    """The shards' objects, in memory or below.

    Attributes
    ----------
    parts
        One per shard, and one of shared parameters, which is pinned.
    optimizer
        Of all parameters.
    regions
        The memory for objects that come and go.
    below
        Where the others lie.
    resident
        Object -> its region.
    sent
        The objects that lie below, whatever else holds them.

    """

    parts: Sequence[Part]
    optimizer: torch.optim.Optimizer
    regions: Regions
    below: Below
    resident: dict[Object, Region] = field(default_factory=dict)
    sent: set[Object] = field(default_factory=set)

    def sizes(self) -> dict[Object, int]:
        """Return the bytes of every object."""
        return {Object(k, what): part.sizes[what] for k, part in enumerate(self.parts) for what in WHAT}

    def moved(self) -> dict[Object, int]:
        """Return the bytes of every object for those who move objects: pinned ones are none of their business."""
        return moved_sizes(self.parts)

    def places(self) -> dict[str, tuple[Object, Place]]:
        """Return where every tensor lies, by the parameter's name, and by that and what is kept."""
        found: dict[str, tuple[Object, Place]] = {}
        for k, part in enumerate(self.parts):
            for name, place in part.values.items():
                found[name] = Object(k, "p"), place
                found |= {f"{name} {what}": (Object(k, "s"), own) for what, own in part.kept[name].items()}
        return found

    def send_below(self, fill: Callable[[Object, Region], None] | None = None, *, kept: bool = False) -> None:
        """Bring all parameters from where they are, or as ``fill`` gives them, to below, one shard at a time.

        Pinned ones go there only where states are ``kept``.
        """
        for item, size in self.sizes().items():
            part = self.parts[item.shard]
            made = item.what == "s" and fill is None and self._made_early(part)
            if not size or (item.what == "s" and fill is None and not made and not part.pinned):
                continue
            part.born = part.born or made
            region = anonymous(size) if part.pinned else self.regions.take(size)
            self.resident[item] = region
            if fill is not None:
                fill(item, region)
            elif item.what == "p" or made:
                self._collect(item, region)
            if (item.what == "p" or made or fill is not None) and (kept or not part.pinned):
                self.below.write(item, memoryview(region))
            self._bind(item, region)
            if not part.pinned:
                self._drop(item)

    def restore(self) -> None:
        """Take what lies below for the state, whatever the parameters are now."""
        for item, size in self.sizes().items():
            part = self.parts[item.shard]
            if size and part.pinned:
                self.resident[item] = anonymous(size)
                if item.what == "p" or part.born:
                    self.below.read(item, memoryview(self.resident[item]))
                self._bind(item, self.resident[item])
            elif item.what == "p":
                for parameter in part.parameters.values():
                    parameter.data = _nothing(parameter)
            if size and not part.pinned:
                self.sent.add(item)

    def load(self, item: Object, drops: Sequence[Object]) -> int:
        """Bring an object up, into the room of others; return the bytes that were read."""
        for other in drops:
            self._drop(other)
        part = self.parts[item.shard]
        region = self.regions.take(part.sizes[item.what])
        self.resident[item] = region
        if item.what == "s" and not part.born:
            return 0  # the optimizer makes it, with its first step
        self.below.read(item, memoryview(region))
        self._bind(item, region)
        return len(region)

    def write(self, item: Object) -> int:
        """Write an object below; it stays in memory. Return the bytes written."""
        region = self.resident[item]
        self.below.write(item, memoryview(region))
        return len(region)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Give every parameter its value inside the block: what is not in memory is mapped from below."""
        away = [Object(k, "p") for k, part in enumerate(self.parts) if part.sizes["p"]]
        away = [item for item in away if item not in self.resident]
        self._bind_all(self.below.whole(away))
        try:
            yield
        finally:
            for item in away:
                for parameter in self.parts[item.shard].parameters.values():
                    parameter.data = _nothing(parameter)

    def bring_up(self) -> None:
        """Give everything memory for good: what is not there is mapped from below, where nobody changes it again."""
        away = [item for item in sorted(self.sent) if item not in self.resident]
        away = [item for item in away if item.what == "p" or self.parts[item.shard].born]
        try:
            self._bind_all(self.below.apart(away))
        except StorageError:
            self._bind_all(self.below.whole(away))  # for who holds the model: its values, until training goes on
            self.below.close()
            raise

    def let_go(self) -> None:
        """Drop all that is not pinned: it lies below."""
        for item in list(self.resident):
            if not self.parts[item.shard].pinned:
                self._drop(item)
        self.regions.close()

    def step(self, shard: int) -> None:
        """Take the optimizer's step of a shard; its gradients are gone after it."""
        part = self.parts[shard]
        trained = [parameter for parameter in part.parameters.values() if parameter.grad is not None]
        if part.born:
            with only(self.optimizer, trained):
                self.optimizer.step()
        else:
            with outside_the_heap():
                in_another_heap(lambda: self._first_step(shard, trained))
        for name, parameter in part.parameters.items():
            parameter.grad = None
            self._require_in_place(shard, name, parameter)

    def _first_step(self, shard: int, trained: Sequence[nn.Parameter]) -> None:
        """Step one parameter at a time: what the optimizer makes for it moves into the shard's region at once."""
        part = self.parts[shard]
        region = self.resident.get(Object(shard, "s"))
        flat = None if region is None else torch.frombuffer(region, dtype=torch.uint8)
        for name, parameter in part.parameters.items():
            if any(parameter is one for one in trained):
                with only(self.optimizer, [parameter]):
                    self.optimizer.step()
            if flat is None:
                continue
            state = self.optimizer.state.get(parameter, {})
            for what, place in part.kept[name].items():
                view = place.view(flat)
                if what in state:
                    self._require_form(name, what, state[what], place)
                    view.copy_(state[what])
                    state[what] = view
                else:
                    view.zero_()
        part.born = True

    def _made_early(self, part: Part) -> bool:
        """Say whether the optimizer made its state when it was made itself, as Adagrad does."""
        return any(
            self.optimizer.state.get(parameter, {}).get(what) is not None
            for name, parameter in part.parameters.items()
            for what in part.kept[name]
        )

    def _collect(self, item: Object, region: Region) -> None:
        """Copy a shard's parameters, or what is kept for them, into a region."""
        flat = torch.frombuffer(region, dtype=torch.uint8)
        part = self.parts[item.shard]
        for name, parameter in part.parameters.items():
            if item.what == "p":
                part.values[name].view(flat).copy_(parameter.data)
            else:
                state = self.optimizer.state.get(parameter, {})
                for what, place in part.kept[name].items():
                    view = place.view(flat)
                    view.copy_(state[what]) if what in state else view.zero_()

    def _bind(self, item: Object, region: Region) -> None:
        """Point a shard's parameters, or what is kept for them, into a region."""
        flat = torch.frombuffer(region, dtype=torch.uint8)
        part = self.parts[item.shard]
        for name, parameter in part.parameters.items():
            if item.what == "p":
                parameter.data = part.values[name].view(flat)
            elif part.born and parameter in self.optimizer.state:
                state = self.optimizer.state[parameter]
                state.update((what, place.view(flat)) for what, place in part.kept[name].items() if what in state)

    def _bind_all(self, regions: Mapping[Object, Region]) -> None:
        for item, region in regions.items():
            self._bind(item, region)

    def _drop(self, item: Object) -> None:
        """Give an object's memory up."""
        part = self.parts[item.shard]
        for name, parameter in part.parameters.items():
            if item.what == "p":
                parameter.data = _nothing(parameter)
            else:
                state = self.optimizer.state.get(parameter, {})
                for what in part.kept[name]:
                    if what in state:
                        state[what] = None
        self.regions.give(self.resident.pop(item))
        self.sent.add(item)

    def _require_in_place(self, shard: int, name: str, parameter: nn.Parameter) -> None:
        part = self.parts[shard]
        state = self.optimizer.state.get(parameter, {})
        for what, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() and what not in part.kept[name]:
                raise TrainingError(
                    f"{type(self.optimizer).__name__} keeps {what!r} of shape {list(value.shape)} for {name}, which "
                    f"the trial before training did not show; it cannot be spilled: use another optimizer"
                )
        region = self.resident.get(Object(shard, "s"))
        if region is None:
            return
        flat = torch.frombuffer(region, dtype=torch.uint8)
        for what, place in part.kept[name].items():
            view = place.view(flat)
            if what in state and state[what].data_ptr() != view.data_ptr():
                self._require_form(name, what, state[what], place)
                view.copy_(state[what])
                state[what] = view

    def _require_form(self, name: str, what: str, value: torch.Tensor, place: Place) -> None:
        if tuple(value.shape) != place.shape or value.dtype != place.dtype:
            raise TrainingError(
                f"{type(self.optimizer).__name__} keeps {what!r} of shape {list(value.shape)} and {value.dtype} for "
                f"{name}; expected were {list(place.shape)} and {place.dtype}; it cannot be spilled: use another"
            )


def moved_sizes(parts: Sequence[Part]) -> dict[Object, int]:
    """Return the bytes that there are to move of every object: 0 of those that always stay."""
    return {Object(k, what): 0 if part.pinned else part.sizes[what] for k, part in enumerate(parts) for what in WHAT}


def aligned(size: int) -> int:
    """Round up to where a tensor may begin."""
    return -(-size // _ALIGN) * _ALIGN


def _place(end: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> tuple[Place, int]:
    start = aligned(end)
    return Place(start, shape, stride, dtype), start + math.prod(shape) * dtype.itemsize


def _dense(parameter: torch.Tensor) -> tuple[int, ...]:
    """Keep the memory format (channels last, say) of a tensor without holes; anything else becomes contiguous."""
    if parameter.is_contiguous():
        return tuple(parameter.stride())
    if parameter.numel() == parameter.untyped_storage().nbytes() // parameter.dtype.itemsize:
        return tuple(parameter.stride())
    return _contiguous(tuple(parameter.shape))


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _nothing(parameter: torch.Tensor) -> torch.Tensor:
    fill: Any = math.nan if parameter.is_floating_point() else 0
    return torch.full((), fill, dtype=parameter.dtype, device=parameter.device).expand(parameter.shape)

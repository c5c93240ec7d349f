"""Parameters and optimizer state that live below the fast memory, and come up shard by shard.

::

    object 2p   [ h.2.ln.weight | h.2.attn.weight | ... ]     one region, one piece of the file: parameter.data is a
    object 2s   [ exp_avg | exp_avg_sq | exp_avg | ... ]      view into the first, optimizer.state[...] into the second

A parameter that is not in memory has its shape and type, and not-a-number everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lineshaft.core.heap import in_another_heap, outside_the_heap
from lineshaft.core.memory import pages
from lineshaft.errors import StorageError, TrainingError
from lineshaft.train.program.actions import LASTING, Object
from lineshaft.train.spill.cradle import leave
from lineshaft.train.spill.device import Device, Rooms
from lineshaft.train.spill.passing import Gradients, Inputs
from lineshaft.train.spill.places import Place, Region, contiguous, flat, lay, nothing, strides
from lineshaft.train.spill.stepping import Form, only

if TYPE_CHECKING:
    from lineshaft.train.spill.below import Below
    from lineshaft.train.spill.lines import Kept


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
    values, end = lay([(tuple(one.shape), strides(one), one.dtype) for one in parameters.values()])
    kept: dict[str, dict[str, Place]] = {}
    end_s = 0
    for name, parameter in parameters.items():
        own = [*forms.get(id(parameter), ())] if parameter.requires_grad else []
        shapes = [(form.shape, _like(parameter, form.shape), form.dtype) for form in own]
        places, end_s = lay(shapes, end_s)
        kept[name] = {form.name: place for form, place in zip(own, places, strict=True)}
    sizes = {"p": pages(end), "s": pages(end_s)}
    return Part(dict(parameters), dict(zip(parameters, values, strict=True)), kept, sizes, pinned)


def _like(parameter: nn.Parameter, shape: tuple[int, ...]) -> tuple[int, ...]:
    return strides(parameter) if shape == tuple(parameter.shape) else contiguous(shape)


def _own(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.data


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
    device
        Whose memory the regions are.
    gradients
        Of the shards whose gradients pass through objects.
    inputs
        Bytes of the inputs that pass through objects.
    resident
        Object -> its region.
    sent
        The objects that lie below, whatever else holds them.
    value
        Parameter -> its value, before it is sent below.

    """

    parts: Sequence[Part]
    optimizer: torch.optim.Optimizer
    regions: Rooms
    below: Below
    device: Device = field(default_factory=Device)
    gradients: Mapping[int, Gradients] = field(default_factory=dict)
    inputs: Mapping[Object, int] = field(default_factory=dict)
    resident: dict[Object, Region] = field(default_factory=dict)
    sent: set[Object] = field(default_factory=set)
    value: Callable[[nn.Parameter], torch.Tensor] = _own
    _collected: dict[Object, Inputs] = field(default_factory=dict)

    def sizes(self) -> dict[Object, int]:
        """Return the bytes of every object that lasts."""
        return {Object(k, what): part.sizes[what] for k, part in enumerate(self.parts) for what in LASTING}

    def moved(self) -> dict[Object, int]:
        """Return the bytes of every object for those who move objects: pinned ones are none of their business."""
        passing = {Object(shard, "g"): own.size for shard, own in self.gradients.items()}
        return moved_sizes(self.parts) | passing | dict(self.inputs)

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
            region = self.device.region(size) if part.pinned else self.regions.take(size)
            self.resident[item] = region
            if fill is not None:
                fill(item, region)
            elif item.what == "p" or made:
                self._collect(item, region)
            if (item.what == "p" or made or fill is not None) and (kept or not part.pinned):
                self.device.send(self.below, item, region)
            self._bind(item, region)
            leave()
            if not part.pinned:
                self.device.settle()
                self._drop(item)

    def restore(self) -> None:
        """Take what lies below for the state, whatever the parameters are now."""
        for item, size in self.sizes().items():
            part = self.parts[item.shard]
            if size and part.pinned:
                self.resident[item] = self.device.region(size)
                if item.what == "p" or part.born:
                    self.device.bring(self.below, item, self.resident[item])
                self._bind(item, self.resident[item])
            elif item.what == "p":
                for parameter in part.parameters.values():
                    parameter.data = nothing(parameter, parameter.device)
            if size and not part.pinned:
                self.sent.add(item)

    def load(self, item: Object, drops: Sequence[Object], *, new: bool = False) -> int:
        """Bring an object up, into the room of others; return the bytes that were read."""
        for other in drops:
            self._drop(other)
        region = self.resident[item] = self.regions.take(self._size(item))
        if new or (item.what == "s" and not self.parts[item.shard].born):
            return 0  # it is made in memory: here the optimizer's state, with its first step
        self.device.bring(self.below, item, region)
        if item.what == "g":
            self.gradients[item.shard].bind(region)
        elif not item.passing:
            self._bind(item, region)
        return len(region)

    def _size(self, item: Object) -> int:
        if item.what == "g":
            return self.gradients[item.shard].size
        return self.inputs[item] if item.what == "x" else self.parts[item.shard].sizes[item.what]

    def collect_gradients(self, shard: int) -> None:
        """Move a shard's gradients into their object, where they have one."""
        if (item := Object(shard, "g")) in self.resident:
            self.gradients[shard].collect(self.resident[item])

    def collect_inputs(self, item: Object, found: list[tuple[Kept, int]]) -> None:
        """Move what a shard was called with into its object."""
        self._collected[item] = Inputs.collect(found, self.resident[item])

    def bind_inputs(self, item: Object) -> None:
        """Let a shard find what it was called with."""
        if item in self._collected:
            self._collected.pop(item).bind(self.resident[item])

    def forget(self) -> None:
        """Forget all that passes: the step is over, or will be taken again."""
        for own in self.gradients.values():
            own.clear()
        self._collected.clear()

    def write(self, item: Object) -> int:
        """Write an object below; it stays in memory. Return the bytes written."""
        region = self.resident[item]
        self.device.send(self.below, item, region)
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
                    parameter.data = nothing(parameter, parameter.device)

    def bring_up(self) -> None:
        """Give everything memory of the machine's, for good: what is not there is mapped from below.

        Nobody changes it there again.
        """
        away = [item for item in sorted(self.sent) if item not in self.resident and not item.passing]
        away = [item for item in away if item.what == "p" or self.parts[item.shard].born]
        if self.device.apart:
            self.device.sync()
            self._bind_all({item: flat(region).cpu() for item, region in self.resident.items() if not item.passing})
        try:
            self._bind_all(self.below.apart(away))
        except StorageError:
            self._bind_all(self.below.whole(away))  # for who holds the model: its values, until training goes on
            self.below.close()
            raise

    def let_go(self) -> None:
        """Drop all that is not pinned: it lies below."""
        self.device.sync()
        for item in list(self.resident):
            if not self.parts[item.shard].pinned:
                self._drop(item)
        self.regions.close()

    def step(self, shard: int) -> None:
        """Take the optimizer's step of a shard; its gradients are gone after it."""
        part = self.parts[shard]
        trained = [parameter for parameter in part.parameters.values() if parameter.grad is not None]
        if part.born:
            # On a GPU optimizers make what they need for all parameters of a step at once: so, one of them at a time.
            for some in [[one] for one in trained] if self.device.apart else [trained]:
                with only(self.optimizer, some):
                    self.optimizer.step()
        else:
            with outside_the_heap():
                in_another_heap(lambda: self._first_step(shard, trained))
        for name, parameter in part.parameters.items():
            parameter.grad = None
            self._require_in_place(shard, name, parameter)
        if shard in self.gradients:
            self.gradients[shard].clear()

    def _first_step(self, shard: int, trained: Sequence[nn.Parameter]) -> None:
        """Step one parameter at a time: what the optimizer makes for it goes to the shard's region."""
        part = self.parts[shard]
        region = self.resident.get(Object(shard, "s"))
        here = None if region is None else flat(region)
        for name, parameter in part.parameters.items():
            places = {} if here is None else {what: place.view(here) for what, place in part.kept[name].items()}
            if any(parameter is one for one in trained):
                with only(self.optimizer, [parameter]), _MadeHere([*places.values()]):
                    self.optimizer.step()
            state = self.optimizer.state.get(parameter, {})
            elsewhere = {
                what: state[what].clone()
                for what, view in places.items()
                if what in state and state[what].data_ptr() != view.data_ptr()
            }
            for what, value in elsewhere.items():
                self._require_form(name, what, value, part.kept[name][what])
                state[what] = places[what].copy_(value)
            for what in places.keys() - state.keys():
                places[what].zero_()
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
        here = flat(region)
        part = self.parts[item.shard]
        for name, parameter in part.parameters.items():
            if item.what == "p":
                part.values[name].view(here).copy_(self.value(parameter))
            else:
                state = self.optimizer.state.get(parameter, {})
                for what, place in part.kept[name].items():
                    view = place.view(here)
                    view.copy_(state[what]) if what in state else view.zero_()

    def _bind(self, item: Object, region: Region) -> None:
        """Point a shard's parameters, or what is kept for them, into a region."""
        here = flat(region)
        part = self.parts[item.shard]
        for name, parameter in part.parameters.items():
            if item.what == "p":
                parameter.data = part.values[name].view(here)
            elif part.born and parameter in self.optimizer.state:
                state = self.optimizer.state[parameter]
                state.update((what, place.view(here)) for what, place in part.kept[name].items() if what in state)

    def _bind_all(self, regions: Mapping[Object, Region]) -> None:
        for item, region in regions.items():
            self._bind(item, region)

    def _drop(self, item: Object) -> None:
        """Give an object's memory up."""
        part = self.parts[item.shard]
        if item.what == "g":
            self.gradients[item.shard].unbind()
        for name, parameter in part.parameters.items():
            if item.what == "p":
                parameter.data = nothing(parameter, parameter.device)
            elif item.what == "s":
                state = self.optimizer.state.get(parameter, {})
                for what in part.kept[name]:
                    if what in state:
                        state[what] = None
        self.regions.give(self.resident.pop(item))
        if not item.passing:
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
        here = flat(region)
        for what, place in part.kept[name].items():
            view = place.view(here)
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


class _MadeHere(TorchFunctionMode):
    """Lets zeros like a parameter, which most optimizers begin with, lie where they will be kept."""

    def __init__(self, places: list[torch.Tensor]) -> None:
        super().__init__()
        self._places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.zeros_like and self._places and _alike(args[0], self._places[0]):
            return self._places.pop(0).zero_()
        return func(*args, **(kwargs or {}))


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.stride() == other.stride() and one.dtype == other.dtype


def moved_sizes(parts: Sequence[Part]) -> dict[Object, int]:
    """Return the bytes that there are to move of every object: 0 of those that always stay."""
    return {Object(k, what): 0 if part.pinned else part.sizes[what] for k, part in enumerate(parts) for what in LASTING}

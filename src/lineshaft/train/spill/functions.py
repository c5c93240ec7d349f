"""Calls of torch's functions that read parameters: what a module's own code is cut into where it is too large.

::

    def forward(self, x):
        x = F.linear(x, self.q)          ─ a call      its parameter is no argument of the unit, but a part of it
        x = x.softmax(-1)                  glue
        return F.linear(x, self.o)       ─ a call

They are units as calls of modules are: the code between them stays as it was written, and runs for every micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from lineshaft.errors import TrainingError
from lineshaft.train.spill.calls import Wrapper, original, tensors_of
from lineshaft.train.spill.line import current, visit

if TYPE_CHECKING:
    from lineshaft.train.spill.units import Unit

# What is asked about a tensor, and does not read it: it is known of a parameter that is not in memory too.
ABOUT = frozenset(
    [
        "dtype",
        "device",
        "shape",
        "size",
        "dim",
        "ndim",
        "ndimension",
        "stride",
        "numel",
        "nelement",
        "element_size",
        "itemsize",
        "nbytes",
        "layout",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "is_floating_point",
        "is_complex",
        "is_cuda",
        "is_meta",
        "is_sparse",
        "is_quantized",
        "get_device",
        "is_contiguous",
        "__len__",
    ]
)


def asked(func: Any) -> str:
    """Return the name of a function, or of the attribute that it gets."""
    name: str = getattr(func, "__name__", "")
    return getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name


class Function(nn.Module):
    """A function together with the parameters that it is called with: a module of all its other arguments."""

    def __init__(self, func: Callable[..., Any], slots: Mapping[int, nn.Parameter]) -> None:
        super().__init__()
        self.func, self.slots = func, tuple(slots)
        self.held = nn.ParameterList(slots.values())

    @classmethod
    def of(cls, func: Callable[..., Any], args: Any, kwargs: Any, own: Collection[int]) -> Self:
        """Take the parameters, by their ids, out of what a function is called with."""
        leaves = pytree.tree_leaves((args, kwargs))
        return cls(func, {place: leaf for place, leaf in enumerate(leaves) if id(leaf) in own})

    def rest(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with nothing in the places of the parameters."""
        leaves, form = pytree.tree_flatten((args, kwargs))
        found: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(
            [None if place in self.slots else leaf for place, leaf in enumerate(leaves)], form
        )
        return found

    def same(self, other: Function) -> bool:
        """Say whether it is the same function with the same parameters in the same places."""
        pairs = zip(self.held, other.held, strict=False)
        return self.func == other.func and self.slots == other.slots and all(one is two for one, two in pairs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        leaves, form = pytree.tree_flatten((args, kwargs))
        for place, parameter in zip(self.slots, self.held, strict=True):
            leaves[place] = parameter
        args, kwargs = pytree.tree_unflatten(leaves, form)
        return self.func(*args, **kwargs)


class _Pausing(TorchFunctionMode):
    """Stops the line at the functions that read these parameters, by their ids."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        super().__init__()
        self.units = units

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, line = kwargs or {}, current()
        unit = next((self.units[id(one)] for one in tensors_of((args, named)) if id(one) in self.units), None)
        if unit is None or line is None or asked(func) in ABOUT:
            return func(*args, **named)
        known = unit.scopes[0].module
        if not isinstance(known, Function) or not known.same(Function.of(func, args, named, self.units)):
            raise TrainingError(
                f"the model's forward called {asked(func)!r} where the pilot run saw {unit.name!r}; a model that is "
                f"spilled must call the same functions with its parameters for every micro-batch"
            )
        return visit(line, unit, *known.rest(args, named))


def pausing_in(units: Collection[Unit]) -> Wrapper:
    """Return a wrapper for a module whose own code calls functions: inside a line, these are stops."""
    owners = {id(own): unit for unit in units for own in unit.scopes[0].module.parameters()}

    def call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if current() is None:
            return original(module, args, kwargs)
        with _Pausing(owners):
            return original(module, args, kwargs)

    return call


def has_memory(value: torch.Tensor) -> bool:
    """Say whether a tensor is strided and on memory of its own, which others than it may show."""
    return value.layout == torch.strided and not torch._C._functorch.is_functorch_wrapped_tensor(value)  # noqa: SLF001


def apart(made: Collection[torch.Tensor], known: Collection[torch.Tensor]) -> bool:
    """Say whether there are tensors that a function made, and none shows the memory of one that was there."""
    if not made or not all(map(has_memory, made)):
        return False
    storages = {value.untyped_storage().data_ptr() for value in known}
    return not any(value.untyped_storage().data_ptr() in storages for value in made)

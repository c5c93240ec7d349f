"""Standing between a module and those who call it, and the tensors that pass there.

A module's whole call is taken over, its hooks included, by an attribute on the instance that hides the method of its
class; removing the attribute gives everything back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from lineshaft.errors import TrainingError


class NotInShards(TrainingError):  # noqa: N818 - as Diverged is
    """A model cannot be cut into shards, though it may be trained as a whole."""


PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout, torch.Size, Enum)
Wrapper = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
_ATTRIBUTE = "_call_impl"


@contextmanager
def taken_over(modules: Iterable[nn.Module], wrapper: Wrapper) -> Iterator[None]:
    """Let calls of these modules go to ``wrapper(module, args, kwargs)`` inside the block."""
    taken = list(modules)
    for module in taken:
        _take_over(module, wrapper)
    try:
        yield
    finally:
        for module in taken:
            del module.__dict__[_ATTRIBUTE]


def original(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the module as its class does, hooks included."""
    return getattr(type(module), _ATTRIBUTE)(module, *args, **kwargs)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return the tensors in nested tuples, lists and dicts, in order, each once."""
    found = {id(leaf): leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)}
    return list(found.values())


def with_tensors(value: Any, tensors: Iterable[torch.Tensor]) -> Any:
    """Return the nested value with other tensors in the places of its own; what was one tensor stays one."""
    leaves, form = pytree.tree_flatten(value)
    others = {id(own): other for own, other in zip(tensors_of(value), tensors, strict=True)}
    return pytree.tree_unflatten([others.get(id(leaf), leaf) for leaf in leaves], form)


def version(value: torch.Tensor) -> int:
    """Return how often a tensor's memory was changed in place, as far as torch counts that."""
    return 0 if value.is_inference() else value._version  # noqa: SLF001 - there is no other


def foreign(value: Any) -> Any:
    """Return the first thing in a nested value that is neither a tensor nor a plain value, or None."""
    for leaf in pytree.tree_leaves(value):
        if not isinstance(leaf, (torch.Tensor, *PLAIN)) and not _plain_function(leaf):
            return leaf
    return None


def _plain_function(value: Any) -> bool:
    """Say whether it is a function that holds on to nothing, or a class."""
    return isinstance(value, (type, BuiltinFunctionType)) or (
        isinstance(value, FunctionType) and value.__closure__ is None
    )


@contextmanager
def without_caches(model: nn.Module) -> Iterator[None]:
    """Switch off what transformers' models keep for generation: it makes blocks remember that they were called."""
    configs = {id(own): own for module in model.modules() if (own := getattr(module, "config", None)) is not None}
    caching = [config for config in configs.values() if getattr(config, "use_cache", False) is True]
    for config in caching:
        config.use_cache = False
    try:
        yield
    finally:
        for config in caching:
            config.use_cache = True


def _take_over(module: nn.Module, wrapper: Wrapper) -> None:
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(module, args, kwargs)

    module.__dict__[_ATTRIBUTE] = call

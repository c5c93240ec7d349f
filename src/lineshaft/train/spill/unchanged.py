"""Leaving a model as it was: its buffers, what its modules keep in attributes, and the random generators."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lineshaft.train import randomness


class Before:
    """A model and the random generators as they are now; of its tensors only those ``written``, where that is known.

    Attributes
    ----------
    generators
        The states of the random generators.

    """

    def __init__(self, model: nn.Module, written: Iterable[torch.Tensor] | None = None) -> None:
        modules = list(model.modules())
        tensors = [v for module in modules for v in (*module._buffers.values(), *vars(module).values())]  # noqa: SLF001
        self.generators = randomness.capture()
        self._attributes = [(module, dict(vars(module)), _contents(module)) for module in modules]
        self._buffers = [(module._buffers, dict(module._buffers)) for module in modules]  # noqa: SLF001 - no other
        self._tensors = {
            id(value): (value, value.detach().clone())
            for value in (tensors if written is None else written)
            if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta
        }

    def copy_of(self, buffer: torch.Tensor) -> torch.Tensor:
        """Return a buffer's value as it was."""
        return self._tensors[id(buffer)][1]

    def put_back(self) -> None:
        """Make them so again."""
        randomness.restore(self.generators)
        with torch.no_grad():
            for tensor, value in self._tensors.values():
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        for module, values, contents in self._attributes:
            own = vars(module)
            for name in own.keys() - values.keys():
                del own[name]
            own.update(values)
            for container, held in contents:
                _put_back(container, held)
        for buffers, found in self._buffers:  # where others were put in their place
            buffers.clear()
            buffers.update(found)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[Before]:
    """Put back, after the block, a model's buffers and its modules' attributes, and the random generators.

    Attributes are those that forward may set: numbers and words, tensors, and what lists, dicts and sets hold.
    """
    before = Before(model)
    try:
        yield before
    finally:
        before.put_back()


def _contents(module: nn.Module) -> list[tuple[Any, Any]]:
    """Return a module's own lists, dicts and sets, and copies; torch's are named with an underscore."""
    return [
        (value, value.copy())
        for name, value in vars(module).items()
        if type(value) in {list, dict, set, deque} and name not in _TORCHS
    ]


def _put_back(container: Any, held: Any) -> None:
    container.clear()
    getattr(container, "extend" if isinstance(container, (list, deque)) else "update")(held)


_TORCHS = frozenset(vars(nn.Module()))

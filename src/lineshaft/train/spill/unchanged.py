"""Leaving a model as it was: its buffers, what its modules keep in attributes, and the random generators."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lineshaft.train import randomness


@contextmanager
def unchanged(model: nn.Module) -> Iterator[randomness.State]:
    """Put back, after the block, a model's buffers and its modules' attributes, and the random generators.

    Attributes are those that forward may set: numbers and words, tensors, and what lists, dicts and sets hold.
    """
    generators = randomness.capture()
    attributes = [(module, dict(vars(module)), _contents(module)) for module in model.modules()]
    tensors = {
        id(value): (value, value.detach().clone())
        for module in model.modules()
        for value in (*module._buffers.values(), *vars(module).values())  # noqa: SLF001 - each once
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta
    }
    buffers = [(module, dict(module._buffers)) for module in model.modules()]  # noqa: SLF001
    try:
        yield generators
    finally:
        randomness.restore(generators)
        with torch.no_grad():
            for tensor, value in tensors.values():
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        for module, values, contents in attributes:
            own = vars(module)
            for name in own.keys() - values.keys():
                del own[name]
            own.update(values)
            for container, held in contents:
                _put_back(container, held)
        for module, held in buffers:  # where the pass put others in their place
            module._buffers.clear()  # noqa: SLF001
            module._buffers.update(held)  # noqa: SLF001


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

"""An optimizer before it has parameters: a name in ``torch.optim`` and its options, as a value.

::

    adamw(lr=1e-3)                         OptimizerSpec("AdamW", (("lr", 0.001),))
    adamw(lr=1e-3)(named_parameters)       torch.optim.AdamW

A recipe holds it, a fingerprint covers it, and a search replaces one option of it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch


@dataclass(frozen=True)
class OptimizerSpec:
    """A torch optimizer and its options; called on named parameters it makes the optimizer.

    Attributes
    ----------
    kind
        The name of a class in ``torch.optim``.
    options
        Pairs of option and value, sorted by name; what is not named has torch's default.

    """

    kind: str
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        known = self.known()
        if unknown := [name for name, _ in self.options if name not in known]:
            raise UsageError(f"{self.kind} has no option {unknown[0]!r}; it has {', '.join(known)}")

    def __call__(self, named_parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> torch.optim.Optimizer:
        """Make the optimizer of ``(name, parameter)`` pairs."""
        optimizer: torch.optim.Optimizer = self._class()(list(named_parameters), **dict(self.options))
        return optimizer

    def replace(self, **options: Any) -> OptimizerSpec:
        """Return the same optimizer with some options changed."""
        return _spec(self.kind, {**dict(self.options), **options})

    def known(self) -> list[str]:
        """Return the names of all its options."""
        return [name for name in inspect.signature(self._class()).parameters if name != "params"]

    def _class(self) -> Any:
        import torch

        return getattr(torch.optim, self.kind)

    def __str__(self) -> str:
        return f"{self.kind.lower()}({', '.join(f'{name}={value!r}' for name, value in self.options)})"


def adamw(lr: float = 1e-3, **options: Any) -> OptimizerSpec:
    """Return ``torch.optim.AdamW`` with its defaults but for what is named here (weight_decay, betas, eps, ...)."""
    return _spec("AdamW", {"lr": lr, **options})


def sgd(lr: float = 1e-3, momentum: float = 0.0, **options: Any) -> OptimizerSpec:
    """Return ``torch.optim.SGD`` with its defaults but for what is named here (weight_decay, nesterov, ...)."""
    return _spec("SGD", {"lr": lr, "momentum": momentum, **options})


def _spec(kind: str, options: dict[str, Any]) -> OptimizerSpec:
    return OptimizerSpec(kind, tuple(sorted(options.items())))

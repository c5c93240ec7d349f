"""Gradients that are clipped, or checked for overflow, together, though never all of them need be in memory at once.

::

    B2.1   unscale and measure the gradients of shard 2       ‖g‖ of each parameter is kept, a number
    B1.1   ...                                                they may leave memory now
    N      the norm of the norms, in the parameters' order    as torch.nn.utils.clip_grad_norm_ takes it, to the bit
    S0     scale the gradients of shard 0, and step it
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import nn


class Together:
    """The gradients of one step.

    Parameters
    ----------
    model
        Its parameters' order is that of the norms.
    scaler
        Of the loss.
    clip
        The largest global norm; None: no clipping.

    """

    def __init__(self, model: nn.Module, scaler: torch.amp.GradScaler, clip: float | None) -> None:
        self._order = [id(parameter) for parameter in model.parameters()]
        self._scaler, self._clip = scaler, clip
        self._norms: dict[int, torch.Tensor] = {}
        self._finite = True
        self._total = torch.zeros(())
        self._optimizers: list[torch.optim.Optimizer] = []  # the scaler knows them by their ids until its update

    def begin(self) -> None:
        """Forget the step before."""
        self._norms, self._finite, self._optimizers = {}, True, []

    def add(self, parameters: Collection[nn.Parameter]) -> None:
        """Unscale and measure the gradients of parameters that were not added before."""
        new = [one for one in parameters if one.grad is not None and id(one) not in self._norms]
        if new and self._scaler.is_enabled():
            self._unscale(new)
        for parameter in new:
            gradient = parameter.grad
            if gradient is not None:
                self._norms[id(parameter)] = _norm(gradient) if self._clip is not None else gradient.new_zeros(())

    def decide(self) -> bool:
        """Take the norm of all that were added; say whether they are numbers, so that there is a step."""
        if self._clip is not None:
            norms = [self._norms[one] for one in self._order if one in self._norms]
            alike = len({(norm.dtype, norm.device) for norm in norms}) <= 1
            self._total = _norm(torch.stack(norms)) if alike and norms else nn.utils.get_total_norm(norms)
        return self._finite

    def scale(self, parameters: Sequence[nn.Parameter]) -> None:
        """Clip the gradients of some parameters by the norm of all."""
        if self._clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip, self._total)

    def _unscale(self, parameters: Sequence[nn.Parameter]) -> None:
        """Unscale gradients, and note whether they overflowed: a scaler tells by whether it steps an optimizer."""
        optimizer = torch.optim.SGD(parameters, lr=0.0)
        self._optimizers.append(optimizer)
        self._scaler.unscale_(optimizer)
        seen: list[bool] = []
        optimizer.register_step_post_hook(lambda *_: seen.append(True))
        optimizer.param_groups[0]["params"] = []
        self._scaler.step(optimizer)
        self._finite = self._finite and bool(seen)


def _norm(value: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(value, 2.0)
    return norm

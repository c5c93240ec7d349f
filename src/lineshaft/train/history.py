"""What is seen after each epoch: the learning curves, the best weights so far, and whether to stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lineshaft.errors import Diverged
from lineshaft.train.batches import call
from lineshaft.train.builder import arguments
from lineshaft.train.randomness import untouched
from lineshaft.train.targets import Targets

if TYPE_CHECKING:
    from lineshaft.train.loss import Loss
    from lineshaft.train.snapshot import Training

Validation = tuple[Mapping[str, torch.Tensor], Targets]


@dataclass
class History:
    """Early stopping on the validation loss (a `Watcher` of the loop).

    Attributes
    ----------
    loss, batch
        The recipe's; validation goes through the model ``batch`` rows at a time.
    patience
        Epochs without a better validation loss after which it is over; None: never.
    validation
        Features and targets, or None.
    curves
        One dict per epoch.
    best_epoch
        With patience the epoch of the lowest validation loss, the earliest of equals; else the last epoch.
    best_weights
        Its state dict; None without patience: the model's own weights are meant.

    """

    loss: Loss
    batch: int
    patience: int | None
    validation: Validation | None
    curves: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, torch.Tensor] | None = None
    _steps: int = 0

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has stood still for long enough."""
        return self.patience is not None and len(self.curves) - self.best_epoch >= self.patience

    def after_epoch(self, training: Training) -> None:
        """Add a point to the curves, and keep the weights if they are the best."""
        losses = training.losses[self._steps :]
        self._steps = len(training.losses)
        point: dict[str, Any] = {"epoch": training.epoch, "train_loss": math.fsum(losses) / len(losses)}
        if self.validation:
            loss, accuracy = evaluate(training.model, self.loss, *self.validation, self.batch)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the validation loss after epoch {training.epoch} is {loss}; check the validation rows, or lower "
                    f"the learning rate"
                )
            point |= {"validation_loss": loss, "validation_accuracy": accuracy}
        self.curves.append(point)
        self._keep(training)

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {
            "curves": self.curves,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "steps": self._steps,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from there."""
        self.curves, self.best_epoch = saved["curves"], saved["best_epoch"]
        self.best_weights, self._steps = saved["best_weights"], saved["steps"]

    def _keep(self, training: Training) -> None:
        if self.patience is None:
            self.best_epoch = training.epoch
            return
        best = self.curves[self.best_epoch - 1]["validation_loss"] if self.best_epoch else math.inf
        if self.curves[-1]["validation_loss"] < best:
            self.best_epoch = training.epoch
            self.best_weights = {name: value.detach().clone() for name, value in training.model.state_dict().items()}


def evaluate(
    model: nn.Module, loss: Loss, inputs: Mapping[str, torch.Tensor], target: Targets, batch: int
) -> tuple[float, float]:
    """Return the weighted mean loss and accuracy over rows; model and random generators stay as they were.

    A row is right where the model's largest output is the target's most probable class.
    """
    losses, right = [], []
    with _evaluating(model), untouched():
        for start in range(0, len(target), batch):
            rows = slice(start, start + batch)
            outputs = call(model, arguments({name: value[rows] for name, value in inputs.items()}))
            losses.append(loss(outputs, target.probabilities[rows]).double())
            right.append((outputs.argmax(1) == target.probabilities[rows].argmax(1)).double())
    weights = target.weights.double()
    total = weights.sum()
    return float((torch.cat(losses) * weights).sum() / total), float((torch.cat(right) * weights).sum() / total)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval and inference mode, and each of its modules back into its own mode after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode

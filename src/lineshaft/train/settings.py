"""What one optimizer step does, and when training is over: the loop's two values."""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.loss import Loss, cross_entropy

if TYPE_CHECKING:
    from lineshaft.train.snapshot import Training

HALF = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """What one optimizer step does: the part of a recipe that the loop reads."""

    loss: Loss = cross_entropy
    micro_batch: int | None = None
    accumulate: int = 1
    clip: float | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        if (self.micro_batch is not None and self.micro_batch < 1) or self.accumulate < 1:
            raise UsageError(f"micro_batch={self.micro_batch} and accumulate={self.accumulate} must be 1 or more")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip={self.clip} must be above 0; None does not clip")
        if self.precision not in HALF:
            raise UsageError(f"precision={self.precision!r} is not known; give None, 'bf16' or 'fp16'")

    def facts(self, seed: int) -> dict[str, str]:
        """Name what a checkpoint must share with the run that resumes from it."""
        rest = f"seed={seed}, micro_batch={self.micro_batch}, accumulate={self.accumulate}"
        loss = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return {"loss": loss, "loop": f"{rest}, clip={self.clip}, precision={self.precision}"}


@dataclass(frozen=True)
class Goal:
    """When training is over: after this many optimizer steps where given, else after this many epochs."""

    epochs: int = 1
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError(f"epochs={self.epochs} and steps={self.steps} must be 1 or more")

    def reached(self, training: Training) -> bool:
        """Whether the run is there."""
        if self.steps is not None:
            return len(training.losses) >= self.steps
        return training.epoch >= self.epochs

    def require_ahead(self, training: Training) -> None:
        """Refuse a goal that a resumed run has already passed: it cannot go back."""
        past_steps = self.steps is not None and len(training.losses) > self.steps
        past_epochs = self.steps is None and (training.epoch, training.batch) > (self.epochs, 0)
        if past_steps or past_epochs:
            raise TrainingError(
                f"the saved state is past the goal: it stands before {training.moment()}, asked were "
                f"{f'{self.steps} steps' if self.steps is not None else f'{self.epochs} epochs'}; ask for more, or use "
                f"another folder"
            )

    def expected(self, data: Any, accumulate: int) -> int | None:
        """How many steps that will be, where the data knows its length."""
        if self.steps is not None or not isinstance(data, Sized):
            return self.steps
        return self.epochs * math.ceil(len(data) / accumulate)

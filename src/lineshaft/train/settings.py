"""What one optimizer step does, and when training is over: the loop's two values."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.loss import Loss, cross_entropy

if TYPE_CHECKING:
    from lineshaft.train.snapshot import Training

HALF = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}


MODES = ("global", "per_shard")


@dataclass(frozen=True)
class Clip:
    """How gradients are clipped; a plain number is ``Clip(number)``.

    Attributes
    ----------
    norm
        The largest norm.
    mode
        ``"global"``: all gradients are scaled by ``min(1, norm / (n + 1e-6))``, where n is the norm of them all.
        ``"per_shard"``: those of each shard are, where n is the norm of its own; what shards share counts as one more.
        Shards come of ``memory=``, and so does the result then: another cut is another training.

    Raises
    ------
    UsageError
        The norm is not above 0, or the mode is not known.

    """

    norm: float
    mode: str = "global"

    def __post_init__(self) -> None:
        if not self.norm > 0:
            raise UsageError(f"clip={self.norm} must be above 0; None does not clip")
        if self.mode not in MODES:
            raise UsageError(f"Clip mode {self.mode!r} is not known; give {' or '.join(map(repr, MODES))}")


@dataclass(frozen=True)
class Settings:
    """What one optimizer step does: the part of a recipe that the loop reads."""

    loss: Loss = cross_entropy
    micro_batch: int | None = None
    accumulate: int = 1
    clip: float | Clip | None = None
    precision: str | None = None
    split: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.micro_batch is not None and self.micro_batch < 1) or self.accumulate < 1:
            raise UsageError(f"micro_batch={self.micro_batch} and accumulate={self.accumulate} must be 1 or more")
        clip = self.clip if isinstance(self.clip, Clip) or self.clip is None else Clip(self.clip)
        object.__setattr__(self, "clip", clip.norm if clip and clip.mode == "global" else clip)
        if self.precision not in HALF:
            raise UsageError(f"precision={self.precision!r} is not known; give None, 'bf16' or 'fp16'")
        if isinstance(self.split, str) or not all(isinstance(name, str) for name in self.split):
            raise UsageError(f"split={self.split!r}: give a list of names of modules, ['h.4', 'h.8'] for one")
        object.__setattr__(self, "split", tuple(self.split))

    @property
    def global_norm(self) -> float | None:
        """The largest norm of all gradients together; None: it is not looked at."""
        return None if isinstance(self.clip, Clip) else self.clip

    @property
    def shard_norm(self) -> float | None:
        """The largest norm of the gradients of one shard; None: it is not looked at."""
        return self.clip.norm if isinstance(self.clip, Clip) else None

    def require_whole(self) -> None:
        """Refuse what only a model in shards has, for one that is trained without ``memory=``."""
        if self.split:
            raise UsageError(f"split={[*self.split]} without memory=: a model is cut to keep to a budget; give one")
        if isinstance(self.clip, Clip):
            raise UsageError(
                f"clip={self.clip} without memory=: shards come of a budget, and there are none without it; give "
                f"memory=, or clip={self.clip.norm}, which clips by the norm of all gradients"
            )

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

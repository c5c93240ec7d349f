"""The plain step, with all of a training in memory, and whole snapshots of its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lineshaft.errors import Diverged, TrainingError
from lineshaft.train.batches import Batch, call, cut, on
from lineshaft.train.checkpoint import Checkpoints, Writer
from lineshaft.train.handover import Found, furthest
from lineshaft.train.settings import HALF, Settings
from lineshaft.train.snapshot import Training, Watcher, resume, snapshot

if TYPE_CHECKING:
    from lineshaft.core.codec import Tensors


class InMemory:
    """The plain loop: everything in memory, and whole snapshots of it."""

    def __init__(
        self, training: Training, settings: Settings, checkpoint: Checkpoints | None, start: Tensors | None = None
    ) -> None:
        self.training, self._settings, self._start, self._where = training, settings, start, checkpoint
        self._writer = Writer(checkpoint)

    def resume(self, watcher: Watcher | None, data: Any) -> bool:
        """Go on from the newest state in the folder, however it was kept; else from ``start``, where given."""
        found = furthest(self._where.folder) if self._where else Found()
        self._writer.stale = found.stale
        if found.stored is not None:
            found.stored.put_into(self.training, watcher, data)
        elif self._start:
            resume(self.training, self._start, watcher, data)
        return found.stored is not None or self._start is not None

    def open(self, data: Any) -> Iterator[Any]:
        """Begin an epoch: one ``iter(data)``."""
        return iter(data)

    def step(self, group: list[Batch], where: str) -> float:
        """Take one optimizer step on a mini-batch and return its loss."""
        return _step(self.training, group, self._settings, where)

    def looking(self) -> AbstractContextManager[None]:
        """Let the model be called inside the block."""
        return nullcontext()

    def note(self) -> str:
        """Say nothing: memory is no matter here."""
        return ""

    def after_step(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state if it is time."""
        self._writer.after_step(len(self.training.losses), self.training.cursor, self._take(watcher, data))

    def after_epoch(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state if epochs are the measure."""
        self._writer.after_epoch(self.training.cursor, self._take(watcher, data))

    def finish(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state, unless it was kept last."""
        self._writer.finish(self.training.cursor, self._take(watcher, data))

    def _take(self, watcher: Watcher | None, data: Any) -> Callable[[], Tensors]:
        return lambda: snapshot(self.training, watcher, data)


def _step(training: Training, group: list[Batch], settings: Settings, where: str) -> float:
    """Take one optimizer step on a mini-batch and return its loss."""
    model, scaler = training.model, training.scaler
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float32)
    for whole in cut(group, settings.micro_batch, where):
        micro = on(whole, training.device)
        with autocast(training.device, settings.precision):
            losses = settings.loss(call(model, micro.inputs), micro.target)
        require_unreduced(losses, micro.rows, where)
        part = (losses * micro.share.to(losses.device)).sum()
        scaler.scale(part).backward()  # type: ignore[no-untyped-call]
        total += part.detach().float().cpu()
    value = float(total)
    if not math.isfinite(value):
        raise Diverged(
            f"the loss of {where} is {value}; check its inputs and labels, lower the learning rate, or set clip="
        )
    if settings.global_norm is not None:
        scaler.unscale_(training.optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), settings.global_norm)
    scaler.step(training.optimizer)
    scaler.update()
    if training.schedule:
        training.schedule.step()
    return value


def autocast(device: str, precision: str | None) -> AbstractContextManager[Any]:
    """Return the context that model and loss are called in."""
    half = HALF[precision]
    return nullcontext() if half is None else torch.autocast(torch.device(device).type, dtype=half)


def require_unreduced(losses: Any, rows: int, where: str) -> None:
    """Refuse a loss that is not one number per row."""
    if not isinstance(losses, torch.Tensor) or list(losses.shape) != [rows]:
        seen = list(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
        raise TrainingError(
            f"{where}: the loss returned {seen} for {rows} rows; it must be unreduced, one number per row ([{rows}]), "
            f"because rows are weighted before anything is summed (reduction='none' in torch)"
        )

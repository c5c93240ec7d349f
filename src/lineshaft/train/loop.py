"""The training loop, from which every other way to train takes its bits.

::

    manual_seed(seed); factory(); optimizer(...)
    epoch e     iter(data) ─► batch   batch   batch   batch   ...             once per epoch
    step t                    └ accumulate=2 ┘ W = the weight of all its rows
                              │ rows 0..m-1 │ m..2m-1 │ ...                   cut into micro-batches of m rows
                                 (loss * w / W).sum().backward()              for each, in this order
                              clip the global norm; optimizer step; schedule step

The loss is unreduced and divided by the mini-batch's total weight W before the cut, so the micro-batch size changes
the gradient by rounding only. Results are those of the caller's thread count and of the model's own train/eval mode.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lineshaft.core.bars import watched
from lineshaft.core.events import Advance
from lineshaft.core.events import progress as shown
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train import randomness
from lineshaft.train.batches import Batch, read_batch, require_reiterable
from lineshaft.train.checkpoint import Checkpoints
from lineshaft.train.in_memory import InMemory
from lineshaft.train.interrupts import interrupts
from lineshaft.train.loss import Loss, cross_entropy
from lineshaft.train.optimizer import adamw
from lineshaft.train.settings import Clip, Goal, Settings
from lineshaft.train.snapshot import Optimizer, Schedule, Training, Watcher, begin
from lineshaft.train.spill.device import device_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lineshaft.train.planning import Plan
    from lineshaft.train.spill.execute import Trace


@dataclass(frozen=True)
class Fit:
    """What training gave.

    Attributes
    ----------
    model
        The trained module; the gradients of the last step are still in it.
    losses
        ``losses[t]``: the weighted mean loss of step t, summed in float32, those before a resume included.
    optimizer, schedule
        As they stand after the last step.
    epochs
        Epochs that are over.
    plan
        How it was trained, and why, where ``memory=`` was given.
    trace
        What the last step did when, beside it.

    """

    model: nn.Module
    losses: list[float]
    optimizer: torch.optim.Optimizer
    schedule: Any
    epochs: int
    plan: Plan | None = None
    trace: Trace | None = None

    def __repr__(self) -> str:
        return f"Fit({len(self.losses)} steps, {self.epochs} epochs, last loss {self.losses[-1]:.4g})"


def fit(
    factory: Callable[[], nn.Module] | nn.Module,
    data: Any,
    loss: Loss = cross_entropy,
    optimizer: Optimizer = adamw(lr=1e-3),  # noqa: B008 - a frozen value
    micro_batch: int | None = None,
    accumulate: int = 1,
    epochs: int = 1,
    steps: int | None = None,
    clip: float | Clip | None = None,
    precision: str | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    memory: Any = None,
    spill: str | Path | None = None,
    devices: Any = None,
    plan: Plan | None = None,
    checkpoint: str | Path | Checkpoints | None = None,
    progress: bool = True,
    split: Sequence[str] = (),
) -> Fit:
    """Train a model by the loop that the head of this module draws.

    Parameters
    ----------
    factory
        Makes the ``nn.Module`` (called after seeding), or is one.
    data
        Re-iterable, of ``(inputs, target)`` or ``(inputs, target, weight)`` mini-batches; a ``set_epoch`` method is
        called with the epoch's number before each epoch. Draws for the order of an epoch belong to its start, where a
        resume replays them.
    loss
        ``(outputs, target) -> [rows]``, unreduced.
    optimizer
        Named parameters -> ``torch.optim.Optimizer``.
    micro_batch
        Rows that go through the model at once; None: the whole batch.
    accumulate
        Batches of the data that make one mini-batch; the last of an epoch may have fewer.
    epochs, steps
        ``steps`` counts all optimizer steps, those before a resume included; where given it decides alone.
    clip
        The largest global norm of the gradient; or `Clip`, which may clip shard by shard.
    precision
        None, ``"bf16"`` or ``"fp16"``: autocast around model and loss; fp16 scales the loss.
    schedule
        Optimizer -> torch LR scheduler, stepped after every optimizer step.
    seed
        For ``torch.manual_seed``.
    memory
        What training may hold above what was held when it was called: ``"200MB"``, or one size for each tier,
        ``{"device": "50MB", "dram": "200MB"}``; what does not fit is spilled (`lineshaft.train.spill`). None: all there
        is.
    spill
        Folder for the disk tier, on a disk; None: the system's for temporary files. With ``checkpoint`` the tier lies
        there, and ``spill`` is refused.
    devices
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; None: where the model is made, which within ``memory`` is the CPU. On
        a GPU ``memory`` is that of the GPU, and below it comes as much of the machine's as is wanted (page-locked), or
        what ``{"device": ..., "dram": ...}`` says and then the disk; the model comes back in the machine's memory.
    plan
        What `lineshaft.train.plan` returned, in the place of ``memory``.
    checkpoint
        A folder (or `Checkpoints`): resume from there if it holds anything, and write there. One training at a time
        uses it.
    progress
        Show how far it is.
    split
        Names of modules: where the model is cut to keep to ``memory``, shards begin at these and nowhere else. It
        changes no bit, but for clipping per shard. Empty: shards begin where the budget asks for it.

    Raises
    ------
    TrainingError
        One-shot or empty data, a batch of the wrong form, a loss that is reduced or not finite, a state that belongs
        to another training.
    StorageError
        The disk refuses; or (`IntegrityError`) all that ``checkpoint`` holds is damaged.
    UsageError
        A parameter out of its range.

    """
    settings = Settings(loss, micro_batch, accumulate, clip, precision, split)
    goal = Goal(epochs, steps)
    require_reiterable(data)

    kept = Checkpoints.of(checkpoint)
    device = device_of(devices)
    facts = settings.facts(seed)
    if memory is None and plan is None:
        if spill is not None:
            raise UsageError(f"spill={str(spill)!r} without memory=; say what training may hold, memory='2GB' for one")
        settings.require_whole()
        with Checkpoints.alone(kept) as own:
            training = begin(factory, optimizer, schedule, precision, seed, facts, device.name if devices else None)
            run(training, data, settings, goal, InMemory(training, settings, own), progress=progress)
        return _result(training)
    from lineshaft.train.planning import within

    def make() -> Training:
        return begin(factory, optimizer, schedule, precision, seed, facts, kind=device.kind)

    with within(make, data, settings, memory, plan, spill, kept, device=device) as (backend, taken):
        run(backend.training, data, settings, goal, backend, progress=progress)
    return _result(backend.training, taken, backend.traces[-1] if backend.traces else None)


def _result(training: Training, plan: Plan | None = None, trace: Trace | None = None) -> Fit:
    model, losses = training.model, training.losses
    return Fit(model, losses, training.optimizer, training.schedule, training.epoch, plan, trace)


class Backend(Protocol):
    """Who takes the steps of a training, and keeps its state: in memory, or below it."""

    training: Training

    def resume(self, watcher: Watcher | None, data: Any) -> bool:
        """Go on from what was kept, and say whether there was anything."""

    def open(self, data: Any) -> Iterator[Any]:
        """Begin an epoch: one ``iter(data)``."""

    def step(self, group: list[Batch], where: str) -> float:
        """Take one optimizer step on a mini-batch and return its loss."""

    def looking(self) -> AbstractContextManager[None]:
        """Let the model be called inside the block."""

    def note(self) -> str:
        """Say, for people who watch, what is held where, and what was waited for."""

    def after_step(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state if it is time."""

    def after_epoch(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state if epochs are the measure."""

    def finish(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state, unless it was kept last."""


def run(
    training: Training,
    data: Any,
    settings: Settings,
    goal: Goal,
    backend: Backend,
    watcher: Watcher | None = None,
    progress: bool = True,
) -> None:
    """Train until the goal, or until the watcher has seen enough."""
    if backend.resume(watcher, data):
        goal.require_ahead(training)
    with _shown(progress, goal.expected(data, settings.accumulate)) as advance, interrupts() as held:
        advance(len(training.losses))
        speed = _Speed()
        try:
            while not (goal.reached(training) or (watcher and watcher.stopped)):
                for group in _epoch(training, data, settings, goal, backend):
                    with held:
                        training.losses.append(backend.step(group, training.moment()))
                        training.batch += len(group)
                        if progress:
                            advance(1, f"{speed.of(sum(batch.rows for batch in group))}{backend.note()}")
                        backend.after_step(watcher, data)
                if training.batch == 0:
                    with held:
                        _end_epoch(training, backend, watcher, data)
        except KeyboardInterrupt:
            if held.whole:
                backend.finish(watcher, data)
            raise
    backend.finish(watcher, data)


def _end_epoch(training: Training, backend: Backend, watcher: Watcher | None, data: Any) -> None:
    if watcher:
        with backend.looking():
            watcher.after_epoch(training)
    backend.after_epoch(watcher, data)


class _Speed:
    """Rows a second, over the last steps."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, int]] = deque([(time.perf_counter(), 0)], maxlen=10)

    def of(self, rows: int) -> str:
        """Count the rows of a step that has just ended."""
        self._done.append((time.perf_counter(), self._done[-1][1] + rows))
        (begin, before), (now, after) = self._done[0], self._done[-1]
        return f"{(after - before) / max(now - begin, 1e-9):.3g} rows/s"


def _epoch(training: Training, data: Any, settings: Settings, goal: Goal, backend: Backend) -> Iterator[list[Batch]]:
    """Go through the mini-batches that are left of the epoch; after the last of them the cursor moves on."""
    batches = _open(training, data, backend)
    while not goal.reached(training):
        first = training.batch + 1
        group = [
            read_batch(item, f"epoch {training.epoch + 1}, batch {first + number}")
            for number, item in enumerate(islice(batches, settings.accumulate))
        ]
        if not group:
            if training.batch == 0:
                raise TrainingError(
                    f"the data gave no batch in epoch {training.epoch + 1}; it must start again each epoch"
                )
            training.epoch, training.batch = training.epoch + 1, 0
            return
        yield group


def _open(training: Training, data: Any, backend: Backend) -> Iterator[Any]:
    """Start the epoch's one ``iter(data)``; on a resume inside it, replay the order and pass over what is done."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(training.epoch)
    if training.batch == 0:
        training.order = randomness.capture(data)
        return backend.open(data)
    now = randomness.capture()
    randomness.restore(training.order, data)
    batches = backend.open(data)
    done = sum(1 for _ in islice(batches, training.batch))
    if done < training.batch:
        raise TrainingError(
            f"the saved state has done {training.batch} batches of epoch {training.epoch + 1}, but the data gives only "
            f"{done}; resume with the data it began with"
        )
    randomness.restore(now)
    return batches


@contextmanager
def _shown(progress: bool, total: int | None) -> Iterator[Advance]:
    if not progress:
        yield _unseen
        return
    with watched(), shown("training", total, "steps") as advance:
        yield advance


def _unseen(amount: float, note: str = "") -> None:
    """Show nothing."""
    del amount, note

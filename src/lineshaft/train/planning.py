"""The planner: the ways to train a model within a budget, priced, and why one of them is taken.

::

    spilled: 4.81 s a step, 187 MB
      32 shards of up to 38 MB, room for 3; 1.2 GB read and 1.2 GB written a step, 0.02 s of waiting for them
    next: in memory with checkpoints, 4.60 s, 2.1 GB: over the budget of 200 MB
    ...
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lineshaft.core.memory import show_size
from lineshaft.errors import UsageError
from lineshaft.train import randomness
from lineshaft.train.batches import read_batch
from lineshaft.train.checkpoint import Checkpoints
from lineshaft.train.handover import Checkpoint, Found, furthest
from lineshaft.train.loaded import load
from lineshaft.train.loss import Loss, cross_entropy
from lineshaft.train.optimizer import adamw
from lineshaft.train.program.picture import diagram, gantt
from lineshaft.train.settings import Clip, Settings
from lineshaft.train.snapshot import Optimizer, Schedule, begin
from lineshaft.train.spill.device import Device, device_of
from lineshaft.train.spill.disk import disk_folder
from lineshaft.train.spill.prepare import Budget, cradled, examine, make_below

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from lineshaft.train.snapshot import Training, Watcher
    from lineshaft.train.spill.cutting import Way
    from lineshaft.train.spill.spilled import Spilled
    from lineshaft.train.spill.ways import Option

_TRAINING = threading.Lock()
OURS = {"in": "reading", "out": "writing", "compute": "computing"}


@dataclass(frozen=True, repr=False)
class Plan:
    """The ways to train a model within a budget.

    Attributes
    ----------
    options
        Those that fit first, each part by the seconds of a step.
    memory
        The budget as it was given.
    budget
        Bytes of the fast memory in it.
    least
        The least budget that works.
    split
        Names of the modules at which shards begin; empty: the budget says where.

    """

    options: Sequence[Option]
    memory: Any
    budget: int
    least: int
    split: Sequence[str] = ()

    @property
    def chosen(self) -> Option:
        """What training goes by."""
        return self.options[0]

    @property
    def way(self) -> Way:
        """``resident``, ``checkpointed`` or ``spilled``."""
        return self.chosen.cut.way

    @property
    def seconds(self) -> float:
        """Of a step among others like it."""
        return self.chosen.priced.seconds

    @property
    def peak(self) -> int:
        """Bytes that training holds at most, above what was held before."""
        return self.chosen.memory

    def __str__(self) -> str:
        best, *others = self.options
        lines = [f"{best.name}: {_seconds(best.priced.seconds)} a step, {show_size(best.memory)}", *_details(best)]
        for number, one in enumerate(others):
            over = "" if one.cut.fits(self.budget) else f": over the budget of {show_size(self.budget)}"
            what = "next" if not number else "else"
            lines.append(f"{what}: {one.name}, {_seconds(one.priced.seconds)} a step, {show_size(one.memory)}{over}")
        lines.append(f"the least that works: {show_size(self.least, up=True)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Plan({self.chosen.name}, {_seconds(self.seconds)} a step, {show_size(self.peak)})"

    def diagram(self, width: int = 100) -> str:
        """Draw the step as it is expected, in letters."""
        return diagram(self.chosen.priced.spans, width)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>{gantt(self.chosen.priced.spans)}"


def plan(
    factory: Callable[[], nn.Module] | nn.Module,
    batch: Any,
    loss: Loss = cross_entropy,
    optimizer: Optimizer = adamw(lr=1e-3),  # noqa: B008 - a frozen value
    micro_batch: int | None = None,
    accumulate: int = 1,
    clip: float | Clip | None = None,
    precision: str | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    memory: Any = None,
    spill: str | Path | None = None,
    devices: Any = None,
    split: Sequence[str] = (),
) -> Plan:
    """Say how a model would be trained within a budget, how long a step would take, and why.

    The model is made, and one micro-batch runs through it: forward, and each unit of it once more and back. Parameters
    are as the factory gives them; the random generators are left as they were.

    Parameters
    ----------
    factory, loss, optimizer, micro_batch, accumulate, clip, precision, schedule, seed, spill, devices, split
        As in `lineshaft.train.fit`.
    batch
        ``(inputs, target)`` or ``(inputs, target, weight)``: the largest that training will see.
    memory
        As in `lineshaft.train.fit`; None: what the machine has left.

    Raises
    ------
    UsageError
        The budget is too small; the message names the least that works.
    TrainingError
        The model or the optimizer cannot be spilled, and does not fit either.

    """
    device = device_of(devices)
    settings = Settings(loss, micro_batch, accumulate, clip, precision, split)
    given = device.left() if memory is None else memory
    with randomness.isolated(seed):

        def make() -> Any:
            return begin(factory, optimizer, schedule, precision, seed, settings.facts(seed), kind=device.kind)

        load()
        budget = Budget.of(given, device)
        home = disk_folder(spill)
        with budget.kept(), cradled(make, home, device) as (training, away):
            group = [read_batch(batch, "the batch to plan for")] * accumulate
            found = examine(training, group, settings, budget, home, away)
    return Plan(found.options, given, budget.device, found.least, settings.split)


@contextmanager
def within(
    make: Callable[[], Training],
    data: Any,
    settings: Settings,
    memory: Any,
    plan: Plan | None,
    spill: str | Path | None,
    checkpoint: Checkpoints | None,
    watcher: Watcher | None = None,
    device: Device | None = None,
) -> Iterator[tuple[Spilled, Plan]]:
    """Make a training that keeps to a budget, or to a plan; its model is whole again after the block."""
    if plan is not None and memory is not None and memory != plan.memory:
        raise UsageError(f"memory={memory!r} and a plan for {plan.memory!r}: give one of them")
    if plan is not None and settings.split and settings.split != plan.split:
        raise UsageError(f"split={[*settings.split]} and a plan for {[*plan.split]}: give one of them")
    if spill is not None and checkpoint is not None:
        raise UsageError(
            f"spill={str(spill)!r} beside checkpoint={str(checkpoint.folder)!r}: the spill files are the checkpoint, "
            f"and lie in its folder; leave spill= out"
        )
    given = memory if plan is None else plan.memory
    load()
    budget = Budget.of(given, device or Device())
    way = None if plan is None else plan.way
    settings = settings if plan is None else replace(settings, split=plan.split)
    with Checkpoints.alone(checkpoint) as own:
        found = furthest(own.folder) if own else Found()

        def going_on() -> Training:
            training = make()
            stored, found.stored = found.stored, None  # a whole checkpoint is as large as the training
            if isinstance(stored, Checkpoint):
                stored.put_into(training, watcher, data)
            return training

        with _only_here(), budget.kept():
            spilled, examined = make_below(going_on, data, settings, budget, spill, own, found, way)
            found.commits = ()  # who goes on from them has them
            with spilled:
                yield spilled, plan or Plan(examined.options, given, budget.device, examined.least, settings.split)


@contextmanager
def _only_here() -> Iterator[None]:
    """Refuse a second training within a budget: it would draw from the same generators, in between."""
    if not _TRAINING.acquire(blocking=False):
        raise UsageError(
            "another training with memory= is running in this process; both would draw from the one generator of "
            "torch, and neither would give its bits: train one after the other, or each in a process of its own"
        )
    try:
        yield
    finally:
        _TRAINING.release()


def _details(one: Option) -> list[str]:
    priced, cut = one.priced, one.cut
    shards = f"{len(cut.shards)} shards" if len(cut.shards) > 1 else "1 shard"
    apart = ["  each shard is clipped by its own norm: another cut gives other numbers"] if cut.apart else []
    if cut.way != "spilled":
        return [f"  {shards}; nothing is moved", *([f"  no other way: {cut.obstacle}"] if cut.obstacle else [])]
    rate = one.room / cut.largest if cut.largest else 0
    compute, moving = priced.loads["compute"], max(priced.loads["in"], priced.loads["out"])
    moved = f"{show_size(priced.read)} read and {show_size(priced.written)} written a step"
    size = f"{shards} of up to {show_size(cut.largest)}, room for {rate:.1f} of them"
    lanes = f"{_seconds(compute)} of computing, {_seconds(moving)} of moving, {_seconds(priced.stalled)} of waiting"
    return [f"  {size}; {moved}", f"  {lanes}: {OURS[priced.binding]} binds", *apart]


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"

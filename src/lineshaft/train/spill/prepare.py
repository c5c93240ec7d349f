"""From a factory to a model that steps within a budget: pilot, rehearsal, the ways there are, objects sent below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lineshaft.core.heap import give_back, in_another_heap, outside_the_heap, tight_heap
from lineshaft.core.memory import parse_size
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.batches import Batch, MicroBatch, call, on
from lineshaft.train.batches import cut as cut_batch
from lineshaft.train.in_memory import autocast
from lineshaft.train.peeked import TRIED, Peeked
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.away import Away
from lineshaft.train.spill.below import Apart, Below, InMemory, TwoLevels, choose
from lineshaft.train.spill.calls import NotInShards, tensors_of, without_caches
from lineshaft.train.spill.cradle import Cradle
from lineshaft.train.spill.cutting import (
    STEPPING,
    Cut,
    Load,
    Way,
    Weight,
    cut,
    least,
    require_room,
    require_shards,
)
from lineshaft.train.spill.device import Device
from lineshaft.train.spill.disk import disk_folder
from lineshaft.train.spill.draws import Moved, between
from lineshaft.train.spill.keeper import open_keeper
from lineshaft.train.spill.line import Line, Loss
from lineshaft.train.spill.paged import Paged, Part, lay_out
from lineshaft.train.spill.passing import Gradients
from lineshaft.train.spill.pilot import Observed, observe
from lineshaft.train.spill.places import aligned
from lineshaft.train.spill.points import calls_of
from lineshaft.train.spill.rates import disk_rate, link_rate, memory_rate, step_rate, tried
from lineshaft.train.spill.rehearsal import Rehearsed, from_pilot, rehearse
from lineshaft.train.spill.slots import open_slots
from lineshaft.train.spill.spilled import Spilled, buffers_of, signature
from lineshaft.train.spill.stepping import Form, kept_forms, step_scratch
from lineshaft.train.spill.ways import CLIPPING, Machine, Option, option, ranked

if TYPE_CHECKING:
    from lineshaft.train.checkpoint import Checkpoints
    from lineshaft.train.handover import Found
    from lineshaft.train.settings import Settings
    from lineshaft.train.snapshot import Training
    from lineshaft.train.spill.units import Unit

TIERS = ("device", "dram")


@dataclass(frozen=True)
class Budget:
    """Bytes of each tier that training may hold above what was held at its start.

    Attributes
    ----------
    device
        The fast memory: where computing happens.
    held
        Bytes that the process held before.
    dram
        Below it; None: as much as is wanted; 0: none, the disk comes next.
    on
        The device.

    """

    device: int
    dram: int | None
    held: int
    on: Device

    @classmethod
    def of(cls, memory: Any, device: Device) -> Budget:
        """Read ``"200MB"``, or ``{"device": "50MB", "dram": "200MB"}``.

        One size is the device's; below a GPU as much memory of the machine's is used as is wanted.
        """
        if not isinstance(memory, Mapping):
            return cls(parse_size(memory), None if device.apart else 0, device.held(), device)
        unknown = sorted(set(memory) - set(TIERS))
        if unknown or "device" not in memory:
            raise UsageError(
                f"memory={dict(memory)!r}: give a size, or one for each tier of {', '.join(TIERS)}, device at least"
            )
        dram = memory.get("dram")
        return cls(parse_size(memory["device"]), None if dram is None else parse_size(dram), device.held(), device)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """See to it inside the block that it is kept to: by the device, where it can, and by the C library's heaps."""
        with self.on.capped(self.held + self.device), tight_heap(self.device):
            yield


@dataclass(frozen=True)
class Examined:
    """What is known of a training before its first step.

    Attributes
    ----------
    load
        What the pilot saw, and what is trained.
    forms
        What the optimizer keeps for each parameter, by its id.
    options
        The ways to train within the budget, those that fit first, each part by what a step takes.
    known
        Shapes of a micro-batch -> draws of its forward pass, where they can be foretold.
    least
        The least budget that works.

    """

    load: Load
    forms: Mapping[int, Sequence[Form]]
    options: Sequence[Option]
    known: dict[Any, Moved | None]
    least: int


def make_below(
    make: Callable[[], Training],
    data: Any,
    settings: Settings,
    budget: Budget,
    folder: str | Path | None,
    checkpoint: Checkpoints | None,
    found: Found,
    way: Way | None = None,
) -> tuple[Spilled, Examined]:
    """Make a training whose model never is in memory as a whole, and return what steps it, and why so.

    Parameters
    ----------
    make
        Makes the training, as it begins.
    data
        Its first batch, or its largest where they can be looked at, is tried out.
    settings
        What a step does.
    budget
        What may be held.
    folder
        For the disk tier; None: the system's for temporary files.
    checkpoint
        Where states are kept: the disk tier is there then.
    found
        What is kept there.
    way
        How to train; None: the quickest that fits.

    """
    home = checkpoint.folder if checkpoint else disk_folder(folder)
    with cradled(make, home, budget.on) as (training, away):
        peeked = Peeked(data, settings.accumulate)
        examined = examine(training, peeked.group, settings, budget, home, away)
        fitting = [one for one in examined.options if one.cut.fits(budget.device)]
        chosen = next((one for one in fitting if one.cut.way == way), fitting[0])
        spilled = _send_below(training, settings, budget, home, checkpoint, found, examined, chosen, away)
        spilled.peeked = peeked
        return spilled, examined


@contextmanager
def cradled(make: Callable[[], Training], folder: Path, device: Device) -> Iterator[tuple[Training, Away | None]]:
    """Make a training with its parameters in a file; after the block nothing may be there any more."""
    cradle = Cradle(folder)
    try:
        with cradle.holding(), outside_the_heap():
            training = make()
        if device.apart:
            with Away(training.model, device) as away:
                yield training, away
        else:
            yield training, None
    finally:
        cradle.close()


def examine(
    training: Training,
    group: Sequence[Batch],
    settings: Settings,
    budget: Budget,
    folder: Path,
    away: Away | None = None,
) -> Examined:
    """Run the pilot and the rehearsal on the largest micro-batch of a mini-batch, and price the ways to train.

    Raises
    ------
    UsageError
        No way fits the budget; the message names the least that works.

    """
    if not group:
        raise TrainingError("the data gave no batch; there is nothing to train on")
    micros = list(cut_batch(group, settings.micro_batch, TRIED))
    micro = on(max(micros, key=_numbers), budget.on.name)
    observed = try_out(training, settings, micro, away)
    give_back()
    forms = kept_forms(training.optimizer)
    words = between(observed.before, observed.after)
    together = settings.global_norm is not None or training.scaler.is_enabled()
    points = calls_of(training.model, observed.root, settings.split)
    apart = settings.shard_norm is not None
    load = Load(observed, _weights(training, forms), len(micros), words, together, apart, points)
    require_shards(load, observed.obstacle)
    smallest = least(load)
    require_room(smallest, budget.device, load)
    made = _cuts(load, budget.device)
    fitting = [one.units for one in made if one.units and one.fits(budget.device)]
    # Also where nothing need be cut: a model that does not stand it, or gives other numbers, is known before training.
    units = [] if load.observed.obstacle else max(fitting or [cut(load, 0).units], key=len)
    try:
        rehearsed = in_another_heap(lambda: _rehearse(training, settings, micro, observed, units, away))
        stepping = 0 if away else in_another_heap(lambda: step_scratch(training.optimizer, STEPPING))
        made = _cuts(load, budget.device, max(rehearsed.scratch, stepping))
        own = _scratch_of(training, settings, micro, observed, smallest, rehearsed, away)
        smallest = replace(smallest, scratch=max(own, stepping))
    except NotInShards as error:
        require_shards(load, str(error))
        load = replace(load, observed=replace(observed, obstacle=str(error)))
        smallest = least(load)
        if smallest.least > budget.device:
            raise
        made, rehearsed = [smallest], from_pilot(observed.root, [])
    if load.observed.obstacle:
        _require_steady(training, settings, micro, away)
    require_room(smallest, budget.device, load)
    step = in_another_heap(lambda: step_rate(training.optimizer, budget.device, budget.on))
    most = tried(budget.device)
    memory = memory_rate(most, budget.on)
    step += CLIPPING / memory.read if load.apart else 0.0
    machine = Machine(disk_rate(folder, most), memory, link_rate(most, budget.on) if budget.on.apart else memory, step)
    give_back()
    options = []
    for one in made:
        sizes = _paged(training, one, forms, 0, len(micros), budget.on).moved()
        near = _near(sizes, budget)
        facts = sizes, load.weights, rehearsed, machine, len(micros), together, near
        options.append(option(one, budget.device, budget.on.held() - budget.held, *facts))
    known: dict[Any, Moved | None] = {} if words is None else {signature(micro): words}
    return Examined(load, forms, ranked(options, budget.device), known, smallest.least)


def _cuts(load: Load, budget: int, scratch: int = 0) -> list[Cut]:
    """Cut a model for a budget, of which units need some for the time of their run, in all ways there are.

    Where gradients are clipped by shard, what was measured, which is never the same twice, says not where
    shards begin.
    """
    left = budget if load.apart else budget - scratch
    return _different([replace(cut(load, left, way), scratch=scratch) for way in load.ways])


def _different(made: Sequence[Cut]) -> list[Cut]:
    """Leave out a way that is another by a longer name: in one shard, all there is, nothing is made again."""
    return [one for one in made if one is made[0] or len(one.shards) > 1 or one.least < made[0].least]


def _scratch_of(
    training: Training,
    settings: Settings,
    micro: MicroBatch,
    observed: Observed,
    made: Cut,
    rehearsed: Rehearsed,
    away: Away | None,
) -> int:
    """Return the bytes that some unit of a cut needs for the time of its run; they are tried out if others were."""
    if len(made.units) in {0, len(rehearsed.units)}:
        return rehearsed.scratch
    try:
        return in_another_heap(lambda: _rehearse(training, settings, micro, observed, made.units, away)).scratch
    except NotInShards:
        return rehearsed.scratch


def _rehearse(
    training: Training,
    settings: Settings,
    micro: MicroBatch,
    observed: Observed,
    units: Sequence[Unit],
    away: Away | None,
) -> Rehearsed:
    hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    watched = any(getattr(parameter, kind, None) for parameter in training.model.parameters() for kind in hooks)
    if watched or not units:  # who looks at gradients shall see those of training only
        return from_pilot(observed.root, units)

    def body(line: Line) -> None:
        with autocast(training.device, settings.precision):
            losses = settings.loss(call(training.model, micro.inputs), micro.target)
        line.stop(Loss(losses.detach()))
        if losses.requires_grad:
            losses.sum().backward()  # type: ignore[no-untyped-call]

    written = [buffers_of(training.model, unit.writes) for unit in units]
    return rehearse(training.model, units, written, body, away.device if away else Device(), away)


def _send_below(
    training: Training,
    settings: Settings,
    budget: Budget,
    folder: Path,
    checkpoint: Checkpoints | None,
    found: Found,
    examined: Examined,
    chosen: Option,
    away: Away | None,
) -> Spilled:
    """Send a model below and return what steps it; where that fails, the model has its values again."""
    made = chosen.cut
    paged = _paged(training, made, examined.forms, chosen.room, examined.load.micros, budget.on)
    if away is not None:
        paged.value = away.value
    moved = paged.moved()
    ceiling = math.inf if budget.on.apart else budget.held + budget.device
    ceiling += sum(moved.values()) if budget.dram is None else budget.dram
    near = _near(moved, budget)
    keeper = None
    if made.apart:
        training.identity["cut, whose shards are clipped apart,"] = made.identity
    try:
        if checkpoint is None:
            paged.below = _scratch(moved, near, folder, budget.on)
            paged.send_below()
        else:
            lasting = frozenset(item for item in near if not item.passing)
            keeper = open_keeper(checkpoint, found, training, paged, lasting)
            if passing := {item: size for item, size in moved.items() if item.passing}:
                paged.below = Apart(paged.below, _scratch(passing, near & passing.keys(), folder, budget.on))
        return Spilled(training, settings, made, paged, examined.known, keeper, ceiling, budget.held)
    except BaseException:
        paged.bring_up()
        paged.below.close()
        raise


def _weights(training: Training, forms: Mapping[int, Sequence[Form]]) -> dict[str, Weight]:
    return {
        name: Weight(
            aligned(parameter.nbytes),
            parameter.nbytes if parameter.requires_grad else 0,
            sum(aligned(math.prod(form.shape) * form.dtype.itemsize) for form in forms.get(id(parameter), ())),
        )
        for name, parameter in training.model.named_parameters()
    }


def _paged(
    training: Training, made: Cut, forms: Mapping[int, Sequence[Form]], room: int, micros: int, device: Device
) -> Paged:
    """Give all objects their places."""
    parts = _parts(training, made, forms)
    gradients = {k: Gradients.of(part.parameters) for k, part in enumerate(parts[:-1])} if "g" in made.passing else {}
    inputs = {Object(k, "x", i): size for k, size in enumerate(made.inputs) for i in range(micros)}
    return Paged(parts, training.optimizer, device.rooms(room), InMemory(device.under), device, gradients, inputs)


def _parts(training: Training, made: Cut, forms: Mapping[int, Sequence[Form]]) -> list[Part]:
    named = dict(training.model.named_parameters())
    stays = made.way != "spilled"
    parts = [lay_out({name: named[name] for name in names}, forms, pinned=stays) for names in made.owned]
    return [*parts, lay_out({name: named[name] for name in made.shared}, forms, pinned=True)]


def _require_steady(training: Training, settings: Settings, micro: MicroBatch, away: Away | None) -> None:
    """Refuse a model that gives other numbers the second time, where units are not tried out one by one."""
    losses: list[torch.Tensor] = []
    for _ in range(2):
        try_out(training, settings, micro, away, losses)
    if not torch.equal(*losses):
        raise TrainingError(
            "the model gave other numbers when it was run again on the same input: it keeps a count, draws from a "
            "generator of its own, or uses a kernel that is not deterministic; within memory= it is tried out first, "
            "so it could not be trained to the same bits: mend it, or leave memory= out"
        )


def try_out(
    training: Training,
    settings: Settings,
    micro: MicroBatch,
    away: Away | None = None,
    losses: list[torch.Tensor] | None = None,
) -> Observed:
    """Run the pilot on a micro-batch; put its losses into a list."""

    def forward() -> None:
        with autocast(training.device, settings.precision):
            found = settings.loss(call(training.model, micro.inputs), micro.target)
        if losses is not None and isinstance(found, torch.Tensor):
            losses.append(torch.nan_to_num(found.detach()))

    with without_caches(training.model), outside_the_heap():
        return observe(training.model, forward, away)


def _numbers(micro: MicroBatch) -> int:
    return sum(value.numel() for value in tensors_of(micro.inputs))


def _near(moved: Mapping[Object, int], budget: Budget) -> frozenset[Object]:
    """Choose the objects that lie in memory below; pinned ones are in memory anyway."""
    sizes = {item: size for item, size in moved.items() if size}
    return frozenset(sizes) if budget.dram is None else choose(sizes, budget.dram)


def _scratch(moved: Mapping[Object, int], near: frozenset[Object], folder: Path, device: Device) -> Below:
    """Make what lies below a training for objects that no commit names."""
    memory = InMemory(device.under)
    rest = {item: size for item, size in moved.items() if size and item not in near}
    return TwoLevels(memory, open_slots(folder, rest, copies=1), near) if rest else memory

"""From a model in memory to one that is spilled: budgets, the pilot run, the cut, and the objects sent below."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.memory import Regions, give_back, outside_the_heap, parse_size, resident
from lineshaft.errors import UsageError
from lineshaft.train import randomness
from lineshaft.train.batches import Batch, MicroBatch, call, read_batch
from lineshaft.train.batches import cut as cut_batch
from lineshaft.train.loop import autocast
from lineshaft.train.spill.below import Below, InMemory, TwoLevels, choose
from lineshaft.train.spill.calls import tensors_of, without_caches
from lineshaft.train.spill.cradle import Cradle
from lineshaft.train.spill.cutting import ROTATING, SPARE, Cut, Load, Weight, cut
from lineshaft.train.spill.draws import distance
from lineshaft.train.spill.keeper import open_keeper
from lineshaft.train.spill.paged import Paged, aligned, lay_out
from lineshaft.train.spill.pilot import Observed, observe
from lineshaft.train.spill.slots import open_slots
from lineshaft.train.spill.spilled import Spilled, signature
from lineshaft.train.spill.stepping import Form, kept_forms

if TYPE_CHECKING:
    from lineshaft.train.checkpoint import Checkpoints
    from lineshaft.train.program.actions import Object
    from lineshaft.train.settings import Settings
    from lineshaft.train.snapshot import Training

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

    """

    device: int
    dram: int | None
    held: int

    @classmethod
    def of(cls, memory: Any) -> Budget:
        """Read ``"200MB"``, or ``{"device": "50MB", "dram": "200MB"}``; on a CPU one size is the memory's."""
        if not isinstance(memory, Mapping):
            return cls(parse_size(memory), 0, resident())
        unknown = sorted(set(memory) - set(TIERS))
        if unknown or "device" not in memory:
            raise UsageError(
                f"memory={dict(memory)!r}: give a size, or one for each tier of {', '.join(TIERS)}, device at least"
            )
        dram = memory.get("dram")
        return cls(parse_size(memory["device"]), None if dram is None else parse_size(dram), resident())


def make_below(
    make: Callable[[], Training],
    data: Any,
    settings: Settings,
    budget: Budget,
    folder: str | Path | None,
    checkpoint: Checkpoints | None,
) -> Spilled:
    """Make a training whose model never is in memory as a whole, and return what steps it; as `send_below`."""
    cradle = Cradle(folder or (checkpoint.folder if checkpoint else None))
    try:
        with cradle.holding():
            training = make()
        return send_below(training, data, settings, budget, folder, checkpoint)
    finally:
        cradle.close()


def send_below(
    training: Training,
    data: Any,
    settings: Settings,
    budget: Budget,
    folder: str | Path | None,
    checkpoint: Checkpoints | None = None,
) -> Spilled:
    """Send a model below and return what steps it.

    Parameters
    ----------
    training
        As it begins.
    data
        Its first batch, or its largest where they can be looked at, is tried out.
    settings
        What a step does.
    budget
        What may be held.
    folder
        For the disk tier; None: one that is gone in the end.
    checkpoint
        Where states are kept: the disk tier is there then.

    """
    micros = list(cut_batch(_worst(data, settings), settings.micro_batch, "the batch tried out"))
    micro = max(micros, key=_numbers)
    observed = try_out(training, settings, micro)
    give_back()
    forms = kept_forms(training.optimizer)
    words = distance(observed.before, observed.after)
    together = settings.clip is not None or training.scaler.is_enabled()
    made = cut(Load(observed, _weights(training, forms), len(micros), words, together), budget.device)
    spared = int((1 - SPARE) * budget.device)
    room = max(spared - made.fixed, min(budget.device - made.fixed, ROTATING * made.largest))
    paged = _pages(training, made, forms, room)
    ceiling = budget.held + budget.device - int(SPARE / 3 * budget.device)
    if budget.dram is None:
        ceiling += sum(paged.moved().values())
    else:
        ceiling += budget.dram
    known: dict[Any, int | None] = {} if words is None else {signature(micro): words}
    if checkpoint is None:
        paged.below = _scratch(paged, budget, folder)
        paged.send_below()
        return Spilled(training, settings, made, paged, paged.regions.limit, known, None, ceiling)
    keeper = open_keeper(checkpoint, training, paged, _chosen(paged, budget))
    return Spilled(training, settings, made, paged, paged.regions.limit, known, keeper, ceiling)


def _weights(training: Training, forms: Mapping[int, Sequence[Form]]) -> dict[str, Weight]:
    return {
        name: Weight(
            aligned(parameter.nbytes),
            parameter.nbytes if parameter.requires_grad else 0,
            sum(aligned(math.prod(form.shape) * form.dtype.itemsize) for form in forms.get(id(parameter), ())),
        )
        for name, parameter in training.model.named_parameters()
    }


def _pages(training: Training, made: Cut, forms: Mapping[int, Sequence[Form]], room: int) -> Paged:
    named = dict(training.model.named_parameters())
    parts = [lay_out({name: named[name] for name in names}, forms) for names in made.owned]
    parts.append(lay_out({name: named[name] for name in made.shared}, forms, pinned=True))
    return Paged(parts, training.optimizer, Regions(room), InMemory())


def try_out(training: Training, settings: Settings, micro: MicroBatch) -> Observed:
    """Run the pilot on a micro-batch."""

    def forward() -> None:
        with autocast(training.device, settings.precision):
            settings.loss(call(training.model, micro.inputs), micro.target)

    with without_caches(training.model), outside_the_heap():
        return observe(training.model, forward)


def _worst(data: Any, settings: Settings) -> list[Batch]:
    """Return the batches of one step: the largest where the data is a sequence, else the first; no draw is lost."""
    if isinstance(data, Sequence):
        largest = max(data, key=lambda item: sum(value.numel() for value in tensors_of(item)))
        return [read_batch(largest, "the batch tried out")] * settings.accumulate
    before = randomness.capture(data)
    items: Iterator[Any] = iter(data)
    found = [read_batch(item, "the batch tried out") for item in islice(items, settings.accumulate)]
    randomness.restore(before, data)
    return found


def _numbers(micro: MicroBatch) -> int:
    return sum(value.numel() for value in tensors_of(micro.inputs))


def _chosen(paged: Paged, budget: Budget) -> frozenset[Object]:
    """Choose the objects that lie in memory; pinned ones are in memory anyway."""
    sizes = {item: size for item, size in paged.moved().items() if size}
    return frozenset(sizes) if budget.dram is None else choose(sizes, budget.dram)


def _scratch(paged: Paged, budget: Budget, folder: str | Path | None) -> Below:
    """Make what lies below a training that keeps nothing."""
    memory, chosen = InMemory(), _chosen(paged, budget)
    rest = {item: size for item, size in paged.moved().items() if size and item not in chosen}
    if not rest:
        return memory
    where = Path(tempfile.mkdtemp(prefix="lineshaft-spill-", dir=folder))
    return TwoLevels(memory, open_slots(where, rest, copies=1), chosen)

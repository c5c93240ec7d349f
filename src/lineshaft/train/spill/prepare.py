"""From a model in memory to one that is spilled: budgets, the pilot run, the cut, and the objects sent below."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lineshaft.core.memory import Regions, SpillFile, parse_size
from lineshaft.errors import UsageError
from lineshaft.train import randomness
from lineshaft.train.batches import Batch, MicroBatch, call, read_batch
from lineshaft.train.batches import cut as cut_batch
from lineshaft.train.loop import autocast
from lineshaft.train.spill.below import InFile, InMemory, TwoLevels, choose, offsets
from lineshaft.train.spill.calls import tensors_of, without_caches
from lineshaft.train.spill.cutting import Load, Weight, cut
from lineshaft.train.spill.draws import distance
from lineshaft.train.spill.paged import Below, Paged, lay_out, pin
from lineshaft.train.spill.pilot import Observed, observe
from lineshaft.train.spill.spilled import Spilled, signature
from lineshaft.train.spill.stepping import kept_forms

if TYPE_CHECKING:
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
    dram
        Below it; None: as much as is wanted; 0: none, the disk comes next.

    """

    device: int
    dram: int | None

    @classmethod
    def of(cls, memory: Any) -> Budget:
        """Read ``"200MB"``, or ``{"device": "50MB", "dram": "200MB"}``; on a CPU one size is the memory's."""
        if not isinstance(memory, Mapping):
            return cls(parse_size(memory), 0)
        unknown = sorted(set(memory) - set(TIERS))
        if unknown or "device" not in memory:
            raise UsageError(
                f"memory={dict(memory)!r}: give a size, or one for each tier of {', '.join(TIERS)}, device at least"
            )
        dram = memory.get("dram")
        return cls(parse_size(memory["device"]), None if dram is None else parse_size(dram))


def send_below(training: Training, data: Any, settings: Settings, budget: Budget, folder: str | Path | None) -> Spilled:
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

    """
    micros = list(cut_batch(_worst(data, settings), settings.micro_batch, "the batch tried out"))
    observed = try_out(training, settings, max(micros, key=_numbers))
    words = distance(observed.before, observed.after)
    forms = kept_forms(training.optimizer)
    named = dict(training.model.named_parameters())
    weights = {
        name: Weight(
            parameter.nbytes,
            parameter.nbytes if parameter.requires_grad else 0,
            sum(torch.Size(form.shape).numel() * form.dtype.itemsize for form in forms.get(id(parameter), ())),
        )
        for name, parameter in named.items()
    }
    load = Load(observed, weights, len(micros), words, settings.clip is not None or training.scaler.is_enabled())
    made = cut(load, budget.device)
    parts = [lay_out({name: named[name] for name in names}, forms) for names in made.owned]
    parts.append(pin({name: named[name] for name in made.shared}))
    room = budget.device - made.fixed
    paged = Paged(parts, training.optimizer, Regions(room), InMemory())
    paged.below = _below(paged, budget, folder)
    paged.send_below()
    known: dict[Any, int | None] = {} if words is None else {signature(max(micros, key=_numbers)): words}
    return Spilled(training, settings, made, paged, room, known)


def try_out(training: Training, settings: Settings, micro: MicroBatch) -> Observed:
    """Run the pilot on a micro-batch."""

    def forward() -> None:
        with autocast(training.device, settings.precision):
            settings.loss(call(training.model, micro.inputs), micro.target)

    with without_caches(training.model):
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


def _below(paged: Paged, budget: Budget, folder: str | Path | None) -> Below:
    sizes = paged.sizes()
    memory = InMemory()
    chosen = frozenset(sizes) if budget.dram is None else choose(sizes, budget.dram)
    if len(chosen) == len(sizes):
        return memory
    places, size = offsets({item: sizes[item] for item in sizes if item not in chosen})
    where = Path(tempfile.mkdtemp(prefix="lineshaft-spill-", dir=folder))
    return TwoLevels(memory, InFile(SpillFile(where / "objects", size), places), chosen)

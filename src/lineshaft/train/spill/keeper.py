"""Keeping the state of a spilled training: what a commit holds beside objects, and how a run goes on from one.

::

    step t     compute ... S0 ┐ after_step: generators, cursor, schedule, losses, small state of the optimizer
               out     ... W0p W0s  C        the commit is written when the step's objects are below
    step t+1   compute F0.0 F0.1 ...         meanwhile
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lineshaft.core.artifact import digest_of
from lineshaft.errors import TrainingError
from lineshaft.train import snapshot
from lineshaft.train.spill.below import InMemory, TwoLevels
from lineshaft.train.spill.commits import Commit, Journal, last_serial
from lineshaft.train.spill.execute import PATIENCE
from lineshaft.train.spill.places import flat
from lineshaft.train.spill.slots import open_slots, reading

if TYPE_CHECKING:
    from lineshaft.core.codec import Tensors
    from lineshaft.train.checkpoint import Checkpoints
    from lineshaft.train.handover import Found
    from lineshaft.train.program.actions import Object
    from lineshaft.train.snapshot import Training, Watcher
    from lineshaft.train.spill.device import Device
    from lineshaft.train.spill.paged import Paged
    from lineshaft.train.spill.places import Region
    from lineshaft.train.spill.spilled import Spilled


@dataclass
class Keeper:
    """Commits the states of a training, and goes on from the newest.

    Attributes
    ----------
    journal
        Where commits go.
    below
        The objects.
    device
        Where they are when they are not below.
    every
        Steps between commits.
    found
        The newest whole commit when the training began, until it is gone on from.
    kept
        Where in the data training stood when its state was kept last.

    """

    journal: Journal
    below: TwoLevels
    device: Device
    every: int
    found: Commit | None
    kept: tuple[int, int] | None = None
    _captured: SimpleQueue[Tensors | None] = field(default_factory=SimpleQueue)

    def due(self, step: int) -> bool:
        """Say whether the state after a step is kept."""
        return step % self.every == 0

    def after_step(self, spilled: Spilled, watcher: Watcher | None, data: Any) -> None:
        """Hand over what the commit of the step just taken holds."""
        if self.due(len(spilled.training.losses)):
            self._captured.put(_capture(spilled, watcher, data))
            self.kept = spilled.training.cursor

    def commit(self) -> None:
        """Called when a step's objects are below: wait for the rest of its state, and commit."""
        try:
            state = self._captured.get(timeout=PATIENCE)
        except Empty as error:
            raise TrainingError(
                f"a step's objects are written, but its state did not come in {PATIENCE:.0f} s"
            ) from error
        if state is not None:
            self.device.settle()
            self.below.mirror()
            self.journal.commit(state)

    def cancel(self) -> None:
        """Let nobody wait for a state that will not come."""
        self._captured.put(None)

    def keep(self, spilled: Spilled, watcher: Watcher | None, data: Any) -> None:
        """Commit the state as it is now; all objects in memory are below."""
        self.below.mirror()
        for item, region in spilled.paged.resident.items():
            if spilled.paged.parts[item.shard].pinned:
                self.device.send(self.below, item, region)
        self.device.sync()
        self.journal.commit(_capture(spilled, watcher, data))
        self.kept = spilled.training.cursor

    def resume(self, spilled: Spilled, watcher: Watcher | None, data: Any) -> bool:
        """Put a training that has just begun into the state of the newest whole commit."""
        found, self.found = self.found, None
        if found is None:
            return False
        training = spilled.training
        content = snapshot.unpack(training, found.state)
        buffers = dict(training.model.named_buffers())
        with torch.no_grad():
            for name, value in content["buffers"].items():
                buffers[name].copy_(value)
        training.optimizer.load_state_dict(content["optimizer"])
        for part in spilled.paged.parts:
            part.born = any(name in content["born"] for name in part.parameters)
        if found.layout == self.journal.layout:
            self._bring_chosen(spilled.paged)
            spilled.paged.restore()
        else:
            _migrate(found, self.journal.folder, spilled.paged)
        snapshot.put_around(training, content, watcher, data)
        self.kept = training.cursor
        return True

    def begin(self, paged: Paged) -> None:
        """Send a model below that no commit is of."""
        if self.found is None:
            paged.send_below(kept=True)

    def _bring_chosen(self, paged: Paged) -> None:
        sizes = paged.sizes()
        for item in self.below.chosen:
            if item.what == "p" or paged.parts[item.shard].born:
                self.below.files.read(item, memoryview(self.below.memory.lies(item, sizes[item])))


def open_keeper(
    where: Checkpoints, found: Found, training: Training, paged: Paged, chosen: frozenset[Object]
) -> Keeper:
    """Open a checkpoint folder for a training: with what was found there, or with the model as it begins."""
    newest = next(iter(found.commits), None)
    if newest is not None:
        snapshot.require_same(newest.state, training)
    sizes = {item: size for item, size in paged.sizes().items() if size}
    places = paged.places()
    layout = (
        f"objects-{digest_of(repr(sorted((name, str(i), p.plain()) for name, (i, p) in places.items())).encode())[:12]}"
    )
    slots = open_slots(where.folder / layout, sizes)
    paged.below = below = TwoLevels(InMemory(paged.device.under), slots, chosen)
    kept = [commit.kept() for commit in found.commits[:2]]
    if same := [commit.objects for commit in kept if commit.layout == layout]:
        slots.adopt(same)
    serial = last_serial(where.folder)
    journal = Journal(where.folder, layout, slots, places, where.seconds, serial, kept, found.stale)
    behind = newest is None or newest.cursor < training.cursor  # it was put into a later state when it was made
    keeper = Keeper(journal, below, paged.device, where.every or 1, None if behind else newest)
    keeper.begin(paged)
    return keeper


def _capture(spilled: Spilled, watcher: Watcher | None, data: Any) -> Tensors:
    """Copy all of a training's state but its objects."""
    training, paged = spilled.training, spilled.paged
    content = {
        "buffers": dict(training.model.named_buffers()),
        "optimizer": _small(training.optimizer, paged),
        "born": [name for part in paged.parts if part.born for name in part.parameters],
        "keys": _keys(training.model),
    }
    return snapshot.pack(training, content | snapshot.around(training, watcher, data))


def _keys(model: nn.Module) -> dict[str, str | None]:
    """Name for each key of the state dict the parameter or buffer that it stands for; None: something else."""
    own = (*model.named_parameters(), *model.named_buffers())
    names = {id(value): name for name, value in own}
    return {key: names.get(id(value)) for key, value in model.state_dict(keep_vars=True).items()}


def _small(optimizer: torch.optim.Optimizer, paged: Paged) -> dict[str, Any]:
    """Return the optimizer's state without what lies in objects."""
    kept = {id(parameter): part.kept[name] for part in paged.parts for name, parameter in part.parameters.items()}
    order = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {
        number: {what: None if what in kept.get(order[number], {}) else value for what, value in own.items()}
        for number, own in state["state"].items()
    }
    return state


def _migrate(commit: Commit, folder: Path, paged: Paged) -> None:
    """Bring the objects of a commit into the shards of another cut."""
    new = paged.places()

    def fill(item: Object, region: Region) -> None:
        here = flat(region)
        here.zero_()
        for name, (own, place) in new.items():
            if own == item and name in commit.places:
                source, there = commit.places[name]
                if source in commit.objects:
                    whole = old.files[commit.objects[source].slot].path
                    start = old.offsets[source] + there.offset
                    size = int(np.prod(there.shape, dtype=np.int64)) * there.dtype.itemsize
                    piece = np.fromfile(whole, np.uint8, size, offset=start)
                    value = torch.from_numpy(piece).view(there.dtype).as_strided(there.shape, there.stride)
                    place.view(here).copy_(value)

    with reading(folder / commit.layout, commit.sizes, commit.objects) as old:
        paged.send_below(fill, kept=True)

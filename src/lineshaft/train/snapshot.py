"""Everything that a training run is at one moment, as tensors and JSON, and back: what makes a resume exact.

::

    model, optimizer, schedule, loss scale   their state dicts, and the buffers that a state dict leaves out
    random.now                               the generators as the next step will find them
    random.epoch                             the generators as the running epoch found them: replays its data order
    epoch, batch, losses                     the cursor and what was seen
    watcher                                  what early stopping remembers
    identity                                 whose state this is; another's is refused
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from lineshaft.core.artifact import digest_of
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train import randomness, state

if TYPE_CHECKING:
    from lineshaft.core.codec import Tensors

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
Optimizer = Callable[[list[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer], Any]


@dataclass
class Training:
    """A run of training: what the loop changes.

    Attributes
    ----------
    model, optimizer, schedule, scaler
        torch's objects; ``schedule`` may be None, ``scaler`` passes everything through unless precision is fp16.
    identity
        Facts, for people, that a checkpoint must share with this run.
    losses
        One per optimizer step.
    epoch, batch
        Epochs that are over; batches of the running epoch that are done.
    order
        The random state at the start of the running epoch.

    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    identity: dict[str, str]
    losses: list[float] = field(default_factory=list)
    epoch: int = 0
    batch: int = 0
    order: randomness.State = field(default_factory=dict)

    @property
    def device(self) -> str:
        """The device that the model lives on, as torch names it."""
        return str(next(self.model.parameters()).device)

    @property
    def cursor(self) -> tuple[int, int]:
        """Where in the data the run stands: epochs over, batches done."""
        return self.epoch, self.batch

    def moment(self) -> str:
        """Say where the run stands: the step about to be taken, its epoch and batch, counted from 1."""
        return f"step {len(self.losses) + 1} (epoch {self.epoch + 1}, batch {self.batch + 1})"


class Watcher(Protocol):
    """Looks at the model after each epoch and may end the training."""

    @property
    def stopped(self) -> bool:
        """Whether it has seen enough."""

    def after_epoch(self, training: Training) -> None:
        """Look at the model; it must leave the model and the random generators as they were."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from there."""


def begin(
    factory: Callable[[], nn.Module] | nn.Module,
    optimizer: Optimizer,
    schedule: Schedule | None,
    precision: str | None,
    seed: int,
    facts: Mapping[str, str],
    device: str | None = None,
    kind: str | None = None,
) -> Training:
    """Seed, make the model, then the optimizer, then the schedule, in this order.

    ``device``: where the model goes when it is made; None: it stays where it is. ``kind``: the type of that on which
    losses will be scaled, where that is another.
    """
    torch.manual_seed(seed)
    model = factory if isinstance(factory, nn.Module) else factory()
    if not isinstance(model, nn.Module):
        raise UsageError(f"the factory returned a {type(model).__name__}, not a torch.nn.Module")
    if device is not None:
        model.to(device)
    named = list(model.named_parameters())
    if not named:
        raise UsageError(f"{type(model).__name__} has no parameters to train")
    if lazy := [name for name, parameter in named if nn.parameter.is_lazy(parameter)]:
        raise UsageError(f"parameter {lazy[0]!r} has no shape yet; pass one batch through the model in the factory")
    made = optimizer(named)
    identity = {"model": _about_model(model), "optimizer": _about_optimizer(made), **facts}
    plan = schedule(made) if schedule else None
    identity["schedule"] = type(plan).__name__ if schedule else "none"
    scaler = torch.amp.GradScaler(kind or named[0][1].device.type, enabled=precision == "fp16")
    return Training(model, made, plan, scaler, identity)


def snapshot(training: Training, watcher: Watcher | None, data: Any) -> Tensors:
    """Copy the whole state of a run; training may go on while the copy is written."""
    content = {
        "model": dict(training.model.state_dict()),
        "buffers": _unsaved_buffers(training.model),
        "optimizer": _in_order(training.optimizer.state_dict()),
    }
    return pack(training, content | around(training, watcher, data))


def _in_order(state: dict[str, Any]) -> dict[str, Any]:
    """Put what an optimizer keeps into the order of its parameters, whichever of them it stepped first."""
    kept = state["state"]
    return {**state, "state": {number: kept[number] for number in sorted(kept)}}


def pack(training: Training, content: dict[str, Any]) -> Tensors:
    """Pack a state, copied, with whose it is."""
    packed = state.pack(content)
    return dataclasses.replace(packed, header={**packed.header, "identity": training.identity})


def around(training: Training, watcher: Watcher | None, data: Any) -> dict[str, Any]:
    """Return all of a run's state but that of model and optimizer."""
    return {
        "schedule": training.schedule.state_dict() if training.schedule else None,
        "scaler": training.scaler.state_dict(),
        "random": {"now": randomness.capture(data), "epoch": training.order},
        "cursor": {"epoch": training.epoch, "batch": training.batch},
        "losses": torch.tensor(training.losses, dtype=torch.float32),
        "watcher": watcher.state_dict() if watcher else None,
    }


def resume(training: Training, saved: Tensors, watcher: Watcher | None, data: Any) -> None:
    """Put a run that has just begun into a saved state, the random generators included.

    Raises
    ------
    TrainingError
        The state is that of another model, optimizer, loss or loop; both are named.

    """
    content = unpack(training, saved)
    training.model.load_state_dict(content["model"])
    buffers = dict(training.model.named_buffers())
    for name, value in content["buffers"].items():
        buffers[name].copy_(value)
    training.optimizer.load_state_dict(content["optimizer"])
    put_around(training, content, watcher, data)


def unpack(training: Training, saved: Tensors) -> dict[str, Any]:
    """Return what `pack` was given, if it is of this training."""
    require_same(saved, training)
    content: dict[str, Any] = state.unpack(saved)
    return content


def put_around(training: Training, content: Mapping[str, Any], watcher: Watcher | None, data: Any) -> None:
    """Put back what `around` returned."""
    if training.schedule:
        training.schedule.load_state_dict(content["schedule"])
    training.scaler.load_state_dict(content["scaler"])
    training.losses[:] = content["losses"].tolist()
    training.epoch, training.batch = content["cursor"]["epoch"], content["cursor"]["batch"]
    training.order = content["random"]["epoch"]
    if watcher:
        watcher.load_state_dict(content["watcher"])
    randomness.restore(content["random"]["now"], data)


def require_same(saved: Tensors, training: Training) -> None:
    """Refuse the state of another training."""
    theirs: Mapping[str, str] = saved.header.get("identity", {})
    ours = training.identity
    for fact in sorted({*theirs, *ours}):
        if theirs.get(fact) != ours.get(fact):
            raise TrainingError(
                f"the saved state is of another training: its {fact} is {theirs.get(fact)}, this run's is "
                f"{ours.get(fact)}; use another folder, or delete that one to start anew"
            )


def _unsaved_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers registered with ``persistent=False``: forward may write them too."""
    kept = model.state_dict()
    return {name: value for name, value in model.named_buffers() if name not in kept}


def _about_model(model: nn.Module) -> str:
    shapes = "\n".join(f"{name} {list(value.shape)} {value.dtype}" for name, value in _own_tensors(model))
    parts = "\n".join(f"{name} {type(own).__qualname__} {_options(own)}" for name, own in model.named_modules())
    count = sum(parameter.numel() for parameter in model.parameters())
    digests = f"shapes {digest_of(shapes.encode())[:12]}, modules {digest_of(parts.encode())[:12]}"
    return f"{type(model).__qualname__} with {count} parameters ({digests})"


def _options(module: nn.Module) -> str:
    """Return what torch shows of a module; its own attributes may be counters, which a resume finds elsewhere."""
    return _ADDRESS.sub("", module.extra_repr())


def _own_tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _about_optimizer(optimizer: torch.optim.Optimizer) -> str:
    groups = []
    for group in optimizer.param_groups:
        options = [f"{name}={group[name]!r}" for name in sorted(group) if name not in {"params", "param_names"}]
        groups.append(f"{len(group['params'])} parameters: {', '.join(options)}")
    return f"{type(optimizer).__name__}({'; '.join(groups)})"

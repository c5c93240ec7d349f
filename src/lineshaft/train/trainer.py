"""Training by a recipe: features and soft labels in, weights and learning curves out, the same bytes every time.

::

    rows of weight 0 left out ─► each epoch dealt anew by (seed, epoch) ─► the loop ─► after each epoch: validate,
                                                                                       keep the best, stop in time

A `Trained` carries the whole state of its training, so that another one can go on from it: two epochs and then three
more are the five at once, to the bit. A small model is trained in one
thread, a larger one in the caller's number of them (`threads`), and one training at a time in a process,
because torch's random generator is the process's.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lineshaft.core.artifact import digest_of
from lineshaft.core.codec import Tensors, encode
from lineshaft.core.fingerprint import fingerprint
from lineshaft.errors import DataError, UsageError
from lineshaft.train import randomness, state, threads
from lineshaft.train.builder import arguments, describe
from lineshaft.train.checkpoint import Checkpoints
from lineshaft.train.history import History
from lineshaft.train.in_memory import InMemory
from lineshaft.train.loop import Backend, run
from lineshaft.train.optimizer import OptimizerSpec
from lineshaft.train.planning import within
from lineshaft.train.settings import Goal
from lineshaft.train.snapshot import Training, begin, resume, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from lineshaft.train.recipe import Recipe
    from lineshaft.train.targets import Targets

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """What training by a recipe gave.

    Attributes
    ----------
    weights
        The model's state dict: of the best epoch where the recipe has patience, else of the last.
    curves
        One dict per epoch: ``epoch`` (from 1), ``train_loss`` (mean over its steps) and, with validation,
        ``validation_loss`` and ``validation_accuracy`` (weighted means over the rows).
    best_epoch
        The epoch of the weights.
    shapes, classes
        What the model was built for: see `lineshaft.train.builder.build`.
    snapshot
        The whole state of the training, to go on from.

    """

    weights: dict[str, torch.Tensor]
    curves: list[dict[str, Any]]
    best_epoch: int
    shapes: dict[str, dict[str, Any]]
    classes: int
    snapshot: Tensors

    def score(self, metric: str) -> float:
        """Return a column of the curves at the epoch of the weights."""
        curve = self.curves[self.best_epoch - 1]
        if metric not in curve:
            raise UsageError(f"the curves have no {metric!r}; they have {', '.join(curve)}")
        return float(curve[metric])

    def payload(self) -> Tensors:
        """Return what the codec stores (kind Tensors): the snapshot holds all the rest."""
        return self.snapshot

    @classmethod
    def from_payload(cls, payload: Tensors) -> Trained:
        """Make it again of what the codec read."""
        content = state.unpack(payload)
        history = content["watcher"]
        weights = history["best_weights"] or content["model"]
        shapes, classes = payload.header["shapes"], payload.header["classes"]
        return cls(weights, history["curves"], history["best_epoch"], shapes, classes, payload)


@dataclass
class Shuffled:
    """Rows dealt into mini-batches anew each epoch, by (seed, epoch) alone: it can start at any epoch.

    Attributes
    ----------
    inputs, target, batch, seed
        Features ``[rows, ...]`` by name, their targets, rows per mini-batch, and what the dealing depends on.
    epoch
        The epoch that the next ``iter`` deals.

    """

    inputs: Inputs
    target: Targets
    batch: int
    seed: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.target) / self.batch)

    def __iter__(self) -> Iterator[tuple[Any, torch.Tensor, torch.Tensor]]:
        generator = torch.Generator()
        generator.manual_seed(int.from_bytes(hashlib.sha256(f"{self.seed} {self.epoch}".encode()).digest()[:7], "big"))
        order = torch.randperm(len(self.target), generator=generator)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            own = {name: value[rows] for name, value in self.inputs.items()}
            yield arguments(own), self.target.probabilities[rows], self.target.weights[rows]


def train(
    recipe: Recipe,
    inputs: Inputs,
    target: Targets,
    validation: tuple[Inputs, Targets] | None = None,
    *,
    classes: int,
    epochs: int | None = None,
    start: Tensors | None = None,
    checkpoint: str | Path | Checkpoints | None = None,
    progress: bool = False,
) -> Trained:
    """Train a recipe's model on features with soft labels. The process's random generators are left as they were.

    Parameters
    ----------
    recipe
        How.
    inputs
        Features by name, ``[rows, ...]``.
    target
        Class probabilities ``[rows, classes]`` and weights ``[rows]``.
    validation
        Features and targets to validate on after each epoch.
    classes
        The number of classes.
    epochs
        In all, those of ``start`` included; None: the recipe's.
    start
        The ``snapshot`` of an earlier training by the same recipe on the same rows, to go on from.
    checkpoint
        Folder to resume from and write to.
    progress
        Show how far it is.

    Raises
    ------
    DataError
        Rows of inputs and target differ in number, or no row has a weight.
    TrainingError
        As in `fit`; or ``start`` is of another recipe or other rows.

    """
    _check(recipe, inputs, target, validation, classes)
    present = target.weights > 0
    rows, own = {name: value[present] for name, value in sorted(inputs.items())}, target[present]
    shapes = describe(rows)
    data = Shuffled(rows, own, recipe.batch, recipe.seed)
    history = History(recipe.loss, recipe.batch, recipe.patience, validation)
    facts = recipe.settings.facts(recipe.seed) | {"recipe": _name(recipe), "rows": _digest(rows, own, validation)}
    goal, kept = Goal(recipe.epochs if epochs is None else epochs), Checkpoints.of(checkpoint)
    with randomness.isolated(recipe.seed), _deterministic():
        with ExitStack() as stack:

            def make() -> Training:
                build = functools.partial(recipe.build, shapes, classes)
                made = begin(build, recipe.optimizer, recipe.schedule, recipe.precision, recipe.seed, facts)
                stack.enter_context(threads.fitting(made.model, shapes, recipe.batch))
                if start is not None and recipe.memory is not None:
                    resume(made, start, history, data)
                return made

            backend: Backend
            if recipe.memory is None:
                recipe.settings.require_whole()
                kept = stack.enter_context(Checkpoints.alone(kept))
                backend = InMemory(make(), recipe.settings, kept, start)
            else:
                budget = within(make, data, recipe.settings, recipe.memory, None, None, kept, history)
                backend, _ = stack.enter_context(budget)
            run(backend.training, data, recipe.settings, goal, backend, history, progress)
        taken = snapshot(backend.training, history, data)
    header = {**taken.header, "shapes": shapes, "classes": classes}
    return Trained.from_payload(dataclasses.replace(taken, header=header))


def _check(
    recipe: Recipe, inputs: Inputs, target: Targets, validation: tuple[Inputs, Targets] | None, classes: int
) -> None:
    parts = {"training": (inputs, target)} | ({"validation": validation} if validation else {})
    for name, (values, labels) in parts.items():
        if labels.probabilities.shape[1] != classes:
            raise DataError(f"the {name} targets have {labels.probabilities.shape[1]} classes, the task has {classes}")
        if not values:
            raise DataError(f"there are no {name} features; give at least one tensor")
        for feature, value in values.items():
            if len(value) != len(labels):
                raise DataError(f"{name} feature {feature!r} has {len(value)} rows, the targets have {len(labels)}")
        if not bool((labels.weights > 0).any()):
            raise DataError(f"none of the {len(labels)} {name} rows has a weight above 0; there is nothing to count")
    if validation and describe(validation[0]) != describe(inputs):
        raise DataError(f"validation features are {describe(validation[0])}, training features {describe(inputs)}")
    if recipe.patience is not None and validation is None:
        raise UsageError(f"patience={recipe.patience} needs the loss on validation rows; give some, or patience=None")


def _name(recipe: Recipe) -> str:
    """Name a recipe for people and by what it means: how long it trains, and in what memory and shards, may differ."""
    fields = {item.name for item in dataclasses.fields(recipe)} - {"epochs", "memory", "split"}
    parts = {name: getattr(recipe, name) for name in sorted(fields)}
    parts["inputs"] = recipe.inputs.meaning()
    if isinstance(recipe.optimizer, OptimizerSpec):
        parts["optimizer"] = (recipe.optimizer.kind, recipe.optimizer.options)
    name = getattr(recipe.builder, "__name__", type(recipe.builder).__name__)
    return f"{name} with {dict(recipe.model)} by {recipe.optimizer} ({fingerprint(parts, 'recipe').digest[:12]})"


def _digest(inputs: Inputs, target: Targets, validation: tuple[Inputs, Targets] | None) -> str:
    """Name the rows by their bytes."""
    values = {f"features {name}": value for name, value in inputs.items()}
    values |= {"probabilities": target.probabilities, "weights": target.weights}
    content = encode("Tensors", Tensors(values))[1]
    if validation is None:
        return digest_of(content)[:12]
    return digest_of((digest_of(content) + _digest(*validation, None)).encode())[:12]


@contextmanager
def _deterministic() -> Iterator[None]:
    """Take torch's deterministic kernels where it has them; what has none still runs."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])

"""A recipe is all of a training but the rows: builder, features, loss, optimizer and their numbers, as one value.

::

    recipe.with_({"model.width": 64, "optimizer.lr": 1e-2, "epochs": 3})     another recipe, for a search
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lineshaft.errors import UsageError
from lineshaft.train.builder import GIVEN, Shapes, build
from lineshaft.train.features import Features
from lineshaft.train.loss import Loss, cross_entropy
from lineshaft.train.optimizer import OptimizerSpec, adamw
from lineshaft.train.settings import Clip, Goal, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from lineshaft.train.snapshot import Optimizer, Schedule

FIXED = ("builder", "inputs", "model")  # fields that an override names otherwise, or not at all


@dataclass(frozen=True)
class Recipe:
    """How to train a model.

    Attributes
    ----------
    builder
        Function that returns an ``nn.Module``; its outputs are logits ``[rows, classes]``.
    inputs
        The features function. One tensor is passed by position, several by name.
    loss
        ``(outputs, target) -> [rows]``, unreduced.
    optimizer
        `adamw`, `sgd`, or any callable from named parameters to an optimizer.
    batch, epochs
        Rows per optimizer step; passes over the rows.
    patience
        Stop when the validation loss has not improved for so many epochs, and keep the best epoch's weights; None:
        train all epochs and keep the last.
    clip, precision, micro_batch, schedule, seed
        As in `fit`.
    memory
        What training may hold, as in `fit`. It changes no bit of the result, and is no part of what names it.
    split
        Where shards begin, as in `fit`; as little a part of the name.
    model
        The builder's parameters: JSON values, because they are stored with the model.

    """

    builder: Callable[..., nn.Module]
    inputs: Features
    loss: Loss = cross_entropy
    optimizer: Optimizer = adamw(lr=1e-3)  # noqa: RUF009 - a frozen value
    batch: int = 256
    epochs: int = 5
    patience: int | None = None
    clip: float | Clip | None = None
    precision: str | None = None
    micro_batch: int | None = None
    schedule: Schedule | None = None
    seed: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)
    memory: Any = None
    split: Sequence[str] = ()

    def __post_init__(self) -> None:
        Goal(self.epochs)  # refuses what is out of range
        if self.batch < 1 or (self.patience is not None and self.patience < 1):
            raise UsageError(f"batch={self.batch} and patience={self.patience} must be 1 or more")
        if self.settings.shard_norm is not None:
            raise UsageError(
                f"clip={self.clip} in a recipe: its result would come of memory=, which is no part of what names a "
                f"model; give clip= a number, or train with ls.train.fit"
            )
        if not isinstance(self.inputs, Features):
            raise UsageError(
                f"inputs is a {type(self.inputs).__name__}; give a function made with @ls.features(reads=[...])"
            )
        object.__setattr__(self, "model", {name: self.model[name] for name in sorted(self.model)})
        for name, value in self.model.items():
            self._check_parameter(name, value)

    @property
    def settings(self) -> Settings:
        """The part that the loop reads."""
        return Settings(self.loss, self.micro_batch, 1, self.clip, self.precision, self.split)

    def with_(self, changes: Mapping[str, Any]) -> Recipe:
        """Return this recipe with some values replaced.

        Parameters
        ----------
        changes
            Field (``epochs``), ``model.`` and a builder's parameter, or ``optimizer.`` and an option, to value.

        Raises
        ------
        UsageError
            A name is not known; the known ones are listed.

        """
        if "optimizer" in changes:
            rest_of = {name: value for name, value in changes.items() if name != "optimizer"}
            return dataclasses.replace(self, optimizer=changes["optimizer"]).with_(rest_of)
        fields: dict[str, Any] = {}
        model, options = dict(self.model), {}
        for name, value in changes.items():
            head, _, rest = name.partition(".")
            if head == "model" and (rest in self._parameters() or (rest and self._open())):
                model[rest] = value
            elif head == "optimizer" and rest in self._options():
                options[rest] = value
            elif not rest and name in self._fields():
                fields[name] = value
            else:
                raise UsageError(f"the recipe has no {name!r}; it has {', '.join(self.known())}")
        if isinstance(self.optimizer, OptimizerSpec):
            fields["optimizer"] = self.optimizer.replace(**options)
        return dataclasses.replace(self, **fields, model=model)

    def known(self) -> list[str]:
        """Return the names that `with_` takes."""
        return [
            *self._fields(),
            *(f"model.{name}" for name in self._parameters()),
            *(f"optimizer.{name}" for name in self._options()),
        ]

    def build(self, shapes: Shapes, classes: int) -> nn.Module:
        """Call the builder, as `lineshaft.train.builder.build` does."""
        return build(self.builder, self.model, shapes, classes)

    def _fields(self) -> list[str]:
        return [item.name for item in dataclasses.fields(self) if item.name not in FIXED]

    def _parameters(self) -> list[str]:
        parameters = inspect.signature(self.builder).parameters.values()
        return [
            p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY} and p.name not in GIVEN
        ]

    def _open(self) -> bool:
        return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.builder).parameters.values())

    def _options(self) -> list[str]:
        return self.optimizer.known() if isinstance(self.optimizer, OptimizerSpec) else []

    def _check_parameter(self, name: str, value: Any) -> None:
        if name not in {*self._parameters(), *GIVEN} and not self._open():
            known = ", ".join(self._parameters()) or "none"
            raise UsageError(f"builder {self.builder.__name__} has no parameter {name!r}; it has {known}")
        try:
            same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            raise UsageError(
                f"model.{name}={value!r} is a {type(value).__name__} that JSON does not give back equal; the builder's "
                f"parameters are stored with the model: use numbers, text, true/false, lists and dicts"
            )

    def __str__(self) -> str:
        name = getattr(self.builder, "__name__", type(self.builder).__name__)
        model = ", ".join(f"{key}={value!r}" for key, value in self.model.items())
        return f"{name}({model}) by {self.optimizer}, batch={self.batch}, epochs={self.epochs}, seed={self.seed}"

"""A recipe is all of a training but the rows: builder, features, loss, optimizer and their numbers, as one value.

::

    recipe.with_({"model.width": 64, "optimizer.lr": 1e-2, "epochs": 3})     another recipe, for a search

The builder is a function that returns a plain torch module. If it declares a parameter ``inputs`` it is given the
width of the features (or, where there are several tensors or more dimensions, ``{name: [...]}``, shapes without rows);
if it declares ``classes``, the number of classes. A builder that declares neither uses lazy layers
(``nn.LazyLinear``), which get their shapes from one batch of zeros before the optimizer is made.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.batches import call
from lineshaft.train.features import Features
from lineshaft.train.loop import Goal, Settings
from lineshaft.train.loss import Loss, cross_entropy
from lineshaft.train.optimizer import OptimizerSpec, adamw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lineshaft.train.snapshot import Optimizer, Schedule

GIVEN = ("inputs", "classes")  # what the builder is told about the data, if it asks
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
    clip: float | None = None
    precision: str | None = None
    micro_batch: int | None = None
    schedule: Schedule | None = None
    seed: int = 0
    model: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Goal(self.epochs)  # refuses what is out of range
        if self.batch < 1 or (self.patience is not None and self.patience < 1):
            raise UsageError(f"batch={self.batch} and patience={self.patience} must be 1 or more")
        Settings(self.loss, self.micro_batch, 1, self.clip, self.precision)
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
        return Settings(self.loss, self.micro_batch, 1, self.clip, self.precision)

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
        if options:
            base = fields.get("optimizer", self.optimizer)
            fields["optimizer"] = base.replace(**options)
        return dataclasses.replace(self, **fields, model=model)

    def known(self) -> list[str]:
        """Return the names that `with_` takes."""
        return [
            *self._fields(),
            *(f"model.{name}" for name in self._parameters()),
            *(f"optimizer.{name}" for name in self._options()),
        ]

    def build(self, shapes: Mapping[str, Mapping[str, Any]], classes: int) -> nn.Module:
        """Call the builder and give lazy layers their shapes.

        Parameters
        ----------
        shapes
            Feature name to ``{"shape": [...] without rows, "dtype": "float32"}``, as `describe` makes them.
        classes
            The number of classes.

        Raises
        ------
        TrainingError
            The builder's parameters do not fit, or its outputs are not ``[rows, classes]``.

        """
        told = {"inputs": _width(shapes), "classes": classes}
        given = {name: told[name] for name in GIVEN if name in inspect.signature(self.builder).parameters}
        try:
            inspect.signature(self.builder).bind(**{**given, **self.model})
        except TypeError as error:
            raise TrainingError(
                f"builder {self.builder.__name__} cannot be called with {dict(self.model)}: {error}"
            ) from error
        return try_out(self.builder(**{**given, **self.model}), shapes, classes)

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


def describe(inputs: Mapping[str, torch.Tensor]) -> dict[str, dict[str, Any]]:
    """Return the shapes (without rows) and types of features."""
    return {
        name: {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in sorted(inputs.items())
    }


def arguments(inputs: Mapping[str, torch.Tensor]) -> Any:
    """Return features as a model takes them: one tensor as it is (``m(x)``), several by name (``m(**x)``)."""
    return next(iter(inputs.values())) if len(inputs) == 1 else dict(inputs)


def try_out(model: nn.Module, shapes: Mapping[str, Mapping[str, Any]], classes: int) -> nn.Module:
    """Run two rows of zeros through a model, in eval mode: lazy layers get their shapes, wrong outputs are refused."""
    if not isinstance(model, nn.Module):
        raise TrainingError(f"the builder returned a {type(model).__name__}, not a torch.nn.Module")
    zeros = {name: torch.zeros(2, *form["shape"], dtype=getattr(torch, form["dtype"])) for name, form in shapes.items()}
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        outputs = call(model.eval(), arguments(zeros))
    for module, mode in modes:
        module.training = mode
    if not isinstance(outputs, torch.Tensor) or list(outputs.shape) != [2, classes]:
        seen = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise TrainingError(
            f"the model gave {seen} for 2 rows; the task has {classes} classes, so [2, {classes}] is wanted"
        )
    return model


def _width(shapes: Mapping[str, Mapping[str, Any]]) -> Any:
    if len(shapes) == 1:
        (form,) = shapes.values()
        if len(form["shape"]) == 1:
            return form["shape"][0]
    return {name: list(form["shape"]) for name, form in shapes.items()}

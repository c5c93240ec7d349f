"""Calling the user's builder: what it is told about the data, and a first try of what it returns.

::

    def head(width: int) -> nn.Module                         nn.LazyLinear finds its input width itself
    def head(inputs: int, classes: int, width: int) -> ...    told: features [rows, inputs], and the number of classes

``inputs`` is the width of the features where they are one tensor ``[rows, width]``, else ``{name: [...]}``, the shapes
without rows. One tensor is passed to the module by position, several by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.batches import call

GIVEN = ("inputs", "classes")  # what a builder is told, if it declares such a parameter
Shapes = Mapping[str, Mapping[str, Any]]


def describe(inputs: Mapping[str, torch.Tensor]) -> dict[str, dict[str, Any]]:
    """Return ``{name: {"shape": [...] without rows, "dtype": "float32"}}`` of features."""
    return {
        name: {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in sorted(inputs.items())
    }


def arguments(inputs: Mapping[str, torch.Tensor]) -> Any:
    """Return features as a model takes them: one tensor as it is (``m(x)``), several by name (``m(**x)``)."""
    return next(iter(inputs.values())) if len(inputs) == 1 else dict(inputs)


def build(builder: Callable[..., nn.Module], parameters: Mapping[str, Any], shapes: Shapes, classes: int) -> nn.Module:
    """Call the builder and give lazy layers their shapes.

    Parameters
    ----------
    builder
        The user's function.
    parameters
        Its parameters; they win over what it would be told.
    shapes
        As `describe` returns them.
    classes
        The number of classes.

    Raises
    ------
    TrainingError
        The parameters do not fit the builder, or the module's outputs are not ``[rows, classes]``.

    """
    signature = inspect.signature(builder)
    told = {"inputs": _width(shapes), "classes": classes}
    given = {**{name: told[name] for name in GIVEN if name in signature.parameters}, **parameters}
    try:
        signature.bind(**given)
    except TypeError as error:
        name = getattr(builder, "__name__", type(builder).__name__)
        raise TrainingError(f"the builder is {name}{signature}, given were {given}: {error}") from error
    return try_out(builder(**given), shapes, classes)


def try_out(model: nn.Module, shapes: Shapes, classes: int) -> nn.Module:
    """Run two rows of zeros through a model, in eval mode: lazy layers get their shapes, wrong outputs are refused."""
    if not isinstance(model, nn.Module):
        raise TrainingError(f"the builder returned a {type(model).__name__}, not a torch.nn.Module")
    zeros = {name: torch.zeros(2, *form["shape"], dtype=getattr(torch, form["dtype"])) for name, form in shapes.items()}
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        outputs = call(model.eval(), arguments(zeros))
    for module, mode in modes:
        module.training = mode
    require_outputs(outputs, 2, classes)
    return model


def require_outputs(outputs: Any, rows: int, classes: int) -> None:
    """Refuse what is not ``[rows, classes]``."""
    if not isinstance(outputs, torch.Tensor) or list(outputs.shape) != [rows, classes]:
        seen = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise TrainingError(
            f"the model gave {seen} for {rows} rows; the task has {classes} classes, so [{rows}, {classes}] is wanted"
        )


def _width(shapes: Shapes) -> Any:
    if len(shapes) == 1:
        (form,) = shapes.values()
        if len(form["shape"]) == 1:
            return form["shape"][0]
    return {name: list(form["shape"]) for name, form in shapes.items()}

"""A model: weights, and a spec that says which code builds the module and makes its features.

::

    payload  tensors   the module's state dict
             header    {format, builder: {module, qualname, fingerprint, parameters},
                        features: {module, qualname, fingerprint, reads},
                        task: {name, classes}, shapes, schema: digest or null}

No code is stored. Loading finds builder and features by name in modules that this home has run, and refuses them if
their fingerprints are not those that the model was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lineshaft.core import script
from lineshaft.core.codec import Tensors
from lineshaft.core.fingerprint import fingerprint
from lineshaft.core.task import Task
from lineshaft.errors import DataError, Refused
from lineshaft.train.batches import call
from lineshaft.train.builder import arguments, build, describe, require_outputs
from lineshaft.train.features import Features
from lineshaft.train.randomness import untouched

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from lineshaft.core.table import Table
    from lineshaft.train.recipe import Recipe
    from lineshaft.train.trainer import Trained

FORMAT = 1
SPEC = {
    "builder": {"module": str, "qualname": str, "fingerprint": str, "parameters": dict},
    "features": {"module": str, "qualname": str, "fingerprint": str, "reads": list},
    "task": {"name": str, "classes": list},
}


@dataclass(frozen=True)
class Model:
    """A trained module with its features function and task, ready to predict.

    Attributes
    ----------
    module
        The torch module, in eval mode.
    features
        The features function that it was trained with.
    spec
        The JSON header drawn above.

    """

    module: nn.Module
    features: Features
    spec: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task; its gold column is no business of a model."""
        return Task(self.spec["task"]["name"], self.spec["task"]["classes"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return tuple(self.spec["task"]["classes"])

    @property
    def schema_digest(self) -> str | None:
        """The digest of the schema that guarded the training rows, None if none did."""
        digest: str | None = self.spec["schema"]
        return digest

    def predict(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return class probabilities ``[rows, classes]`` float32: the softmax of the module's outputs.

        Parameters
        ----------
        inputs
            Features by name, as ``self.features`` makes them. A row's answer does not depend on the rows beside it
            (to 1e-5: kernels sum in another order for another number of rows).

        Raises
        ------
        DataError
            Names, shapes or types are not those of training.

        """
        if describe(inputs) != self.spec["shapes"]:
            raise DataError(f"the features are {describe(inputs)}, the model was trained on {self.spec['shapes']}")
        with torch.inference_mode():
            outputs: torch.Tensor = call(self.module, arguments(inputs))
            require_outputs(outputs, len(next(iter(inputs.values()))), len(self.classes))
            probabilities = outputs.float().softmax(1)
        return probabilities.clone()  # outside inference mode: an ordinary tensor

    def predict_rows(self, rows: Table | pa.RecordBatch) -> torch.Tensor:
        """Return class probabilities ``[rows, classes]`` of rows that hold the columns ``features.reads``."""
        import pyarrow as pa

        batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.select(self.features.reads).arrow.to_batches()
        size = self.features.batch_rows
        parts = [batch.slice(start, size) for batch in batches for start in range(0, len(batch), size)]
        return torch.cat([torch.empty(0, len(self.classes)), *(self.predict(self.features(part)) for part in parts)])

    def payload(self) -> Tensors:
        """Return what the codec stores (kind Model)."""
        return Tensors({name: value.detach().clone() for name, value in self.module.state_dict().items()}, self.spec)

    @classmethod
    def from_payload(cls, payload: Tensors) -> Model:
        """Make it again of what the codec read: see `load`."""
        return load(payload)

    def __repr__(self) -> str:
        builder = self.spec["builder"]
        return f"Model({builder['qualname']}, {self.spec['task']['name']}: {', '.join(self.classes)})"


def assemble(recipe: Recipe, trained: Trained, task: Task, schema_digest: str | None = None) -> Model:
    """Make a model of what a recipe trained.

    Raises
    ------
    UsageError
        Builder or features function has no name that another process can find.
    DataError
        The weights are not finite, or not those of the recipe's module.

    """
    spec = {
        "format": FORMAT,
        "builder": {
            **script.reference(recipe.builder),
            "fingerprint": fingerprint(recipe.builder, "builder").digest,
            "parameters": dict(recipe.model),
        },
        "features": {
            **script.reference(recipe.inputs),
            "fingerprint": fingerprint(recipe.inputs.meaning(), "features").digest,
            "reads": list(recipe.inputs.reads),
        },
        "task": {"name": task.name, "classes": list(task.classes)},
        "shapes": trained.shapes,
        "schema": schema_digest,
    }
    if len(task.classes) != trained.classes:
        raise DataError(
            f"task {task.name} has {len(task.classes)} classes, the model was trained for {trained.classes}"
        )
    return _make(recipe.builder, recipe.inputs, spec, trained.weights)


def load(payload: Tensors) -> Model:
    """Make a model of its stored form, finding its code by name.

    Raises
    ------
    Refused
        Builder or features function is not what the model was trained with (both fingerprints are shown), is gone, or
        lies in a module that this home has not run.
    DataError
        The spec is not of this form, or the weights do not fit the module or are not finite.

    """
    spec = payload.header
    _check_spec(spec)
    builder = script.resolve(spec["builder"]["module"], spec["builder"]["qualname"])
    _require_same("builder", spec["builder"], builder)
    features = script.resolve(spec["features"]["module"], spec["features"]["qualname"])
    if not isinstance(features, Features):
        name = spec["features"]["qualname"]
        raise Refused(f"{name} is a {type(features).__name__} now; the model was trained with a features function")
    _require_same("features function", spec["features"], features.meaning())
    return _make(builder, features, spec, payload.values)


def _make(builder: Any, features: Features, spec: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> Model:
    with untouched():
        module = build(builder, spec["builder"]["parameters"], spec["shapes"], len(spec["task"]["classes"]))
    wanted = {name: _form(value) for name, value in module.state_dict().items()}
    stored = {name: _form(value) for name, value in weights.items()}
    for name in sorted({*wanted, *stored}):
        if wanted.get(name) != stored.get(name):
            raise DataError(
                f"weight {name!r} is {stored.get(name, 'absent')} in the model, {wanted.get(name, 'absent')} in what "
                f"{spec['builder']['qualname']} builds; they do not belong together"
            )
        if not bool(torch.isfinite(weights[name]).all()):
            raise DataError(f"weight {name!r} is not finite; the training went wrong, or the file did")
    module.load_state_dict(dict(weights))
    return Model(module.eval().requires_grad_(requires_grad=False), features, spec)


def _require_same(what: str, stored: Mapping[str, Any], found: Any) -> None:
    now = fingerprint(found, what).digest
    if now != stored["fingerprint"]:
        raise Refused(
            f"the {what} {stored['qualname']} has changed since the model was trained: it was "
            f"{stored['fingerprint'][:12]}, it is {now[:12]}; train again, or restore the code"
        )


def _check_spec(spec: Mapping[str, Any]) -> None:
    if spec.get("format") != FORMAT:
        raise DataError(f"the model's spec has format {spec.get('format')!r}, this version reads {FORMAT}")
    for part, fields in SPEC.items():
        for field, kind in fields.items():
            value = spec.get(part, {}).get(field) if isinstance(spec.get(part, {}), dict) else None
            if not isinstance(value, kind):
                raise DataError(f"the model's spec holds {value!r} for {part}.{field}; a {kind.__name__} is wanted")
    if not isinstance(spec.get("shapes"), dict) or not spec["shapes"] or "schema" not in spec:
        raise DataError("the model's spec lacks shapes or schema")


def _form(value: torch.Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"

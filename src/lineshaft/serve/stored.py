"""A stored model as serving wants it: its bytes, its features function and the schema that guarded its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lineshaft.core.artifact import Artifact
from lineshaft.errors import UsageError
from lineshaft.serve.model import Served

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from lineshaft.core.codec import Tensors
    from lineshaft.core.home import Home
    from lineshaft.train.model import Model


class StoredModel:
    """A trained model that is `lineshaft.serve.model.Servable`."""

    def __init__(self, model: Model, digest: str) -> None:
        self._model = model
        self.digest = digest
        self.reads = tuple(model.features.reads)
        self.classes = model.classes

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return probabilities, float32 [rows, classes]."""
        found: np.ndarray = self._model.predict_rows(batch).numpy()
        return found


def served_model(payload: Tensors, digest: str, schema: str | None) -> Served:
    """Make a stored model ready to serve.

    Parameters
    ----------
    payload, digest
        The model's content and name.
    schema
        The text of the schema that its training rows passed.

    Raises
    ------
    Refused
        Builder or features function is not what the model was trained with, or its weights do not fit.
    UsageError
        There is no schema, or it lacks a column that the model reads.

    """
    from lineshaft.train.model import load
    from lineshaft.verify.schema import Schema
    from lineshaft.verify.types import arrow_of

    model = load(payload)
    if schema is None:
        raise UsageError("the model was trained on rows that no schema had checked; pass them through run.check first")
    kept = Schema.parse(schema)
    reads = model.features.reads
    if missing := [name for name in reads if name not in kept.names]:
        raise UsageError(f"the model reads {missing[0]!r}, which is not in its schema ({', '.join(kept.names)})")
    types = {name: arrow_of(kept[name].type) for name in reads}
    return Served(StoredModel(model, digest), types, kept.row_checker("serving", reads), model.schema_digest or "")


def open_model(home: Home, artifact: Artifact) -> Served:
    """Load a model and its schema from a home."""
    if artifact.kind != "Model":
        raise UsageError(f"{artifact} is no model, so it cannot be served; name one that a script has published")
    payload = home.get(artifact)
    digest = payload.header.get("schema")
    schema = None if digest is None else home.get(Artifact("Schema", digest, -1))
    return served_model(payload, artifact.digest, schema)

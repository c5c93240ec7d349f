"""The plain form of a prediction: rows as objects in, label and probabilities by class name out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineshaft.core.admit import refused
from lineshaft.serve.answer import Answer, json_answer

if TYPE_CHECKING:
    import numpy as np

    from lineshaft.serve.model import Servable


def rows_of(request: Any) -> list[Any]:
    """Return the rows of ``{"rows": [{column: value}]}``."""
    if type(request) is not dict or request.keys() != {"rows"} or type(request["rows"]) is not list:
        raise refused(
            "malformed", "the body is not an object with the one key rows", 'send {"rows": [{column: value}]}'
        )
    rows: list[Any] = request["rows"]
    return rows


def answer(model: Servable, probabilities: np.ndarray) -> Answer:
    """Return ``{"predictions": [{"label", "probabilities": {class: p}}], "model": digest}``."""
    best = probabilities.argmax(axis=1)
    predictions = [
        {"label": model.classes[c], "probabilities": dict(zip(model.classes, row, strict=True))}
        for c, row in zip(best.tolist(), probabilities.tolist(), strict=True)
    ]
    return json_answer({"predictions": predictions, "model": model.digest})

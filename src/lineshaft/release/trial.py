"""A trial before release: the model in the real server, asked over HTTP, answering as it does offline."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.core.table import Table, rows_of
from lineshaft.errors import StepFailed

if TYPE_CHECKING:
    from lineshaft.core.codec import Tensors

TOLERANCE = 1e-5  # DESIGN's bound between serving and scoring
SECONDS = 60


def trial(model: Tensors, digest: str, rows: Table, schema: str | None, count: int) -> dict[str, Any]:
    """Serve a model for a moment and compare its answers with those it gives offline.

    Parameters
    ----------
    model, digest
        What to try.
    rows
        Rows to ask about; the first ``count`` are used.
    schema
        The schema that requests are checked against.
    count
        How many rows.

    Returns
    -------
    dict
        ``passed``, ``rows``, ``difference`` (the largest between two probabilities) and ``said``, a sentence.

    """
    from lineshaft.core.admit import Limits
    from lineshaft.serve.app import App
    from lineshaft.serve.server import run_in_background
    from lineshaft.serve.stored import served_model

    served = served_model(model, digest, schema)
    reads = list(served.model.reads)
    asked = Table(rows.select(reads).arrow.slice(0, count))
    sent = list(rows_of(asked, reads))
    offline = np.concatenate([served.model.predict(batch.select(reads)) for batch in asked.arrow.to_batches()])
    token = secrets.token_urlsafe()
    app = App({"trial": served}, token, Limits())
    with run_in_background(app) as url:
        answer = _ask(f"{url}/v1/models/trial/predict", token, sent)
    online = np.array([[item["probabilities"][c] for c in served.model.classes] for item in answer["predictions"]])
    difference = float(np.abs(online - offline).max(initial=0.0))
    passed = online.shape == offline.shape and difference <= TOLERANCE and answer["model"] == digest
    said = f"{len(sent)} rows over HTTP, {'equal to' if passed else 'NOT equal to'} offline within {TOLERANCE:g}"
    return {"passed": passed, "rows": len(sent), "difference": round(difference, 9), "said": said}


def _ask(url: str, token: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"rows": rows}).encode(), headers)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise StepFailed(f"the server refused the trial's rows: {error.code} {error.read().decode()[:500]}") from error
    except OSError as error:
        raise StepFailed(f"the server did not answer the trial: {error}") from error

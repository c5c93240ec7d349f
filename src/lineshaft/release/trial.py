"""A trial before release: the model in the real server, asked over HTTP, answering as it does offline.

The rows are asked for all together and then each alone, for the server batches as load has it: a model that looks at
the rows beside a row does not pass.
"""

from __future__ import annotations

import json
import math
import secrets
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.core.table import Table, rows_of
from lineshaft.errors import DataError, StepFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lineshaft.core.codec import Tensors
    from lineshaft.serve.model import Served

TOLERANCE = 1e-5  # DESIGN's bound between serving and scoring
SECONDS = 60
REFUSAL = 500  # characters of a refusal that an error repeats

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # rows and token go to our own server alone


def trial(model: Tensors, digest: str, rows: Table, schema: str | None, count: int) -> dict[str, Any]:
    """Serve a model for a moment and compare its answers with those it gives offline.

    Parameters
    ----------
    model, digest
        What to try.
    rows
        Rows to ask about; the first ``count`` that JSON can carry are used.
    schema
        The schema that requests are checked against.
    count
        How many rows.

    Returns
    -------
    dict
        ``passed``, ``rows``, ``difference`` (the largest between two probabilities) and ``said``, a sentence.

    Raises
    ------
    StepFailed
        The server refused rows that the model was measured on, or did not answer.

    """
    from lineshaft.core.admit import Limits
    from lineshaft.serve.app import App
    from lineshaft.serve.model import predict
    from lineshaft.serve.server import run_in_background
    from lineshaft.serve.stored import served_model

    served = served_model(model, digest, schema)
    asked, sent = _askable(rows, served.model.reads, count)
    offline = np.concatenate([predict(served.model, batch) for batch in asked.arrow.to_batches()])
    token = secrets.token_urlsafe()
    with run_in_background(App({"trial": served}, token, Limits())) as url:
        together = _answers(url, token, sent, served)
        alone = np.concatenate([_answers(url, token, [row], served) for row in sent])
    difference = max(float(np.abs(online - offline).max()) for online in (together, alone))
    same = all((online.argmax(1) == offline.argmax(1)).all() for online in (together, alone))
    passed = bool(same and difference <= TOLERANCE)
    said = f"{len(sent)} rows over HTTP, together and alone, are {'' if passed else 'NOT '}answered as offline"
    return {
        "passed": passed,
        "rows": len(sent),
        "difference": round(difference, 9),
        "said": f"{said} (difference {difference:.1e}, allowed {TOLERANCE:g})",
    }


def _askable(rows: Table, reads: Sequence[str], count: int) -> tuple[Table, list[dict[str, Any]]]:
    """Take the first rows without NaN or infinity, which JSON has no word for; as a table and as a request has them."""
    places, sent = list[int](), list[dict[str, Any]]()
    for place, row in enumerate(rows_of(rows, list(reads))):
        if len(sent) == count:
            break
        if _finite(list(row.values())):
            places.append(place)
            sent.append(row)
    if not sent:
        raise DataError(f"none of the {len(rows)} rows can be asked about over HTTP; give rows with finite values")
    return Table(rows.select(list(reads)).arrow.take(places)), sent


def _finite(values: list[Any]) -> bool:
    return all(
        _finite(value) if isinstance(value, list) else not isinstance(value, float) or math.isfinite(value)
        for value in values
    )


def _answers(url: str, token: str, rows: list[dict[str, Any]], served: Served) -> NDArray[np.float64]:
    """Ask about some rows; return probabilities [rows, classes]."""
    answer = _ask(f"{url}/v1/models/trial/predict", token, rows)
    return np.array([[item["probabilities"][c] for c in served.model.classes] for item in answer["predictions"]])


def _ask(url: str, token: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"rows": rows}, default=str).encode()  # dates and moments in ISO 8601
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - our own server
    try:
        with _DIRECT.open(request, timeout=SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        refusal = error.read().decode()[:REFUSAL]
        raise StepFailed(f"the server refused the trial's rows: {error.code} {refusal}") from error
    except OSError as error:
        raise StepFailed(f"the server did not answer the trial: {error}") from error

"""A small model with a mind of its own, its row checker, and a plain client: what the serving tests share."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from lineshaft.serve.model import Served

TOKEN = "a-token-of-the-tests-1234"
TYPES = {"text": pa.string(), "stars": pa.int64(), "score": pa.float64()}
GOOD = {"text": "a masterpiece", "stars": 4, "score": 0.5}


@dataclass
class Linear:
    """Sums of the columns through a sigmoid. Some texts make it misbehave; ``gate`` holds it back."""

    digest: str = "d" * 64
    classes: tuple[str, ...] = ("rotten", "fresh")
    reads: tuple[str, ...] = ("text", "stars", "score")
    gate: threading.Event | None = None
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def predict(self, batch):
        self.batches.append(batch.num_rows)
        self.entered.release()
        if self.gate is not None:
            self.gate.wait(20)
        time.sleep(self.seconds)
        assert batch.schema.names == list(self.reads)
        assert 0 < batch.num_rows <= 256
        texts = batch.column("text").to_pylist()
        if "explode" in texts:
            raise ValueError("weights at /secret/place/model.py are gone")
        if "exit" in texts:
            raise SystemExit(3)
        if "stop" in texts:
            raise StopIteration
        z = [self.logit(*row.values()) for row in batch.to_pylist()]
        p = 1 / (1 + np.exp(-np.array(z)))
        answer = np.stack([1 - p, p], axis=1).astype(np.float32)
        if "nan" in texts:
            answer[texts.index("nan")] = np.nan
        return answer[:-1] if "short" in texts else answer

    @staticmethod
    def logit(text, stars, score):
        return len(text or "") / 10 - (stars or 0) + (score or 0.0)


@dataclass(frozen=True)
class Fault:
    column: str | None
    reason: str
    severity: str = "error"
    seen: object = None
    fix: object = ""


def check(row):
    """Text is required, stars lie in 0..5, scores are numbers; 'odd' is worth a warning only."""
    faults = []
    if row.get("text", "") is None:
        faults.append(Fault("text", "missing_value", seen=None, fix="send a text"))
    if row.get("text") == "odd":
        faults.append(Fault("text", "odd", severity="warning"))
    stars = row.get("stars")
    if type(stars) is int and not 0 <= stars <= 5:
        faults.append(Fault("stars", "range", seen=stars, fix={"max": 5}))
    score = row.get("score")
    if type(score) is float and not math.isfinite(score):
        faults.append(Fault("score", "not_finite", seen=score, fix="send a number"))
    if "movie" not in row:
        faults.append(Fault("movie", "missing_column"))  # of training alone: no business of a request
    return faults


def served(model=None, checker=check):
    return Served(model or Linear(), TYPES, checker, "s" * 64)


class Client:
    """One keep-alive connection."""

    def __init__(self, url, token=TOKEN):
        self.address = url.removeprefix("http://")
        self.connection = http.client.HTTPConnection(self.address, timeout=20)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method, path, body=None, headers=()):
        content = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        kind = {"Content-Type": "application/json"} if content is not None else {}
        self.connection.request(method, path, content, {**self.headers, **kind, **dict(headers)})
        response = self.connection.getresponse()
        return Reply(response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read())

    def predict(self, rows, name="reviews"):
        return self.ask("POST", f"/v1/models/{name}/predict", {"rows": rows})

    def close(self):
        self.connection.close()


@dataclass
class Reply:
    status: int
    headers: dict
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def error(self):
        assert set(self.json) == {"error"}
        assert {"code", "message", "hint"} <= set(self.json["error"]) <= {"code", "message", "hint", "reasons"}
        return self.json["error"]

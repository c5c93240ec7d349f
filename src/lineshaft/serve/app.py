"""The prediction server as one plain ASGI callable: no framework stands between a request and the model.

::

    Host, Origin ─► route ─► token ─► method ─► body ─► JSON ─► rows against the schema ─► batcher ─► answer
        403          404      401       405    413 408   400            422                503 500     200

(An unknown route still needs the token before it says 404.)
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from lineshaft.core.admit import Limits, Refusal, admit_json, is_name, refusal_of, refused
from lineshaft.errors import AdmissionError, UsageError
from lineshaft.serve import v1, v2
from lineshaft.serve.answer import Answer, json_answer, refusal_answer
from lineshaft.serve.batcher import Batcher
from lineshaft.serve.body import Body, Receive
from lineshaft.serve.guard import LOOPBACK, Guard
from lineshaft.serve.metrics import Metrics
from lineshaft.serve.model import LIVE, Served, split_name
from lineshaft.serve.rows import RowReader

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("lineshaft.serve")
_GET, _POST = "GET", "POST"
_FREE = {"live", "ready"}  # routes that need no token
_METHODS = {"predict": _POST, "infer": _POST}
_JSON = {b"", b"application/json"}


@dataclass(frozen=True)
class Route:
    """What a path asks for: one of a fixed set of kinds, and the names in it as they came."""

    kind: str
    model: str = ""
    version: str | None = None


@dataclass(frozen=True)
class _Endpoint:
    name: str
    version: str
    served: Served
    rows: RowReader
    batcher: Batcher


class App:
    """The ASGI app.

    Parameters
    ----------
    models
        ``name`` or ``name@version`` to what is served there; a name without a version is the live one.
    token
        What requests must carry, health checks aside.
    limits
        Bounds on what comes in.
    hosts
        Host names that the server answers to.

    """

    def __init__(
        self, models: Mapping[str, Served], token: str, limits: Limits | None = None, hosts: Iterable[str] = LOOPBACK
    ) -> None:
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.draining = False
        self._guard = Guard(token, hosts)
        self._endpoints: dict[tuple[str, str], _Endpoint] = {}
        for name, served in models.items():
            self._add(name, served)

    @property
    def names(self) -> list[str]:
        """The models served, as ``name@version``."""
        return [f"{name}@{version}" for name, version in self._endpoints]

    def drain(self) -> None:
        """Say not ready and refuse new rows; those that wait are still answered."""
        self.draining = True
        for endpoint in self._endpoints.values():
            endpoint.batcher.drain()

    def close(self) -> None:
        """End the worker threads."""
        for endpoint in self._endpoints.values():
            endpoint.batcher.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        route = route_of(scope["path"])
        body = Body(scope["headers"], receive, self.limits)
        answer = await self._answer_or_refuse(scope, route, body)
        headers = answer.all_headers()
        await body.discard()
        if not body.ended:
            headers.append((b"connection", b"close"))  # what is left of the body is not a request
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self.metrics.answered(route.kind, answer.status, time.perf_counter() - started)

    async def _answer_or_refuse(self, scope: Scope, route: Route, body: Body) -> Answer:
        """Turn whatever happens into an answer; nothing that a model raises may reach the client or end the server."""
        try:
            return await self._answer(scope, route, body)
        except AdmissionError as error:
            refusal = refusal_of(error)
        except Exception as error:  # noqa: BLE001 - the last line of defence: logged whole, answered without detail
            name = secrets.token_hex(8)
            _log.error("request %s on %s failed", name, route.kind, exc_info=error)
            refusal = Refusal("internal", f"the server failed on this request ({name})", "its log has the cause")
        self.metrics.refused(refusal.code)
        return refusal_answer(refusal, _METHODS.get(route.kind, _GET).encode() if refusal.code == "method" else b"")

    async def _answer(self, scope: Scope, route: Route, body: Body) -> Answer:
        headers = scope["headers"]
        self._admit(scope, route)
        if route.kind in {"predict", "infer"}:
            endpoint = self._endpoint(route)
            content = await self._content(headers, body)
            if route.kind == "predict":
                return await self._predict(endpoint, content, body)
            return await self._infer(endpoint, content, _header(headers, v2.HEADER_LENGTH), body)
        return self._tell(route)

    def _admit(self, scope: Scope, route: Route) -> None:
        headers = scope["headers"]
        if (refusal := self._guard.place(headers, scope["server"][1])) is not None:
            raise AdmissionError(refusal)
        if route.kind not in _FREE and (refusal := self._guard.token(headers)) is not None:
            raise AdmissionError(refusal)
        if route.kind == "unknown":
            raise refused("unknown", "there is nothing at this path", "see GET /v2 and the documentation")
        if scope["method"] != (wanted := _METHODS.get(route.kind, _GET)):
            raise refused("method", f"the method must be {wanted}", f"send {wanted}")

    async def _content(self, headers: Iterable[tuple[bytes, bytes]], body: Body) -> bytes:
        kind, coding = _header(headers, b"content-type"), _header(headers, b"content-encoding")
        kinds = _JSON | ({b"application/octet-stream"} if _header(headers, v2.HEADER_LENGTH) else set())
        if kind.partition(b";")[0].strip().lower() not in kinds or coding.lower() not in {b"", b"identity"}:
            raise refused("media_type", "the body must be JSON, not compressed", "send Content-Type: application/json")
        return b"" if body.ended else await body.read()

    async def _predict(self, endpoint: _Endpoint, content: bytes, body: Body) -> Answer:
        batch = endpoint.rows.read(v1.rows_of(admit_json(content, self.limits)))
        probabilities = await self._ask(endpoint, batch, self.limits.request_seconds, body)
        return v1.answer(endpoint.served.model, probabilities)

    async def _infer(self, endpoint: _Endpoint, content: bytes, json_length: bytes, body: Body) -> Answer:
        asked = v2.read(content, json_length or None, endpoint.rows, self.limits)
        seconds = min(asked.seconds or self.limits.request_seconds, self.limits.request_seconds)
        probabilities = await self._ask(endpoint, endpoint.rows.read(asked.rows), seconds, body)
        return v2.answer(endpoint.name, endpoint.version, endpoint.served, asked, probabilities)

    async def _ask(self, endpoint: _Endpoint, batch: pa.RecordBatch, seconds: float, body: Body) -> np.ndarray:
        """Wait for the model; where others are before us, watch for our client leaving the queue."""
        work = endpoint.batcher.predict(batch, seconds)
        if not endpoint.batcher.busy:
            return await work
        answer, gone = asyncio.ensure_future(work), asyncio.ensure_future(body.gone())
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise refused("gone", "the client left the queue")
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()

    def _tell(self, route: Route) -> Answer:
        """Answer what needs no model run."""
        if route.kind == "live":
            return json_answer({"live": True})
        if route.kind == "metrics":
            return self.metrics.page()
        if route.kind == "server":
            about = {"name": "lineshaft", "version": installed_version("lineshaft"), "models": self.names}
            return json_answer(about | {"extensions": ["binary_tensor_data"]})
        if route.kind == "model":
            endpoint = self._endpoint(route)
            return json_answer(v2.metadata(endpoint.name, endpoint.version, endpoint.served))
        if route.kind == "model_ready":
            self._endpoint(route)
        if self.draining:
            raise refused("draining", "the server is stopping", "ask another replica", retry_after=1)
        return json_answer({"ready": True})

    def _endpoint(self, route: Route) -> _Endpoint:
        """Look a model up by its name, or by name and version; a name is a key here and nothing else."""
        if is_name(route.model) and (route.version is None or is_name(route.version)):
            name, at, tag = route.model.partition("@")
            version = route.version or tag or LIVE
            found = self._endpoints.get((name, version)) if not at or tag == version else None
            if found is not None:
                return found
        raise refused("unknown", "no model of that name and version is served here", "GET /v2 lists the models")

    def _add(self, name: str, served: Served) -> None:
        key = split_name(name)
        if key in self._endpoints:
            raise UsageError(f"{key[0]}@{key[1]} is given twice; serve each name once")
        batcher = Batcher(served.model, self.limits.queue_rows)
        batcher.ran = self.metrics.watch("@".join(key), lambda: batcher.waiting_rows)
        self._endpoints[key] = _Endpoint(*key, served, RowReader(served, self.limits), batcher)


def route_of(path: str) -> Route:
    """Say what a (percent-decoded) path asks for."""
    match path.split("/"):
        case ["", "healthz"] | ["", "v2", "health", "live"]:
            return Route("live")
        case ["", "readyz"] | ["", "v2", "health", "ready"]:
            return Route("ready")
        case ["", "metrics"]:
            return Route("metrics")
        case ["", "v2"]:
            return Route("server")
        case ["", "v1", "models", model, "predict"]:
            return Route("predict", model)
        case ["", "v2", "models", model, *rest]:
            return _model_route(model, rest)
        case _:
            return Route("unknown")


def _model_route(model: str, rest: list[str]) -> Route:
    kinds = {(): "model", ("ready",): "model_ready", ("infer",): "infer"}
    version = None
    if len(rest) >= 2 and rest[0] == "versions":
        version, rest = rest[1], rest[2:]
    kind = kinds.get(tuple(rest))
    return Route(kind, model, version) if kind is not None else Route("unknown")


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """Return a header's value, empty where it is absent; of several, all joined, which no check below accepts."""
    return b",".join(value for name, value in headers if name == wanted)

"""HTTP before it is a request: bounds on the head in bytes, headers and time, on open connections and on pipelining.

Uvicorn's parser accepts a head of any size that takes any time, and says what is not HTTP in plain text. This
subclass bounds both, and answers in the one JSON shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lineshaft.core.admit import Limits, Refusal
from lineshaft.serve.answer import refusal_answer

_PIPELINED = 16  # requests that one connection may send ahead of its answers


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Parameters
    ----------
    limits
        ``head``, ``headers``, ``head_seconds`` and ``connections`` apply here.
    refused
        Called with the code of each refusal.

    """

    def __init__(self, *args: Any, limits: Limits, refused: Callable[[str], None], **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits = limits
        self._count = refused
        self._in_head = True
        self._head_bytes = 0
        self._refusal: Refusal | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or say that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            most = self._limits.connections
            self._refuse(Refusal("connections", f"{most} connections are open already", "try again", retry_after=1))
            return
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._untime_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and bound what belongs to a head that is not complete yet."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            self._time_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > self._limits.head and not self.transport.is_closing():
            self._refuse(self._too_large(f"{self._head_bytes} bytes and no end"))

    def on_headers_complete(self) -> None:
        """Hold a complete head to the limits before it becomes a request."""
        self._in_head = False
        self._untime_head()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.head or len(self.headers) > self._limits.headers:
            self._stop(self._too_large(f"{size} bytes in {len(self.headers)} headers"))
        if len(self.pipeline) >= _PIPELINED:
            self._stop(Refusal("malformed", f"more than {_PIPELINED} requests at once", "wait for answers"))
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - its one text is for people
        """Answer what the parser stopped at."""
        fault = self._refusal or Refusal(
            "malformed", "this is not HTTP/1.1 that the server reads", "use an HTTP client"
        )
        self._refuse(fault)

    def _stop(self, refusal: Refusal) -> None:
        """Make the parser stop: it turns an error in a callback into `send_400_response`."""
        self._refusal = refusal
        raise ValueError(refusal.code)

    def _refuse(self, refusal: Refusal) -> None:
        self._untime_head()
        self._count(refusal.code)
        self.transport.write(refusal_answer(refusal).wire())
        self.transport.close()

    def _too_large(self, seen: str) -> Refusal:
        allowed = f"{self._limits.head} bytes in {self._limits.headers} headers"
        return Refusal("head_too_large", f"the request's head has {seen}, the limit is {allowed}", "send fewer headers")

    def _time_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_too_slow)

    def _untime_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        if not self.transport.is_closing():
            allowed = self._limits.head_seconds
            self._refuse(Refusal("timeout", f"no whole request head within {allowed:g} s", "send it at once"))

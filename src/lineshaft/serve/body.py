"""The body of one request: counted while it comes, never longer in memory or time than the limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.core.admit import Limits, refused

if TYPE_CHECKING:
    from lineshaft.errors import AdmissionError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Body:
    """Reads one request's body from ASGI messages.

    Parameters
    ----------
    headers
        Lower-case names and values; tell whether a body follows and how long it claims to be.
    receive
        The ASGI callable.
    limits
        ``body`` bytes in ``body_seconds``; ``linger_seconds`` for throwing away the rest.

    """

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, limits: Limits) -> None:
        names = {name: value for name, value in headers if name in {b"content-length", b"transfer-encoding", b"expect"}}
        self._stalled = b"expect" in names  # nothing comes before such a client is told to go on
        self._claimed = int(names.get(b"content-length", b"0"))  # the parser below has let digits only through
        self.ended = b"transfer-encoding" not in names and not self._claimed
        self._receive = receive
        self._limits = limits

    async def read(self) -> bytes:
        """Return the whole body.

        Raises
        ------
        AdmissionError
            ``too_large``: by its Content-Length, before a byte is read, or by what has come. ``timeout``: too slow.
            ``gone``: the client left.

        """
        if self._claimed > self._limits.body:
            raise self._too_large(f"{self._claimed} bytes announced")
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._gather()
        except TimeoutError as error:
            self._stalled = True
            allowed = self._limits.body_seconds
            raise refused("timeout", f"the body did not arrive within {allowed:g} s", "send faster, or less") from error

    async def discard(self) -> None:
        """Read on for a while and keep nothing, so that a client that is still sending gets to see its answer."""
        if self._stalled:
            return
        try:
            async with asyncio.timeout(self._limits.linger_seconds):
                while not self.ended:
                    message = await self._receive()
                    self.ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        except TimeoutError:
            return  # the caller sees that `ended` is false, and closes the connection

    async def gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _gather(self) -> bytes:
        chunk = await self._next()
        whole = bytearray(chunk)
        while True:
            self._bound(len(whole))
            if self.ended:
                return bytes(whole)
            whole += await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.ended = True
            raise refused("gone", "the client left before its body was complete")
        self._stalled = False
        self.ended = not message.get("more_body", False)
        content: bytes = message.get("body", b"")
        return content

    def _bound(self, size: int) -> None:
        if size > self._limits.body:
            raise self._too_large(f"more than {self._limits.body} bytes came")

    def _too_large(self, seen: str) -> AdmissionError:
        return refused(
            "too_large", f"the body is too large: {seen}, the limit is {self._limits.body}", "send fewer rows at once"
        )

"""What the server says: a status, a body and headers; every error in one JSON shape."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from lineshaft.core.admit import Refusal

# What each refusal's code means over HTTP; the codes are part of the interface, the messages are for people.
STATUS = {
    "malformed": 400,
    "token": 401,
    "host": 403,
    "origin": 403,
    "unknown": 404,
    "method": 405,
    "timeout": 408,
    "too_large": 413,
    "media_type": 415,
    "schema": 422,
    "head_too_large": 431,
    "gone": 499,
    "internal": 500,
    "queue_full": 503,
    "deadline": 503,
    "draining": 503,
    "connections": 503,
}

Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Answer:
    """One response.

    Attributes
    ----------
    status
        HTTP status code.
    body
        The bytes of the body.
    headers
        Headers besides the body's length; the content type among them.

    """

    status: int
    body: bytes
    headers: tuple[Header, ...] = ((b"content-type", b"application/json"),)

    def all_headers(self) -> list[Header]:
        """Return the headers as they are sent."""
        return [*self.headers, (b"content-length", str(len(self.body)).encode())]

    def wire(self) -> bytes:
        """Return the answer as HTTP/1.1 bytes that close the connection: for requests that are not HTTP at all."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in [*self.all_headers(), (b"connection", b"close")]]
        return b"\r\n".join([*lines, b"", self.body])


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return a value as JSON; numpy arrays are fine."""
    return Answer(status, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def refusal_answer(refusal: Refusal, allow: bytes = b"") -> Answer:
    """Return the one shape of every error: ``{"error": {"code", "message", "hint"}}``, and ``reasons`` if any.

    ``allow`` names the method that a refused one should have been.
    """
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
    if refusal.reasons:
        error["reasons"] = list(refusal.reasons)
    answer = json_answer({"error": error}, STATUS[refusal.code])
    extra: list[Header] = []
    if refusal.retry_after is not None:
        extra.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.code == "token":
        extra.append((b"www-authenticate", b"Bearer"))
    if allow:
        extra.append((b"allow", allow))
    return Answer(answer.status, answer.body, (*answer.headers, *extra))

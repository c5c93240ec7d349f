"""What may come in from outside: limits with defaults, and bytes that become values only inside them.

::

    bytes ──size──► depth, values ──► strict parse ──► no key twice ──► value
            413         413              400               400

The bounds on nesting and on the number of values are checked on the bytes, before anything is built from them.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineshaft.errors import AdmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

MiB = 1 << 20

_WORD = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"(?=.{{1,64}}\Z){_WORD}(?:@{_WORD})?\Z")
# Possessive, and an unclosed string goes to the end: no byte is looked at twice, whatever is sent.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_STRUCTURE = b"[]{}:,"
_NOT_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))


@dataclass(frozen=True)
class Limits:
    """Bounds on everything that a stranger can send.

    Attributes
    ----------
    body, head
        Bytes of one request's body; of its request line and headers together.
    headers
        Number of headers.
    rows, values, string, depth
        Rows per request; values (numbers, strings, brackets) per body; characters per string; nesting of the JSON.
    queue_rows
        Rows that may wait for the model before requests are refused.
    connections
        Open connections; a further one is told so and closed.
    head_seconds, body_seconds, request_seconds
        Time to send the head; to send the body; from there to the answer.
    linger_seconds
        How long the rest of a refused body is read and thrown away, so that its sender sees the answer.
    drain_seconds
        Time to finish what is queued after the server was told to stop.

    """

    body: int = 8 * MiB
    head: int = 16 * 1024
    headers: int = 100
    rows: int = 1024
    values: int = 1_000_000
    string: int = 256 * 1024
    depth: int = 16
    queue_rows: int = 8192
    connections: int = 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    request_seconds: float = 30.0
    linger_seconds: float = 5.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"the limit {name} must be above 0, not {value}; raise it to what you expect at most")
        if self.queue_rows < self.rows:
            raise UsageError(
                f"queue_rows={self.queue_rows} is below rows={self.rows}: the largest request could never be queued; "
                "raise queue_rows or lower rows"
            )


@dataclass(frozen=True)
class Refusal:
    """Why something from outside was not let in: the argument of the `AdmissionError` that carries it.

    Attributes
    ----------
    code
        A word for programs: malformed, too_large, schema, token, ...
    message
        What happened, with the two values that disagree.
    hint
        What to do next.
    reasons
        One plain mapping per fault found, all at once.
    retry_after
        Seconds after which trying again makes sense; None where it never will.

    """

    code: str
    message: str
    hint: str = ""
    reasons: tuple[Mapping[str, Any], ...] = ()
    retry_after: int | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def refused(
    code: str,
    message: str,
    hint: str = "",
    reasons: tuple[Mapping[str, Any], ...] = (),
    retry_after: int | None = None,
) -> AdmissionError:
    """Return the error that says no, for the caller to raise."""
    return AdmissionError(Refusal(code, message, hint, reasons, retry_after))


def refusal_of(error: AdmissionError) -> Refusal:
    """Return what an `AdmissionError` carries; one raised with plain text counts as malformed input."""
    first = error.args[0] if error.args else "the input was refused"
    return first if isinstance(first, Refusal) else Refusal("malformed", str(first))


def is_name(text: str) -> bool:
    """Tell whether a text may name a model, ``@version`` or not. Names are looked up, never joined to a path."""
    return _NAME.match(text) is not None


def admit_json(content: bytes, limits: Limits) -> Any:
    """Parse JSON from outside: UTF-8, no NaN or Infinity, no key twice in one object, within the limits.

    Integers beyond 64 bits come back as floats, so that a column of integers refuses them.

    Raises
    ------
    AdmissionError
        ``too_large``: more bytes, values or levels than the limits allow. ``malformed``: not strict JSON.

    """
    import orjson

    if len(content) > limits.body:
        raise refused(
            "too_large",
            f"the JSON has {len(content)} bytes, the limit is {limits.body}",
            "send fewer rows at once",
        )
    _bound_structure(content, limits)
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise refused("malformed", f"not strict JSON: {error}", "send UTF-8 JSON without NaN or Infinity") from error
    if content.count(b":") != _keys_in(value, content.count(b"{")):
        _refuse_repeated_keys(content, value)
    return value


def _bound_structure(content: bytes, limits: Limits) -> None:
    """Check nesting and number of values on the bytes. Small bodies pass on a count that is an upper bound of both."""
    opened = content.count(b"[") + content.count(b"{")
    if opened <= limits.depth and opened + content.count(b",") <= limits.values:
        return
    skeleton = _skeleton(content)
    values = sum(skeleton.count(mark) for mark in (b"[", b"{", b","))
    if values > limits.values:
        raise refused(
            "too_large", f"the JSON holds more than {limits.values} values ({values})", "send fewer rows at once"
        )
    depth = _depth(skeleton)
    if depth > limits.depth:
        raise refused("too_large", f"the JSON is nested {depth} deep, the limit is {limits.depth}", "send flat rows")


def _skeleton(content: bytes) -> bytes:
    """Return only the brackets, colons and commas that stand outside strings."""
    return _STRING.sub(b"", content).translate(None, _NOT_STRUCTURE)


def _depth(skeleton: bytes) -> int:
    import numpy as np

    marks = np.frombuffer(skeleton, dtype=np.uint8)
    steps = np.isin(marks, (0x5B, 0x7B)).astype(np.int32) - np.isin(marks, (0x5D, 0x7D)).astype(np.int32)
    return int(np.cumsum(steps).max(initial=0))


def _keys_in(value: Any, objects: int) -> int:
    """Count the entries of all objects in a parsed value; stop when as many objects were seen as the text can hold."""
    total, seen, todo = 0, 0, deque([value])
    while todo and seen < objects:
        item = todo.popleft()
        if type(item) is dict:
            seen += 1
            total += len(item)
            todo.extend(child for child in item.values() if type(child) in {dict, list})
        elif type(item) is list:
            todo.extend(child for child in item if type(child) in {dict, list})
    return total


def _refuse_repeated_keys(content: bytes, value: Any) -> None:
    """Compare again without the colons inside strings: a key that stands twice leaves one colon too many."""
    skeleton = _skeleton(content)
    written, kept = skeleton.count(b":"), _keys_in(value, skeleton.count(b"{"))
    if written != kept:
        raise refused(
            "malformed",
            f"a key stands twice in one JSON object ({written} keys written, {kept} different)",
            "send each key once",
        )

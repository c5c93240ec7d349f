"""What commands print: words for people on the terminal, one JSON document as the last line where asked for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any, TextIO

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document as the last line.")]


def say(text: str) -> None:
    """Print text for people."""
    from lineshaft.core.bars import printable

    _print(printable(text), sys.stdout)


def document(value: Any, to: TextIO | None = None) -> None:
    """Print the JSON document that ``--json`` asks for.

    What JSON has no word for is written as in protobuf's JSON: dates and times in ISO 8601, bytes in base64, numbers
    that are not finite as ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """
    import json

    _print(json.dumps(_plain(value), sort_keys=True, allow_nan=False), to or sys.stdout)


@contextlib.contextmanager
def own_output(*, alone: bool) -> Iterator[TextIO]:
    """Yield standard output; where the document is to be alone there, what scripts print goes to standard error."""
    mine = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if alone else contextlib.nullcontext():
        yield mine


def finish(*, yes: bool) -> None:
    """Leave with 1 where the answer is no."""
    if not yes:
        raise SystemExit(1)


def _print(text: str, to: TextIO) -> None:
    try:
        print(text, file=to, flush=True)
    except BrokenPipeError:  # the reader has gone (`| head`): nobody wants the rest, and the exit code stays true
        os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())


def _plain(value: Any) -> Any:
    """Turn a value into what JSON has words for."""
    import base64
    import datetime as dt
    import math

    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

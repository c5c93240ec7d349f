"""What commands print: words for people on the terminal, one JSON document as the last line where asked for."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document as the last line.")]


def say(text: str) -> None:
    """Print a line for people."""
    print(text)


def document(value: Any) -> None:
    """Print the JSON document that ``--json`` asks for."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True))


def finish(*, yes: bool) -> None:
    """Leave with 1 where the answer is no."""
    sys.stdout.flush()
    if not yes:
        raise typer.Exit(1)

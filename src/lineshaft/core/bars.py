"""Bars for long work in a terminal, from the events that report it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lineshaft.core.events import Event, heard, listening

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed: they can rewrite a terminal


def printable(text: str) -> str:
    """Show control characters instead of obeying them: column names and data come from anywhere."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Bars:
    """One bar for each piece of work under way, on standard error; none where nobody watches."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def hear(self, event: Event) -> None:
        """Move a bar."""
        kind, facts = event.kind, event.facts
        name = facts.get("name", "")
        if kind == "progress.begin" and sys.stderr.isatty():
            self._bars[name] = self._open().add_task(printable(name), total=facts["total"], note="")
        elif kind == "progress.advance" and name in self._bars:
            note = printable(facts.get("note", ""))
            self._open().update(self._bars[name], advance=facts["amount"], note=note)
        elif kind == "progress.end" and name in self._bars:
            self._open().remove_task(self._bars.pop(name))

    def say(self, text: str) -> None:
        """Write a line, above the bars where there are any."""
        if self._progress is not None:
            self._progress.console.out(printable(text), highlight=False)  # neither wrapped nor styled
        else:
            print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal

    def close(self) -> None:
        """Take the bars away."""
        if self._progress is not None:
            self._progress.stop()

    def _open(self) -> Progress:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                transient=True,
                # What a script prints belongs on standard output, unless that is the very terminal with the bars.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._progress.start()
        return self._progress


@contextmanager
def watched() -> Iterator[None]:
    """Show bars for the work inside the block, where a person watches and nobody else shows them."""
    if heard() or not sys.stderr.isatty():
        yield
        return
    bars = Bars()
    try:
        with listening(bars.hear):
            yield
    finally:
        bars.close()

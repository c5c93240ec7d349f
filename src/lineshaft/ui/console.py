"""The terminal while a run goes on: a line per step, a bar for long work, on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lineshaft.core.events import Event

Facts = Mapping[str, Any]
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed: they can rewrite a terminal


def printable(text: str) -> str:
    """Show control characters instead of obeying them: column names and data come from anywhere."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class Console:
    """Shows events as they come.

    Parameters
    ----------
    quiet
        Show nothing.

    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._reused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_reused()
        if self._progress is not None:
            self._progress.stop()

    def hear(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if event.kind == "step.reused":
            self._reused += 1
        elif event.kind.startswith("progress."):
            self._advance(event.kind, event.facts)
        elif event.kind in _SENTENCES:
            self._tell_reused()
            self._say(_SENTENCES[event.kind](event.facts))

    def _advance(self, kind: str, facts: Facts) -> None:
        """Move a bar; there are none where nobody watches."""
        name = facts["name"]
        if kind == "progress.begin" and sys.stderr.isatty():
            self._bars[name] = self._bar().add_task(printable(name), total=facts["total"])
        elif kind == "progress.advance" and name in self._bars:
            self._bar().advance(self._bars[name], facts["amount"])
        elif kind == "progress.end" and name in self._bars:
            self._bar().remove_task(self._bars.pop(name))

    def _bar(self) -> Progress:
        if self._progress is None:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Terminal(stderr=True),
                transient=True,
                # What a script prints belongs on standard output, unless that is the very terminal with the bars.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._progress.start()
        return self._progress

    def _tell_reused(self) -> None:
        if self._reused:
            self._say(f"  {self._reused} step{'' if self._reused == 1 else 's'} reused")
        self._reused = 0

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.out(printable(text), highlight=False)  # above the bars, neither wrapped nor styled
        else:
            print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal


def _report(facts: Facts) -> str:
    from lineshaft.release.evaluate import SHOWN, shown

    width = max(map(len, facts["reports"]), default=0) + 2
    lines = [f"\n{facts['title']}", f"{'':{width}}" + "".join(f"{name:>23}" for name in SHOWN)]
    for name, metrics in facts["reports"].items():
        lines.append(f"{name:{width}}" + "".join(f"{shown(metrics[key]):>23}" for key in SHOWN))
    return "\n".join(lines)


_SENTENCES = {
    "step.executed": lambda f: f"  {f['step']}  {f['seconds']:.2f} s",
    "object.damaged": lambda f: f"  {f['object']} of step {f['step']} is missing or damaged: made anew",
    "lease.lost": lambda f: f"  {f['step']}: {f['reason']}",
    "anomaly": lambda f: f"  {f['severity']} in {f['part']}: {f['column'] or 'data set'}: {f['reason']}",
    "source.failed": lambda f: f"  {f['reason']}",
    "schema.written": lambda f: f"  wrote {f['file']}: read it, edit it, commit it",
    "checkpoint.damaged": lambda f: f"  checkpoint {f['file']} is set aside: {f['reason']}",
    "training.diverged": lambda f: f"  a candidate is out of the search: {f['reason']}",
    "model.published": lambda f: f"  published {f['name']} -> {f['digest'][:12]}",
    "model.unchanged": lambda f: f"  {f['name']} is {f['digest'][:12]} already",
    "report": _report,
}

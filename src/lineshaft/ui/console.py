"""The terminal while a run goes on: a line per step, a bar for long work, on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lineshaft.core.events import Event


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
            return
        show = getattr(self, f"_{event.kind.replace('.', '_')}", None)
        if show is not None:
            if not event.kind.startswith("progress."):
                self._tell_reused()
            show(event.facts)

    def _step_executed(self, facts: dict[str, Any]) -> None:
        self._say(f"  {facts['step']}  {facts['seconds']:.2f} s")

    def _object_damaged(self, facts: dict[str, Any]) -> None:
        self._say(f"  {facts['object']} of step {facts['step']} is missing or damaged: made anew")

    def _lease_lost(self, facts: dict[str, Any]) -> None:
        self._say(f"  {facts['step']}: {facts['reason']}")

    def _anomaly(self, facts: dict[str, Any]) -> None:
        self._say(f"  {facts['severity']} in {facts['part']}: {facts['column'] or 'data set'}: {facts['reason']}")

    def _schema_written(self, facts: dict[str, Any]) -> None:
        self._say(f"  wrote {facts['file']}: read it, edit it, commit it")

    def _model_published(self, facts: dict[str, Any]) -> None:
        self._say(f"  published {facts['name']} -> {facts['digest'][:12]}")

    def _model_unchanged(self, facts: dict[str, Any]) -> None:
        self._say(f"  {facts['name']} is {facts['digest'][:12]} already")

    def _report(self, facts: dict[str, Any]) -> None:
        shown = ("accuracy", "f1", "log_loss", "ece")
        self._say(f"\n{facts['title']}\n{'':28}" + "".join(f"{name:>24}" for name in shown))
        for name, metrics in facts["reports"].items():
            cells = (f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]" for m in (metrics[key] for key in shown))
            self._say(f"{name:28}" + "".join(f"{cell:>24}" for cell in cells))

    def _progress_begin(self, facts: dict[str, Any]) -> None:
        if sys.stderr.isatty():
            self._bars[facts["name"]] = self._bar().add_task(facts["name"], total=facts["total"])

    def _progress_advance(self, facts: dict[str, Any]) -> None:
        if facts["name"] in self._bars:
            self._bar().advance(self._bars[facts["name"]], facts["amount"])

    def _progress_end(self, facts: dict[str, Any]) -> None:
        if facts["name"] in self._bars:
            self._bar().remove_task(self._bars.pop(facts["name"]))

    def _bar(self) -> Progress:
        if self._progress is None:
            from rich.console import Console as Terminal
            from rich.progress import Progress

            self._progress = Progress(console=Terminal(stderr=True), transient=True)
            self._progress.start()
        return self._progress

    def _tell_reused(self) -> None:
        if self._reused and not self._quiet:
            self._say(f"  {self._reused} steps reused")
        self._reused = 0

    def _say(self, line: str) -> None:
        if self._progress is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal

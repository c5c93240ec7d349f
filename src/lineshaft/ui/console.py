"""The terminal while a run goes on: a line per step, a bar for long work, on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lineshaft.core.bars import Bars

if TYPE_CHECKING:
    from lineshaft.core.events import Event

Facts = Mapping[str, Any]


class Console:
    """Shows events as they come.

    Parameters
    ----------
    quiet
        Show nothing.

    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars = Bars()
        self._reused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_reused()
        self._bars.close()

    def hear(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if event.kind == "step.reused":
            self._reused += 1
        elif event.kind.startswith("progress."):
            self._bars.hear(event)
        elif event.kind in _SENTENCES:
            self._tell_reused()
            self._bars.say(_SENTENCES[event.kind](event.facts))

    def _tell_reused(self) -> None:
        if self._reused:
            self._bars.say(f"  {self._reused} step{'' if self._reused == 1 else 's'} reused")
        self._reused = 0


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
    "checkpoint.damaged": lambda f: f"  checkpoint {f['file']} is passed over: {f['reason']}",
    "training.diverged": lambda f: f"  a candidate is out of the search: {f['reason']}",
    "model.published": lambda f: f"  published {f['name']} -> {f['digest'][:12]}",
    "model.unchanged": lambda f: f"  {f['name']} is {f['digest'][:12]} already",
    "report": _report,
}

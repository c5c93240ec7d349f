"""Commands about runs: run, why, runs, lineage, report."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lineshaft.cli.outcome import reported
from lineshaft.cli.output import AsJson, document, own_output, say
from lineshaft.errors import LineshaftError, UsageError

if TYPE_CHECKING:
    from lineshaft.run.facade import Run

Script = Annotated[Path, typer.Argument(help="A Python file with a function main(run).", metavar="FILE.py")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(reported(run))
    app.command("why")(reported(why))
    app.command("runs")(reported(runs))
    app.command("lineage")(reported(lineage))
    app.command("report")(reported(report))


def run(
    file: Script,
    workers: Annotated[int, typer.Option(help="Processes for independent steps; 0: this one.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the run as one HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a script; what is known already is reused."""
    from lineshaft.core import script
    from lineshaft.core.engine import InProcess, LocalProcesses
    from lineshaft.core.events import listening
    from lineshaft.core.session import Session
    from lineshaft.run.facade import Run
    from lineshaft.ui.console import Console

    started = time.perf_counter()
    with own_output(alone=as_json), Console(quiet=as_json) as console, listening(console.hear):
        main = _main_of(script.load(file), file)
        engine = LocalProcesses(workers) if workers else None
        current = Run(file.name, engine=engine or InProcess())
        try:
            with engine or contextlib.nullcontext(), current:
                main(current)
        except BaseException:  # a run that failed, or was refused, has a page too
            with contextlib.suppress(LineshaftError):
                _write(report, current)
            raise
        _write(report, current)
    session = current.session
    assert isinstance(session, Session)  # noqa: S101 - only dry runs have another
    seconds = round(time.perf_counter() - started, 3)
    counts = {"steps": session.executed + session.reused, "executed": session.executed, "reused": session.reused}
    if as_json:
        document({"run": current.id, **counts, "seconds": seconds})
        return
    if report is not None:
        say(f"report: {report}")
    told = f"{counts['steps']} steps, {session.executed} executed, {session.reused} reused"
    say(f"{file.name}: {told}, {seconds:.1f} s")


def why(
    file: Script,
    step: Annotated[str | None, typer.Argument(help="Only steps whose name contains this.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which steps of a script would run, and what changed; computes nothing."""
    from lineshaft.core import script
    from lineshaft.core.dry import DrySession
    from lineshaft.run.facade import Run
    from lineshaft.run.handles import DryRunEnd

    with own_output(alone=as_json):
        main = _main_of(script.load(file), file)
        current = Run(file.name, dry=True)
        session = current.session
        assert isinstance(session, DrySession)  # noqa: S101 - dry=True was given
        end = ""
        with current:
            try:
                main(current)
            except DryRunEnd as reached:
                end = str(reached)
    reasons = [reason for reason in session.reasons if step is None or step in reason.step]
    if step is not None and not reasons:
        known = ", ".join(dict.fromkeys(reason.step for reason in session.reasons)) or "no steps"
        raise UsageError(f"no step of {file.name} is called {step!r}; it has {known}")
    if as_json:
        told = [{"step": r.step, "verdict": r.verdict, "changes": list(r.changes)} for r in reasons]
        document({"steps": told, "end": end})
        return
    for reason in reasons:
        if reason.verdict != "reused" or step is not None:
            say(str(reason))
    reused = sum(reason.verdict == "reused" for reason in reasons)
    say(f"{reused} of {len(reasons)} steps would be reused{f'; {end}' if end else ''}")


def runs(
    limit: Annotated[int, typer.Option(help="How many of the latest.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs."""
    from lineshaft.core.home import Home
    from lineshaft.run.record import latest

    found = latest(Home(), limit)
    if as_json:
        document({"runs": found})
        return
    for row in found:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["started"]))
        counts = f"{row['executed']} executed, {row['reused']} reused"
        say(f"{row['run']}  {began}  {row['status']:11}  {row['script']}  {counts}")


def lineage(
    name: Annotated[
        str, typer.Argument(help="A published name, a digest, or a function's name.", metavar="NAME_OR_DIGEST")
    ],
    as_json: AsJson = False,
) -> None:
    """Show what something was made of and, for a digest or a function, what was made of it."""
    from lineshaft.core.home import Home
    from lineshaft.core.lineage import lineage as trace
    from lineshaft.ui.tree import draw

    graph = trace(Home().catalog, name)
    if as_json:
        document(graph.as_json())
    else:
        say(draw(graph))


def report(
    run: Annotated[str | None, typer.Argument(help="A run's id or its beginning; default: the latest.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Write a run, however old, as one HTML page."""
    from lineshaft.core.home import Home
    from lineshaft.run.record import latest
    from lineshaft.ui.report import write_report

    home = Home()
    known = [row["run"] for row in latest(home, limit=sys.maxsize)]
    found = known[:1] if run is None else [name for name in known if name.startswith(run)]
    if not found:
        raise UsageError(f"there is no run {run or 'yet'}; there are {', '.join(known[:5]) or 'none'}")
    if len(found) > 1:
        raise UsageError(f"{run!r} begins {len(found)} runs: {', '.join(found[:5])}; give more of it")
    write_report(home, found[0], out)
    if as_json:
        document({"run": found[0], "report": str(out)})
    else:
        say(f"run {found[0]}: {out}")


def _write(path: Path | None, run: Run) -> None:
    if path is not None:
        from lineshaft.ui.report import write_report

        write_report(run.home, run.id, path)


def _main_of(module: Any, file: Path) -> Any:
    main = getattr(module, "main", None)
    if main is None:
        raise UsageError(f"{file.name} has no function main(run) to run")
    return main

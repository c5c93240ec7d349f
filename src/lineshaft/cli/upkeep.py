"""Commands that look after a home: gc, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from lineshaft.cli.outcome import reported
from lineshaft.cli.output import AsJson, document, finish, say


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("gc")(reported(gc))
    app.command("doctor")(reported(doctor))


def gc(
    keep_runs: Annotated[int, typer.Option(help="Runs of each script to keep.", min=1)] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what neither a published name nor a kept run reaches."""
    from lineshaft.core.gc import sweep
    from lineshaft.core.home import Home

    swept = sweep(Home(), keep_runs, dry_run=dry_run)
    if as_json:
        document({"runs": swept.runs, "objects": swept.objects, "bytes": swept.bytes, "kept": swept.kept})
    else:
        word = "would remove" if dry_run else "removed"
        gone = f"{swept.runs} runs and {swept.objects} objects ({swept.bytes / 1e6:.1f} MB)"
        say(f"{word} {gone}; {swept.kept} objects stay")


def doctor(as_json: AsJson = False) -> None:
    """Verify the catalog and every object; exit code 1 where something is wrong."""
    from lineshaft.core.doctor import examine
    from lineshaft.core.home import Home

    faults = examine(Home())
    if as_json:
        document({"faults": faults})
    else:
        say("\n".join(faults) or "all is well: the catalog is sound and every object matches its name")
    finish(yes=not faults)

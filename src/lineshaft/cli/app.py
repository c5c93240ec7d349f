"""The ``lineshaft`` command: its groups, and the options that belong to no command."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from lineshaft import __version__
from lineshaft.cli import data, release, runs, upkeep

app = typer.Typer(
    name="lineshaft",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (runs, data, release, upkeep):
    part.add_to(app)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"lineshaft {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """From raw, unlabelled data to a served model, on one shaft."""
    del version  # its callback has done what it asks for


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter still shows the rest
    app(prog_name="lineshaft")

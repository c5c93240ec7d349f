"""The ``lineshaft`` command: its groups, and how errors become exit codes.

Exit codes: 0 fine, 1 the answer is no (anomalies, not blessed), 2 wrong use, 3 failed.
"""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

import typer

from lineshaft.cli import data, release, runs, upkeep
from lineshaft.errors import LineshaftError

app = typer.Typer(
    name="lineshaft",
    help="From raw, unlabelled data to a served model, on one shaft.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (runs, data, release, upkeep):
    part.add_to(app)


class _Reported:
    """Says what went wrong and leaves with the exit code for it; the user's own errors keep their traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        if isinstance(error, KeyboardInterrupt):
            print("interrupted; run again to go on", file=sys.stderr)
            raise SystemExit(130) from None
        if isinstance(error, LineshaftError):
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        traceback.print_exception(kind, error, trace)
        raise SystemExit(3) from None


def main() -> None:
    """Run the command line."""
    with _Reported():
        app()

"""How a command ends: errors become one line on standard error and an exit code.

Exit codes: 0 fine, 1 the answer is no (anomalies, not blessed), 2 wrong use, 3 failed, 130 interrupted. Only errors of
the user's own code come with a traceback, and that begins where their code does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ParamSpec

from lineshaft.errors import LineshaftError, StepFailed

FAILED, INTERRUPTED = 3, 130
P = ParamSpec("P")


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end as said above, before the command-line library takes errors for its own."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            tell("interrupted; run again to go on")
            raise SystemExit(INTERRUPTED) from None
        except SystemExit as left:
            if isinstance(left.code, str):  # `sys.exit("why")` in a script: its words, but it is no answer "no"
                tell(left.code)
                raise SystemExit(FAILED) from None
            raise
        except LineshaftError as error:
            if isinstance(error, StepFailed) and error.__cause__ is not None and _theirs(error.__cause__):
                _show(error.__cause__)
            tell(f"{type(error).__name__}: {error}{_place(error)}")
            raise SystemExit(error.exit_code) from None
        except Exception as error:  # noqa: BLE001 - the border to the user's script, which may raise anything
            _show(error)
            raise SystemExit(FAILED) from None

    return run


def tell(text: str) -> None:
    """Print a line on standard error."""
    from lineshaft.core.bars import printable

    print(printable(text), file=sys.stderr, flush=True)


def _place(error: BaseException) -> str:
    """Say which line of the user's code met the error, if one did and the error does not say so itself."""
    frames = [] if isinstance(error, StepFailed) else _theirs(error)
    if not frames:
        return ""
    return f" ({Path(frames[-1].tb_frame.f_code.co_filename).name}, line {frames[-1].tb_lineno})"


def _show(error: BaseException) -> None:
    """Print an error with its traceback from the first line of the user's code on, or whole where it is all ours."""
    import traceback

    frames = _theirs(error)
    outside = None if isinstance(error, SyntaxError) else error.__traceback__  # a script that never began has no frames
    traceback.print_exception(type(error), error, frames[0] if frames else outside)


def _theirs(error: BaseException) -> list[TracebackType]:
    """Return the part of the traceback that is in the user's code."""
    from lineshaft.core.owner import owner_of_file

    ours = f"{Path(__file__).parents[1]}/"
    found, trace = [], error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((ours, "<")) and owner_of_file(file) is None:
            found.append(trace)
        trace = trace.tb_next
    return found

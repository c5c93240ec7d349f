"""Ctrl-C between steps: the step under way ends first, so that its state can be kept; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Held:
    """Where an interrupt waits for the end of the block.

    Attributes
    ----------
    whole
        Whether no block was left before its end: the state is that between two steps.

    """

    def __init__(self) -> None:
        self.whole, self._asked = True, False

    def __enter__(self) -> None:
        self.whole = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.whole = error is None
        if error is None and self._asked:
            raise KeyboardInterrupt

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del number, frame
        if self.whole or self._asked:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def interrupts() -> Iterator[Held]:
    """Let Ctrl-C wait for the end of held blocks, where this is the main thread and nobody else handles it."""
    held = Held()
    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, held.ask)
    try:
        yield held
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

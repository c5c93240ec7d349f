"""Numbers written in text: which strings read as a 64-bit integer or as a finite number.

One function per type, used by statistics, the batch check and the request check, so that they cannot disagree.
Blanks, underscores, other alphabets' digits, ``inf`` and ``nan`` are not numbers here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

_INT = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


def parse_int(text: str) -> int | None:
    """Read a signed 64-bit integer; None if the text is not one."""
    if not _INT.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def parse_float(text: str) -> float | None:
    """Read a finite float; None if the text is not one."""
    if not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


PARSERS: dict[str, Callable[[str], int | float | None]] = {"int": parse_int, "float": parse_float}

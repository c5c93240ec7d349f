"""What a vote or a gold label may be called: a class by its name, by its number, or no class at all."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lineshaft.collect.fuse.checks import ABSTAIN, MAX_CLASSES


def class_number(label: Any, classes: Sequence[str] | None) -> int:
    """Turn a class name or number into its number; None and -1 are abstain.

    Raises
    ------
    ValueError
        It names no class.

    """
    if label is None:
        return ABSTAIN
    if isinstance(label, str):
        if classes is None:
            raise ValueError(f"the class name {label!r} needs classes=[...] to give it a number")
        if label not in classes:
            raise ValueError(f"{label!r} is not one of the classes {', '.join(map(str, classes))}")
        return list(classes).index(label)
    number = _number(label)
    most = MAX_CLASSES if classes is None else len(classes)
    if number is None or not ABSTAIN <= number < most:
        among = f" among {most} classes" if classes is not None else ""
        raise ValueError(f"{label!r} is no vote{among}; return a class name, its number, or ABSTAIN")
    return number


def _number(label: Any) -> int | None:
    """Read an integer; a boolean is none, since True as class 1 is more often a slip than meant."""
    if isinstance(label, (bool, np.bool_)):
        return None
    try:
        return operator.index(label)
    except TypeError:
        return None

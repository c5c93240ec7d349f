"""What a vote or a gold label may be called: a class by its name, by its number, or no class at all."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lineshaft.collect.fuse.checks import ABSTAIN, MAX_CLASSES
from lineshaft.core.task import ClassNumber


def class_number(label: Any, classes: Sequence[str] | None) -> int:
    """Turn a class name or number into its number; None and -1 are abstain.

    Where class names look like integers, an integer could be a name or a number. It is refused unless both readings
    are the same class, as with the names "0" and "1".

    Raises
    ------
    ValueError
        It names no class, or could name two.

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
    if number is not None and classes is not None and not isinstance(label, ClassNumber):
        _refuse_ambiguous(number, tuple(classes))
    most = MAX_CLASSES if classes is None else len(classes)
    if number is None or not ABSTAIN <= number < most:
        among = f" among {most} classes" if classes is not None else ""
        raise ValueError(f"{label!r} is no vote{among}; return a class name, its number, or ABSTAIN")
    return number


def _refuse_ambiguous(number: int, classes: tuple[str, ...]) -> None:
    """Refuse an integer that may be meant as a class name where it would be taken as another class's number."""
    values = _values(classes)
    if number == ABSTAIN and ABSTAIN not in values:
        return
    if any(value is not None and value != place for place, value in enumerate(values)):
        names = ", ".join(map(repr, classes))
        abstain = ", or None to abstain" if number == ABSTAIN else ""
        raise ValueError(
            f"the integer {number} could be a class name or a class number among the classes {names}; "
            f"return the class name, a string{abstain}"
        )


@lru_cache(maxsize=64)
def _values(classes: tuple[str, ...]) -> tuple[int | None, ...]:
    """Read each class name as an integer; None where it does not look like one."""

    def value(name: str) -> int | None:
        try:
            return int(float(name)) if float(name).is_integer() else None
        except ValueError:
            return None

    return tuple(value(str(name)) for name in classes)


def _number(label: Any) -> int | None:
    """Read an integer; a boolean is none, since True as class 1 is more often a slip than meant."""
    if isinstance(label, (bool, np.bool_)):
        return None
    try:
        return operator.index(label)
    except TypeError:
        return None

"""A task says what is to be told apart: a name, the classes, and the column where experts wrote the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lineshaft.errors import DataError, UsageError


class ClassNumber(int):
    """A class number that `Task.encode` gave: no integer of the data, so that it is never taken for a class name."""


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes
    ----------
    name
        What the label means, for people.
    classes
        The class names, strings, in the order of the model's outputs; class c of a vote or a target is ``classes[c]``.
    gold
        Column with expert labels (null where no expert looked). It is never an input of a model.

    """

    name: str
    classes: tuple[str, ...]
    gold: str | None = None

    def __init__(self, name: str, classes: Sequence[str], gold: str | None = None) -> None:
        if other := [item for item in classes if not isinstance(item, str)]:
            raise UsageError(
                f"task {name!r}: the class {other[0]!r} is of type {type(other[0]).__name__}, class names are strings; "
                f"write {str(other[0])!r}, and let votes and gold say the same"
            )
        if isinstance(classes, str) or len(classes) < 2 or len(set(classes)) != len(classes):
            raise UsageError(f"a task needs two or more different class names, got {classes!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "classes", tuple(classes))
        object.__setattr__(self, "gold", gold)

    def index(self, label: object) -> ClassNumber:
        """Return the number of a class, -1 for None; refuse a name that is not one of the classes."""
        if label is None:
            return ClassNumber(-1)
        if isinstance(label, str) and label in self.classes:
            return ClassNumber(self.classes.index(label))
        names = ", ".join(map(repr, self.classes))
        if isinstance(label, str):
            raise DataError(f"{label!r} is not a class of task {self.name!r}: {names}")
        raise DataError(
            f"{label!r} is of type {type(label).__name__}, and the classes of task {self.name!r} are the strings "
            f"{names}; turn the column into text"
        )

    def encode(self, labels: Iterable[Any]) -> list[ClassNumber]:
        """Turn class names (None: unknown) into class numbers (-1: unknown)."""
        return [self.index(label) for label in labels]

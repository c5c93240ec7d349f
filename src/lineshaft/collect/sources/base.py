"""What every source of votes has, and how it votes on a table: chunk by chunk, its faults its own."""

from __future__ import annotations

import inspect
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.classes import class_number
from lineshaft.collect.fuse.checks import ABSTAIN, KINDS
from lineshaft.collect.votes import EXAMPLES, Faults, SourceInfo, Votes
from lineshaft.core.table import ROW_ID, Table
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.core.fingerprint import Fingerprint

_MESSAGE = 200  # characters of an error that are kept
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")

Label = str | int


@dataclass(frozen=True)
class Ballot:
    """The votes of one source on the rows of one batch.

    Attributes
    ----------
    row, vote, confidence
        Row number in the batch, class number, probability (None: no soft votes).
    faults
        Row number and error of each row that failed.

    """

    row: npt.NDArray[np.int64]
    vote: npt.NDArray[np.int16]
    confidence: npt.NDArray[np.float32] | None = None
    faults: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, repr=False)
class Source(ABC):
    """A source of votes: plain state, so that it can be named by what it is.

    Attributes
    ----------
    name
        Unique among the sources applied together.
    kind
        rule, model, person or expert: it decides what an abstain means in fusion.
    reads
        The columns it reads; None: it may read any.
    where
        ``file.py:line`` of its definition, for people; no part of what it means.

    """

    name: str
    kind: str
    reads: tuple[str, ...] | None
    where: str = field(default="", compare=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"a source needs a name, got {self.name!r}")
        if self.kind not in KINDS:
            raise UsageError(f"source {self.name}: {self.kind!r} is not a kind of source; kinds are {', '.join(KINDS)}")

    @abstractmethod
    def ballot(self, batch: pa.RecordBatch, classes: Sequence[str] | None) -> Ballot:
        """Vote on the rows of one batch."""

    def vote(self, table: Table, classes: Sequence[str] | None = None) -> Votes:
        """Vote on every row of a table.

        Raises
        ------
        DataError, ExpressionError
            A column is missing or of the wrong type.
        UsageError
            The label is not one of ``classes``.

        """
        for column in self.reads or ():
            if column not in table.arrow.column_names:
                there = ", ".join(table.columns)
                raise DataError(f"source {self.name} reads {column!r}, which is not a column; there are: {there}")
        parts = [
            self.counted(batch.column(ROW_ID).to_pylist(), self.ballot(batch, classes), classes)
            for batch in table.arrow.to_batches()
        ]
        nothing = self.counted([], Ballot(np.empty(0, np.int64), np.empty(0, np.int16)), classes)
        return Votes.concat(parts or [nothing])

    def counted(self, row_ids: Sequence[str], ballot: Ballot, classes: Sequence[str] | None) -> Votes:
        """Turn a ballot into votes of this one source."""
        examples = tuple((row_ids[row], message) for row, message in ballot.faults[:EXAMPLES])
        faults = (Faults(self.name, len(ballot.faults), examples),) if ballot.faults else ()
        confidence = np.full(len(ballot.row), np.nan, np.float32) if ballot.confidence is None else ballot.confidence
        named = None if classes is None else tuple(map(str, classes))
        source = np.zeros(len(ballot.row), np.int64)
        info = SourceInfo(self.name, self.kind)
        return Votes(tuple(row_ids), ballot.row, source, ballot.vote, confidence, (info,), named, faults)

    def meaning(self) -> list[Any]:
        """Return what a fingerprint of this source covers: its class and its state, not where it stands."""
        return [type(self), *(getattr(self, item.name) for item in fields(self) if item.compare)]

    def fingerprint(self) -> Fingerprint:
        """Name this source by its code and parameters."""
        from lineshaft.core.fingerprint import fingerprint

        return fingerprint(self.meaning(), f"source {self.name}")


def fixed_label(name: str, label: Label, classes: Sequence[str] | None) -> int:
    """Return the class number of a source that votes for one class only."""
    try:
        number = class_number(label, classes)
    except ValueError as error:
        raise UsageError(f"source {name}: {error}") from error
    if number == ABSTAIN:
        raise UsageError(f"source {name} has the label {label!r}, so it could never vote; give it a class")
    return number


def described(error: BaseException, function: Callable[..., Any]) -> str:
    """Write an error as ``Type: message (file.py:line)``, short, and the same in every process.

    The line is the last one of the function's own file that met the error; none where the function had returned.
    """
    message = _ADDRESS.sub("0x...", str(error))
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = list(traceback.walk_tb(error.__traceback__))
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    place = f" ({Path(file).name}:{lines[-1]})" if file is not None and lines else ""
    return f"{type(error).__name__}: {message}"[:_MESSAGE] + place


def slug(text: str, most: int = 32) -> str:
    """Make a readable piece of a name."""
    return re.sub(r"\W+", "_", text).strip("_").lower()[:most].rstrip("_")


def caller() -> str:
    """Return ``file.py:line`` of the code that called the function that asks."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame.f_back if frame is not None else None
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""

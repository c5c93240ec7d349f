"""What serving needs of a model: the columns it reads, its classes, and probabilities for rows; nothing of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lineshaft.core.admit import is_name
from lineshaft.errors import StepFailed, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256  # what a features function is called with at most, in training as here
LIVE = "live"  # the version that a name without one means


class Servable(Protocol):
    """A model as serving sees it."""

    @property
    def reads(self) -> Sequence[str]:
        """The columns that a row must have."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""

    @property
    def digest(self) -> str:
        """The name of the model's bytes."""

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """Return probabilities, float32 [rows, classes], for a batch of exactly `reads` with at most 256 rows."""


class Anomaly(Protocol):
    """One fault of one value, as the schema's row checker reports it."""

    @property
    def column(self) -> str | None:
        """The column, None where the fault lies between columns."""

    @property
    def reason(self) -> str:
        """A word for the kind of fault."""

    @property
    def severity(self) -> str:
        """``error`` forbids an answer; anything else does not."""

    @property
    def seen(self) -> Any:
        """What was there."""

    @property
    def fix(self) -> Any:
        """What to send instead."""


RowChecker = Callable[[Mapping[str, Any]], Sequence[Anomaly]]


@dataclass(frozen=True)
class Served:
    """A model together with what guards its rows.

    Attributes
    ----------
    model
        Anything `Servable`.
    types
        Arrow type of each column in ``model.reads``, from the schema.
    check
        The schema's row checker, or None where there is no schema.
    schema_digest
        The name of that schema; part of what an offline job is.

    """

    model: Servable
    types: Mapping[str, pa.DataType]
    check: RowChecker | None = None
    schema_digest: str = ""

    def __post_init__(self) -> None:
        if missing := [name for name in self.model.reads if name not in self.types]:
            raise UsageError(
                f"the model reads {missing[0]!r}, the schema has types for {', '.join(self.types) or 'no column'}; "
                "serve a model with the schema it was trained under"
            )


def split_name(name: str) -> tuple[str, str]:
    """Return (model, version) of ``model@version``; without a version: the live one."""
    if not is_name(name):
        raise UsageError(f"{name!r} does not name a model: use a-z 0-9 . _ - and at most one @, 64 characters in all")
    model, _, version = name.partition("@")
    return model, version or LIVE


def predict(model: Servable, batch: pa.RecordBatch) -> np.ndarray:
    """Ask the model, and hold it to its word: float32 [rows, classes], all finite.

    Raises
    ------
    StepFailed
        Another shape than the rows and classes ask for, or a probability that is not a finite number.

    """
    answer = np.asarray(model.predict(batch), dtype=np.float32)
    wanted = (batch.num_rows, len(model.classes))
    if answer.shape != wanted:
        raise StepFailed(f"the model answered with shape {answer.shape} where rows and classes ask for {wanted}")
    if not np.isfinite(answer).all():
        row = int(np.argmin(np.isfinite(answer).all(axis=1)))
        raise StepFailed(f"the model answered row {row} with {answer[row].tolist()}: not all are finite")
    return answer


def blocking(anomalies: Sequence[Anomaly], reads: Sequence[str]) -> list[Anomaly]:
    """Keep the faults that forbid an answer: no mere warnings, and none about columns that the model does not read."""
    return [a for a in anomalies if a.severity == "error" and (a.column is None or a.column in reads)]


def advice(anomaly: Anomaly) -> str:
    """Say what to do about a fault: the checker's own words, or the edit of the schema that would allow the value."""
    if isinstance(anomaly.fix, Mapping):
        edit = ", ".join(f"{key} = {value}" for key, value in anomaly.fix.items())
        return f"send another value, or let the schema say {edit}" if edit else "send another value"
    return str(anomaly.fix or "send another value")

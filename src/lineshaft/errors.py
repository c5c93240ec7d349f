"""Every error that lineshaft raises on purpose, in one tree.

::

    LineshaftError
    ├── UsageError               called wrongly: an argument, a file, an option          (exit code 2)
    │   ├── FingerprintError     a value that cannot be named; give ``version=``
    │   ├── DataError            rows, columns or bytes that are not what they should be
    │   │   └── AdmissionError   bytes from outside past a limit, or not of their format
    │   ├── ExpressionError      an expression that does not parse or does not fit the columns
    │   └── SchemaError          a schema that contradicts itself
    ├── Refused                  the answer is no: anomalies, not blessed, wrong fingerprint (exit code 1)
    ├── StorageError             the disk said no: full, read-only, failing               (exit code 3)
    │   └── IntegrityError       an object's bytes are not those that its name says
    ├── LeaseLost                another process has taken this step over
    ├── StepFailed               the user's code raised inside a step
    └── TrainingError            training cannot go on: a foreign checkpoint, a one-shot iterator
        └── Diverged             the loss is no longer a finite number

Each message says what happened, the values that disagree, and what to do next.
"""

from __future__ import annotations


class LineshaftError(Exception):
    """The root: catch this to catch everything that lineshaft raises on purpose."""

    exit_code = 3


class UsageError(LineshaftError, ValueError):
    """Something was called or configured wrongly."""

    exit_code = 2


class FingerprintError(UsageError):
    """A value reachable from a step cannot be named by value, source or distribution."""


class DataError(UsageError):
    """Rows, columns or bytes are not what they should be."""


class AdmissionError(DataError):
    """Bytes from outside are past a limit or not of their format."""


class ExpressionError(UsageError):
    """An expression does not parse, or names a column or type that is not there."""


class SchemaError(UsageError):
    """A schema contradicts itself or declares what cannot be checked."""


class Refused(LineshaftError):  # noqa: N818 - an answer, not a fault
    """The answer is no: data with anomalies, a model not blessed, a fingerprint that differs."""

    exit_code = 1


class StorageError(LineshaftError):
    """Reading or writing failed below us: a full disk, a failing device, a locked catalog."""


class IntegrityError(StorageError):
    """An object's bytes are not those that its digest names."""


class LeaseLost(LineshaftError):  # noqa: N818
    """The lease of a step ran out before its holder could renew it; another process may have taken it over."""


class StepFailed(LineshaftError):  # noqa: N818
    """The user's code raised inside a step; the cause is chained."""


class TrainingError(LineshaftError):
    """Training cannot start or go on."""


class Diverged(TrainingError):  # noqa: N818
    """The loss is no longer a finite number."""

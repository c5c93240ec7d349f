"""Labeling functions: plain Python, row by row; what goes wrong on a row costs the function its vote there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.collect.classes import class_number
from lineshaft.collect.sources.base import Ballot, Source, described
from lineshaft.core import script
from lineshaft.core.table import ROW_ID
from lineshaft.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class Row:
    """One row: ``x.text`` or ``x["text"]``; read-only, and nested values are copies.

    Parameters
    ----------
    columns
        Column name to its values as a list, or to a function that makes that list.
    place
        Which value of each.

    """

    __slots__ = ("_columns", "_place")

    def __init__(self, columns: Mapping[str, Any], place: int = 0) -> None:
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_place", place)

    def __getitem__(self, name: str) -> Any:
        columns = object.__getattribute__(self, "_columns")
        if name not in columns:
            raise KeyError(f"no column {name!r}; the row has {', '.join(columns)}")
        value = columns[name][object.__getattribute__(self, "_place")]
        return copy.deepcopy(value) if isinstance(value, (list, dict)) else value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"rows are read-only; keep {name!r} in a variable")

    def __contains__(self, name: object) -> bool:
        return name in object.__getattribute__(self, "_columns")

    def __iter__(self) -> Iterator[str]:
        return iter(object.__getattribute__(self, "_columns"))

    def __repr__(self) -> str:
        return f"Row({', '.join(self)})"


class _Columns(dict[str, Any]):
    """The columns of a batch, turned into Python lists when first touched."""

    def __init__(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        super().__init__(dict.fromkeys(names))
        self._batch = batch

    def __getitem__(self, name: str) -> list[Any]:
        values: list[Any] | None = super().__getitem__(name)
        if values is None:
            values = self._batch.column(name).to_pylist()
            self[name] = values
        return values


@dataclass(frozen=True, repr=False)
class FunctionSource(Source):
    """A Python function from a row to a class name, a class number, ``ABSTAIN`` or None.

    Attributes
    ----------
    function
        What the user wrote.

    """

    function: Callable[[Any], Any]

    def __call__(self, row: Any) -> Any:
        """Call the function on one row: a dict, or anything with the attributes that it reads."""
        if isinstance(row, Mapping):
            row = Row({name: [value] for name, value in row.items()})
        return self.function(row)

    def ballot(self, batch: pa.RecordBatch, classes: Sequence[str] | None) -> Ballot:
        """Call the function on every row; errors and answers that are no votes become faults."""
        names = self.reads if self.reads is not None else [name for name in batch.schema.names if name != ROW_ID]
        columns, rows, votes, faults = _Columns(batch, names), [], [], []
        for place in range(batch.num_rows):
            try:
                vote = class_number(self.function(Row(columns, place)), classes)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; it is recorded
                faults.append((place, described(error, self.function)))
                continue
            if vote >= 0:
                rows.append(place)
                votes.append(vote)
        return Ballot(np.array(rows, np.int64), np.array(votes, np.int16), None, faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name(self)

    def __repr__(self) -> str:
        return f"labeling function {self.name} ({self.kind}, {self.where})"


def labeling_function(
    name: Any = None, kind: str = "rule", reads: Sequence[str] | None = None
) -> Callable[[Callable[[Any], Any]], FunctionSource]:
    """Make a function a source of votes: ``@ls.labeling_function()``.

    Parameters
    ----------
    name
        Default: the function's own.
    kind
        rule, model, person or expert.
    reads
        The columns that it may read. Say so where you can: then other columns may change without asking it again.

    Examples
    --------
    >>> @labeling_function(reads=["text"])
    ... def short_and_angry(x):
    ...     return "rotten" if len(x.text) < 60 and "!" in x.text else None
    >>> short_and_angry({"text": "No!"})
    'rotten'

    """
    if callable(name):
        function = getattr(name, "__name__", "function")
        raise UsageError(f"write @labeling_function() with brackets above {function}; without them it gets no name")
    if isinstance(reads, str):
        raise UsageError(f"reads is a list of columns: reads=[{reads!r}]")

    def decorate(function: Callable[[Any], Any]) -> FunctionSource:
        columns = None if reads is None else tuple(reads)
        return FunctionSource(name or function.__name__, kind, columns, function, where=place_of(function))

    return decorate


def place_of(function: Callable[..., Any]) -> str:
    """Return ``file.py:line`` of a function."""
    code = getattr(function, "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code is not None else ""


def by_name(source: Any) -> tuple[Any, ...]:
    """Say how another process finds a decorated function: by its name, under which there stands the source."""
    reference = script.reference(source.function)
    return script.resolve, (reference["module"], reference["qualname"])

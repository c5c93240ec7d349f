"""A features function turns rows into tensors; the same one runs in training, in scoring and in the server.

::

    Arrow batch, n rows ─► exactly ``reads``, at most batch_rows ─► function ─► checked ─► joined
                                                                    in inference mode      {name: [n, ...]}

What it gives for a row must not depend on the rows beside it (to 1e-5): requests come in batches of other sizes than
training did. `Features.check_independence` tries that out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lineshaft.core import script
from lineshaft.core.codec import Tensors
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.core.table import Table

TOLERANCE = 1e-5  # within which equal rows must give equal features whatever the batch


@dataclass(frozen=True)
class Features:
    """A features function with the columns that it reads.

    Attributes
    ----------
    function
        ``pyarrow.RecordBatch`` (the columns of ``reads``, in that order) to a tensor of two or more dimensions, or a
        dict of tensors, rows first; numpy arrays are taken as tensors.
    reads
        Column names.
    batch_rows
        The most rows that the function is given at once.
    name
        For people.

    """

    function: Callable[[pa.RecordBatch], Any]
    reads: tuple[str, ...]
    batch_rows: int
    name: str

    def __call__(self, batch: pa.RecordBatch) -> dict[str, torch.Tensor]:
        """Return the features of a batch of any length; a single tensor is called ``x``.

        Raises
        ------
        DataError
            A column is missing, or the function gave something that is not finite tensors, rows first.

        """
        if missing := [name for name in self.reads if name not in batch.schema.names]:
            raise DataError(f"features {self.name} read {missing[0]!r}; the rows have {', '.join(batch.schema.names)}")
        seen = batch.select(list(self.reads))
        starts = range(0, max(1, len(seen)), self.batch_rows)
        with torch.inference_mode():
            parts = [self._part(seen.slice(start, self.batch_rows), start) for start in starts]
        return self._join(parts)

    def compute(self, table: Table) -> Tensors:
        """Return the features of a table (one chunk) as the artifact that is stored; no rows give no tensors."""
        if not len(table):
            return Tensors({}, {"rows": 0})
        return Tensors(self._join([self(batch) for batch in table.arrow.to_batches()]), {"rows": len(table)})

    def concat(self, chunks: Sequence[Tensors]) -> Tensors:
        """Join the features of chunks, in order, to those of all rows."""
        filled = [chunk for chunk in chunks if chunk.header["rows"]]
        values = self._join([chunk.values for chunk in filled]) if filled else {}
        return Tensors(values, {"rows": sum(chunk.header["rows"] for chunk in filled)})

    def check_independence(self, batch: pa.RecordBatch) -> None:
        """Refuse if a row's features change by more than 1e-5 when it stands alone; try it with a few typical rows.

        Raises
        ------
        DataError
            They do; the message names the row and the difference.

        """
        together = self(batch)
        for row in range(len(batch)):
            alone = self(batch.slice(row, 1))
            for name, value in together.items():
                apart = float((value[row] - alone[name][0]).double().abs().sum())
                if not apart <= TOLERANCE:
                    raise DataError(
                        f"features {self.name} give row {row} another {name!r} among {len(batch)} rows than alone: "
                        f"they differ by {apart:.3g}, {TOLERANCE:g} is allowed; do not normalise or pad by the batch"
                    )

    def meaning(self) -> list[Any]:
        """Return what a fingerprint of these features covers: the function and what it reads, not lineshaft's code."""
        return [self.function, list(self.reads), self.batch_rows]

    def _part(self, batch: pa.RecordBatch, start: int) -> dict[str, torch.Tensor]:
        where = f"features {self.name}, rows {start} to {start + len(batch) - 1}"
        made = self.function(batch)
        named = made if isinstance(made, Mapping) else {"x": made}
        if not named:
            raise DataError(f"{where}: the function returned an empty dict; return at least one tensor")
        tensors = {str(name): _checked(named[name], len(batch), f"{where}: {name!r}") for name in sorted(named)}
        if not isinstance(made, Mapping) and tensors["x"].dim() == 1:  # a builder could not be told its width
            raise DataError(
                f"{where}: the function returned shape [{len(batch)}]; return [rows, width], here [{len(batch)}, 1] "
                f"for one number per row, or a dict {{'x': ...}} if the model takes bare numbers"
            )
        return tensors

    def _join(self, parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        first = parts[0]
        for part in parts[1:]:
            for name in sorted({*first, *part}):
                one, other = _form(first.get(name)), _form(part.get(name))
                if one != other:
                    raise DataError(
                        f"features {self.name} gave {name!r} as {one} for some rows and as {other} for others; every "
                        f"batch must give the same names, types and row shapes (pad to a fixed length)"
                    )
        # Joining outside inference mode makes ordinary tensors, which autograd can use.
        return {name: torch.cat([part[name] for part in parts]) for name in first}

    def __reduce__(self) -> tuple[Any, ...]:
        # The module's attribute of this name is this object, not the bare function: go by the name.
        reference = script.reference(self.function)
        return script.resolve, (reference["module"], reference["qualname"])

    def __repr__(self) -> str:
        return f"features {self.name}(reads={list(self.reads)})"


def features(reads: Sequence[str], batch_rows: int = 256) -> Callable[[Callable[[pa.RecordBatch], Any]], Features]:
    """Make a function from an Arrow batch to tensors a features function.

    Parameters
    ----------
    reads
        The columns that the function sees; requests to the server send exactly these.
    batch_rows
        The most rows it is given at once.

    Examples
    --------
    >>> @features(reads=["text"])
    ... def length(batch):
    ...     return torch.tensor([[len(text)] for text in batch["text"].to_pylist()], dtype=torch.float32)
    >>> length(pa.record_batch({"text": ["fine", "dull"]}))["x"].shape
    torch.Size([2, 1])

    """
    if isinstance(reads, str) or not reads or len(set(reads)) != len(reads):
        raise UsageError(f"reads must be a list of different column names, got {reads!r}")
    if batch_rows < 1:
        raise UsageError(f"batch_rows must be 1 or more, got {batch_rows}")

    def decorate(function: Callable[[pa.RecordBatch], Any]) -> Features:
        return Features(function, tuple(reads), batch_rows, getattr(function, "__name__", "features"))

    return decorate


def _checked(value: Any, rows: int, where: str) -> torch.Tensor:
    """Make a tensor of what a features function returned under one name, or say what is wrong with it."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, torch.Tensor):
        kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{where} is a {kind}; return a tensor or a numpy array of numbers, rows first")
    if not value.dim() or len(value) != rows:
        raise DataError(f"{where} has shape {list(value.shape)} for {rows} rows; rows come first")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        row = int((~torch.isfinite(value)).nonzero()[0][0])
        raise DataError(f"{where} is not finite in row {row} of these; fill missing values before you return them")
    return value


def _form(value: torch.Tensor | None) -> str:
    return "nothing" if value is None else f"{str(value.dtype).removeprefix('torch.')} {['rows', *value.shape[1:]]}"

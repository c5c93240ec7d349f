"""Good rows on one side, rejected rows with their reasons on the other, none lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lineshaft.core.table import Table
from lineshaft.errors import DataError
from lineshaft.verify.check import inspect
from lineshaft.verify.stream import chunks

if TYPE_CHECKING:
    from lineshaft.verify.anomalies import Anomalies
    from lineshaft.verify.schema import Schema

REASONS_COLUMN = "reasons"


@dataclass(frozen=True)
class Checked:
    """The rows of a table after a check.

    Attributes
    ----------
    good
        Rows without an error of their own, chunk borders kept.
    rejected
        The others, with a column ``reasons`` (list of strings such as ``"fare: out_of_range_high"``).
    anomalies
        The whole report; ``anomalies.beyond_rows`` is what no rejection cures.

    """

    good: Table
    rejected: Table
    anomalies: Anomalies

    def __repr__(self) -> str:
        return f"Checked({len(self.good)} good, {len(self.rejected)} rejected, {len(self.anomalies)} anomalies)"


def quarantine(schema: Schema, table: Table, environment: str | None = None) -> Checked:
    """Check a table and split its rows; see `Schema.quarantine`."""
    if REASONS_COLUMN in table.columns:
        raise DataError(f"the table has a column {REASONS_COLUMN!r}, which is where reasons would go; rename it")
    inspection = inspect(schema, chunks(table), environment)
    bad = np.zeros(len(table), dtype=bool)
    for _, rows in inspection.rejected:
        bad[rows] = True
    reasons: dict[int, list[str]] = {row: [] for row in np.flatnonzero(bad).tolist()}
    for name, rows in inspection.rejected:
        for row in rows.tolist():
            reasons[row].append(name)
    column = pa.array(list(reasons.values()), pa.list_(pa.string()))
    return Checked(table.filter(~bad), _with_reasons(table.filter(bad), column), inspection.anomalies)


def _with_reasons(rejected: Table, reasons: pa.Array) -> Table:
    schema = rejected.arrow.schema.append(pa.field(REASONS_COLUMN, reasons.type))
    batches, start = [], 0
    for batch in rejected.arrow.to_batches():
        own = reasons.slice(start, batch.num_rows)
        batches.append(pa.RecordBatch.from_arrays([*batch.columns, own], schema=schema))
        start += batch.num_rows
    return Table(pa.Table.from_batches(batches, schema=schema))

r"""Statistics of any data in one pass: summarise each chunk, merge the states.

::

    chunk 1 -> state --\
    chunk 2 -> state ---+-- merge --> Statistics
    chunk 3 -> state --/

Merging is the only way states grow, so several files, machines or days merge by the very same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lineshaft.verify.statistics.column import ColumnState
from lineshaft.verify.statistics.sample import Sample
from lineshaft.verify.statistics.summary import Statistics
from lineshaft.verify.stream import batches

if TYPE_CHECKING:
    import pyarrow as pa


def statistics(data: Any) -> Statistics:
    """Compute the statistics of data.

    Parameters
    ----------
    data
        A path or a list of paths (Parquet is streamed row group by row group), a `Table`, anything with
        ``__arrow_c_stream__`` (pyarrow, pandas, polars, duckdb), or a list of dicts. `Statistics` are returned as
        they are.

    Raises
    ------
    DataError
        The data cannot be read, two columns share a name, or the files of a list disagree about a column's type.

    Examples
    --------
    >>> stats = statistics([{"age": 30, "city": "Bonn"}, {"age": 50, "city": None}])
    >>> stats["age"].mean, stats["city"].missing
    (40.0, 1)

    """
    if isinstance(data, Statistics):
        return data
    result = Statistics()
    for batch in batches(data):
        result = result.merge(_of_batch(batch, result.sample.limit))
    return result


def _of_batch(batch: pa.RecordBatch, limit: int | None) -> Statistics:
    columns = {name: ColumnState.of(batch.column(at)) for at, name in enumerate(batch.schema.names)}
    return Statistics(batch.num_rows, columns, Sample.of(batch, limit))

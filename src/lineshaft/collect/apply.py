"""Ask every source about every row, chunk by chunk; what goes wrong in one source stays its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.collect.sources.base import Source
from lineshaft.collect.votes import Votes
from lineshaft.core.table import Table, read_table
from lineshaft.errors import FingerprintError, UsageError

if TYPE_CHECKING:
    from lineshaft.core.engine import Engine


def apply(
    sources: Sequence[Source], data: Any, classes: Sequence[str] | None = None, engine: Engine | None = None
) -> Votes:
    """Collect the votes of sources on rows.

    Parameters
    ----------
    sources
        What `labeling_function`, `keywords`, `regex`, `expression` and `model_source` make.
    data
        A path, a Table, an Arrow stream (pyarrow, pandas, polars, duckdb), or a list of dicts.
    classes
        Class names; not needed where labels are numbers.
    engine
        Where the chunks are worked on; default: here, one after the other.

    Raises
    ------
    UsageError
        No sources, two of one name, something that is no source, or a label that is no class.
    DataError
        A column that a source reads is missing or of the wrong type.

    """
    given = checked(sources)
    table = read_table(data)
    work = functools.partial(_ask, tuple(given), None if classes is None else tuple(map(str, classes)))
    parts = list(engine.map(work, table.chunks()) if engine is not None else map(work, table.chunks()))
    votes = Votes.concat(parts) if parts else work(table)
    return votes.with_digests([_digest(source) for source in given])


def checked(sources: Sequence[Any]) -> list[Source]:
    """Refuse what is no source, and two sources of one name."""
    given = list(sources)
    if not given:
        raise UsageError("no sources; give at least one labeling function")
    for source in given:
        if not isinstance(source, Source):
            hint = "; decorate it with @ls.labeling_function()" if callable(source) else ""
            raise UsageError(f"{getattr(source, '__name__', source)!r} is not a source{hint}")
    first: dict[str, Source] = {}
    for source in given:
        if source.name in first:
            raise UsageError(
                f"two sources are called {source.name!r} ({first[source.name].where} and {source.where}); "
                f"give one of them another name="
            )
        first[source.name] = source
    return given


def _ask(sources: Sequence[Source], classes: Sequence[str] | None, chunk: Table) -> Votes:
    return Votes.merge([source.vote(chunk, classes) for source in sources])


def _digest(source: Source) -> str | None:
    """Name a source where it can be named: votes are worth having either way, and steps insist on their own."""
    try:
        return source.fingerprint().digest
    except FingerprintError:
        return None

"""Votes: who said what about which row, sparse, with the rows that were asked, the sources, and what went wrong.

::

    row_ids   a    b    c    d          every row that was asked, covered or not
    entries  (a, angry, rotten)  (a, short, fresh 0.9)  (d, short, rotten)

Stored as one row per row asked, with lists: ``row_id │ sources │ votes │ confidences``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse.checks import ABSTAIN, MAX_CLASSES, confidence_of, kinds_of, matrix
from lineshaft.core.html import html_table
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 10  # faults of one source that are kept with row and message; the rest are counted


@dataclass(frozen=True)
class SourceInfo:
    """A source as its votes remember it.

    Attributes
    ----------
    name, kind
        As in the source; kinds are rule, model, person and expert.
    digest
        Fingerprint of its code and parameters, None where that is not known.

    """

    name: str
    kind: str = "rule"
    digest: str | None = None


@dataclass(frozen=True)
class Faults:
    """Rows on which a source failed; they cost it its vote there and nothing else.

    Attributes
    ----------
    source
        Its name.
    count
        How many rows.
    examples
        The first few: (row_id, "TypeError: message").

    """

    source: str
    count: int
    examples: tuple[tuple[str, str], ...]

    def told(self, rows: int) -> str:
        """Say it in one line; ``rows`` is how many were asked."""
        row, message = self.examples[0]
        return f"source {self.source} failed on {self.count:,} of {rows:,} rows, first on {row}: {message}"


@dataclass(frozen=True, eq=False)
class Votes:
    """Sparse votes over rows.

    Attributes
    ----------
    row_ids
        ``[n]`` every row that was asked.
    row, source, vote, confidence
        ``[e]`` per vote: number of the row, of the source, of the class, and the probability that a model gave, NaN
        where there is none. Ordered by row, then source.
    sources
        ``[m]``.
    classes
        Class names, or None where labels are bare numbers.
    faults
        One per source that failed somewhere.

    """

    row_ids: tuple[str, ...]
    row: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    vote: npt.NDArray[np.int16]
    confidence: npt.NDArray[np.float32]
    sources: tuple[SourceInfo, ...]
    classes: tuple[str, ...] | None = None
    faults: tuple[Faults, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the sources."""
        return [source.name for source in self.sources]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the sources."""
        return [source.kind for source in self.sources]

    @property
    def k(self) -> int:
        """Number of classes: those named, else one more than the highest vote, and at least two."""
        return len(self.classes) if self.classes is not None else max(2, int(self.vote.max(initial=-1)) + 1)

    @cached_property
    def places(self) -> dict[str, int]:
        """Row id to row number."""
        return {row_id: place for place, row_id in enumerate(self.row_ids)}

    def __len__(self) -> int:
        return len(self.row_ids)

    def to_dense(self) -> npt.NDArray[np.int8]:
        """Return n x m votes, -1 for abstain; int8, or int16 past 127 classes."""
        dense = np.full((len(self), len(self.sources)), ABSTAIN, np.int8 if self.k <= 127 else np.int16)
        dense[self.row, self.source] = self.vote
        return dense

    def to_confidence(self) -> npt.NDArray[np.float64] | None:
        """Return n x m probabilities of soft votes, NaN elsewhere; None where no vote is soft."""
        if np.isnan(self.confidence).all():
            return None
        dense = np.full((len(self), len(self.sources)), np.nan)
        dense[self.row, self.source] = self.confidence
        return dense

    @classmethod
    def from_dense(
        cls,
        L: Any,  # noqa: N803 - the field's name for votes
        sources: Sequence[str | SourceInfo] | None = None,
        *,
        kinds: str | Sequence[str] = "rule",
        classes: Sequence[str] | None = None,
        row_ids: Sequence[str] | None = None,
        confidence: Any = None,
    ) -> Votes:
        """Make votes of an n x m matrix.

        Parameters
        ----------
        L
            Integers, -1 for abstain.
        sources
            Names, or `SourceInfo` with kinds; default ``source_0``, ...
        kinds
            For sources given by name: one word, or one per column.
        classes, row_ids
            Names; rows are ``"0"``, ``"1"``, ... without.
        confidence
            n x m probabilities, NaN for plain votes.

        """
        dense = matrix(L, MAX_CLASSES if classes is None else len(classes))
        given = list(sources) if sources is not None else [f"source_{j}" for j in range(dense.shape[1])]
        words = kinds_of(kinds, len(given))
        infos = [
            item if isinstance(item, SourceInfo) else SourceInfo(str(item), word)
            for item, word in zip(given, words, strict=True)
        ]
        ids = tuple(map(str, range(len(dense)) if row_ids is None else row_ids))
        if (len(ids), len(infos)) != dense.shape:
            raise DataError(f"votes of shape {dense.shape} for {len(ids)} rows and {len(infos)} sources")
        row, source = np.nonzero(dense >= 0)
        soft = confidence_of(confidence, dense.shape)
        kept = np.full(len(row), np.nan) if soft is None else soft[row, source]
        named = None if classes is None else tuple(map(str, classes))
        said = dense[row, source].astype(np.int16)
        return cls(ids, row, source, said, kept.astype(np.float32), tuple(infos), named).checked()

    def checked(self) -> Votes:
        """Refuse rows or sources that are named twice."""
        if repeats := len(self.row_ids) - len(set(self.row_ids)):
            raise DataError(f"{repeats} of {len(self.row_ids)} row ids are repeats")
        seen = set[str]()
        for name in self.names:
            if name in seen:
                raise UsageError(f"two sources are called {name!r}; give one of them another name=")
            seen.add(name)
        return self

    @staticmethod
    def merge(parts: Iterable[Votes]) -> Votes:
        """Join the votes of different sources over the same rows, matched by row id; parts may come one by one.

        Raises
        ------
        DataError
            The parts were asked about different rows, or about different classes.
        UsageError
            Two sources have one name.

        """
        first, entries, infos, faults = None, [], list[SourceInfo](), list[Faults]()
        for part in parts:
            first = first if first is not None else part
            if part.classes != first.classes:
                raise DataError(f"votes about different classes: {first.classes} and {part.classes}")
            entries.append((_aligned(first, part), part.source + len(infos), part.vote, part.confidence))
            infos += part.sources
            faults += part.faults
        if first is None:
            raise UsageError("no votes to merge; give at least one source")
        row, source, vote, confidence = (np.concatenate(columns) for columns in zip(*entries, strict=True))
        order = np.argsort(row, kind="stable")  # within a row the sources stand in order already
        taken = row[order], source[order], vote[order], confidence[order]
        return Votes(first.row_ids, *taken, tuple(infos), first.classes, tuple(faults)).checked()

    @staticmethod
    def concat(parts: Sequence[Votes]) -> Votes:
        """Join the votes of the same sources over different rows, in order."""
        if not parts:
            raise UsageError("no votes to join")
        first, offset, rows = parts[0], 0, []
        for part in parts:
            if part.sources != first.sources or part.classes != first.classes:
                raise DataError("votes of different sources or classes do not join row by row; merge them")
            rows.append(part.row + offset)
            offset += len(part)
        return Votes(
            tuple(row_id for part in parts for row_id in part.row_ids),
            np.concatenate(rows),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.vote for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            first.sources,
            first.classes,
            _added([fault for part in parts for fault in part.faults]),
        ).checked()

    def with_digests(self, digests: Sequence[str | None]) -> Votes:
        """Note the fingerprint of each source."""
        infos = tuple(replace(info, digest=digest) for info, digest in zip(self.sources, digests, strict=True))
        return replace(self, sources=infos)

    def to_arrow(self) -> pa.Table:
        """Return one row per vote: row_id, source, vote (class name, or number), confidence."""
        import pyarrow as pa

        ids, names = pa.array(self.row_ids, pa.string()), pa.array(self.names, pa.string())
        vote = pa.array(self.vote)
        return pa.table(
            {
                "row_id": ids.take(pa.array(self.row)),
                "source": names.take(pa.array(self.source)),
                "vote": pa.array(self.classes, pa.string()).take(vote) if self.classes is not None else vote,
                "confidence": pa.array(self.confidence, from_pandas=True),
            }
        )

    def payload(self) -> pa.Table:
        """Return what the codec stores."""
        import pyarrow as pa

        offsets = pa.array(np.searchsorted(self.row, np.arange(len(self) + 1)), pa.int32())
        facts = {
            "classes": self.classes,
            "sources": [[info.name, info.kind, info.digest] for info in self.sources],
            "faults": [[fault.source, fault.count, fault.examples] for fault in self.faults],
        }
        columns = {
            "row_id": pa.array(self.row_ids, pa.string()),
            "sources": pa.ListArray.from_arrays(offsets, pa.array(self.source, pa.int32())),
            "votes": pa.ListArray.from_arrays(offsets, pa.array(self.vote, pa.int16())),
            "confidences": pa.ListArray.from_arrays(offsets, pa.array(self.confidence, pa.float32(), from_pandas=True)),
        }
        return pa.table(columns).replace_schema_metadata({"lineshaft": json.dumps(facts, ensure_ascii=False)})

    @classmethod
    def from_payload(cls, payload: pa.Table) -> Votes:
        """Make votes of what the codec read."""
        facts = json.loads(payload.schema.metadata[b"lineshaft"])
        lists = {name: payload.column(name).combine_chunks() for name in ("sources", "votes", "confidences")}
        flat = {name: column.flatten() for name, column in lists.items()}
        row = lists["sources"].value_parent_indices().to_numpy().astype(np.int64)
        return cls(
            tuple(payload.column("row_id").to_pylist()),
            row,
            flat["sources"].to_numpy().astype(np.int64),
            flat["votes"].to_numpy().astype(np.int16),
            flat["confidences"].to_numpy(zero_copy_only=False).astype(np.float32),
            tuple(SourceInfo(*item) for item in facts["sources"]),
            None if facts["classes"] is None else tuple(facts["classes"]),
            tuple(Faults(name, count, tuple(map(tuple, some))) for name, count, some in facts["faults"]),
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        covered = len(np.unique(self.row))
        failed = sum(fault.count for fault in self.faults)
        note = f", {failed} faults" if failed else ""
        return f"Votes({len(self.row)} by {len(self.sources)} sources on {covered} of {len(self)} rows{note})"

    def _repr_html_(self) -> str:
        counts = np.bincount(self.source, minlength=len(self.sources))
        failed = {fault.source: fault for fault in self.faults}
        rows = [
            (info.name, info.kind, count, _shown(failed.get(info.name)))
            for info, count in zip(self.sources, counts, strict=True)
        ]
        return html_table(repr(self), ["source", "kind", "votes", "faults"], rows)


def _shown(fault: Faults | None) -> str:
    return f"{fault.count}: {fault.examples[0][1]}" if fault is not None and fault.examples else ""


def _aligned(first: Votes, part: Votes) -> npt.NDArray[np.int64]:
    """Return the part's row numbers as those of ``first``."""
    if part.row_ids == first.row_ids:
        return part.row
    if part.places.keys() != first.places.keys():
        stray = min(part.places.keys() ^ first.places.keys())
        raise DataError(f"votes about different rows: {len(first)} and {len(part)}, row {stray!r} is not in both")
    places = np.array([first.places[row_id] for row_id in part.row_ids], np.int64)
    return places[part.row]


def _added(faults: Sequence[Faults]) -> tuple[Faults, ...]:
    """Add up the faults of each source, keeping the first examples."""
    sums: dict[str, Faults] = {}
    for fault in faults:
        before = sums.get(fault.source, Faults(fault.source, 0, ()))
        examples = (before.examples + fault.examples)[:EXAMPLES]
        sums[fault.source] = Faults(fault.source, before.count + fault.count, examples)
    return tuple(sums.values())

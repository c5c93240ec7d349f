"""The analysis table: per source how often it speaks, how often beside or against others, and how right it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.fuse.majority import tally
from lineshaft.collect.labels import gold_numbers
from lineshaft.core.html import html_table

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.fuse.additive import Additive
    from lineshaft.collect.fuse.checks import Floats, Ints
    from lineshaft.collect.votes import Faults, Votes

_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class SourceSummary:
    """One row of the table; shares are of all rows asked.

    Attributes
    ----------
    source, kind
        Which.
    votes, coverage
        Rows it voted on: number and share.
    overlap, conflict
        Share of rows it voted on together with another source; share on which another said something else.
    polarity
        The classes it voted for.
    correct, judged
        Votes that agree with gold, of votes on gold rows.
    accuracy, low, high
        Their ratio with Wilson's 95 % interval; None without gold.
    weight
        What one of its votes adds on average to the score of the class it names, against the mean of the others.

    """

    source: str
    kind: str
    votes: int
    coverage: float
    overlap: float
    conflict: float
    polarity: tuple[str, ...]
    correct: int
    judged: int
    accuracy: float | None
    low: float | None
    high: float | None
    weight: float


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found: iterate it, print it, or take it as Arrow.

    Attributes
    ----------
    sources
        One summary each.
    rows, covered
        How many were asked about, and how many of them have a vote.
    faults
        One per source that failed somewhere.

    """

    sources: tuple[SourceSummary, ...]
    rows: int
    covered: int
    faults: tuple[Faults, ...] = ()

    def __iter__(self) -> Any:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, name: str) -> SourceSummary:
        for summary in self.sources:
            if summary.source == name:
                return summary
        raise KeyError(name)

    def to_arrow(self) -> pa.Table:
        """Return one row per source."""
        import pyarrow as pa

        floats = ["coverage", "overlap", "conflict", "accuracy", "low", "high", "weight"]
        types = {
            **dict.fromkeys(["source", "kind"], pa.string()),
            **dict.fromkeys(["votes", "correct", "judged"], pa.int64()),
            **dict.fromkeys(floats, pa.float64()),
            "polarity": pa.list_(pa.string()),
        }
        names = [item.name for item in fields(SourceSummary)]
        return pa.table({name: pa.array([getattr(row, name) for row in self.sources], types[name]) for name in names})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __str__(self) -> str:
        cells = [_HEADER, *map(_cells, self.sources)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADER))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        return "\n".join([*lines, *self._remarks()])

    def _repr_html_(self) -> str:
        return html_table("; ".join(self._remarks()), _HEADER, map(_cells, self.sources))

    def _remarks(self) -> list[str]:
        told = [faults.told(self.rows) for faults in self.faults]
        return [f"{self.covered} of {self.rows} rows covered", *told]


_HEADER = ["source", "kind", "polarity", "coverage", "overlap", "conflict", "accuracy", "95 % interval", "weight"]


def _cells(row: SourceSummary) -> list[str]:
    accuracy = interval = "-"
    if row.accuracy is not None:
        accuracy, interval = f"{row.accuracy:.3f}", f"{row.low:.3f} - {row.high:.3f} (n={row.judged})"
    shares = [f"{share:.3f}" for share in (row.coverage, row.overlap, row.conflict)]
    return [row.source, row.kind, ",".join(row.polarity), *shares, accuracy, interval, f"{row.weight:+.2f}"]


def analyze(
    votes: Votes, gold: Mapping[str, Any] | Sequence[int] | None = None, model: Additive | None = None
) -> Analysis:
    """Summarise every source.

    Parameters
    ----------
    votes
        What the sources said.
    gold
        Row id to class name or number, or one number per row, -1 where unknown.
    model
        A label model fitted on these votes, whose weights are shown; default: a `LabelModel` is fitted.

    """
    dense, known = votes.to_dense(), gold_numbers(votes, gold, votes.classes)
    k = max(votes.k, int(known.max(initial=-1)) + 1)
    if model is None:
        model = LabelModel(k).fit(dense, votes.kinds, known, votes.to_confidence())
    counts = tally(dense, k)
    given = counts.sum(axis=1)
    summaries = []
    for j in range(len(votes.sources)):
        rows = np.flatnonzero(dense[:, j] >= 0)
        column = dense[rows, j]
        beside = int((given[rows] > 1).sum()), int((counts[rows, column] < given[rows]).sum())
        summaries.append(_summary(votes, j, column, beside, known[rows], _weight(column, model.fitted.scores[j])))
    return Analysis(tuple(summaries), len(votes), int((given > 0).sum()), votes.faults)


def _summary(
    votes: Votes, j: int, said: npt.NDArray[Any], beside: tuple[int, int], gold: Ints, weight: float
) -> SourceSummary:
    """Summarise one source by its votes ``[v]``, how many had company and opposition, and gold ``[v]`` beside them."""
    asked = max(len(votes), 1)
    correct, judged = int((said == gold).sum()), int((gold >= 0).sum())
    low, high = wilson(correct, judged) if judged else (None, None)
    return SourceSummary(
        source=votes.sources[j].name,
        kind=votes.sources[j].kind,
        votes=len(said),
        coverage=len(said) / asked,
        overlap=beside[0] / asked,
        conflict=beside[1] / asked,
        polarity=tuple(votes.classes[c] if votes.classes is not None else str(c) for c in np.unique(said)),
        correct=correct,
        judged=judged,
        accuracy=correct / judged if judged else None,
        low=low,
        high=high,
        weight=weight,
    )


def _weight(said: npt.NDArray[Any], scores: Floats) -> float:
    """Average over the source's votes what a vote adds to its class against the mean of the others."""
    own = np.diag(scores)
    gain = own - (scores.sum(axis=1) - own) / (len(scores) - 1)
    return float(gain[said].mean()) if len(said) else 0.0


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927)."""
    share, z2 = correct / total, _Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))

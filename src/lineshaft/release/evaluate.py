"""Evaluation: metrics with bootstrap intervals, overall and by slice, on gold that no training saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.errors import DataError, UsageError
from lineshaft.release.metrics import BINS, Floats, Layout, from_sums, per_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes
    ----------
    content
        ``rows``, ``classes``, ``metrics`` (name to value, low, high), ``slices`` (the same, by slice),
        ``confusion`` [truth][answer] and ``reliability`` (rows, confidence and accuracy per bin). JSON.

    """

    content: dict[str, Any]

    def metric(self, name: str, where: str | None = None) -> dict[str, float | None]:
        """Return value, low and high of a metric, overall or in a slice."""
        part = self.content if where is None else self.content["slices"].get(where)
        if part is None:
            raise UsageError(f"there is no slice {where!r}; there are {', '.join(self.content['slices']) or 'none'}")
        if name not in part["metrics"]:
            raise UsageError(f"there is no metric {name!r}; there are {', '.join(part['metrics'])}")
        found: dict[str, float | None] = part["metrics"][name]
        return found

    def payload(self) -> dict[str, Any]:
        """Return what the codec stores."""
        return self.content

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Report:
        """Make a report of what the codec read."""
        return cls(payload)

    def __str__(self) -> str:
        lines = [f"{'':24}{'rows':>7}  " + "".join(f"{name:>26}" for name in ("accuracy", "f1", "log_loss", "ece"))]
        for name, part in [("all", self.content), *self.content["slices"].items()]:
            cells = "".join(f"{_cell(part['metrics'][metric]):>26}" for metric in ("accuracy", "f1", "log_loss", "ece"))
            lines.append(f"{name[:24]:24}{part['rows']:>7}  {cells}")
        return "\n".join(lines)


def evaluate(
    probabilities: NDArray[Any],
    truth: Sequence[int] | NDArray[Any],
    classes: Sequence[str],
    slices: Mapping[str, Sequence[bool] | NDArray[Any]] | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> Report:
    """Measure predictions against gold.

    Intervals are percentiles of a Poisson bootstrap (1,000 resamples; Chamandy et al., 2012): each row, or each group
    of rows where ``groups`` is given, is drawn Poisson(1) times. Give the groups that the split kept together, or the
    intervals are too narrow.

    Parameters
    ----------
    probabilities
        Float [n, k], rows sum to 1.
    truth
        True class numbers [n]; rows with -1 are left out.
    classes
        The k class names.
    slices
        Slice name to booleans [n].
    groups
        What each row belongs to [n].
    seed
        Of the bootstrap.

    Raises
    ------
    DataError
        Shapes disagree, a probability is not finite, or no row has gold.

    """
    probabilities, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    _check(probabilities, truth, classes)
    known = truth >= 0
    if not known.any():
        raise DataError("no row has gold, so nothing can be measured; give rows with a value in the gold column")
    table = per_row(probabilities[known], truth[known])
    draws = _draws(
        None if groups is None else [g for g, keep in zip(groups, known, strict=True) if keep], len(table), seed
    )
    content = _part(table, draws, len(classes)) | {"classes": list(classes), "slices": {}}
    for name, mask in (slices or {}).items():
        inside = np.asarray(mask, dtype=bool)[known]
        content["slices"][name] = _part(table[inside], draws[:, inside], len(classes))
    layout, sums = Layout(len(classes)), table.sum(0)
    content["confusion"] = sums[layout.confusion].reshape(len(classes), -1).astype(int).tolist()
    content["reliability"] = _reliability(sums, layout)
    return Report(content)


def _check(probabilities: Floats, truth: NDArray[np.int64], classes: Sequence[str]) -> None:
    if probabilities.ndim != 2 or probabilities.shape != (len(truth), len(classes)):
        raise DataError(
            f"probabilities {list(probabilities.shape)}, {len(truth)} true classes and {len(classes)} class names do not "
            f"fit: [rows, classes] is wanted"
        )
    if not np.isfinite(probabilities).all():
        raise DataError(f"{int((~np.isfinite(probabilities)).any(1).sum())} rows have a probability that is not finite")
    if len(truth) and (truth.max() >= len(classes) or truth.min() < -1):
        raise DataError(f"true classes run from {truth.min()} to {truth.max()}, there are {len(classes)} classes")


def _draws(groups: Sequence[Any] | None, n: int, seed: int) -> NDArray[np.float32]:
    """Draw W [B + 1, n]: ones, then Poisson(1) counts, equal for the rows of a group."""
    generator = np.random.default_rng(seed)
    members = np.arange(n) if groups is None else np.unique(np.array([str(g) for g in groups]), return_inverse=True)[1]
    counts = generator.poisson(1.0, (RESAMPLES, int(members.max()) + 1)).astype(np.float32)
    return np.vstack([np.ones((1, n), np.float32), counts[:, members]])


def _part(table: Floats, draws: NDArray[np.float32], k: int) -> dict[str, Any]:
    """Measure the rows of one slice; metrics of no rows are null."""
    metrics = from_sums(draws.astype(np.float64) @ table, k)
    return {"rows": len(table), "metrics": {name: _interval(values) for name, values in metrics.items()}}


def _interval(values: Floats) -> dict[str, float | None]:
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": round(float(values[0]), 6), "low": round(float(low), 6), "high": round(float(high), 6)}


def _reliability(sums: Floats, layout: Layout) -> list[dict[str, float]]:
    rows, confidence, right = (sums[layout.binned(part)] for part in range(3))
    return [
        {
            "rows": int(rows[b]),
            "confidence": round(confidence[b] / rows[b], 6),
            "accuracy": round(right[b] / rows[b], 6),
        }
        for b in range(BINS)
        if rows[b]
    ]


def _cell(metric: dict[str, float | None]) -> str:
    if metric["value"] is None:
        return "no rows"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"

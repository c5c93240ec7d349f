"""Evaluation: metrics with bootstrap intervals, overall and by slice, on gold that no training saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.errors import DataError, UsageError
from lineshaft.release.bootstrap import groups_of, interval, sums_of
from lineshaft.release.metrics import BINS, Floats, Layout, from_sums, per_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = ("accuracy", "f1", "log_loss", "ece")  # what a table for people has room for


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
        lines = [f"{'':24}{'rows':>7}  " + "".join(f"{name:>24}" for name in SHOWN)]
        for name, part in [("all", self.content), *self.content["slices"].items()]:
            cells = "".join(f"{shown(part['metrics'][metric]):>24}" for metric in SHOWN)
            lines.append(f"{name[:24]:24}{part['rows']:>7}  {cells}")
        return "\n".join(lines)


def shown(metric: Mapping[str, float | None]) -> str:
    """Write a metric with its interval."""
    if metric["value"] is None:
        return "undefined"
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def evaluate(
    probabilities: NDArray[Any],
    truth: Sequence[int] | NDArray[Any],
    classes: Sequence[str],
    slices: Mapping[str, Sequence[bool] | NDArray[Any]] | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> Report:
    """Measure predictions against gold.

    Intervals are the middle 95 % of 1,000 bootstrap resamples of the rows, or of whole groups of rows where ``groups``
    is given. Give the groups that the split kept together, or the intervals are too narrow. They say nothing of what
    was never seen: five right answers of five give [1, 1].

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
        Shapes disagree, a row is not probabilities, a true class is none of the classes, or no row has gold.

    """
    probabilities, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    _check(probabilities, truth, classes)
    known = truth >= 0
    if not known.any():
        raise DataError("no row has gold, so nothing can be measured; give rows with a value in the gold column")
    masks = {"": known} | {name: known & _booleans(mask, len(known), name) for name, mask in (slices or {}).items()}
    table = per_row(probabilities[known], truth[known].astype(np.int64))
    parts = [table * mask[known][:, None] for mask in masks.values()]
    sums = np.split(sums_of(np.hstack(parts), _members(groups, known), seed), len(parts), axis=1)
    measured = {
        name: {"rows": int(mask.sum()), "metrics": {m: interval(v) for m, v in from_sums(part, len(classes)).items()}}
        for (name, mask), part in zip(masks.items(), sums, strict=True)
    }
    whole = measured.pop("")
    seen = {
        "confusion": _confusion(probabilities[known], truth[known]),
        "reliability": _reliability(table.sum(0), Layout(len(classes))),
    }
    return Report(whole | {"classes": list(classes), "slices": measured} | seen)


def _check(probabilities: Floats, truth: NDArray[Any], classes: Sequence[str]) -> None:
    if probabilities.ndim != 2 or truth.ndim != 1 or probabilities.shape != (len(truth), len(classes)):
        raise DataError(
            f"probabilities {list(probabilities.shape)}, true classes {list(truth.shape)} and {len(classes)} class "
            f"names do not fit: [rows, classes] and [rows] are wanted"
        )
    if len(classes) < 2:
        raise DataError(f"there is nothing to tell apart: {len(classes)} class; two or more are wanted")
    if not np.isfinite(probabilities).all():
        raise DataError(f"{int((~np.isfinite(probabilities)).any(1).sum())} rows have a probability that is not finite")
    # Softmax in half precision is off by a thousandth; scores that are no probabilities are off by far more.
    odd = (np.abs(probabilities.sum(1) - 1) > 1e-2) | (probabilities < -1e-6).any(1)
    if odd.any():
        row = int(odd.argmax())
        raise DataError(f"row {row} is no probabilities: {probabilities[row].tolist()}; apply softmax to scores first")
    if len(truth) and truth.dtype.kind not in "iu":
        raise DataError(f"true classes are {truth.dtype}; give class numbers, -1 where unknown")
    if len(truth) and (truth.max() >= len(classes) or truth.min() < -1):
        raise DataError(f"true classes run from {truth.min()} to {truth.max()}, there are {len(classes)} classes")


def _booleans(mask: Sequence[bool] | NDArray[Any], n: int, name: str) -> NDArray[np.bool_]:
    found = np.asarray(mask)
    if found.shape != (n,) or (n and found.dtype != bool):
        raise DataError(f"slice {name!r} is {found.dtype} {list(found.shape)}; {n} booleans are wanted, one per row")
    return found.astype(bool)


def _members(groups: Sequence[Any] | None, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    if groups is None:
        return groups_of(None, int(known.sum()))
    if len(groups) != len(known):
        raise DataError(f"{len(groups)} groups for {len(known)} rows; give one per row")
    return groups_of([group for group, keep in zip(groups, known, strict=True) if keep], int(known.sum()))


def _confusion(probabilities: Floats, truth: NDArray[Any]) -> list[list[int]]:
    k = probabilities.shape[1]
    pairs = np.bincount(truth * k + probabilities.argmax(1), minlength=k * k)
    return [[int(count) for count in row] for row in pairs.reshape(k, k)]


def _reliability(sums: Floats, layout: Layout) -> list[dict[str, float]]:
    rows, confidence, right = (sums[layout.bins(part)] for part in range(3))
    return [
        {
            "rows": int(rows[b]),
            "confidence": round(confidence[b] / rows[b], 6),
            "accuracy": round(right[b] / rows[b], 6),
        }
        for b in range(BINS)
        if rows[b]
    ]

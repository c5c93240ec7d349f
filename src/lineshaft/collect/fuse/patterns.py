"""Votes made ready for fusion: checked, put in an order of their own, and equal rows merged with their multiplicity.

::

    L (n x m)                 patterns (p x m)   counts
    rule_a rule_b person           0  -1   1        2
      0     -1     1        ─►     1   1  -1        1
      1      1    -1
      0     -1     1

EM over distinct patterns weighted by their counts is exact, and votes of rules repeat ten to twenty times. Sources are
put in an order that their votes alone decide, so that no sum depends on the order in which the caller lists them.

Legend: n rows, m sources, k classes, p patterns; an *entry* is one vote that is not an abstain, ``key = j * k + c``
for a vote of source j for class c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lineshaft.errors import DataError, UsageError

ABSTAIN = -1
KINDS = ("rule", "model", "person", "expert")
FOLDS = 5

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What EM works on.

    Attributes
    ----------
    k, m
        Numbers of classes and sources.
    counts
        ``[p]`` how many rows share each pattern.
    row, key, amount
        ``[e]`` per entry its pattern, its ``j * k + c`` and how much of a vote it is (soft votes spread over classes).
    given
        ``[p]`` how many sources voted.
    gold, fold
        ``[p]`` the known class or -1, and the cross-fitting fold of rows with gold, or -1.
    order
        ``[m]`` the caller's columns in this problem's order.
    kinds
        ``[m]`` in this problem's order.

    """

    k: int
    m: int
    counts: Floats
    row: Ints
    key: Ints
    amount: Floats
    given: Ints
    gold: Ints
    fold: Ints
    order: Ints
    kinds: tuple[str, ...]

    def of_kind(self, *kinds: str) -> npt.NDArray[np.bool_]:
        """Say which sources are of these kinds, ``[m]``."""
        return np.array([kind in kinds for kind in self.kinds], bool)

    def without(self, fold: int) -> Problem:
        """Forget the gold of one fold."""
        return replace(self, gold=np.where(self.fold == fold, ABSTAIN, self.gold))

    def per_row(self, values: Floats) -> Floats:
        """Sum ``[e]`` or ``[e, k]`` values over the entries of each pattern."""
        if values.ndim == 1:
            return np.bincount(self.row, values, minlength=len(self.counts)).astype(np.float64)
        columns = [np.bincount(self.row, column, minlength=len(self.counts)) for column in values.T]
        return np.stack(columns, axis=1)

    def per_key(self, values: Floats) -> Floats:
        """Sum ``[e]`` values over the entries of each (source, class): ``[m, k]``."""
        return np.bincount(self.key, values, minlength=self.m * self.k).reshape(self.m, self.k).astype(np.float64)

    def shares(self) -> Floats:
        """Return the vote shares of each pattern, ``[p, k]``; zeros where nobody voted."""
        cells = self.row * self.k + self.key % self.k
        votes = np.bincount(cells, self.amount, minlength=len(self.counts) * self.k).reshape(-1, self.k)
        shares: Floats = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-300)
        return shares


def matrix(votes: Any, k: int) -> npt.NDArray[np.int16]:
    """Check an n x m matrix of votes: integers, -1 for abstain, classes 0..k-1.

    Raises
    ------
    DataError
        Another shape, numbers that are not whole, or a class that is not there.

    """
    array = np.asarray(votes)
    if array.ndim != 2:
        raise DataError(f"votes are a matrix, rows x sources, got {array.ndim} dimension(s) of shape {array.shape}")
    whole = _integers(array, "votes")
    if whole.size and (whole.min() < ABSTAIN or whole.max() >= k):
        seen = int(whole.min()) if whole.min() < ABSTAIN else int(whole.max())
        raise DataError(f"a vote of {seen} among {k} classes; votes are 0..{k - 1}, and -1 for abstain")
    return whole.astype(np.int16)


def _integers(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind != "f":
        raise DataError(f"{what} are integers, got {array.dtype}; turn class names into numbers, abstain into -1")
    if np.isnan(array).any():
        raise DataError(f"{what} hold NaN; write -1 where there is none")
    broken = array[~np.isfinite(array) | (array != np.round(array))]
    if broken.size:
        raise DataError(f"{what} are integers, got {float(broken[0])!r}")
    return array.astype(np.int64)


def kinds_of(kinds: str | Sequence[str], m: int) -> list[str]:
    """Spread one word over all sources, or check one word per source."""
    words = [kinds] * m if isinstance(kinds, str) else list(kinds)
    if len(words) != m:
        raise UsageError(f"{len(words)} kinds for {m} sources; give one word, or one per column")
    for word in words:
        if word not in KINDS:
            raise UsageError(f"{word!r} is not a kind of source; kinds are {', '.join(KINDS)}")
    return words


def gold_of(gold: Any, n: int, k: int) -> Ints:
    """Check known classes, one per row, -1 where unknown; None knows none."""
    if gold is None:
        return np.full(n, ABSTAIN)
    array = np.asarray(gold)
    if array.shape != (n,):
        raise DataError(f"gold of shape {array.shape} for {n} rows; give one class number per row, -1 where unknown")
    whole = _integers(array, "gold labels").astype(np.int64)
    if n and (whole.min() < ABSTAIN or whole.max() >= k):
        raise DataError(f"gold labels from {whole.min()} to {whole.max()} among {k} classes")
    return whole


def confidence_of(confidence: Any, shape: tuple[int, ...]) -> Floats | None:
    """Check confidences, one per vote, NaN where the vote is plain."""
    if confidence is None:
        return None
    array = np.asarray(confidence, dtype=np.float64)
    if array.shape != shape:
        raise DataError(f"confidences of shape {array.shape} for votes of shape {shape}")
    known = array[~np.isnan(array)]
    if known.size and (known.min() < 0 or known.max() > 1):
        raise DataError(f"confidences are probabilities, got {known.min()} to {known.max()}")
    return None if not known.size else array


def problem(
    votes: npt.NDArray[np.int16], k: int, kinds: Sequence[str], gold: Ints, confidence: Floats | None = None
) -> Problem:
    """Order the sources, merge equal rows, and list the entries.

    Parameters
    ----------
    votes
        What `matrix` checked, n x m.
    k
        Number of classes.
    kinds
        One per source; it takes part in the order.
    gold
        What `gold_of` checked, n.
    confidence
        n x m, NaN for a plain vote: a soft vote of probability p gives p to its class and shares the rest evenly.

    """
    m = votes.shape[1]
    order = np.array(sorted(range(m), key=lambda j: (kinds[j], _bytes(votes, j), _bytes(confidence, j))), np.int64)
    columns = [votes[:, j] + 1 for j in order] + [gold + 1, _folds(gold) + 1]
    if confidence is not None:
        columns += [np.unique(confidence[:, j], return_inverse=True)[1] for j in order]
    first, counts = _merge(columns, len(votes))
    merged = votes[first][:, order]
    row, source = np.nonzero(merged >= 0)
    key = source * k + merged[row, source]
    soft = None if confidence is None else confidence[first][:, order][row, source]
    given = np.bincount(row, minlength=len(first)).astype(np.int64)
    row, key, amount = _spread(row, key, soft, k)
    ordered = tuple(kinds[j] for j in order)
    return Problem(k, m, counts, row, key, amount, given, gold[first], _folds(gold)[first], order, ordered)


def _bytes(columns: npt.NDArray[Any] | None, j: int) -> bytes:
    return b"" if columns is None else columns[:, j].tobytes()


def _folds(gold: Ints) -> Ints:
    """Deal the rows with gold to folds in turn."""
    known = gold >= 0
    return np.where(known, (np.cumsum(known) - 1) % FOLDS, ABSTAIN)


def _merge(columns: Sequence[npt.NDArray[Any]], n: int) -> tuple[Ints, Floats]:
    """Return the first row of each distinct combination of the columns' codes, and how many rows share it."""
    code, size = np.zeros(n, np.int64), 1
    for column in columns:
        base = int(column.max(initial=0)) + 1
        if size * base >= 2**62:
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
            size = n + 1
        code, size = code * base + column, size * base
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return first.astype(np.int64), counts.astype(np.float64)


def _spread(row: Ints, key: Ints, soft: Floats | None, k: int) -> tuple[Ints, Ints, Floats]:
    """Give each soft vote one entry per class, in proportion to what it says."""
    if soft is None:
        return row, key, np.ones(len(row))
    plain = np.isnan(soft)
    sure, rest = soft[~plain], (1 - soft[~plain]) / max(k - 1, 1)
    classes = np.tile(np.arange(k), len(sure))
    voted = np.repeat(key[~plain], k)
    amount = np.where(classes == voted % k, np.repeat(sure, k), np.repeat(rest, k))
    rows = np.concatenate([row[plain], np.repeat(row[~plain], k)])
    keys = np.concatenate([key[plain], voted // k * k + classes])
    return rows, keys, np.concatenate([np.ones(plain.sum()), amount])

"""What callers hand a label model, checked: votes, kinds of sources, gold and confidences as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lineshaft.errors import DataError, UsageError

ABSTAIN = -1
KINDS = ("rule", "model", "person", "expert")
MAX_CLASSES = 32_767  # votes are held in 16 bits

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
VoteMatrix = npt.NDArray[np.signedinteger[Any]]


def classes_of(k: Any) -> int:
    """Check a number of classes."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 2 <= k <= MAX_CLASSES:
        raise UsageError(f"a label model needs two or more classes (at most {MAX_CLASSES}), got {k!r}")
    return int(k)


def matrix(votes: Any, k: int) -> VoteMatrix:
    """Check an n x m matrix of votes: integers, -1 for abstain, classes 0..k-1.

    Returns it as int8, or int16 past 127 classes, each column in one piece.

    Raises
    ------
    DataError
        Another shape, numbers that are not whole, or a class that is not there.

    """
    try:
        array = np.asarray(votes)
    except ValueError as error:
        raise DataError(f"votes are a matrix, rows x sources; these rows differ in length: {error}") from error
    if array.ndim != 2:
        raise DataError(f"votes are a matrix, rows x sources, got {array.ndim} dimension(s) of shape {array.shape}")
    whole = _integers(array, "votes")
    if whole.size and (whole.min() < ABSTAIN or whole.max() >= k):
        seen = int(whole.min()) if whole.min() < ABSTAIN else int(whole.max())
        raise DataError(f"a vote of {seen} among {k} classes; votes are 0..{k - 1}, and -1 for abstain")
    narrow: VoteMatrix = whole.astype(np.int8 if k <= 127 else np.int16, order="F", copy=False)
    return narrow


def kinds_of(kinds: str | Sequence[str], m: int) -> list[str]:
    """Spread one word over all sources, or check one word per source."""
    words = [kinds] * m if isinstance(kinds, str) else list(kinds)
    if len(words) != m:
        raise UsageError(f"{len(words)} kinds for {m} sources; give one word, or one per column")
    for word in [kinds, *words] if isinstance(kinds, str) else words:
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
    """Check confidences, one per vote, NaN where the vote is plain; None where all are."""
    if confidence is None:
        return None
    array = np.asarray(confidence, dtype=np.float64)
    if array.shape != shape:
        raise DataError(f"confidences of shape {array.shape} for votes of shape {shape}")
    known = array[~np.isnan(array)]
    if known.size and (known.min() < 0 or known.max() > 1):
        raise DataError(f"confidences are probabilities, got {known.min()} to {known.max()}")
    return None if not known.size else array


def _integers(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    if array.dtype.kind in "iu" or not array.size:
        return array if array.dtype.kind in "iu" else np.empty(array.shape, np.int64)
    if array.dtype.kind != "f":
        raise DataError(f"{what} are integers, got {array.dtype}; turn class names into numbers, abstain into -1")
    with np.errstate(invalid="ignore"):  # NaN and infinity turn into some integer, from which they differ
        whole = array.astype(np.int64)
    broken = array[whole != array]
    if np.isnan(broken).any():
        raise DataError(f"{what} hold NaN; write -1 where there is none")
    if broken.size:
        raise DataError(f"{what} are integers, got {float(broken[0])!r}")
    return whole

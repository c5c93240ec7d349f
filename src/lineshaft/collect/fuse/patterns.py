"""From a matrix of votes to what EM works on: sources put in order, equal rows merged, words numbered.

::

    L (n x m)                                rows   counts    words of a, b     words of c
    rule_a rule_b person_c                   0  1     2       0: a=0  b=-1      0: abstain
      0     -1     1                         1  0     1       1: a=1  b=1       1: c=1
      1      1    -1                 ─►
      0     -1     1

The votes of rules repeat ten to twenty times, and EM over distinct rows weighted by their counts is exact; rows that
hardly repeat stay as they are. Sources are put in an order that their votes alone decide, so that no sum depends on
the order in which the caller lists them; and groups of neighbours grow while they make few words (see `problem`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse.checks import ABSTAIN, Floats, Ints, VoteMatrix
from lineshaft.collect.fuse.problem import GOLD_WEIGHT, Problem, Words

FOLDS = 5
WORDS = 4096  # most words of a group: their sums stay in the nearest cache

_Column = tuple[npt.NDArray[Any], int]  # codes [n], and one more than the highest that may occur


def prepared(
    votes: VoteMatrix,
    k: int,
    kinds: Sequence[str],
    gold: Ints,
    gold_weight: float = GOLD_WEIGHT,
    sure: Floats | None = None,
    family: Ints | None = None,
) -> Problem:
    """Order the sources, merge equal rows where they repeat, and number the words.

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
    gold_weight, sure, family
        See `Problem`; all are sure by default, and each a family of its own.

    """
    m = votes.shape[1]
    order = np.array(
        sorted(
            range(m),
            key=lambda j: (kinds[j], 1.0 if sure is None else sure[j], hashlib.sha256(votes[:, j].tobytes()).digest()),
        ),
        np.int64,
    )

    def columns(rows: Any) -> Iterator[_Column]:
        return ((votes[rows, j] + 1, k + 1) for j in order)

    fold = _folds(gold)
    known = [(gold + 1, k + 1), (fold + 1, FOLDS + 1)]
    rows, counts = _merged(itertools.chain(known, columns(slice(None))), len(votes), len(known) + m)
    groups = []
    for place, code, size in _grouped(columns(rows), WORDS):
        example = rows[_examples(code, size)]
        chosen = np.ix_(example, order[place])
        groups.append(_words(code, votes[chosen], k))
    words, told = tuple(kinds[j] for j in order), np.ones(m) if sure is None else sure[order]
    kin = _numbered(np.arange(m) if family is None else family[order])
    return Problem(k, words, order, tuple(groups), counts, gold[rows], fold[rows], gold_weight, told, kin)


def _numbered(family: Ints) -> Ints:
    """Number families in the order in which they come."""
    _, first, place = np.unique(family, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place]


def _folds(gold: Ints) -> Ints:
    """Deal the rows with gold to folds in turn."""
    known = gold >= 0
    return np.where(known, (np.cumsum(known) - 1) % FOLDS, ABSTAIN)


def _merged(columns: Iterable[_Column], n: int, width: int) -> tuple[Ints, Floats]:
    """Return one row for each distinct combination and how many share it; every row where fewer than half repeat."""
    for place, code, size in _grouped(columns, n // 2):
        if place == slice(0, width):
            return _examples(code, size), np.bincount(code, minlength=size).astype(np.float64)
        break
    return np.arange(n), np.ones(n)


def _grouped(columns: Iterable[_Column], most: int) -> Iterator[tuple[slice, Ints, int]]:
    """Join neighbouring columns while they make at most so many combinations.

    Yields which columns, the code of each row, and the number of codes, each of which occurs.
    """
    start, code, size = 0, None, 1
    for place, (column, base) in enumerate(columns):
        joined, count = _joined(code, size, column, base, most)
        if code is not None and count > most:
            yield slice(start, place), *_renumbered(code, size)
            start, joined, count = place, column.astype(np.int64), base
        code, size = joined, count
    if code is not None:
        yield slice(start, place + 1), *_renumbered(code, size)


def _joined(code: Ints | None, size: int, column: npt.NDArray[Any], base: int, most: int) -> tuple[Ints, int]:
    """Append a column to a code; count the combinations that occur where those that could are too many."""
    if code is None:
        return column.astype(np.int64), base
    if size * base > 16 * len(column) + 2**16:  # too many to count in little memory
        return code, size * base
    joined = code * base + column
    return (joined, size * base) if size * base <= most else _renumbered(joined, size * base)


def _renumbered(code: Ints, size: int) -> tuple[Ints, int]:
    """Number the codes that occur, in order."""
    seen = np.zeros(size, bool)
    seen[code] = True
    found, number = np.flatnonzero(seen), np.empty(size, np.int64)
    number[found] = np.arange(len(found))
    return number[code], len(found)


def _examples(code: Ints, size: int) -> Ints:
    """Return a row for each code."""
    row = np.empty(size, np.int64)
    row[code] = np.arange(len(code))
    return row


def _words(code: Ints, said: VoteMatrix, k: int) -> Words:
    """List the entries of words ``[words, sources]``."""
    word, source = np.nonzero(said >= 0)
    return Words(code, len(said), word, source * k + said[word, source], said.shape[1] * k)

"""Votes made ready for fusion: equal rows merged, and what a row holds written as a few numbered words.

::

    L (n x m)                            rows (p)   counts   words of a, b     words of c
    rule_a rule_b person_c                0  1        2      0: a=0  b=-1      0: abstain
      0     -1     1                      1  0        1      1: a=1  b=1       1: c=1
      1      1    -1               ─►
      0     -1     1

EM over distinct rows weighted by their counts is exact, and the votes of rules repeat ten to twenty times; rows that
hardly repeat stay as they are. A *word* is one combination of votes that occurs in a group of neighbouring sources, so
a sum over a row's votes is a sum over its few words, and a sum over the rows behind each vote is first a sum over the
rows behind each word. Groups grow while they make few words. Sources are put in an order that their votes alone
decide, so that no sum depends on the order in which the caller lists them.

Legend: n rows, m sources, k classes, p distinct rows; an *entry* (e) is one vote that is not an abstain.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse.checks import ABSTAIN, Bools, Floats, Ints, VoteMatrix

GOLD_WEIGHT = 5.0
FOLDS = 5
WORDS = 4096  # of one group: their sums stay in the nearest cache

_Column = tuple[npt.NDArray[Any], int]  # codes [n], and one more than the highest that may occur


@dataclass(frozen=True)
class Words:
    """What occurs in one group of sources.

    Attributes
    ----------
    code
        ``[p]`` the word of each row.
    size
        Number of words.
    word, key, amount
        ``[e]`` the entries of the words: the word, ``source * k + class`` with the sources counted within the group,
        and how much of a vote it is (soft votes spread over the classes).
    width
        Number of keys.

    """

    code: Ints
    size: int
    word: Ints
    key: Ints
    amount: Floats
    width: int

    def per_row(self, values: Floats) -> Floats:
        """Sum ``[width]`` values over the entries of each row: ``[p]``."""
        sums: Floats = np.bincount(self.word, self.amount * values[self.key], minlength=self.size)
        return sums[self.code]

    def per_key(self, values: Floats) -> Floats:
        """Sum ``[p]`` values over the entries of each key: ``[width]``."""
        sums = np.bincount(self.code, values, minlength=self.size)
        found: Floats = np.bincount(self.key, self.amount * sums[self.word], minlength=self.width)
        return found


@dataclass(frozen=True)
class Problem:
    """What EM works on. Arrays over rows come classes first, ``[k, p]``.

    Attributes
    ----------
    k
        Number of classes.
    kinds
        ``[m]`` in this problem's order of sources.
    order
        ``[m]`` the caller's columns in this problem's order.
    groups
        The words of each group of sources.
    counts
        ``[p]`` how many rows are merged in each.
    gold, fold
        ``[p]`` the known class or -1, and the cross-fitting fold of rows with gold, or -1.
    gold_weight
        How many times a vote on a gold row counts in learning about its source.

    """

    k: int
    kinds: tuple[str, ...]
    order: Ints
    groups: tuple[Words, ...]
    counts: Floats
    gold: Ints
    fold: Ints
    gold_weight: float

    @property
    def m(self) -> int:
        """Number of sources."""
        return len(self.kinds)

    @cached_property
    def known(self) -> Ints:
        """The rows with gold."""
        return np.flatnonzero(self.gold >= 0)

    @cached_property
    def given(self) -> Floats:
        """How many sources voted, ``[p]``."""
        return np.rint(self.per_row(np.ones((1, self.m, self.k)))[0])  # a soft vote adds up to almost one

    @cached_property
    def weight(self) -> Floats:
        """What a vote on each row counts in learning about its source, ``[p]``."""
        return self.counts * np.where(self.gold >= 0, self.gold_weight, 1.0)

    @cached_property
    def checked(self) -> Floats:
        """The weight of rows where a vote can be checked, by another vote or by gold; 0 elsewhere, ``[p]``."""
        return self.weight * ((self.given > 1) | (self.gold >= 0))

    @cached_property
    def votes(self) -> Floats:
        """Number of votes by source and class, ``[m, k]``."""
        found: Floats = self.per_vote(self.counts[None])[0]
        return found

    @cached_property
    def checkable(self) -> Floats:
        """The weight of the votes that can be checked, by source and class, ``[m, k]``."""
        found: Floats = self.per_vote(self.checked[None])[0]
        return found

    def of_kind(self, *kinds: str) -> Bools:
        """Say which sources are of these kinds, ``[m]``."""
        return np.array([kind in kinds for kind in self.kinds], bool)

    def without(self, fold: int) -> Problem:
        """Forget the gold of one fold."""
        return replace(self, gold=np.where(self.fold == fold, ABSTAIN, self.gold))

    def per_row(self, values: Floats) -> Floats:
        """Sum ``[r, m, k]`` values, by source and class, over the votes of each row: ``[r, p]``."""
        flat, start = values.reshape(len(values), -1), 0
        sums = np.zeros((len(values), len(self.counts)))
        for group in self.groups:
            for total, value in zip(sums, flat[:, start : start + group.width], strict=True):
                total += group.per_row(value)
            start += group.width
        return sums

    def per_vote(self, values: Floats) -> Floats:
        """Sum ``[r, p]`` values over the rows behind each vote: ``[r, m, k]``, by source and class."""
        sums = [[group.per_key(value) for group in self.groups] for value in values]
        return np.array([np.concatenate(row) for row in sums]).reshape(len(values), self.m, self.k)

    def said(self, sources: Bools | None = None) -> Floats:
        """Count the votes for each class, of some sources or all: ``[k, p]``."""
        ones = np.ones(self.m) if sources is None else sources
        return self.per_row(np.eye(self.k)[:, None, :] * ones[None, :, None])

    def voted(self, sources: Bools) -> Bools:
        """Say on which rows one of the sources voted, ``[p]``."""
        voted: Bools = self.said(sources).sum(axis=0) > 0.5 if sources.any() else np.zeros(len(self.counts), bool)
        return voted


def problem(
    votes: VoteMatrix,
    k: int,
    kinds: Sequence[str],
    gold: Ints,
    confidence: Floats | None = None,
    gold_weight: float = GOLD_WEIGHT,
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
    confidence
        n x m, NaN for a plain vote: a soft vote of probability p gives p to its class and shares the rest evenly.
    gold_weight
        See `Problem`.

    """
    m = votes.shape[1]
    order = np.array(sorted(range(m), key=lambda j: (kinds[j], _digest(votes, j), _digest(confidence, j))), np.int64)

    def columns(rows: Any) -> Iterator[_Column]:
        return (_column(votes[rows, j], None if confidence is None else confidence[rows, j], k) for j in order)

    fold = _folds(gold, columns)
    known = [(gold + 1, k + 1), (fold + 1, FOLDS + 1)]
    rows, counts = _merged(itertools.chain(known, columns(slice(None))), len(votes), len(known) + m)
    groups = []
    for place, code, size in _grouped(columns(rows), WORDS):
        example = rows[_examples(code, size)]
        chosen = np.ix_(example, order[place])
        groups.append(_words(code, votes[chosen], None if confidence is None else confidence[chosen], k))
    return Problem(k, tuple(kinds[j] for j in order), order, tuple(groups), counts, gold[rows], fold[rows], gold_weight)


def _digest(columns: npt.NDArray[Any] | None, j: int) -> bytes:
    return b"" if columns is None else hashlib.sha256(np.ascontiguousarray(columns[:, j])).digest()


def _column(votes: npt.NDArray[Any], soft: Floats | None, k: int) -> _Column:
    """Number what a source said, its confidence included."""
    said = votes + 1
    if soft is None or np.isnan(soft).all():
        return said, k + 1
    levels = np.unique(soft, return_inverse=True)[1]
    codes = np.unique(levels * (k + 1) + said, return_inverse=True)[1]
    return codes, int(codes.max(initial=0)) + 1


def _folds(gold: Ints, columns: Callable[[Any], Iterable[_Column]]) -> Ints:
    """Deal the rows with gold to folds in turn, in an order that their votes decide."""
    fold, known = np.full(len(gold), ABSTAIN), np.flatnonzero(gold >= 0)
    codes = [code for _, code, _ in _grouped(columns(known), len(known))]
    fold[known[np.lexsort([gold[known], *codes])]] = np.arange(len(known)) % FOLDS
    return fold


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


def _words(code: Ints, said: VoteMatrix, soft: Floats | None, k: int) -> Words:
    """List the entries of words ``[words, sources]``."""
    word, source = np.nonzero(said >= 0)
    key = source * k + said[word, source]
    entries = (word, key, np.ones(len(word))) if soft is None else _spread(word, key, soft[word, source], k)
    return Words(code, len(said), *entries, width=said.shape[1] * k)


def _spread(word: Ints, key: Ints, soft: Floats, k: int) -> tuple[Ints, Ints, Floats]:
    """Give each soft vote one entry per class, in proportion to what it says."""
    plain = np.isnan(soft)
    sure, voted = np.repeat(soft[~plain], k), np.repeat(key[~plain], k)
    classes = np.tile(np.arange(k), int((~plain).sum()))
    amount = np.where(classes == voted % k, sure, (1 - sure) / (k - 1))
    words = np.concatenate([word[plain], np.repeat(word[~plain], k)])
    keys = np.concatenate([key[plain], voted - voted % k + classes])
    return words, keys, np.concatenate([np.ones(int(plain.sum())), amount])

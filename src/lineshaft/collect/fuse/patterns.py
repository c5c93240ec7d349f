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
from collections.abc import Iterable, Iterator, Sequence
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
        return np.rint(self.per_row(np.ones((1, self.m, self.k)))[0])

    @cached_property
    def weight(self) -> Floats:
        """What a vote on each row counts in learning about its source, ``[p]``."""
        return self.counts * np.where(self.gold >= 0, self.gold_weight, 1.0)

    @cached_property
    def checked(self) -> Floats:
        """The weight of rows where a vote can be checked, by another vote or by gold; 0 elsewhere, ``[p]``."""
        return self.weight * ((self.given > 1) | (self.gold >= 0))

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
    order = _order(votes, kinds, confidence)
    ordered = votes[:, order], None if confidence is None else confidence[:, order]
    fold = _folds(gold, [*_columns(*(_rows(part, gold >= 0) for part in ordered), k)])
    rows, counts = _merged([(gold + 1, k + 1), (fold + 1, FOLDS + 1)], lambda: _columns(*ordered, k), len(votes))
    kept = ordered if rows is None else tuple(_rows(part, rows) for part in ordered)
    gold, fold = (gold, fold) if rows is None else (gold[rows], fold[rows])
    return Problem(
        k, tuple(kinds[j] for j in order), order, tuple(_groups(*kept, k)), counts, gold, fold, gold_weight
    )

"""What EM works on: votes as a few words per row, and the two sums that every model is made of.

A *word* is one combination of votes that occurs in a group of sources. A sum over the votes of a row is a sum over its
few words; a sum over the rows behind each vote is first one over the rows behind each word. So a round of EM costs a
few look-ups per row, however many sources there are::

    row   word of a..l   word of m..t          word   votes of a..l
      0              7              2             7   a=1 c=0 f=1
      1              3              2             3   b=0
      2              7              0           ...

Legend: m sources, k classes, p rows (distinct ones where rows repeat), each standing for `counts` of the caller's; an
*entry* (e) is one vote that is not an abstain. Arrays over rows come classes first, ``[k, p]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats, Ints

GOLD_WEIGHT = 5.0
STRENGTH, PLAIN = 50.0, 0.8  # what a vote is taken for before anything is known: pseudo-votes, their precision
PIECE = 16_384  # rows worked on at once: what is computed of them stays in the cache


@dataclass(frozen=True)
class Words:
    """What occurs in one group of sources.

    Attributes
    ----------
    code
        ``[p]`` the word of each row.
    size
        Number of words.
    word, key
        ``[e]`` the entries of the words: the word, and ``source * k + class``, sources counted within the group.
    width
        Number of keys.

    """

    code: Ints
    size: int
    word: Ints
    key: Ints
    width: int

    def matrix(self) -> Floats:
        """Write the words out, ``[size, width]``."""
        matrix = np.zeros((self.size, self.width))
        matrix[self.word, self.key] = 1
        return matrix

    def per_word(self, values: Floats) -> Floats:
        """Sum ``[width]`` values over the entries of each word: ``[size]``."""
        return _sums(self.word, values[self.key], self.size)

    def per_key(self, values: Floats) -> Floats:
        """Sum ``[p]`` values over the entries of each key: ``[width]``."""
        sums = _sums(self.code, values, self.size)
        return _sums(self.key, sums[self.word], self.width)


@dataclass(frozen=True)
class Problem:
    """Votes, and what is known beside them.

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
    sure
        ``[m]`` how sure the sources say they are, 0 as a guess and 1 as a plain vote.
    family
        ``[m]`` sources of one number are levels of one model, of which one speaks at a time; numbers from 0 on.

    """

    k: int
    kinds: tuple[str, ...]
    order: Ints
    groups: tuple[Words, ...]
    counts: Floats
    gold: Ints
    fold: Ints
    gold_weight: float
    sure: Floats
    family: Ints

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
        given: Floats = self.per_row(np.ones((1, self.m, self.k)))[0]
        return given

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

    def of_kind(self, *kinds: str) -> Bools:
        """Say which sources are of these kinds, ``[m]``."""
        return np.array([kind in kinds for kind in self.kinds], bool)

    def without(self, fold: int) -> Problem:
        """Forget the gold of one fold."""
        return replace(self, gold=np.where(self.fold == fold, -1, self.gold))

    def pieces(self, values: Floats) -> Iterator[tuple[slice, Floats]]:
        """Sum ``[r, m, k]`` values over the votes of each row, by source and class: some rows, and ``[r, rows]``."""
        flat, start, tables = values.reshape(len(values), -1), 0, []
        for group in self.groups:
            tables.append([group.per_word(value) for value in flat[:, start : start + group.width]])
            start += group.width
        for begin in range(0, len(self.counts), PIECE):
            rows = slice(begin, begin + PIECE)
            sums = np.zeros((len(values), len(self.counts[rows])))
            for group, table in zip(self.groups, tables, strict=True):
                code = group.code[rows]
                for r, value in enumerate(table):
                    sums[r] += value[code]
            yield rows, sums

    def per_row(self, values: Floats) -> Floats:
        """Sum ``[r, m, k]`` values, by source and class, over the votes of each row: ``[r, p]``."""
        whole = np.empty((len(values), len(self.counts)))
        for rows, sums in self.pieces(values):
            whole[:, rows] = sums
        return whole

    def per_vote(self, values: Floats) -> Floats:
        """Sum ``[r, p]`` values over the rows behind each vote: ``[r, m, k]``, by source and class."""
        sums, start = np.empty((len(values), self.m * self.k)), 0
        for group in self.groups:
            for r, value in enumerate(values):
                sums[r, start : start + group.width] = group.per_key(value)
            start += group.width
        return sums.reshape(len(values), self.m, self.k)

    def said(self, sources: Bools | None = None) -> Floats:
        """Count the votes for each class, of some sources or all: ``[k, p]``."""
        ones = np.ones(self.m) if sources is None else sources
        return self.per_row(np.eye(self.k)[:, None, :] * ones[None, :, None])

    def together(self, keys: Ints) -> Floats:
        """Count the rows on which two of some votes ``[c]``, written ``source * k + class``, meet: ``[c, c]``."""
        if not len(keys):
            return np.zeros((0, 0))
        matrices, start = [], 0
        for group in self.groups:
            own = keys[(keys >= start) & (keys < start + group.width)] - start
            matrices.append(group.matrix()[:, own])
            start += group.width
        counts, step = np.zeros((len(keys), len(keys))), max(256, PIECE * 64 // max(len(keys), 64))
        for begin in range(0, len(self.counts), step):
            rows = slice(begin, begin + step)
            piece = np.hstack([matrix[group.code[rows]] for group, matrix in zip(self.groups, matrices, strict=True)])
            counts += (piece * self.counts[rows, None]).T @ piece
        return counts

    def without_gold(self) -> Problem:
        """Forget all gold."""
        return replace(self, gold=np.full_like(self.gold, -1), fold=np.full_like(self.fold, -1))

    def sample(self, most: int) -> Problem:
        """Keep at most so many rows, evenly spread, and every row with gold."""
        step = -(-len(self.counts) // most)
        if step <= 1:
            return self
        keep = (np.arange(len(self.counts)) % step == 0) | (self.gold >= 0)
        groups = tuple(replace(group, code=group.code[keep]) for group in self.groups)
        return replace(self, groups=groups, counts=self.counts[keep], gold=self.gold[keep], fold=self.fold[keep])

    def voted(self, sources: Bools) -> Bools:
        """Say on which rows one of the sources voted, ``[p]``."""
        voted: Bools = self.said(sources).sum(axis=0) > 0.5 if sources.any() else np.zeros(len(self.counts), bool)
        return voted


def _sums(place: Ints, values: Floats, size: int) -> Floats:
    """Add up values that belong to one place."""
    return np.bincount(place, values, minlength=size).astype(np.float64, copy=False)

"""Soft votes, told apart by how sure they are: a model's votes of one level of confidence are a source of their own.

::

    a model's votes   confidence         level 0   level 1
      fresh             0.55               fresh      .
      rotten            0.97       ─►        .      rotten

So what a confidence is worth is learnt (histogram binning: Zadrozny and Elkan 2001), and everything behind this step
knows plain votes only. What the model says of itself is believed as far as nothing else is known: it is the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lineshaft.collect.fuse.checks import ABSTAIN, Floats, Ints, VoteMatrix
from lineshaft.collect.fuse.problem import PLAIN

MOST, FEWEST = 10, 100  # levels of a model; votes in a level
_NONE = np.empty(0)


@dataclass(frozen=True)
class Levels:
    """Where the levels of each source begin.

    Attributes
    ----------
    edges
        For each source the least confidence of its second level, its third, and so on; nothing for one level.
    sure
        ``[levels]`` how sure the votes of each are on average, in log-odds: 0 as a guess among the classes, 1 as sure
        as a plain vote is taken to be, or surer.

    """

    edges: tuple[Floats, ...]
    sure: Floats

    @classmethod
    def of(cls, votes: VoteMatrix, kinds: Sequence[str], soft: Floats | None, k: int) -> Levels:
        """Learn them from votes: for models that say how sure they are, about equally many votes to each."""
        edges, sure = [], []
        for j, kind in enumerate(kinds):
            known = _NONE
            if soft is not None and kind == "model":
                known = soft[(votes[:, j] >= 0) & ~np.isnan(soft[:, j]), j]
            edges.append(_edges(known))
            level = np.searchsorted(edges[j], known, side="right")
            for place in range(len(edges[j]) + 1):
                own = known[level == place]
                sure.append(_sureness(float(own.mean()), k) if len(own) else 1.0)
        return cls(tuple(edges), np.array(sure))

    @cached_property
    def source(self) -> Ints:
        """The source of each level, ``[levels]``."""
        return np.repeat(np.arange(len(self.edges)), [len(edges) + 1 for edges in self.edges])

    def spread(self, votes: VoteMatrix, soft: Floats | None) -> VoteMatrix:
        """Give every level a column; a vote without a confidence is one of the surest."""
        if len(self.source) == len(self.edges):
            return votes
        columns = []
        for j, edges in enumerate(self.edges):
            sure = np.full(len(votes), np.nan) if soft is None else soft[:, j]
            level = np.searchsorted(edges, sure, side="right")
            columns += [np.where(level == place, votes[:, j], ABSTAIN) for place in range(len(edges) + 1)]
        return np.stack(columns, axis=1).astype(votes.dtype, order="F")

    def gather(self, terms: Floats) -> Floats:
        """Add up ``[n, levels + 1]`` terms by source; the last column, the prior's, stays."""
        gathered = np.zeros((len(terms), len(self.edges) + 1))
        for level, j in enumerate(self.source):
            gathered[:, j] += terms[:, level]
        gathered[:, -1] = terms[:, -1]
        return gathered


def _edges(sure: Floats) -> Floats:
    levels = min(MOST, len(sure) // FEWEST)
    if levels < 2:
        return _NONE
    edges: Floats = np.unique(np.quantile(sure, np.arange(1, levels) / levels, method="higher"))
    above: Floats = edges[edges > sure.min()]
    return above


def _sureness(confidence: float, k: int) -> float:
    said, plain = (np.log(max(p, 1e-9) * (k - 1) / max(1 - p, 1e-9)) for p in (confidence, PLAIN))
    return float(np.clip(said / plain, 0, 1))

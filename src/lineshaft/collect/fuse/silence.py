"""Silence as evidence: rules that vote or abstain independently of each other given the class, and whether they do.

Dawid and Skene's model over the alphabet abstain, 0..k-1, in sparse form::

    theta_j[y, s] = (o + sum of Q(y) over rows where j said s) / (the same summed over s, abstain included)
    log Q(y)      = log pi_y + sum_j log theta_j[y, abstain]
                    + sum over the row's votes of log theta_j[y, vote] - log theta_j[y, abstain]       + const

Bayes-optimal where the sources are independent given the class; far off on rules that people wrote, which seldom are.
The votes themselves tell the two apart without any gold: the model says how often each pair of votes meets on a row::

    E[(j,c), (l,d)] = n sum_y pi_y theta_j[y, c] theta_l[y, d]         against the count O, by Pearson's chi-square

(goodness of fit of latent class models by their bivariate margins: Maydeu-Olivares and Joe 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lineshaft.collect.fuse import em

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats, Ints
    from lineshaft.collect.fuse.problem import Problem

ROUNDS, TOLERANCE = 300, 1e-4
LEAST = 5  # rows on which a pair should meet, for chi-square to mean something
MOST = 2048  # different votes whose pairs are counted
_NEVER = 1e-12


@dataclass(frozen=True)
class SilenceStep:
    """The M step of independent sources.

    Attributes
    ----------
    sources
        ``[m]`` which sources they are.
    smooth
        o: pseudo-votes for each symbol.

    """

    sources: Bools
    smooth: float = 0.01

    def learn(self, problem: Problem, state: em.State) -> tuple[Floats, Floats]:
        """Return what each vote adds to silence, and what the silence of all adds to the class balance."""
        weighted = problem.weight * state.q
        rows = weighted.sum(axis=1) + self.smooth * (problem.k + 1)
        said = np.moveaxis(problem.per_vote(weighted), 0, 2) + self.smooth
        spoken = np.zeros((problem.family.max(initial=-1) + 1, problem.k))
        np.add.at(spoken, problem.family, said.sum(axis=1))
        silent = np.log(np.maximum(rows - spoken, _NEVER))
        own, families = self.sources[:, None], np.unique(problem.family[self.sources])
        scores = (np.log(said) - silent[problem.family][:, None, :]) * own[:, :, None]
        prior = np.log(em.balanced(state.total)) + (silent - np.log(rows))[families].sum(axis=0)
        return scores, prior


@dataclass(frozen=True)
class Meetings:
    """How often votes meet.

    Attributes
    ----------
    cells
        ``[c]`` the votes that occur often enough, as ``source * k + class``.
    met
        ``[c, c]`` on how many rows two of them meet; zeros where both are of one source, and each pair once.
    unknowns
        How many numbers `SilenceStep` learns: each vote's rate by class, and the class balance.

    """

    cells: Ints
    met: Floats
    unknowns: int

    @classmethod
    def of(cls, problem: Problem) -> Meetings:
        """Count them; none where there are too many votes to pair."""
        cells, unknowns = np.flatnonzero(problem.votes >= LEAST), (int((problem.votes > 0).sum()) + 1) * problem.k - 1
        if len(cells) > MOST:
            cells = cells[:0]
        return cls(cells, problem.together(cells) * _pairs(problem, cells), unknowns)

    @property
    def often(self) -> int:
        """How many pairs meet often enough to test a model by them."""
        return int((self.met >= LEAST).sum())

    def strain(self, problem: Problem, fit: em.Fit) -> tuple[int, float]:
        """Return how many pairs can test a fit, and its chi-square per pair: up to about 1 where it holds."""
        mass = fit.q * problem.counts
        said = problem.per_vote(mass).reshape(problem.k, -1)[:, self.cells]
        expected = (said / np.maximum(mass.sum(axis=1), _NEVER)[:, None]).T @ said * _pairs(problem, self.cells)
        tested = expected >= LEAST
        excess = (self.met - expected)[tested] ** 2 / expected[tested]
        return int(tested.sum()), float(excess.mean()) if excess.size else 0.0


def _pairs(problem: Problem, cells: Ints) -> Bools:
    """Take each pair of votes once that could meet: of different sources, which are no levels of one model."""
    family = problem.family[cells // problem.k]
    return np.triu(family[:, None] != family)

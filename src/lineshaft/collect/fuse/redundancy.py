"""Rules that say the same thing twice: how much of a vote is news beside the others.

Rules share word lists and copy each other; added up as if they were independent, a list in three rules speaks three
times, and rows on which only copies agree make each look right. Two votes a, b that are independent given the class
meet on a share of E[ab] = sum_y pi_y theta_a(y) theta_b(y) of the rows. Where they meet more often::

    r_ab    = (observed - E[ab]) / sqrt((p_a - E[aa]) (p_b - E[bb]))        correlation given the class, of copies 1
    news_a  = 1 / (1 + sum of r_ab ^ 2 over votes of other sources that pull to the same side)

r squared is the share of one vote's variance that the other explains, so s copies weigh 1 / s each, and one together.
Correlations that sampling noise can explain count as none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lineshaft.collect.fuse.silence import LEAST, MOST

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats, Ints
    from lineshaft.collect.fuse.problem import Problem

ROWS = 50_000  # distinct rows on which votes are seen to meet
NOISE = 3.0  # standard errors of a correlation of none
_TINY = 1e-12


@dataclass(frozen=True)
class Redundancy:
    """Which votes meet how often.

    Attributes
    ----------
    cells
        ``[c]`` the votes that occur often enough, as ``source * k + class``.
    met
        ``[c, c]`` share of rows on which two of them meet; on the diagonal the share on which one is.
    noise
        A correlation below this is none.

    """

    cells: Ints
    met: Floats
    noise: float

    @classmethod
    def of(cls, problem: Problem, sources: Bools) -> Redundancy:
        """Count the meetings of some sources' votes; none where there are too many votes to pair."""
        seen = problem.sample(ROWS)
        cells = np.flatnonzero((seen.votes >= LEAST) & sources[:, None])
        if len(cells) > MOST:
            cells = cells[:0]
        rows = float(seen.counts.sum())
        return cls(cells, seen.together(cells) / max(rows, 1.0), NOISE / np.sqrt(max(rows, 1.0)))

    def news(self, problem: Problem, q: Floats, weights: Floats) -> Floats:
        """Return how much of each vote is news, ``[m, k]`` in 0..1.

        Parameters
        ----------
        problem
            The votes.
        q
            ``[k, p]`` class probabilities of its rows.
        weights
            ``[m, k]`` what each vote adds to its class; below 0 it speaks against it.

        """
        found = np.ones(problem.m * problem.k)
        if len(self.cells):
            shared = np.clip(self._correlation(problem, q) - self.noise, 0, 1) ** 2
            family, cls = problem.family[self.cells // problem.k], self.cells % problem.k
            against = weights.ravel()[self.cells] < 0
            alike = (cls[:, None] == cls) == (against[:, None] == against)
            found[self.cells] /= 1 + (shared * (alike & (family[:, None] != family))).sum(axis=1)
        return found.reshape(problem.m, problem.k)

    def _correlation(self, problem: Problem, q: Floats) -> Floats:
        mass = q * problem.counts
        said = problem.per_vote(mass).reshape(problem.k, -1)[:, self.cells]
        expected = (said / np.maximum(mass.sum(axis=1), _TINY)[:, None]).T @ said / max(mass.sum(), _TINY)
        spread = np.sqrt(np.maximum(np.diag(self.met) - np.diag(expected), _TINY))
        found: Floats = (self.met - expected) / np.outer(spread, spread)
        return found

"""Dawid-Skene: people weighed by their confusion matrices, an abstain meaning that nobody asked.

Dawid and Skene (1979), with pseudo-counts A on the confusion matrices (d on the diagonal, o elsewhere)::

    pi_y          = share of class y
    theta_j[y, s] = (A[y, s] + sum of Q(y) over rows where j said s) / (the same summed over s)
    log Q(y)      = log pi_y + sum over the row's votes of log theta_j[y, vote] + const

Right for people. Useless for rules that only ever vote one class: whatever the truth, given that they vote they vote
the same, so the votes weigh nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Additive
from lineshaft.collect.fuse.problem import GOLD_WEIGHT, Problem

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats

ROUNDS, TOLERANCE = 300, 1e-5


@dataclass(frozen=True)
class PeopleStep:
    """The M step of people and models.

    Attributes
    ----------
    sources
        ``[m]`` which sources are people or models.
    diagonal, off
        Pseudo-votes per true class for the right answer, and for each wrong one.
    balance
        Whether a vote brings in the class balance; not where another step already does.

    """

    sources: Bools
    diagonal: float = 0.01
    off: float = 0.01
    balance: bool = True

    def learn(self, problem: Problem, state: em.State) -> tuple[Floats, Floats]:
        """Return log theta as ``[source, said, true]``, and log pi."""
        counts = np.moveaxis(problem.per_vote(problem.weight * state.q), 0, 2)
        counts = counts + np.where(np.eye(problem.k, dtype=bool), self.diagonal, self.off)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
        scores: Floats = np.log(np.maximum(share, 1e-12)) * self.sources[:, None, None]
        return scores, np.log(em.balanced(state.total)) * self.balance


class DawidSkene(Additive):
    """The label model for people.

    Parameters
    ----------
    k
        Number of classes.
    diagonal, off
        The prior on every confusion matrix in pseudo-votes. The default hardly smooths; (2, 0.5) is light smoothing,
        for people with few answers each.
    gold_weight
        How many times a vote on a gold row counts.

    """

    def __init__(self, k: int, diagonal: float = 0.01, off: float = 0.01, gold_weight: float = GOLD_WEIGHT) -> None:
        super().__init__(k, gold_weight)
        self.diagonal, self.off = diagonal, off

    def fit(self, L: Any, gold: Any = None, confidence: Any = None) -> Self:  # noqa: ARG002, N803
        """Learn from n x m votes, -1 for not asked; ``gold``: n class numbers, -1 unknown, clamps those rows.

        Confidences play no part.
        """
        found = self._problem(L, "person", gold)
        everybody = np.ones(found.m, bool)
        step = PeopleStep(everybody, self.diagonal, self.off)
        return self._adopt(found, em.run(found, [step], everybody, rounds=ROUNDS, tolerance=TOLERANCE))

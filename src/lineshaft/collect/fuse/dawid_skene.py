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
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Additive, Scores
from lineshaft.collect.fuse.patterns import Floats, Problem, confidence_of, gold_of, kinds_of, matrix, problem

ROUNDS, TOLERANCE, GOLD_WEIGHT = 300, 1e-5, 5.0


@dataclass(frozen=True)
class PeopleStep:
    """The M step of people and models.

    Attributes
    ----------
    sources
        ``[m]`` which sources are people or models.
    diagonal, off
        Pseudo-votes per true class for the right answer, and for each wrong one.

    """

    sources: npt.NDArray[np.bool_]
    diagonal: float = 0.01
    off: float = 0.01

    def scores(self, problem: Problem, state: em.State) -> Floats:
        """Return log theta as ``[source, said, true]``."""
        amount = problem.amount * state.weight[problem.row]
        counts = np.stack([problem.per_key(amount * state.q[problem.row, y]) for y in range(problem.k)], axis=2)
        counts += np.where(np.eye(problem.k, dtype=bool), self.diagonal, self.off)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
        scores: Floats = np.log(np.maximum(share, 1e-12)) * self.sources[:, None, None]
        return scores


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
        How many times the votes on a gold row count.

    """

    def __init__(self, k: int, diagonal: float = 0.01, off: float = 0.01, gold_weight: float = GOLD_WEIGHT) -> None:
        super().__init__(k)
        self.diagonal, self.off, self.gold_weight = diagonal, off, gold_weight

    def fit(self, L: Any, gold: Any = None, confidence: Any = None) -> Self:  # noqa: N803
        """Learn from n x m votes, -1 for not asked; ``gold``: n class numbers, -1 unknown, clamps those rows."""
        votes = matrix(L, self.k)
        m, everybody = votes.shape[1], np.ones(votes.shape[1], bool)
        soft = confidence_of(confidence, votes.shape)
        people = problem(votes, self.k, kinds_of("person", m), gold_of(gold, len(votes), self.k), soft)
        step = PeopleStep(everybody, self.diagonal, self.off)
        fit = em.run(people, [step], everybody, gold_weight=self.gold_weight, rounds=ROUNDS, tolerance=TOLERANCE)
        report = {"rounds": fit.rounds, "converged": fit.converged, "patterns": len(people.counts)}
        return self._adopt(Scores.of(fit, people.order, everybody), report)

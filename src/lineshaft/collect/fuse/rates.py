"""Rates: rules weighed by their true and false positive rates, an abstain being silence.

For every vote (j, c), with n_jc votes, precision p_jc, T_c expected rows of class c among N::

    p_jc = (sum of u_e q_e + a p0) / (sum of u_e + a)              u_e = 1 where the row has another vote or gold
    w_jc = log[(n_jc p_jc + .5) / (T_c + 1)] - log[(n_jc (1 - p_jc) + .5) / (N - T_c + 1)]       log TPR / FPR
    S(c) = sum of w_jc over the row's votes for c                  a uniform prior: an estimated one runs away

Precision is learnt where a second source speaks, because most rows of rules have one vote, which agrees with itself.
Under strong class skew the rare class can take all mass; `LabelModel` guards against that, this class does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Additive, Scores
from lineshaft.collect.fuse.patterns import Floats, Problem, gold_of, kinds_of, matrix, problem

ROUNDS, TOLERANCE, GOLD_WEIGHT = 50, 1e-4, 5.0


@dataclass(frozen=True)
class RatesStep:
    """The M step of rules.

    Attributes
    ----------
    sources
        ``[m]`` which sources are rules.
    strength, precision
        a and p0: that many pseudo-votes of that precision. 20-200 and 0.7-0.9 make little difference.

    """

    sources: npt.NDArray[np.bool_]
    strength: float = 50.0
    precision: float = 0.8

    def scores(self, problem: Problem, state: em.State) -> Floats:
        """Weigh every (source, class) by log TPR / FPR; a vote speaks for its own class only."""
        k, row = problem.k, problem.row
        use = state.weight[row] * ((problem.given[row] > 1) | (problem.gold[row] >= 0))
        right = problem.per_key(use * state.agreement) + self.strength * self.precision
        precision = right / (problem.per_key(use) + self.strength)
        votes = problem.per_key(problem.counts[row])
        true_rate = (votes * precision + 0.5) / (state.total + 1)
        false_rate = (votes * (1 - precision) + 0.5) / (state.total.sum() - state.total + 1)
        weights = np.log(true_rate) - np.log(false_rate)
        scores: Floats = weights[:, :, None] * np.eye(k) * self.sources[:, None, None]
        return scores


class Rates(Additive):
    """The label model for rules, without a guard.

    Parameters
    ----------
    k
        Number of classes.
    strength, precision
        The prior on every vote's precision: pseudo-votes and their precision.
    gold_weight
        How many times the votes on a gold row count.

    """

    def __init__(
        self, k: int, strength: float = 50.0, precision: float = 0.8, gold_weight: float = GOLD_WEIGHT
    ) -> None:
        super().__init__(k)
        self.strength, self.precision, self.gold_weight = strength, precision, gold_weight

    def fit(self, L: Any, gold: Any = None) -> Self:  # noqa: N803
        """Learn from n x m votes, -1 for abstain; ``gold``: n class numbers, -1 unknown, clamps those rows."""
        votes = matrix(L, self.k)
        m = votes.shape[1]
        rules = problem(votes, self.k, kinds_of("rule", m), gold_of(gold, len(votes), self.k))
        step = RatesStep(np.ones(m, bool), self.strength, self.precision)
        nobody = np.zeros(m, bool)
        fit = em.run(rules, [step], nobody, gold_weight=self.gold_weight, rounds=ROUNDS, tolerance=TOLERANCE)
        report = {"rounds": fit.rounds, "converged": fit.converged, "patterns": len(rules.counts)}
        return self._adopt(Scores.of(fit, rules.order, nobody), report)

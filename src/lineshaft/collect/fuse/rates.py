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
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.additive import Additive
from lineshaft.collect.fuse.problem import GOLD_WEIGHT, PLAIN, STRENGTH, Problem

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats
    from lineshaft.collect.fuse.redundancy import Redundancy

ROUNDS, TOLERANCE = 50, 1e-4


@dataclass(frozen=True)
class RatesStep:
    """The M step of rules.

    Attributes
    ----------
    sources
        ``[m]`` which sources are rules.
    strength, precision
        a and p0: that many pseudo-votes of that precision, or of less for a source that says that it is less sure.
        20-200 and 0.7-0.9 make little difference.
    redundancy
        Who repeats whom: a vote then weighs, and checks others, by how much of it is news.

    """

    sources: Bools
    strength: float = STRENGTH
    precision: float = PLAIN
    redundancy: Redundancy | None = None

    def learn(self, problem: Problem, state: em.State) -> tuple[Floats, Floats]:
        """Weigh every (source, class) by log TPR / FPR; a vote speaks for its own class only."""
        weights = self._weights(problem, state, problem.checked)
        if self.redundancy is not None:
            news = self.redundancy.news(problem, state.q, weights)
            others = np.clip(problem.per_row(news[None])[0] - 1, 0, 1)
            weights = news * self._weights(problem, state, problem.weight * np.where(problem.gold >= 0, 1.0, others))
        scores: Floats = weights[:, :, None] * np.eye(problem.k) * self.sources[:, None, None]
        return scores, np.zeros(problem.k)

    def _weights(self, problem: Problem, state: em.State, checked: Floats) -> Floats:
        """Return the weight of each vote, ``[m, k]``, learnt where ``[p]`` rows can check it."""
        agreeing = np.einsum("cjc->jc", problem.per_vote(checked * state.agreement))
        votes, guess = problem.per_vote(checked[None])[0], 1 / problem.k
        believed = guess + (self.precision - guess) * problem.sure[:, None]
        precision = (agreeing + self.strength * believed) / (votes + self.strength)
        true_rate = (problem.votes * precision + 0.5) / (state.total + 1)
        false_rate = (problem.votes * (1 - precision) + 0.5) / (state.total.sum() - state.total + 1)
        weights: Floats = np.log(true_rate) - np.log(false_rate)
        return weights


class Rates(Additive):
    """The label model for rules, without a guard.

    Parameters
    ----------
    k
        Number of classes.
    strength, precision
        The prior on every vote's precision: pseudo-votes and their precision.
    gold_weight
        How many times a vote on a gold row counts.

    """

    def __init__(
        self, k: int, strength: float = STRENGTH, precision: float = PLAIN, gold_weight: float = GOLD_WEIGHT
    ) -> None:
        super().__init__(k, gold_weight)
        self.strength, self.precision = strength, precision

    def fit(self, L: Any, gold: Any = None, confidence: Any = None) -> Self:  # noqa: ARG002, N803
        """Learn from n x m votes, -1 for abstain; ``gold``: n class numbers, -1 unknown, clamps those rows.

        Confidences play no part.
        """
        found = self._problem(L, "rule", gold)
        everything, nothing = np.ones(found.m, bool), np.zeros(found.m, bool)
        step = RatesStep(everything, self.strength, self.precision)
        return self._adopt(found, em.run(found, [step], nothing, rounds=ROUNDS, tolerance=TOLERANCE))

"""Majority vote, and the one-weight fit that gives its labels with calibrated, additive probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse.checks import Bools, Floats, matrix
from lineshaft.collect.fuse.model import Model
from lineshaft.collect.fuse.problem import PLAIN, STRENGTH
from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from lineshaft.collect.fuse.problem import Problem


class MajorityVote(Model):
    """Every vote counts the same; a row's probabilities are its vote shares.

    A tie is a tie: equal probabilities, and `predict` takes the lowest class; see `tied`.

    Parameters
    ----------
    k
        Number of classes, two or more.

    """

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self._balance: Floats | None = None

    def fit(self, L: Any, gold: Any = None, confidence: Any = None) -> Self:  # noqa: ARG002, N803 - as other models
        """Learn the class balance, for rows without a vote; gold and confidences play no part.

        Parameters
        ----------
        L
            n x m votes, -1 for abstain.
        gold, confidence
            Taken as other label models take them.

        """
        shares = self._shares(L)
        covered = shares.sum(axis=1) > 0
        self._balance = shares[covered].mean(axis=0) if covered.any() else np.full(self.k, 1 / self.k)
        return self

    def predict_proba(self, L: Any, confidence: Any = None) -> Floats:  # noqa: ARG002, N803
        """Return n x k vote shares; rows without a vote get the class balance."""
        if self._balance is None:
            raise UsageError("MajorityVote was not fitted; call fit(L) first")
        shares = self._shares(L)
        shares[shares.sum(axis=1) == 0] = self._balance
        return shares

    def tied(self, L: Any) -> Bools:  # noqa: N803
        """Say which covered rows have two or more classes with the most votes."""
        shares = self._shares(L)
        best = shares.max(axis=1, keepdims=True)
        tied: Bools = (best[:, 0] > 0) & ((shares == best).sum(axis=1) > 1)
        return tied

    def _shares(self, votes: Any) -> Floats:
        counts = tally(matrix(votes, self.k), self.k)
        shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return shares


def tally(votes: npt.NDArray[Any], k: int) -> Floats:
    """Count the votes of each row for each class, n x k."""
    counts = np.zeros((len(votes), k))
    for column in votes.T:
        voted = np.flatnonzero(column >= 0)
        counts[voted, column[voted]] += 1
    return counts


def equal_scores(problem: Problem, sources: Bools, strength: float = STRENGTH, precision: float = PLAIN) -> Floats:
    """Give all votes one weight: the log-odds of the precision with which rules and people agree among themselves.

    So the answer is the majority's and probabilities stay calibrated, where vote shares would say 1 for every single
    vote; a source that says that it is less sure counts for less. Of the v votes of a row, v(c) for class c, each
    agrees with (v(c) - 1) / (v - 1) of the others.

    Parameters
    ----------
    problem
        The votes.
    sources
        ``[m]`` which sources get the weight, the others 0.
    strength, precision
        Pseudo-votes and their precision, as in Rates.

    """
    said = problem.said(~problem.of_kind("expert"))
    given = said.sum(axis=0)
    agreeing = (said * (said - 1)).sum(axis=0) / np.maximum(given - 1, 1)
    agreeing[problem.known] = said[problem.gold[problem.known], problem.known]
    checked = problem.weight * ((given > 1) | (problem.gold >= 0))
    right, votes = float(checked @ agreeing) + strength * precision, float(checked @ given) + strength
    precision = max(right / votes, 1 / problem.k + 0.01)  # the majority never counts against
    weight = np.log(precision * (problem.k - 1) / (1 - precision))
    scores: Floats = weight * np.eye(problem.k)[None] * (sources * problem.sure)[:, None, None]
    return scores

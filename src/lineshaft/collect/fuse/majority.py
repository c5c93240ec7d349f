"""Majority vote, and the one-weight model that gives its labels with calibrated, additive probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse import em
from lineshaft.collect.fuse.patterns import Floats, Ints, Problem, matrix
from lineshaft.errors import UsageError


class MajorityVote:
    """Every vote counts the same; a row's probabilities are its vote shares.

    A tie is a tie: equal probabilities, and `predict` takes the lowest class; see `tied`.

    Parameters
    ----------
    k
        Number of classes, two or more.

    """

    def __init__(self, k: int) -> None:
        if k < 2:
            raise UsageError(f"majority vote needs two or more classes, got {k!r}")
        self.k = k
        self._balance: Floats | None = None

    def fit(self, L: Any, gold: Any = None) -> Self:  # noqa: ARG002, N803 - as other label models; the field's name
        """Learn the class balance, for rows without a vote, from n x m votes, -1 for abstain; gold plays no part."""
        shares = self._shares(L)
        covered = shares.sum(axis=1) > 0
        self._balance = shares[covered].mean(axis=0) if covered.any() else np.full(self.k, 1 / self.k)
        return self

    def predict_proba(self, L: Any) -> Floats:  # noqa: N803
        """Return n x k vote shares; rows without a vote get the class balance."""
        if self._balance is None:
            raise UsageError("MajorityVote was not fitted; call fit(L) first")
        shares = self._shares(L)
        shares[shares.sum(axis=1) == 0] = self._balance
        return shares

    def predict(self, L: Any, abstain: bool = False) -> Ints:  # noqa: N803
        """Return n class numbers; rows without a vote: the most frequent class, or -1 with ``abstain``."""
        found = self.predict_proba(L).argmax(axis=1).astype(np.int64)
        return np.where(self.covered(L), found, -1) if abstain else found

    def covered(self, L: Any) -> npt.NDArray[np.bool_]:  # noqa: N803
        """Say which rows have a vote."""
        covered: npt.NDArray[np.bool_] = self._shares(L).sum(axis=1) > 0
        return covered

    def tied(self, L: Any) -> npt.NDArray[np.bool_]:  # noqa: N803
        """Say which covered rows have two or more classes with the most votes."""
        shares = self._shares(L)
        best = shares.max(axis=1, keepdims=True)
        tied: npt.NDArray[np.bool_] = self.covered(L) & ((shares == best).sum(axis=1) > 1)
        return tied

    def _shares(self, votes: Any) -> Floats:
        checked = matrix(votes, self.k)
        counts = np.zeros((len(checked), self.k))
        for column in checked.T:
            voted = np.flatnonzero(column >= 0)
            counts[voted, column[voted]] += 1
        counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return counts


@dataclass(frozen=True)
class EqualStep:
    """The M step that gives all votes one weight: the answer is the majority's.

    The weight is the log-odds of the precision with which votes agree with the row's other votes, so that
    probabilities stay calibrated where vote shares would say 1 for every single vote.

    Attributes
    ----------
    sources
        ``[m]`` which sources count: all but experts.
    strength, precision
        Pseudo-votes and their precision, as in Rates.

    """

    sources: npt.NDArray[np.bool_]
    strength: float = 50.0
    precision: float = 0.8

    def scores(self, problem: Problem, state: em.State) -> Floats:
        """Weigh every vote alike, by agreement between sources alone: what EM believes meanwhile plays no part."""
        k, row = problem.k, problem.row
        use = state.weight[row] * ((problem.given[row] > 1) | (problem.gold[row] >= 0)) * self.sources[problem.key // k]
        right = float(use @ em.first_agreement(problem)) + self.strength * self.precision
        precision = max(right / (float(use.sum()) + self.strength), 1 / k + 0.01)  # the majority never counts against
        weight = np.log(precision * (k - 1) / (1 - precision))
        scores: Floats = weight * np.eye(k)[None] * self.sources[:, None, None]
        return scores

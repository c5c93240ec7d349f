"""A fitted model whose scores add up over sources: prediction, and an explanation that is exact.

``S(y) = sum over votes of score[j, c, y] (+ prior(y))``, probabilities are its softmax. With r the probabilities of
the other classes among themselves and H their entropy, the log-odds of class c against the rest are

    S(c) - log sum exp S(y) = sum_j [score_j(c) - sum_y r_y score_j(y)] + [prior(c) - sum_y r_y prior(y) - H(r)]

so each source has a term, the last bracket is the prior's, and they sum to the answer's log-odds exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lineshaft.collect.fuse.checks import Bools, Floats, Ints, VoteMatrix, confidence_of, gold_of, kinds_of, matrix
from lineshaft.collect.fuse.em import Fit, softmax
from lineshaft.collect.fuse.model import Model
from lineshaft.collect.fuse.patterns import prepared
from lineshaft.collect.fuse.problem import GOLD_WEIGHT, Problem
from lineshaft.errors import DataError, UsageError

SLICE = 16_384  # rows predicted or explained at once: what is computed of them stays in the cache


@dataclass(frozen=True)
class Scores:
    """What a fitted model knows.

    Attributes
    ----------
    order
        ``[m]`` the caller's columns in the order in which they are added up.
    scores
        ``[m, k, k]`` by column of the caller, class voted for, class.
    prior, otherwise, balance
        ``[k]`` log prior for rows where an informed source voted, for those where only others did, and class shares
        for rows without a vote.
    informed
        ``[m]`` which sources bring in the prior.

    """

    order: Ints
    scores: Floats
    prior: Floats
    otherwise: Floats
    balance: Floats
    informed: Bools

    @classmethod
    def of(cls, fit: Fit, order: Ints) -> Scores:
        """Put what EM found back into the caller's order of columns."""
        back = np.argsort(order)
        return cls(order, fit.scores[back], fit.prior, fit.otherwise, fit.balance, fit.informed[back])

    def terms(self, j: int, votes: VoteMatrix) -> Floats:
        """Return what source j adds to each class on each row, ``[k, n]``; zeros where it abstains."""
        k = len(self.balance)
        table = np.vstack([self.scores[j], np.zeros(k)])  # -1, abstain, finds the last row
        column = votes[:, j].astype(np.intp)
        found: Floats = np.stack([row[column] for row in table.T])
        return found

    def base(self, votes: VoteMatrix) -> Floats:
        """Return the prior of each row, zeros where nobody voted, ``[k, n]``."""
        told, voted = np.any(votes[:, self.informed] >= 0, axis=1), np.any(votes >= 0, axis=1)
        return np.outer(self.prior, told) + np.outer(self.otherwise, voted & ~told)

    def sums(self, votes: VoteMatrix) -> Floats:
        """Add up the scores of each class, ``[k, n]``."""
        sums = np.zeros((len(self.balance), len(votes)))
        for j in self.order:
            sums += self.terms(j, votes)
        sums += self.base(votes)
        return sums


class Additive(Model):
    """What every model with additive scores can do once `_fitted` is set; the base of the label models.

    Parameters
    ----------
    k
        Number of classes, two or more.
    gold_weight
        How many times a vote on a gold row counts in learning about its source.

    """

    def __init__(self, k: int, gold_weight: float = GOLD_WEIGHT) -> None:
        super().__init__(k)
        self.gold_weight = gold_weight
        self.report: dict[str, Any] = {}
        self._fitted: Scores | None = None

    @property
    def fitted(self) -> Scores:
        """What was learnt; refuses before `fit`."""
        if self._fitted is None:
            raise UsageError(f"{type(self).__name__} was not fitted; call fit(L) first")
        return self._fitted

    def predict_proba(self, L: Any, confidence: Any = None) -> Floats:  # noqa: N803 - the field's name for votes
        """Return n x k class probabilities; rows sum to 1, and rows without a vote get the class balance.

        Parameters
        ----------
        L
            n x m votes, -1 for abstain.
        confidence
            n x m probabilities of soft votes, NaN for plain ones.

        """
        votes = self._votes(L, confidence)
        fitted, q = self.fitted, np.empty((len(votes), self.k))
        for start in range(0, len(votes), SLICE):
            rows = slice(start, start + SLICE)
            q[rows] = softmax(fitted.sums(votes[rows])).T
        q[~np.any(votes >= 0, axis=1)] = fitted.balance
        return q

    def explain(self, L_row: Any, cls: int | None = None, confidence: Any = None) -> dict[int | str, float]:  # noqa: N803
        """Return what each source adds to the log-odds of ``cls`` (default: the answer) against the rest.

        The values sum to ``log(p / (1 - p))`` of the class's probability.
        """
        row = np.atleast_2d(np.asarray(L_row))
        soft = None if confidence is None else np.atleast_2d(confidence)
        if len(row) != 1:
            raise DataError(f"explain takes one row, got {len(row)}")
        target = int(self.predict_proba(row, soft)[0].argmax()) if cls is None else int(cls)
        if not 0 <= target < self.k:
            raise DataError(f"class {target} of {self.k}")
        terms = self.explain_all(row, np.array([target]), soft)[0]
        found: dict[int | str, float] = {int(j): float(terms[j]) for j in np.flatnonzero(row[0] >= 0)}
        return found | {"prior": float(terms[-1])}

    def explain_all(self, L: Any, classes: Ints, confidence: Any = None) -> Floats:  # noqa: N803
        """Explain many rows: what each source, and last the prior, adds to the log-odds of a class of each row.

        Parameters
        ----------
        L, confidence
            As for `predict_proba`.
        classes
            ``[n]`` which class to explain.

        Returns
        -------
        Floats
            ``[n, m + 1]``.

        """
        votes = self._votes(L, confidence)
        fitted, target = self.fitted, np.eye(self.k)[:, classes]
        rest = softmax(np.where(target > 0, -np.inf, fitted.sums(votes)))
        side, terms = target - rest, np.zeros((len(votes), votes.shape[1] + 1))
        for j in fitted.order:
            terms[:, j] = (side * fitted.terms(j, votes)).sum(axis=0)
        terms[:, -1] = (side * fitted.base(votes) + rest * np.log(np.maximum(rest, 1e-300))).sum(axis=0)
        bare = ~np.any(votes >= 0, axis=1)
        terms[bare, -1] = np.log(fitted.balance / (1 - fitted.balance))[classes[bare]]
        return terms

    def _votes(self, votes: Any, confidence: Any) -> VoteMatrix:
        """Return votes by the sources of `fitted`."""
        return self._checked(votes, confidence, len(self.fitted.order))[0]

    def _checked(self, votes: Any, confidence: Any, sources: int) -> tuple[VoteMatrix, Floats | None]:
        checked = matrix(votes, self.k)
        if checked.shape[1] != sources:
            raise DataError(f"{checked.shape[1]} columns of votes for a model of {sources} sources")
        return checked, confidence_of(confidence, checked.shape)

    def _problem(self, votes: Any, kinds: str, gold: Any) -> Problem:
        """Check what `fit` was given, and make it ready."""
        checked = matrix(votes, self.k)
        words, known = kinds_of(kinds, checked.shape[1]), gold_of(gold, len(checked), self.k)
        return prepared(checked, self.k, words, known, self.gold_weight)

    def _adopt(self, found: Problem, fit: Fit, **report: Any) -> Self:
        self._fitted = Scores.of(fit, found.order)
        self.report = report | {"rounds": fit.rounds, "converged": fit.converged, "patterns": len(found.counts)}
        return self

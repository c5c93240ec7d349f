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
import numpy.typing as npt

from lineshaft.collect.fuse.em import Fit, softmax
from lineshaft.collect.fuse.patterns import Floats, Ints, confidence_of, matrix
from lineshaft.errors import DataError, UsageError


@dataclass(frozen=True)
class Scores:
    """What a fitted model knows.

    Attributes
    ----------
    order
        ``[m]`` the caller's columns in the order in which they are added up.
    scores
        ``[m, k, k]`` by column of the caller.
    prior, balance
        ``[k]`` log prior for rows where an informed source voted; class shares for rows without a vote.
    informed
        ``[m]`` which sources bring in the prior.

    """

    order: Ints
    scores: Floats
    prior: Floats
    balance: Floats
    informed: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, fit: Fit, order: Ints, informed: npt.NDArray[np.bool_]) -> Scores:
        """Put what EM found back into the caller's order of columns; ``informed`` is in the problem's order."""
        back = np.argsort(order)
        return cls(order, fit.scores[back], fit.prior, fit.balance, informed[back])


class Additive:
    """What every model with additive scores can do once `_fitted` is set; the base of the label models.

    Parameters
    ----------
    k
        Number of classes, two or more.

    """

    def __init__(self, k: int) -> None:
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 2:
            raise UsageError(f"a label model needs two or more classes, got {k!r}")
        self.k = int(k)
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
        votes, soft = self._votes(L, confidence)
        q = softmax(self._sums(votes, soft))
        q[~_covered(votes)] = self.fitted.balance
        return q

    def predict(self, L: Any, abstain: bool = False, confidence: Any = None) -> Ints:  # noqa: N803
        """Return n class numbers; rows without a vote: the most frequent class, or -1 with ``abstain``."""
        found = self.predict_proba(L, confidence).argmax(axis=1).astype(np.int64)
        return np.where(self.covered(L), found, -1) if abstain else found

    def covered(self, L: Any) -> npt.NDArray[np.bool_]:  # noqa: N803
        """Say which rows have a vote."""
        return _covered(matrix(L, self.k))

    def explain(self, L_row: Any, cls: int | None = None, confidence: Any = None) -> dict[int | str, float]:  # noqa: N803
        """Return what each source adds to the log-odds of ``cls`` (default: the answer) against the rest.

        The values sum to ``log(p / (1 - p))`` of the class's probability.
        """
        row = np.atleast_2d(np.asarray(L_row))
        votes, soft = self._votes(row, None if confidence is None else np.atleast_2d(confidence))
        if len(votes) != 1:
            raise DataError(f"explain takes one row, got {len(votes)}")
        if not _covered(votes)[0]:
            q = self.fitted.balance
            target = int(q.argmax()) if cls is None else cls
            return {"prior": float(np.log(q[target]) - np.log(1 - q[target]))}
        terms, base = self._terms(votes[0], None if soft is None else soft[0])
        return _log_odds(terms, base, cls)

    def _terms(self, votes: npt.NDArray[np.int16], soft: Floats | None) -> tuple[dict[int, Floats], Floats]:
        """Return each voting source's scores ``[k]``, and the prior's."""
        fitted = self.fitted
        voted = [int(j) for j in fitted.order if votes[j] >= 0]
        terms = {j: _softened(fitted.scores[j], votes[[j]], None if soft is None else soft[[j]])[0] for j in voted}
        return terms, fitted.prior if any(fitted.informed[j] for j in voted) else np.zeros(self.k)

    def _votes(self, votes: Any, confidence: Any) -> tuple[npt.NDArray[np.int16], Floats | None]:
        checked = matrix(votes, self.k)
        if checked.shape[1] != len(self.fitted.order):
            raise DataError(f"{checked.shape[1]} columns of votes for a model of {len(self.fitted.order)} sources")
        return checked, confidence_of(confidence, checked.shape)

    def _sums(self, votes: npt.NDArray[np.int16], soft: Floats | None) -> Floats:
        fitted, sums = self.fitted, np.zeros((len(votes), self.k))
        for j in fitted.order:
            sums += _softened(fitted.scores[j], votes[:, j], None if soft is None else soft[:, j])
        sums[_covered(votes[:, fitted.informed])] += fitted.prior
        return sums

    def _adopt(self, scores: Scores, report: dict[str, Any]) -> Self:
        self._fitted, self.report = scores, report
        return self


def _covered(votes: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    covered: npt.NDArray[np.bool_] = np.any(votes >= 0, axis=1)
    return covered


def _softened(scores: Floats, votes: npt.NDArray[np.int16], soft: Floats | None) -> Floats:
    """Look up one source's scores ``[k, k]`` for votes ``[n]``, zeros for abstain; a soft vote mixes its classes."""
    k = len(scores)
    table = np.vstack([scores, np.zeros(k)])  # -1, abstain, finds the last row
    found: Floats = table[votes]
    if soft is None or np.isnan(soft).all():
        return found
    rest = (1 - soft) / max(k - 1, 1)
    mixed = (soft - rest)[:, None] * found + rest[:, None] * scores.sum(axis=0)
    return np.where((np.isnan(soft) | (votes < 0))[:, None], found, mixed)


def _log_odds(terms: dict[int, Floats], base: Floats, cls: int | None) -> dict[int | str, float]:
    total = sum(terms.values(), np.zeros_like(base)) + base
    target = int(total.argmax()) if cls is None else int(cls)
    if not 0 <= target < len(base):
        raise DataError(f"class {target} of {len(base)}")
    others = np.arange(len(base)) != target
    rest = softmax(total[others])
    entropy = -float((rest * np.log(np.maximum(rest, 1e-300))).sum())
    found: dict[int | str, float] = {j: float(term[target] - rest @ term[others]) for j, term in sorted(terms.items())}
    found["prior"] = float(base[target] - rest @ base[others]) - entropy
    return found

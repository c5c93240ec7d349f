"""The default label model: one EM for rules, models, people and experts, each with its own meaning of abstain.

=======  ================================================  =====================================================
kind     a vote's score for each class                     abstain
=======  ================================================  =====================================================
rule     log TPR / FPR (`rates`), guarded (`guard`)        silence
person   log of the confusion matrix (`dawid_skene`)       was not asked; a vote brings in the class balance
model    as person; a soft vote counts in fractions        was not sure enough to speak
expert   right but once in a million                       was not asked; fixes the row while fitting
=======  ================================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lineshaft.collect.fuse import dawid_skene, em, guard, rates
from lineshaft.collect.fuse.additive import Additive, Scores
from lineshaft.collect.fuse.dawid_skene import PeopleStep
from lineshaft.collect.fuse.majority import EqualStep
from lineshaft.collect.fuse.patterns import (
    ABSTAIN,
    Floats,
    Ints,
    Problem,
    confidence_of,
    gold_of,
    kinds_of,
    matrix,
    problem,
)
from lineshaft.collect.fuse.rates import RatesStep

EXPERT_ERROR = 1e-6
# People beside rules: ten pseudo-votes at accuracy 0.8 per true class. People alone identify themselves: next to none.
PSEUDO_VOTES, PSEUDO_ACCURACY, ALONE = 10.0, 0.8, 0.01


@dataclass(frozen=True)
class ExpertStep:
    """Experts learn nothing: their votes are believed.

    Attributes
    ----------
    sources
        ``[m]`` which sources are experts.

    """

    sources: npt.NDArray[np.bool_]

    def scores(self, problem: Problem, _state: em.State) -> Floats:
        """Return the log-odds of being right; finite, so that two experts who disagree leave the rest to decide."""
        weight = np.log((1 - EXPERT_ERROR) / EXPERT_ERROR * (problem.k - 1))
        scores: Floats = weight * np.eye(problem.k)[None] * self.sources[:, None, None]
        return scores


class LabelModel(Additive):
    """Fuse votes into class probabilities, each source by its kind.

    Deterministic, and independent of the order of the sources to the last bit.

    Parameters
    ----------
    k
        Number of classes.
    random_state
        Kept for callers that pass one: nothing here is drawn.
    floor
        Least agreement of weighted rules with the majority, where gold does not decide.
    gold_weight
        How many times the votes on a gold row count in learning about the sources.

    Attributes
    ----------
    report
        What happened, as JSON: ``choice`` (weighted | equal | people | empty), ``kinds``, ``rounds``, ``converged``,
        ``guard``, ``patterns``, ``balance``, ``gold_rows``, ``expert_conflicts``.

    """

    def __init__(
        self, k: int, random_state: int = 0, *, floor: float = guard.FLOOR, gold_weight: float = rates.GOLD_WEIGHT
    ) -> None:
        super().__init__(k)
        self.random_state, self.floor, self.gold_weight = random_state, floor, gold_weight

    def fit(self, L: Any, kinds: str | Sequence[str] = "rule", gold: Any = None, confidence: Any = None) -> Self:  # noqa: N803
        """Learn from votes.

        Parameters
        ----------
        L
            n x m integers, -1 for abstain.
        kinds
            One word, or one per column: rule, model, person, expert.
        gold
            n class numbers, -1 where unknown; fixes these rows while fitting, and only then.
        confidence
            n x m probabilities of soft votes, NaN for plain ones.

        Raises
        ------
        DataError, UsageError
            Votes, gold, confidences or kinds that do not fit each other.

        """
        votes = matrix(L, self.k)
        words = kinds_of(kinds, votes.shape[1])
        soft = _soft(confidence_of(confidence, votes.shape), words)
        known = gold_of(gold, len(votes), self.k)
        clamped, conflicts = _expert_gold(votes, words, known, self.k)
        votes_of = _Votes(votes, words, clamped, soft)
        whole = votes_of.problem(self.k)
        fit, informed, report = self._choose(votes_of, whole)
        report |= {
            "kinds": {word: words.count(word) for word in sorted(set(words))},
            "rounds": fit.rounds,
            "converged": fit.converged,
            "patterns": len(whole.counts),
            "balance": [round(float(share), 6) for share in fit.balance],
            "gold_rows": int((known >= 0).sum()),
            "expert_conflicts": conflicts,
        }
        return self._adopt(Scores.of(fit, whole.order, informed), report)

    def _choose(self, votes: _Votes, whole: Problem) -> tuple[em.Fit, npt.NDArray[np.bool_], dict[str, Any]]:
        """Fit the candidates that the kinds call for, and let the guard choose where there are two."""
        if "rule" not in votes.kinds:
            choice = "people" if {"person", "model"} & set(votes.kinds) else "empty"
            return *self._weighted(whole), {"choice": choice}
        rules = whole if set(votes.kinds) == {"rule"} else votes.of("rule").problem(self.k)
        fits = self._weighted(rules), self._equal(rules)
        verdict = guard.judge(
            whole,
            rules,
            (fits[0][0], fits[1][0]),
            lambda part: self._weighted(part)[0],
            lambda part: self._equal(part)[0],
            self.floor,
        )
        facts = {"choice": "weighted" if verdict.weighted else "equal", "guard": verdict.facts()}
        if rules is whole:
            return *fits[0 if verdict.weighted else 1], facts
        return *(self._weighted(whole) if verdict.weighted else self._equal(whole)), facts

    def _weighted(self, part: Problem) -> tuple[em.Fit, npt.NDArray[np.bool_]]:
        """Fit every kind by its own likelihood."""
        rules, informed = part.of_kind("rule"), part.of_kind("person", "model")
        steps: list[em.Step] = [ExpertStep(part.of_kind("expert"))]
        if rules.any():
            wrong = PSEUDO_VOTES * (1 - PSEUDO_ACCURACY) / (part.k - 1)
            steps += [RatesStep(rules), PeopleStep(informed, PSEUDO_VOTES * PSEUDO_ACCURACY, wrong)]
            return self._run(part, steps, informed, rates.ROUNDS, rates.TOLERANCE), informed
        steps.append(PeopleStep(informed, ALONE, ALONE))
        return self._run(part, steps, informed, dawid_skene.ROUNDS, dawid_skene.TOLERANCE), informed

    def _equal(self, part: Problem) -> tuple[em.Fit, npt.NDArray[np.bool_]]:
        """Fit one weight for all but experts."""
        steps: list[em.Step] = [ExpertStep(part.of_kind("expert")), EqualStep(~part.of_kind("expert"))]
        nobody = np.zeros(part.m, bool)
        return self._run(part, steps, nobody, rates.ROUNDS, rates.TOLERANCE), nobody

    def _run(
        self, part: Problem, steps: Sequence[em.Step], informed: npt.NDArray[np.bool_], rounds: int, tolerance: float
    ) -> em.Fit:
        return em.run(part, steps, informed, gold_weight=self.gold_weight, rounds=rounds, tolerance=tolerance)


@dataclass(frozen=True)
class _Votes:
    """Checked votes, and what goes with them: ``[n, m]``, ``[m]``, ``[n]``, ``[n, m]``."""

    votes: npt.NDArray[np.int16]
    kinds: Sequence[str]
    gold: Ints
    soft: Floats | None

    def problem(self, k: int) -> Problem:
        return problem(self.votes, k, self.kinds, self.gold, self.soft)

    def of(self, kind: str) -> _Votes:
        """Keep the sources of one kind."""
        keep = [j for j, word in enumerate(self.kinds) if word == kind]
        soft = None if self.soft is None else self.soft[:, keep]
        return _Votes(self.votes[:, keep], [kind] * len(keep), self.gold, soft)


def _soft(confidence: Floats | None, kinds: Sequence[str]) -> Floats | None:
    """Keep the confidences of models; those of other kinds are not probabilities of being right."""
    if confidence is None:
        return None
    kept = np.where(np.array([kind == "model" for kind in kinds]), confidence, np.nan)
    return kept if not np.isnan(kept).all() else None


def _expert_gold(votes: npt.NDArray[np.int16], kinds: Sequence[str], gold: Ints, k: int) -> tuple[Ints, int]:
    """Add to gold the rows on which all experts agree; count those on which they do not."""
    experts = votes[:, [kind == "expert" for kind in kinds]]
    if not experts.shape[1] or not len(experts):
        return gold, 0
    highest = experts.max(axis=1)
    lowest = np.where(experts >= 0, experts, k).min(axis=1)
    agreed = (highest >= 0) & (highest == lowest)
    conflicts = int(((highest >= 0) & (highest != lowest)).sum())
    return np.where((gold == ABSTAIN) & agreed, highest, gold).astype(np.int64), conflicts

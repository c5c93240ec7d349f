"""The default label model: one EM for rules, models, people and experts, each with its own meaning of abstain.

=======  ================================================  =====================================================
kind     a vote's score for each class                     abstain
=======  ================================================  =====================================================
rule     as the guard chooses (`guard`): log TPR / FPR,    means nothing, or as much as a vote (`silence`)
         what others say too discounted (`redundancy`)
model    as rule, each level of confidence by itself       as rule: it picks the rows that it speaks on
         (`levels`)
person   log of the confusion matrix (`dawid_skene`)       was not asked; a vote brings in the class balance
expert   right but once in a million                       was not asked; fixes the row while fitting
=======  ================================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from lineshaft.collect.fuse import dawid_skene, em, guard, rates, silence
from lineshaft.collect.fuse.additive import Additive
from lineshaft.collect.fuse.checks import (
    ABSTAIN,
    Floats,
    Ints,
    VoteMatrix,
    confidence_of,
    gold_of,
    kinds_of,
    matrix,
)
from lineshaft.collect.fuse.dawid_skene import PeopleStep
from lineshaft.collect.fuse.levels import Levels
from lineshaft.collect.fuse.majority import equal_scores
from lineshaft.collect.fuse.patterns import prepared
from lineshaft.collect.fuse.problem import GOLD_WEIGHT, Problem
from lineshaft.collect.fuse.rates import RatesStep
from lineshaft.collect.fuse.redundancy import Redundancy
from lineshaft.collect.fuse.silence import SilenceStep

EXPERT_ERROR = 1e-6
_RULING = ("rule", "model")  # those who choose the rows that they speak on
# People beside rules: ten pseudo-votes at accuracy 0.8 per true class. People alone identify themselves: next to none.
PSEUDO_VOTES, PSEUDO_ACCURACY, ALONE = 10.0, 0.8, 0.01
PSEUDO_ROWS = 50.0  # evenly over the classes, beside the rows with gold


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
        What happened, as JSON: ``choice`` (weighted | silence | equal | people | empty), ``kinds``, ``rounds``,
        ``converged``, ``guard``, ``patterns``, ``balance``, ``gold_rows``, ``expert_conflicts``.

    """

    def __init__(
        self, k: int, random_state: int = 0, *, floor: float = guard.FLOOR, gold_weight: float = GOLD_WEIGHT
    ) -> None:
        super().__init__(k, gold_weight)
        self.random_state, self.floor = random_state, floor
        self._levels = Levels((), np.empty(0))

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
            n x m probabilities of soft votes, NaN for plain ones. Only models have them: of other kinds they are no
            probabilities of being right, and play no part.

        Raises
        ------
        DataError, UsageError
            Votes, gold, confidences or kinds that do not fit each other.

        """
        given = matrix(L, self.k)
        asked, known = kinds_of(kinds, given.shape[1]), gold_of(gold, len(given), self.k)
        clamped, conflicts = _expert_gold(given, asked, known, self.k)
        soft = confidence_of(confidence, given.shape)
        self._levels = Levels.of(given, asked, soft, self.k)
        votes, words = self._levels.spread(given, soft), [asked[j] for j in self._levels.source]

        sure, family = self._levels.sure, self._levels.source
        ruling = np.array([word in _RULING for word in words], bool)
        whole = prepared(votes, self.k, words, clamped, self.gold_weight, sure, family)
        alone = [word for word in words if word in _RULING]
        own = (
            whole
            if ruling.all()
            else prepared(votes[:, ruling], self.k, alone, clamped, self.gold_weight, sure[ruling], family[ruling])
        )
        fit, facts = self._choose(whole, own)
        return self._adopt(
            whole,
            fit,
            **facts,
            kinds={word: asked.count(word) for word in sorted(set(asked))},
            balance=[round(float(share), 6) for share in fit.balance],
            gold_rows=int((known >= 0).sum()),
            expert_conflicts=conflicts,
        )

    def _choose(self, whole: Problem, rules: Problem) -> tuple[em.Fit, dict[str, Any]]:
        """Fit every kind by its own likelihood, rules in the way that the guard chooses."""
        if not rules.m:
            return _people(whole), {"choice": "people" if whole.of_kind("person").any() else "empty"}
        verdict = guard.judge(whole, rules, CANDIDATES, self.floor)
        return CANDIDATES[verdict.choice](whole), {"choice": verdict.choice, "guard": verdict.facts()}

    def explain_all(self, L: Any, classes: Ints, confidence: Any = None) -> Floats:  # noqa: N803
        """Explain many rows: see `Additive.explain_all`."""
        return self._levels.gather(super().explain_all(L, classes, confidence))

    def _votes(self, votes: Any, confidence: Any) -> VoteMatrix:
        _ = self.fitted  # refuses before anything is learnt
        return self._levels.spread(*self._checked(votes, confidence, len(self._levels.edges)))


def _people(part: Problem) -> em.Fit:
    """Fit people who have no rules beside them: they identify themselves."""
    informed = part.of_kind("person")
    steps: list[em.Step] = [em.Fixed(_expert_scores(part)), PeopleStep(informed, ALONE, ALONE)]
    return em.run(part, steps, informed, rounds=dawid_skene.ROUNDS, tolerance=dawid_skene.TOLERANCE)


def _weighted(part: Problem) -> em.Fit:
    """Weigh rules by their rates; people bring in the class balance."""
    ruling, informed = part.of_kind(*_RULING), part.of_kind("person")
    steps = [*_beside(part, balance=True), RatesStep(ruling, redundancy=Redundancy.of(part, ruling))]
    return em.run(
        part, steps, informed, rounds=rates.ROUNDS, tolerance=rates.TOLERANCE, otherwise=_balance_of_gold(part)
    )


def _silence(part: Problem) -> em.Fit:
    """Weigh votes and abstains of rules, which bring in the class balance on every row."""
    steps = [*_beside(part, balance=False), SilenceStep(part.of_kind(*_RULING))]
    everybody = np.ones(part.m, bool)
    return em.run(part, steps, everybody, rounds=silence.ROUNDS, tolerance=silence.TOLERANCE, everywhere=True)


def _balance_of_gold(part: Problem) -> Floats:
    """Return the log class balance by gold, uniform without: one estimated from rules' own answers runs away."""
    rows = part.known
    seen = np.bincount(part.gold[rows], part.counts[rows], minlength=part.k) + PSEUDO_ROWS / part.k
    balance: Floats = np.log(seen / seen.sum() * part.k)
    return balance


def _beside(part: Problem, *, balance: bool) -> list[em.Step]:
    """Return the M steps of those who stand beside rules."""
    informed = part.of_kind("person")
    wrong = PSEUDO_VOTES * (1 - PSEUDO_ACCURACY) / (part.k - 1)
    people = PeopleStep(informed, PSEUDO_VOTES * PSEUDO_ACCURACY, wrong, balance)
    return [em.Fixed(_expert_scores(part)), *([people] if informed.any() else [])]


def _equal(part: Problem) -> em.Fit:
    """Give all but experts one weight."""
    return em.once(part, _expert_scores(part) + equal_scores(part, ~part.of_kind("expert")))


def _expert_scores(part: Problem) -> Floats:
    """Believe experts: finite scores, so that two who disagree leave the rest to decide."""
    weight = np.log((1 - EXPERT_ERROR) / EXPERT_ERROR * (part.k - 1))
    scores: Floats = weight * np.eye(part.k)[None] * part.of_kind("expert")[:, None, None]
    return scores


CANDIDATES = {"weighted": _weighted, "silence": _silence, "equal": _equal}


def _expert_gold(votes: VoteMatrix, kinds: Sequence[str], gold: Ints, k: int) -> tuple[Ints, int]:
    """Add to gold the rows on which all experts agree; count those on which they do not."""
    experts = votes[:, [kind == "expert" for kind in kinds]]
    if not experts.shape[1] or not len(experts):
        return gold, 0
    highest = experts.max(axis=1)
    lowest = np.where(experts >= 0, experts, k).min(axis=1)
    agreed = (highest >= 0) & (highest == lowest)
    conflicts = int(((highest >= 0) & (highest != lowest)).sum())
    return np.where((gold == ABSTAIN) & agreed, highest, gold).astype(np.int64), conflicts

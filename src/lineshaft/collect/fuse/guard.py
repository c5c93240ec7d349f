"""The guard: may the weighted rules replace the majority, or have they run away from it?

Rates can collapse under class skew: mass runs to the rare class, its rules gain, and so on. Two candidates are fitted,
*weighted* (Rates for the rules) and *equal* (one weight for all votes: the majority's labels). Gold decides where it
can; else agreement does: a collapsed model contradicts the majority of the rules, a sound one hardly ever does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lineshaft.collect.fuse.em import Fit
from lineshaft.collect.fuse.patterns import FOLDS, Floats, Problem

FLOOR = 0.965  # sound fits on public rule sets agree on 0.97 of rows and more; below, losses of five points begin
_TIE = 1e-9

Fitter = Callable[[Problem], Fit]


@dataclass(frozen=True)
class Verdict:
    """What the guard found.

    Attributes
    ----------
    weighted
        Whether the weighted candidate may be used.
    reason
        Why, for people.
    agreement
        Share of rows with a rule's vote whose weighted label, by the rules alone, is among the majority's.
    gold_rows, gold_difference, gold_error
        Covered gold rows; by how much the weighted candidate is more accurate on them, each judged by a fit that did
        not see it; the standard error of that.

    """

    weighted: bool
    reason: str
    agreement: float
    gold_rows: int = 0
    gold_difference: float = 0.0
    gold_error: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def judge(
    problem: Problem, rules: Problem, fits: tuple[Fit, Fit], weighted: Fitter, equal: Fitter, floor: float = FLOOR
) -> Verdict:
    """Decide between the two candidates.

    Parameters
    ----------
    problem
        All votes, with gold.
    rules
        The votes of the rules alone: agreement is theirs, since people may well be right against a majority.
    fits
        Both candidates fitted on ``rules``.
    weighted, equal
        Fit a candidate on a problem.
    floor
        Least agreement without gold to say otherwise.

    """
    covered = rules.counts * (rules.given > 0)
    alike = _credit(fits[0].q, fits[1].q)
    agreement = float(covered @ alike / covered.sum()) if covered.any() else 1.0
    rows, difference, error = _gold_difference(problem, weighted, equal)
    facts = (agreement, rows, difference, error)
    if abs(difference) > error and rows >= 2 * FOLDS:
        better = "more" if difference > 0 else "less"
        reason = f"weighted rules are {abs(difference):.1%} {better} accurate on {rows} gold rows"
        return Verdict(difference > 0, reason, *facts)
    sound = agreement >= floor
    reason = f"the rules agree with their majority on {agreement:.1%} of rows, the floor is {floor:.1%}"
    return Verdict(sound, reason, *facts)


def _credit(q: Floats, reference: Floats) -> Floats:
    """Say per row whether the label of ``q`` is among the best of ``reference``."""
    chosen = reference[np.arange(len(q)), q.argmax(axis=1)]
    credit: Floats = (chosen >= reference.max(axis=1) - _TIE).astype(np.float64)
    return credit


def _gold_difference(problem: Problem, weighted: Fitter, equal: Fitter) -> tuple[int, float, float]:
    """Compare accuracies on gold rows out of fold: rows, mean difference, its standard error."""
    counts, differences = [], []
    for fold in range(FOLDS):
        held = (problem.fold == fold) & (problem.given > 0)
        if not held.any():
            continue
        rest = problem.without(fold)
        gold = problem.gold[held]
        differences.append(_correct(weighted(rest).q[held], gold) - _correct(equal(rest).q[held], gold))
        counts.append(problem.counts[held])
    if not counts:
        return 0, 0.0, 0.0
    weight, difference = np.concatenate(counts), np.concatenate(differences)
    mean = float(weight @ difference / weight.sum())
    variance = float(weight @ (difference - mean) ** 2 / weight.sum())
    return int(weight.sum()), mean, float(np.sqrt(variance / weight.sum()))


def _correct(q: Floats, gold: Any) -> Floats:
    """Credit the right class; a tie between t classes earns 1/t."""
    best = q >= q.max(axis=1, keepdims=True) - _TIE
    credit: Floats = best[np.arange(len(q)), gold] / best.sum(axis=1)
    return credit

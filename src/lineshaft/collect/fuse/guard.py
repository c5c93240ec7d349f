"""The guard: which way of weighing rules may replace the majority?

========  ===========================================  ===========================================================
weighted  Rates: silence means nothing                 the best on rules that people wrote; collapses under class
                                                       skew, where mass runs to the rare class, its rules gain, and
                                                       so on
silence   Dawid-Skene over votes and abstains          the best on independent rules, far off on others
equal     one weight for all votes                     the majority's labels
========  ===========================================  ===========================================================

Without gold, the votes decide. Where pairs of votes meet as often as those of independent rules would, *silence* is
taken if its fit converged, can be known from so many pairs and mostly agrees with the majority, else *equal*. Where
they do not, or too few meet to say, *weighted* is taken if it hardly ever contradicts the majority, as a collapsed fit
does, else *equal*. Gold overrules that choice where another candidate is clearly more accurate on rows it did not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.collect.fuse.em import Fit
from lineshaft.collect.fuse.patterns import FOLDS
from lineshaft.collect.fuse.problem import Problem
from lineshaft.collect.fuse.silence import Meetings

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Floats, Ints

FLOOR = 0.965  # of agreement of weighted rules: public rule sets agree on 0.97 of rows and more
SILENCE_FLOOR = 0.9  # of agreement of silence: below, it may have taken one class for another
STRAIN = 1.5  # chi-square per pair that independence may have: generated rules have 1, public rule sets 8 and more
FEWEST = 10  # gold rows with a vote, for gold to decide
CLEARLY = 1.645  # standard errors: one-sided 95 %
ROWS = 50_000  # distinct rows that the guard looks at
_TIE = 1e-9

Fitter = Callable[[Problem], Fit]


@dataclass(frozen=True)
class Verdict:
    """What the guard found.

    Attributes
    ----------
    choice
        weighted, silence or equal.
    reason
        Why, for people.
    agreement
        Share of rows with a rule's vote on which weighted rules, by themselves, give one of the majority's labels.
    pairs, strain
        Pairs of votes that test independence, and chi-square per pair.
    gold_rows, gold_difference, gold_error
        Covered gold rows; by how much the candidate that is best on them is more accurate than the one that would
        have been taken without gold, each judged by fits that did not see the row; the standard error of that.

    """

    choice: str
    reason: str
    agreement: float
    pairs: int
    strain: float
    gold_rows: int = 0
    gold_difference: float = 0.0
    gold_error: float = 0.0

    def facts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def judge(whole: Problem, rules: Problem, fitters: Mapping[str, Fitter], floor: float = FLOOR) -> Verdict:
    """Choose between the candidates.

    Parameters
    ----------
    whole
        All votes, with gold.
    rules
        The votes of the rules alone: agreement is theirs, since people may well be right against a majority.
    fitters
        weighted, silence and equal: each fits its candidate on a problem.
    floor
        Least agreement of weighted rules.

    """
    verdict = _by_votes(rules.sample(ROWS).without_gold(), fitters, floor)
    return _by_gold(whole.sample(ROWS), fitters, verdict)


def _by_votes(rules: Problem, fitters: Mapping[str, Fitter], floor: float) -> Verdict:
    majority, weighted = fitters["equal"](rules), fitters["weighted"](rules)
    agreement, meetings, pairs, strain = _agreement(rules, weighted, majority), Meetings.of(rules), 0, 0.0
    if meetings.often >= rules.m:
        silence = fitters["silence"](rules)
        pairs, strain = meetings.strain(rules, silence)
    seen = agreement, pairs, strain
    if pairs >= rules.m and strain <= STRAIN:
        alike = _agreement(rules, silence, majority)
        sound = silence.converged and alike >= SILENCE_FLOOR and pairs >= meetings.unknowns
        told = f"{pairs} pairs of votes, for {meetings.unknowns} unknowns, meet as if rules were independent; "
        told += f"agreement with the majority is {alike:.1%}, the floor is {SILENCE_FLOOR:.1%}"
        return Verdict("silence" if sound else "equal", told, *seen)
    told = f"the rules agree with their majority on {agreement:.1%} of rows, the floor is {floor:.1%}"
    return Verdict("weighted" if agreement >= floor else "equal", told, *seen)


def _agreement(rules: Problem, fit: Fit, majority: Fit) -> float:
    """Return the share of covered rows whose label is among the majority's best."""
    covered = rules.counts * (rules.given > 0)
    chosen = majority.q[fit.q.argmax(axis=0), np.arange(len(covered))]
    alike = chosen >= majority.q.max(axis=0) - _TIE
    return float(covered @ alike / covered.sum()) if covered.any() else 1.0


def _by_gold(whole: Problem, fitters: Mapping[str, Fitter], verdict: Verdict) -> Verdict:
    """Take the candidate that is best on gold rows, out of fold, where it is clearly better than the one chosen."""
    judged = (whole.gold >= 0) & (whole.given > 0)
    weight = whole.counts[judged]
    rows = int(weight.sum())
    if rows < FEWEST:
        return replace(verdict, gold_rows=rows)
    right = {name: _out_of_fold(whole, fit)[judged] for name, fit in fitters.items()}
    best = max(right, key=lambda name: weight @ right[name])
    gain = right[best] - right[verdict.choice]
    mean = float(weight @ gain / rows)
    error = float(np.sqrt(weight @ (gain - mean) ** 2)) / rows
    seen = replace(verdict, gold_rows=rows, gold_difference=mean, gold_error=error)
    if mean <= CLEARLY * error:
        return seen
    return replace(seen, choice=best, reason=f"{best} is {mean:.1%} more accurate on {rows} gold rows")


def _out_of_fold(whole: Problem, fit: Fitter) -> Floats:
    """Say how right a candidate is on each gold row, ``[p]``, fitted without the gold of its fold."""
    right = np.zeros(len(whole.counts))
    for fold in range(FOLDS):
        held = whole.fold == fold
        if held.any():
            right[held] = _correct(fit(whole.without(fold)).q[:, held], whole.gold[held])
    return right


def _correct(q: Floats, gold: Ints) -> Floats:
    """Credit the right class; a tie between t classes earns 1/t."""
    best = q >= q.max(axis=0) - _TIE
    credit: Floats = best[gold, np.arange(len(gold))] / best.sum(axis=0)
    return credit

"""Expectation maximisation over patterns: each kind of source brings its own M step, the E step adds them up.

::

    Q = vote shares, one-hot on gold
    repeat   M: every step turns Q into scores [m, k, k]: what a vote of source j for c adds to each class y
             E: S(y) = sum of the scores of the row's votes (+ log pi(y) where a source that knows the balance voted)
                Q = softmax(S), one-hot on gold
    until max |dQ| is small
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lineshaft.collect.fuse.patterns import Floats, Ints, Problem


@dataclass(frozen=True)
class State:
    """What an M step sees.

    Attributes
    ----------
    q
        ``[p, k]`` the current class probabilities.
    agreement
        ``[e]`` how far the row agrees with each entry: its probability of the voted class; in the first round the
        share of the row's other votes for it, and on gold rows always whether it is right.
    weight
        ``[p]`` multiplicity of each pattern, times the gold weight on gold rows.
    total
        ``[k]`` expected number of rows of each class among those covered or known, at their plain multiplicity.

    """

    q: Floats
    agreement: Floats
    weight: Floats
    total: Floats


class Step(Protocol):
    """The M step of one kind of source."""

    def scores(self, problem: Problem, state: State) -> Floats:
        """Return ``[m, k, k]``: what a vote of j for c adds to class y; zeros for sources of other kinds."""
        ...


@dataclass(frozen=True)
class Fit:
    """What EM found.

    Attributes
    ----------
    scores
        ``[m, k, k]`` in the problem's order of sources.
    prior
        ``[k]`` log class balance, added on rows where one of ``informed`` voted.
    balance
        ``[k]`` class shares.
    q
        ``[p, k]`` class probabilities of the patterns.
    rounds, converged
        How it ended.

    """

    scores: Floats
    prior: Floats
    balance: Floats
    q: Floats
    rounds: int
    converged: bool


def run(
    problem: Problem,
    steps: Sequence[Step],
    informed: npt.NDArray[np.bool_],
    *,
    gold_weight: float,
    rounds: int,
    tolerance: float,
) -> Fit:
    """Alternate M and E until the probabilities stand still.

    Parameters
    ----------
    problem
        The votes.
    steps
        One per kind of source present.
    informed
        ``[m]`` sources whose votes bring in the class balance (people and models).
    gold_weight
        How many times the entries of a gold row count in the M steps.
    rounds, tolerance
        At most so many rounds; fewer when no probability moves further.

    """
    k, known = problem.k, (problem.given > 0) | (problem.gold >= 0)
    counted = problem.counts * known
    weight = problem.counts * np.where(problem.gold >= 0, gold_weight, 1.0)
    told = np.bincount(problem.row, informed[problem.key // k], minlength=len(problem.counts)) > 0
    q, agreement = _clamped(problem, problem.shares()), first_agreement(problem)
    scores, prior, balance, converged, done = np.zeros((problem.m, k, k)), np.zeros(k), np.full(k, 1 / k), True, 0
    while done < rounds and len(problem.row):
        done += 1
        total = counted @ q
        state = State(q, agreement, weight, total)
        scores = sum((step.scores(problem, state) for step in steps), np.zeros_like(scores))
        prior = np.log(_shares(total))
        before, q = q, _clamped(problem, softmax(_added(problem, scores) + np.outer(told, prior)))
        agreement = q[problem.row, problem.key % k]
        converged = bool(np.abs((q - before)[known]).max(initial=0.0) < tolerance)
        if converged:
            break
    if counted.any():
        balance = _shares(counted @ q)
    return Fit(scores, prior, balance, q, done, converged)


def softmax(scores: Floats) -> Floats:
    """Turn ``[.., k]`` scores into probabilities that sum to 1."""
    raised: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
    raised /= raised.sum(axis=-1, keepdims=True)
    return raised


def _shares(total: Floats) -> Floats:
    """Turn expected counts into class shares, none of them zero."""
    shares: Floats = (total + 0.01) / (total.sum() + 0.01 * len(total))
    return shares


def _added(problem: Problem, scores: Floats) -> Floats:
    flat = scores.reshape(-1, problem.k)
    return problem.per_row(flat[problem.key] * problem.amount[:, None])


def _clamped(problem: Problem, q: Floats) -> Floats:
    """Put the known class where there is gold."""
    known = problem.gold >= 0
    q[known] = np.eye(problem.k)[problem.gold[known]]
    return q


def first_agreement(problem: Problem) -> Floats:
    """Return per entry the share of the row's other votes that say the same; 1/k where there are none."""
    row, voted = problem.row, problem.key % problem.k
    votes = np.bincount(row, problem.amount, minlength=len(problem.counts))[row]
    cells = row * problem.k + voted
    alike = np.bincount(cells, problem.amount, minlength=len(problem.counts) * problem.k)[cells]
    others = votes - problem.amount
    share = np.where(others > 1e-9, (alike - problem.amount) / np.maximum(others, 1e-9), 1 / problem.k)
    gold: Ints = problem.gold[row]
    return np.where(gold >= 0, gold == voted, share)

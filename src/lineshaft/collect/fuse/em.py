"""Expectation maximisation over distinct rows: each kind of source brings its own M step, the E step adds them up.

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

if TYPE_CHECKING:
    from lineshaft.collect.fuse.checks import Bools, Floats
    from lineshaft.collect.fuse.problem import Problem


@dataclass(frozen=True)
class State:
    """What an M step sees.

    Attributes
    ----------
    q
        ``[k, p]`` the current class probabilities.
    agreement
        ``[k, p]`` how far the row agrees with a vote for each class: the probability of the class; in the first round
        the share of the row's other votes for it.
    total
        ``[k]`` expected number of rows of each class among those covered or known.

    """

    q: Floats
    agreement: Floats
    total: Floats


class Step(Protocol):
    """The M step of one kind of source."""

    def learn(self, problem: Problem, state: State) -> tuple[Floats, Floats]:
        """Return scores and prior, zeros where this kind has no say.

        Scores ``[m, k, k]`` are what a vote of j for c adds to class y; the prior ``[k]`` is what it adds to class y
        that any informed source voted at all.
        """
        ...


@dataclass(frozen=True)
class Fixed:
    """The M step of sources about which nothing is to be learnt."""

    scores: Floats

    def learn(self, problem: Problem, _state: State) -> tuple[Floats, Floats]:
        """Return what was given."""
        return self.scores, np.zeros(problem.k)


@dataclass(frozen=True)
class Fit:
    """What EM found.

    Attributes
    ----------
    scores
        ``[m, k, k]`` in the problem's order of sources.
    prior
        ``[k]`` added on rows where one of ``informed`` voted.
    otherwise
        ``[k]`` added on rows where only others did.
    balance
        ``[k]`` class shares.
    q
        ``[k, p]`` class probabilities of the rows.
    informed
        ``[m]`` the sources whose votes bring in the prior.
    rounds, converged
        How it ended.

    """

    scores: Floats
    prior: Floats
    otherwise: Floats
    balance: Floats
    q: Floats
    informed: Bools
    rounds: int
    converged: bool


def run(
    problem: Problem,
    steps: Sequence[Step],
    informed: Bools,
    *,
    rounds: int,
    tolerance: float,
    everywhere: bool = False,
    otherwise: Floats | None = None,
) -> Fit:
    """Alternate M and E until the probabilities stand still.

    Parameters
    ----------
    problem
        The votes.
    steps
        One per kind of source present.
    informed
        ``[m]`` sources whose votes bring in the prior.
    rounds, tolerance
        At most so many rounds; fewer when no probability moves further.
    everywhere
        Whether rows without a vote take part, and the prior holds for them too.
    otherwise
        ``[k]`` log prior for the rows on which only others voted; uniform by default.

    """
    counted = problem.counts if everywhere else _counted(problem)
    told = np.ones(len(problem.counts), bool) if everywhere else problem.voted(informed)
    rest = np.zeros(problem.k) if otherwise is None else otherwise
    scores, prior, converged, done = np.zeros((problem.m, problem.k, problem.k)), np.zeros(problem.k), True, 0
    said = problem.said()
    q, agreement = _clamped(problem, _shares(problem, said)), first_agreement(problem, said)
    while done < rounds and problem.given.any():
        done += 1
        state = State(q, agreement, q @ counted)
        scores, prior = (np.sum(parts, axis=0) for parts in zip(*(s.learn(problem, state) for s in steps), strict=True))
        before, q = q, _believed(problem, scores, told, prior, rest)
        agreement, moved = q, q - before
        converged = bool(np.abs(moved, out=moved).max() < tolerance)
        if converged:
            break
    return Fit(scores, prior, rest, balanced(q @ counted), q, informed, done, converged)


def once(problem: Problem, scores: Floats) -> Fit:
    """Apply scores that nothing is to be learnt for: one E step."""
    return run(problem, [Fixed(scores)], np.zeros(problem.m, bool), rounds=1, tolerance=np.inf)


def softmax(scores: Floats) -> Floats:
    """Turn ``[k, ..]`` scores into probabilities that sum to 1 over the classes."""
    raised: Floats = scores - scores.max(axis=0)
    np.exp(raised, out=raised)
    raised /= raised.sum(axis=0)
    return raised


def first_agreement(problem: Problem, said: Floats) -> Floats:
    """Return ``[k, p]`` the share of the row's other votes that say what a vote for the class says; 1/k without any."""
    share = np.maximum(said - 1, 0)
    share /= np.maximum(problem.given - 1, 1)
    share[:, problem.given < 2] = 1 / problem.k
    return _clamped(problem, share)


def _believed(problem: Problem, scores: Floats, told: Bools, prior: Floats, rest: Floats) -> Floats:
    q = np.empty((problem.k, len(problem.counts)))
    for rows, sums in problem.pieces(np.moveaxis(scores, 2, 0)):
        q[:, rows] = softmax(sums + np.where(told[rows], prior[:, None], rest[:, None]))
    return _clamped(problem, q)


def _counted(problem: Problem) -> Floats:
    """Return how many rows each row stands for, ``[p]``; none where nothing is known."""
    return problem.counts * ((problem.given > 0) | (problem.gold >= 0))


def _shares(problem: Problem, said: Floats) -> Floats:
    """Return the vote shares of each row, even where nobody voted."""
    shares = said / np.maximum(problem.given, 1)
    shares[:, problem.given == 0] = 1 / problem.k
    return shares


def balanced(total: Floats) -> Floats:
    """Turn expected counts into class shares, none of them zero."""
    shares: Floats = (total + 0.01) / (total.sum() + 0.01 * len(total))
    return shares


def _clamped(problem: Problem, q: Floats) -> Floats:
    """Put the known class where there is gold."""
    q[:, problem.known] = np.eye(problem.k)[:, problem.gold[problem.known]]
    return q

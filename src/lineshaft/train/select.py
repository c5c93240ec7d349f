"""Search among recipes: which candidates there are, which of them train on, and which was best.

::

    rung 0   16 candidates to epoch 1   ██████████████████████████████████   all of a rung are handed over together
    rung 1    6 best to epoch 3         ████████████                         each goes on from its own earlier state
    rung 2    2 best to epoch 9         ████                                 (successive halving, reduction 3)

A grid is one rung. Everything here is a function of its arguments: equal spaces, seeds and scores give equal searches.
Successive halving: Jamieson and Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineshaft.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Changes = dict[str, Any]


def expand(space: Mapping[str, Sequence[Any]], how: str = "grid", n: int | None = None, seed: int = 0) -> list[Changes]:
    """Return the candidates of a space, each a dict for `Recipe.with_`, no two alike.

    Parameters
    ----------
    space
        Dotted name to the values to try. The order of its names does not matter, that of the values does.
    how
        ``grid``: all combinations, the last name changing fastest. ``random``: ``n`` of them, drawn without putting
        back.
    n
        How many for ``random``; there may be fewer combinations.
    seed
        For ``random``.

    """
    if how not in {"grid", "random"}:
        raise UsageError(f"how={how!r} is not known; give 'grid' or 'random'")
    if (how == "random") != (n is not None) or (n is not None and n < 1):
        raise UsageError(f"how={how!r} with n={n}: random needs the number of candidates, grid takes none")
    axes = {name: _different(name, space[name]) for name in sorted(space)}
    total = math.prod(len(values) for values in axes.values())
    if how == "random" and n is not None and n < total:
        return [_candidate(axes, number) for number in _draw(total, n, seed)]
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


@dataclass(frozen=True)
class Halving:
    """Which candidates go on to the next rung.

    Attributes
    ----------
    rungs
        Epochs in all at each rung, rising.
    reduction
        One in so many goes on, rounded up.
    higher
        Whether the higher score is the better one.

    """

    rungs: tuple[int, ...]
    reduction: int = 3
    higher: bool = False

    def __post_init__(self) -> None:
        rising = all(one < other for one, other in itertools.pairwise((0, *self.rungs)))
        if not self.rungs or not rising or self.reduction < 2:
            raise UsageError(
                f"rungs={self.rungs} must rise from 1 or more, and reduction={self.reduction} be 2 or more"
            )

    def ranking(self, scores: Mapping[int, float]) -> list[int]:
        """Return candidates from best to worst: equal scores in candidate order, NaN last."""
        return sorted(scores, key=lambda index: (*self._key(scores[index]), index))

    def survivors(self, scores: Mapping[int, float]) -> list[int]:
        """Return, in candidate order, those that train on; a candidate whose score is NaN never does."""
        able = {index: score for index, score in scores.items() if not math.isnan(score)}
        return sorted(self.ranking(able)[: math.ceil(len(scores) / self.reduction)])

    def _key(self, score: float) -> tuple[bool, float]:
        if math.isnan(score):
            return True, 0.0
        return False, -score if self.higher else score


def rungs_to(epochs: int, least: int = 1, reduction: int = 3) -> tuple[int, ...]:
    """Return the rungs of successive halving: from ``least`` epochs up by ``reduction``, the last at ``epochs``."""
    if not 1 <= least <= epochs or reduction < 2:
        raise UsageError(
            f"epochs={epochs}, least={least}, reduction={reduction}: 1 <= least <= epochs and reduction >= 2"
        )
    rungs = list(itertools.takewhile(lambda rung: rung < epochs, (least * reduction**k for k in itertools.count())))
    return (*rungs, epochs)


@dataclass(frozen=True)
class Trial:
    """One candidate: what it changes, the epochs it got, its score after each rung it took part in."""

    changes: Changes
    epochs: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Selection:
    """What a search found.

    Attributes
    ----------
    metric
        What the scores are, for people and for `Trained.score`.
    trials
        In candidate order.
    best
        Number of the candidate with the best score among those that reached the last rung.

    """

    metric: str
    trials: tuple[Trial, ...]
    best: int

    def table(self) -> pa.Table:
        """Return candidate, changes (one column each), epochs, score and whether it is the best."""
        import pyarrow as pa

        names = sorted({name for trial in self.trials for name in trial.changes})
        columns: dict[str, list[Any]] = {"candidate": list(range(len(self.trials)))}
        columns |= {name: _column([trial.changes.get(name) for trial in self.trials]) for name in names}
        columns["epochs"] = [trial.epochs for trial in self.trials]
        columns[self.metric] = [trial.scores[-1] for trial in self.trials]
        columns["best"] = [index == self.best for index in range(len(self.trials))]
        return pa.table(columns)

    def payload(self) -> dict[str, Any]:
        """Return what the codec stores (kind Value); a score of NaN becomes null."""
        trials = [
            {
                "changes": trial.changes,
                "epochs": trial.epochs,
                "scores": [None if math.isnan(score) else score for score in trial.scores],
            }
            for trial in self.trials
        ]
        return {"metric": self.metric, "trials": trials, "best": self.best}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Selection:
        """Make it again of what the codec read."""
        trials = tuple(
            Trial(
                trial["changes"],
                trial["epochs"],
                tuple(math.nan if score is None else score for score in trial["scores"]),
            )
            for trial in payload["trials"]
        )
        return cls(payload["metric"], trials, payload["best"])

    def __repr__(self) -> str:
        best = self.trials[self.best]
        return f"Selection({len(self.trials)} candidates, best {best.changes}: {self.metric} {best.scores[-1]:.4g})"

    def _repr_html_(self) -> str:
        table = self.table()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.column_names)
        rows = []
        for row in table.to_pylist():
            cells = "".join(f"<td>{html.escape(_text(value))}</td>" for value in row.values())
            rows.append(f"<tr>{cells}</tr>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


Rung = Callable[[list[int], int], Sequence[float]]


def search(candidates: Sequence[Changes], policy: Halving, metric: str, train_rung: Rung) -> Selection:
    """Train candidates rung by rung.

    Parameters
    ----------
    candidates
        As `expand` returns them.
    policy
        The rungs, and who goes on.
    metric
        What the scores are.
    train_rung
        ``(candidate numbers, epochs in all) -> scores``, in their order. It is given all candidates of a rung at
        once, and trains each on from where the rung before left it. A training that failed scores NaN.

    Raises
    ------
    UsageError
        There are no candidates, or every score of the last rung is NaN.

    """
    if not candidates:
        raise UsageError("there are no candidates; give at least one value for every name of the space")
    scores: list[list[float]] = [[] for _ in candidates]
    epochs = [0] * len(candidates)
    alive = list(range(len(candidates)))
    latest: dict[int, float] = {}
    for rung in policy.rungs:
        alive = policy.survivors(latest) if latest else alive
        latest = dict(zip(alive, train_rung(alive, rung), strict=True)) if alive else {}
        for index, score in latest.items():
            scores[index].append(float(score))
            epochs[index] = rung
    ranking = policy.ranking(latest)
    if not ranking or math.isnan(latest[ranking[0]]):
        raise UsageError(
            f"no candidate reached {policy.rungs[-1]} epochs with a finite {metric}; lower the learning rates"
        )
    trials = [Trial(dict(c), e, tuple(s)) for c, e, s in zip(candidates, epochs, scores, strict=True)]
    return Selection(metric, tuple(trials), ranking[0])


def _different(name: str, values: Sequence[Any]) -> list[Any]:
    """Drop repeated values; 1 and 1.0 and True are different ones."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence) or not values:
        raise UsageError(f"the space gives {name} as {values!r}; give a list of one or more values")
    return list({json.dumps([type(value).__name__, value], default=repr): value for value in values}.values())


def _draw(total: int, n: int, seed: int) -> list[int]:
    """Draw n different numbers below the total, which may be too large for its numbers to be written down."""
    dice, drawn = random.Random(seed), dict[int, None]()
    while len(drawn) < n:
        drawn[dice.randrange(total)] = None
    return list(drawn)


def _candidate(axes: Mapping[str, Sequence[Any]], number: int) -> Changes:
    """Return a combination by its number in the grid, the last name changing fastest."""
    chosen: Changes = {}
    for name in reversed(list(axes)):
        number, place = divmod(number, len(axes[name]))
        chosen[name] = axes[name][place]
    return {name: chosen[name] for name in axes}


def _column(values: list[Any]) -> list[Any]:
    """Return values as one Arrow column can hold them: as they are where all are of one plain type, else as text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {bool, int, float, str}:
        return values
    return [None if value is None else str(value) for value in values]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)

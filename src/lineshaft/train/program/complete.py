"""Whether a program's computation is that of one training step: each pass once, in an order that gives its numbers.

::

    F0.0 < F1.0 < F2.0                         what a shard takes comes from the one before
                  F2.0 < R2.0 < B2.0           a backward needs the graph of F, or that of R where F did not keep it
    B0.0 < B0.1                 B2.0 > B1.0    gradients are added up in the order of micro-batches
           B0.1 < N < S0                       what is stepped has all its gradients, and all clip alike
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lineshaft.errors import TrainingError
from lineshaft.train.program.precedence import name

if TYPE_CHECKING:
    from lineshaft.train.program.actions import Program


class Pass(NamedTuple):
    """A compute action without how it is done."""

    kind: str
    shard: int = -1
    micro: int = -1

    def __str__(self) -> str:
        shard = "" if self.shard < 0 else str(self.shard)
        return f"{self.kind}{shard}" + ("" if self.micro < 0 else f".{self.micro}")


class Rule(NamedTuple):
    """One pass comes before another, and why."""

    first: Pass
    then: Pass
    why: str


@dataclass(frozen=True)
class Step:
    """What a step has to compute.

    Attributes
    ----------
    shards, micros
        K and M; shard K is what shards share, and is only stepped.
    first
        The first shard that a gradient goes through.
    trained
        Those that are stepped.

    """

    shards: int
    micros: int
    first: int
    trained: Collection[int]


def require_complete(program: Program, step: Step) -> None:
    """Refuse a program that does not compute a step, or not in an order that gives the numbers of the plain loop.

    Raises
    ------
    TrainingError
        With the action at fault, or the one that is missing.

    """
    lost = sorted(set(step.trained) - set(range(step.first, step.shards + 1)))
    if lost:
        raise TrainingError(
            f"shard {lost[0]} is to be trained, but gradients go through shards {step.first} to {step.shards - 1} "
            f"only; leave it out of trained"
        )
    places = _places(program)
    _require_all(program, step, places)
    for rule in _rules(step, places):
        if places[rule.first] > places[rule.then]:
            raise TrainingError(
                f"{name(program, places[rule.then])} comes before {name(program, places[rule.first])}, "
                f"but {rule.why}; swap them"
            )


def _places(program: Program) -> dict[Pass, int]:
    places: dict[Pass, int] = {}
    for number in program.lane("compute"):
        action = program.actions[number]
        made = Pass(action.kind, action.shard, action.micro)
        if made in places:
            raise TrainingError(
                f"{name(program, number)} does again what {name(program, places[made])} did; take one of them out"
            )
        places[made] = number
    return places


def _require_all(program: Program, step: Step, places: dict[Pass, int]) -> None:
    """Refuse passes too many and too few."""
    kept = {(made.shard, made.micro) for made, number in places.items() if program.actions[number].graph}
    expected = {Pass("N")} & places.keys()
    expected |= {Pass("F", k, i) for k in range(step.shards) for i in range(step.micros)}
    backward = {(k, i) for k in range(step.first, step.shards) for i in range(step.micros)}
    expected |= {Pass("B", *pair) for pair in backward} | {Pass("R", *pair) for pair in backward - kept}
    expected |= {Pass("S", k) for k in step.trained}
    asked = (
        f"{step.shards} shards and {step.micros} micro-batches, gradients from shard {step.first} on, and steps of "
        f"{_numbers(step.trained)}"
    )
    if lacking := sorted(expected - places.keys()):
        raise TrainingError(f"the program lacks {lacking[0]}: a step has {asked}; add it")
    if surplus := sorted(places.keys() - expected, key=lambda made: places[made]):
        made = surplus[0]
        why = "makes a graph that is there" if made.kind == "R" and made[1:] in kept else "is none of its passes"
        raise TrainingError(f"{name(program, places[made])} {why}: a step has {asked}; take it out")
    if useless := sorted(kept - backward):
        number = places[Pass("F", *useless[0])]
        raise TrainingError(f"{name(program, number)} keeps a graph that no backward uses; let it keep its input only")


def _rules(step: Step, places: dict[Pass, int]) -> Iterator[Rule]:
    last = step.shards - 1
    for k in range(step.shards):
        for i in range(step.micros):
            if k:
                yield Rule(Pass("F", k - 1, i), Pass("F", k, i), "it takes what that one gives")
            if k >= step.first:
                yield from _backward_rules(k, i, last, places)
    ends = [Pass("B", k, step.micros - 1) for k in range(step.first, step.shards)]
    for k in sorted(step.trained):
        for end in ends if k == step.shards else ends[k - step.first : k - step.first + 1]:
            yield Rule(end, Pass("S", k), "that one adds to the gradients that it uses up")
        if Pass("N") in places:
            yield Rule(Pass("N"), Pass("S", k), "all gradients are clipped before any is used up")
    if Pass("N") in places:
        yield from (Rule(end, Pass("N"), "the norm is that of all gradients") for end in ends)


def _backward_rules(k: int, i: int, last: int, places: dict[Pass, int]) -> Iterator[Rule]:
    graph = Pass("R", k, i) if Pass("R", k, i) in places else Pass("F", k, i)
    yield Rule(graph, Pass("B", k, i), "that one makes the graph that it goes back through")
    if graph.kind == "R":
        yield Rule(Pass("F", k, i), graph, "that one gives the input that it starts from")
    if k < last:
        yield Rule(Pass("B", k + 1, i), Pass("B", k, i), "that one gives the gradient that it starts from")
    if i:
        yield Rule(Pass("B", k, i - 1), Pass("B", k, i), "a shard adds its gradients up in the order of micro-batches")


def _numbers(numbers: Collection[int]) -> str:
    return f"shards {', '.join(map(str, sorted(numbers)))}" if numbers else "no shard"

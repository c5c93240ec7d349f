"""Where to cut: the coarsest units and shards that a memory budget leaves room for, in each of three ways to train.

::

    resident       all parameters, gradients and state          + the graph of one micro-batch; nothing is cut
    checkpointed   all parameters, gradients and state          + the graph of one shard, and the inputs of units
    spilled        shared parameters, gradients of one shard    + the graph of one shard,
                   (all gradients where they are clipped)         and the inputs of units x micro-batches
                   + room for objects: three shards or more, so that one is used, one comes and one goes

and in all of them some slack: the C library keeps freed memory in pieces, about half as much again as is in use of what
comes and goes (activations and gradients; inputs of units have memory of their own), and the process grows a little
besides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from lineshaft.core.artifact import digest_of
from lineshaft.core.memory import pages, show_size
from lineshaft.errors import UsageError
from lineshaft.train.spill.places import aligned
from lineshaft.train.spill.rehearsal import BLUR, NOISE
from lineshaft.train.spill.units import Limit, Unit, shared_parameters, units_of

if TYPE_CHECKING:
    from lineshaft.train.spill.draws import Moved
    from lineshaft.train.spill.pilot import Observed
    from lineshaft.train.spill.scopes import Scope

Way = Literal["resident", "checkpointed", "spilled"]
WAYS: tuple[Way, ...] = ("resident", "checkpointed", "spilled")
ROTATING = 3
STEPPING = 2  # tensors of a parameter's size that AdamW makes for the time of its step
SLACK = 0.5  # of activations and gradients
SPARE, MOST_SPARE = 0.1, 16 << 20  # of a budget, and at most so many bytes
HALVINGS = 24
ENTRY = 3000  # bytes that a compute action comes to in the programs and the trace that are kept, with what it moves
THREAD = 1 << 17  # bytes of a thread's stack and heap
OTHERS = 3  # threads beside those of micro-batches
BESIDE, EIGHTH = 2 << 20, 8  # bytes of these that the least leaves out, and the part of it that the rest may be


@dataclass(frozen=True)
class Weight:
    """Bytes of one parameter: its value, gradient, and what the optimizer keeps for it."""

    value: int
    gradient: int
    state: int

    @property
    def moved(self) -> int:
        """What lies in objects."""
        return self.value + self.state


@dataclass(frozen=True)
class Cut:
    """A model in shards.

    Attributes
    ----------
    way
        What is kept in memory.
    units
        In the order of their calls.
    shards
        For each shard the numbers of its units, from and to.
    owned
        For each shard the names of its parameters.
    shared
        Names of the parameters that stay in memory.
    by_micro
        Whether micro-batches must go forward one after the other: the model's random draws cannot be foretold, or it
        writes buffers between its units.
    elsewhere
        Whether the model draws from the generators of Python or numpy.
    fixed
        Bytes that are held beside objects.
    slack
        Bytes beside those that it had better have.
    largest
        Bytes of the objects that are in memory at once, at the most: the least room for objects.
    passing
        What passes through objects too: ``g``, gradients that wait for all others; ``x``, inputs of units.
    inputs
        For each shard, bytes of what its units are called with on one micro-batch, where that passes through objects.
    obstacle
        Why there is no other way; "" where there may be.
    scratch
        Bytes that some unit was seen to need for the time of its run, beside its graph and its gradients, or a step of
        the optimizer beside `STEPPING` tensors of the parameter's size.
    apart
        Whether the gradients of each shard are clipped by their own norm.

    """

    way: Way
    units: Sequence[Unit]
    shards: Sequence[range]
    owned: Sequence[Sequence[str]]
    shared: Sequence[str]
    by_micro: bool
    elsewhere: bool
    fixed: int
    slack: int
    largest: int
    passing: str = ""
    inputs: Sequence[int] = ()
    obstacle: str = ""
    scratch: int = 0
    apart: bool = False

    @property
    def identity(self) -> str:
        """Name the shards by their parameters, for people and for a resume that has to have the same."""
        parts = [list(names) for names in (*self.owned, self.shared)]
        return f"{len(self.shards)} shards ({digest_of(repr(parts).encode())[:12]})"

    @property
    def least(self) -> int:
        """The least budget that works."""
        return self.held(self.largest)

    @property
    def comfort(self) -> int:
        """The budget from which nothing waits for room that could be there."""
        return self.held(ROTATING * self.largest)

    def fits(self, budget: int) -> bool:
        """Say whether a budget is enough; what was measured may have been less another time."""
        surely = max(0, self.scratch - max(NOISE, 2 * self.scratch // BLUR))
        return replace(self, scratch=surely).least <= budget

    def held(self, room: int, beside: int = 0) -> int:
        """Return the bytes that training holds with so much room for objects.

        ``beside``: what is known of those that the spare ones are for.
        """
        needed = self.fixed + self.slack + self.scratch + room
        return needed + max(min(int(needed * SPARE / (1 - SPARE)), MOST_SPARE), beside)

    def room(self, budget: int, beside: int = 0) -> int:
        """Return the bytes for objects that a budget leaves, and those of the largest shard at least."""
        if self.way != "spilled":
            return 0
        spare = max(min(int(SPARE * budget), MOST_SPARE), beside)
        return max(budget - spare - self.fixed - self.slack - self.scratch, self.largest)


@dataclass(frozen=True)
class Load:
    """What is trained: what the pilot saw, the parameters' weights, micro-batches in a step.

    Attributes
    ----------
    observed, weights, micros
        These.
    words
        Draws of a micro-batch's forward pass; None where they cannot be foretold.
    all_gradients
        Whether all gradients are kept until all are there, to be clipped.
    apart
        Whether those of each shard are clipped by their own norm, so that the shards must not come of what is quickest.
    points
        The calls at which shards begin, with their names; empty: where the budget asks for it.

    """

    observed: Observed
    weights: Mapping[str, Weight]
    micros: int
    words: Moved | None
    all_gradients: bool
    apart: bool = False
    points: Mapping[Scope, str] = field(default_factory=dict)

    @property
    def ways(self) -> Sequence[Way]:
        """The ways to train it."""
        if self.observed.obstacle:
            return WAYS[:1]
        return WAYS[2:] if self.apart else WAYS


def cut(load: Load, budget: int, way: Way = "spilled") -> Cut:
    """Cut a model for a budget, in one way; the least that works where the budget is too small."""
    if way == "resident":
        return _whole(load)
    found: list[Cut] = []
    for passing in _passing(load, way):
        for limit in _limits(load, way):
            units = units_of(load.observed.root, _state(load), limit)
            found.append(_shards(load, units, limit, way, passing))
            if found[-1].comfort <= budget:
                return found[-1]
    return min(found, key=lambda made: made.least)


def _passing(load: Load, way: Way) -> list[str]:
    """Return what may pass through objects: it costs copies, so nothing where memory allows that."""
    if way != "spilled":
        return [""]
    return ["", "g", "x", "gx"] if load.all_gradients else ["", "x"]


def _limits(load: Load, way: Way) -> Iterator[Limit]:
    """Return what a unit may need, ever less; where shards begin at given calls, what it likes."""
    total, graph = sum(_state(load).values()), load.observed.root.all_keeps()
    if load.points:
        yield Limit(total, graph, load.points)
        return
    for halvings in range(HALVINGS):
        yield Limit(max(total >> (halvings if way == "spilled" else 0), 1), max(graph >> halvings, 1))


def least(load: Load) -> Cut:
    """Return the cut that works with the least memory, of all ways."""
    return min((cut(load, 0, way) for way in load.ways), key=lambda made: made.least)


def require_room(best: Cut, budget: int, load: Load) -> None:
    """Refuse a budget that no cut fits.

    Raises
    ------
    UsageError
        The message names the least budget that works.

    """
    if not best.fits(budget):
        beside = show_size(best.fixed + best.scratch)
        raise UsageError(
            f"a budget of {show_size(budget)} is too small: the least that works is "
            f"{show_size(best.least, up=True)}, of which {beside} are activations, gradients and shared parameters and "
            f"{show_size(best.largest)} the largest shard; give more memory, or a smaller micro_batch (the step tried "
            f"out had {load.micros} of them){_without(load)}{_why_whole(load)}"
        )


def require_shards(load: Load, obstacle: str) -> None:
    """Refuse a model that is only trained as a whole, because of an obstacle, where its shards are asked for.

    Raises
    ------
    UsageError
        Clipping is per shard, or there are split points.

    """
    if load.apart and obstacle:
        raise UsageError(
            f"clip per shard needs a model that is cut into shards, but {obstacle}; mend that, or give clip= a number, "
            f"which clips by the norm of all gradients"
        )
    if load.points and obstacle:
        raise UsageError(
            f"split={[*load.points.values()]} needs a model that is cut into shards, but {obstacle}; mend that, or "
            f"leave split= out"
        )


def _without(load: Load) -> str:
    if not load.points:
        return ""
    free = show_size(least(replace(load, points={})).least, up=True)
    return f"; that is with shards that begin at {', '.join(load.points.values())}: without split= it is {free}"


def _why_whole(load: Load) -> str:
    whole = next((scope.whole for scope in load.observed.root.all() if scope.whole), "")
    why = load.observed.obstacle or whole
    return f"; less would do if all of the model could be cut into shards, but {why}" if why else ""


def _whole(load: Load) -> Cut:
    """Return the cut that is none: the model runs as it stands."""
    found = _weigh(load, "resident", "", [], [range(0)], [sorted(load.weights)], [])
    return replace(found, obstacle=load.observed.obstacle)


def _state(load: Load) -> dict[str, int]:
    return {name: weight.moved + weight.gradient for name, weight in load.weights.items()}


def _shards(load: Load, units: Sequence[Unit], limit: Limit, way: Way, passing: str) -> Cut:
    """Take units together while they fit the limit, or up to where the user lets a shard begin."""
    bounds = _begins(load, units) if load.points else _bounds(load, units, limit)
    shards = [range(start, end) for start, end in pairwise([*bounds, len(units)])]
    shared = shared_parameters(load.observed.root, units)
    owned = [sorted({name for u in numbers for name in units[u].reads} - shared) for numbers in shards]
    idle = sorted(set(load.weights) - shared - {name for names in owned for name in names})
    return _weigh(load, way, passing, units, shards, owned, sorted(shared | set(idle)))


def _begins(load: Load, units: Sequence[Unit]) -> list[int]:
    """Return the numbers of the units that come first behind the user's points.

    Raises
    ------
    UsageError
        None comes behind one.

    """
    order = {scope: number for number, scope in enumerate(load.observed.root.all())}
    starts, bounds = [order[unit.scopes[0]] for unit in units], {0}
    for point, name in load.points.items():
        bounds.add(bisect_left(starts, order[point]))
        if starts[-1] < order[point]:
            raise UsageError(
                f"split={name!r}: no shard can begin there: neither it nor what is called behind it has parameters or "
                f"keeps anything for the way back; leave it out"
            )
    return sorted(bounds)


def _bounds(load: Load, units: Sequence[Unit], limit: Limit) -> list[int]:
    """Return the numbers of the units that begin a shard."""
    state = _state(load)
    bounds, reads, keeps = [0], set[str](), 0
    for number, unit in enumerate(units):
        together = reads | unit.reads
        if number > bounds[-1] and (
            sum(state[name] for name in together) > limit.state or keeps + unit.keeps > limit.graph
        ):
            bounds.append(number)
            together, keeps = set(unit.reads), 0
        reads, keeps = together, keeps + unit.keeps
    return bounds


def _weigh(
    load: Load,
    way: Way,
    passing: str,
    units: Sequence[Unit],
    shards: Sequence[range],
    owned: Sequence[Sequence[str]],
    shared: Sequence[str],
) -> Cut:
    weights, spilled = load.weights, way == "spilled"
    inside = {id(scope) for unit in units for top in unit.scopes for scope in top.all()}
    glue_scopes = [scope for scope in load.observed.root.all() if id(scope) not in inside]
    glue = sum(sum(scope.keeps.values()) for scope in glue_scopes) if units else 0
    writes = {name for scope in glue_scopes for name in scope.writes | scope.counts}
    several = len({name for unit in units for name in unit.writes}) < sum(len(unit.writes) for unit in units)
    by_micro = load.micros > 1 and (load.words is None or bool(writes) or several or load.observed.drew_elsewhere)
    visited = shards if by_micro else shards[:-1]  # the last shard goes back at once
    own = [sum(aligned(units[n].scopes[0].given[j][1]) for n in numbers for j in units[n].own) for numbers in visited]
    own = own if "x" in passing else []
    given = {storage: size for unit in units for storage, size, _ in unit.scopes[0].given}
    inputs = sum(given.values()) - sum(own)
    fixed = sum(weights[n].moved + weights[n].gradient * (1 + load.micros) for n in shared)
    fixed += (load.micros if spilled else 1) * (glue + inputs)
    gradients = [sum(weights[name].gradient for name in names) for names in owned]
    heap = max(gradients) if spilled and (not load.all_gradients or "g" in passing) else sum(gradients)
    graph = max(sum(units[number].keeps for number in numbers) for numbers in shards)
    graph = graph if units else load.observed.root.all_keeps()
    heap += graph
    fixed += heap
    fixed += min(max(0, bookkeeping(len(shards), load.micros) - BESIDE), fixed // EIGHTH)
    stepping = max(STEPPING * weight.gradient for weight in weights.values())
    objects = [_values(weights, names) + _kept(weights, names) for names in owned]
    taken = [*map(pages, own), *[0] * (len(shards) - len(own))]
    once = [
        _values(weights, names) + (pages(gradient) if "g" in passing else 0) + max(own_inputs, _kept(weights, names))
        for names, gradient, own_inputs in zip(owned, gradients, taken, strict=True)
    ]
    return Cut(
        way=way,
        units=units,
        shards=shards,
        owned=owned,
        shared=shared,
        by_micro=by_micro or not spilled,
        elsewhere=load.observed.drew_elsewhere,
        fixed=fixed if spilled else fixed + sum(objects),
        slack=int(SLACK * heap) + max(0, stepping - graph),
        largest=max(once) if spilled else 0,
        passing=passing,
        inputs=taken,
        apart=load.apart,
    )


def bookkeeping(shards: int, micros: int) -> int:
    """Return the bytes of a training's programs and threads: forward, again and back for each, and a step."""
    return ENTRY * shards * (3 * micros + 1) + THREAD * (micros + OTHERS)


def _values(weights: Mapping[str, Weight], names: Sequence[str]) -> int:
    return pages(sum(weights[name].value for name in names))


def _kept(weights: Mapping[str, Weight], names: Sequence[str]) -> int:
    return pages(sum(weights[name].state for name in names))

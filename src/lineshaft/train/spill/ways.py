"""The ways to train a model within a budget: what each needs, what a step of it would take, and which to take.

::

    resident       quickest         all of it in memory
    checkpointed   + R of all but   the same, graphs made again
    spilled          the last shard   objects come and go behind the computing, or computing waits for them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lineshaft.core.heap import kept
from lineshaft.train.program.actions import Action, Object, Program
from lineshaft.train.program.generate import Order, checkpointed, resident, spilled
from lineshaft.train.program.place import place
from lineshaft.train.program.price import Costs, Priced, price
from lineshaft.train.spill.cutting import BESIDE, bookkeeping
from lineshaft.train.spill.rehearsal import GLUE

if TYPE_CHECKING:
    from lineshaft.train.spill.cutting import Cut, Way, Weight
    from lineshaft.train.spill.rates import Rate
    from lineshaft.train.spill.rehearsal import Rehearsed

UNSEEN, FEW = 32, 4 << 20  # of a budget, one part in so many for what nobody foretells: pages of code, holes in heaps
SMALL = 10  # of a small budget, one part in so many, up to `FEW` bytes: code and heaps hardly shrink with it
PART = 3  # of a budget, at most one part in so many for all of these: something shall be left of a few MB
CLIPPING = 3.0  # passes over memory that clipping makes of each gradient: two reads and a write
NAMES: dict[Way, str] = {"resident": "in memory", "checkpointed": "in memory with checkpoints", "spilled": "spilled"}


@dataclass(frozen=True)
class Machine:
    """What is known of where training would run.

    Attributes
    ----------
    disk, memory
        How fast they are.
    link
        How fast the device's memory is filled from the machine's; where that is one memory, by copying within it.
    step
        Seconds of the optimizer for each byte of parameters.

    """

    disk: Rate
    memory: Rate
    link: Rate
    step: float


@dataclass(frozen=True)
class Option:
    """One way to train.

    Attributes
    ----------
    cut
        The model in shards.
    room
        Bytes for objects that come and go.
    memory
        Bytes that training would hold at most, above what was held before.
    program
        A step among others like it.
    costs, priced
        What its actions cost, and so the step.

    """

    cut: Cut
    room: int
    memory: int
    program: Program
    costs: Costs
    priced: Priced

    @property
    def name(self) -> str:
        """For people."""
        return NAMES[self.cut.way]


def order_of(made: Cut, micros: int, *, by_micro: bool, trained: Sequence[int], together: bool) -> Order:
    """Return the order of a step; ``trained``: shards with something to train, K for what they share."""
    shards = len(made.shards)
    own = [k for k in trained if k < shards]
    if made.way == "spilled":
        order = spilled(shards, micros, by_micro=by_micro, trained=own, together=together)
    else:
        order = (resident if made.way == "resident" else checkpointed)(shards, micros, trained=own, together=together)
    return (*order, Action("S", shards)) if shards in trained else order


def option(
    made: Cut,
    budget: int,
    held: int,
    sizes: Mapping[Object, int],
    weights: Mapping[str, Weight],
    rehearsed: Rehearsed,
    machine: Machine,
    micros: int,
    together: bool,
    near: frozenset[Object],
) -> Option:
    """Price a cut; ``held``: bytes above the start that are held already, and will be."""
    owned = [*made.owned, made.shared]
    trained = [k for k, names in enumerate(owned) if any(weights[name].gradient for name in names)]
    order = order_of(made, micros, by_micro=made.by_micro, trained=trained, together=together)
    beside = max(held, 0) + min(bookkeeping(len(made.shards), micros), BESIDE) + kept(budget)
    unseen = max(budget // UNSEEN, min(budget // SMALL, FEW))
    room = made.room(max(budget, made.least), min(beside + unseen, budget // PART))
    program = place(order, sizes, room)
    program = place(order, sizes, room, program.after)
    costs = _costs(made, sizes, weights, rehearsed, machine, near)
    moved = {item: size for item, size in sizes.items() if size}
    objects = min(room, sum(moved.values()))
    return Option(made, room, made.held(objects, min(beside, budget // PART)), program, costs, price(program, costs))


def _costs(
    made: Cut,
    sizes: Mapping[Object, int],
    weights: Mapping[str, Weight],
    rehearsed: Rehearsed,
    machine: Machine,
    near: frozenset[Object],
) -> Costs:
    units = rehearsed.of(made.units) if made.units else [rehearsed.timed]
    shards = [[timed for n in numbers for timed in units[n]] for numbers in (made.shards if made.units else [range(1)])]
    gradients = [sum(weights[name].gradient for name in names) for names in [*made.owned, made.shared]]
    return Costs(
        forward=[
            sum(timed.glue + timed.forward for timed in shard) + (rehearsed.tail if k == len(shards) - 1 else 0.0)
            for k, shard in enumerate(shards)
        ],
        again=[sum(timed.forward for timed in shard) for shard in shards],
        backward=[
            sum(GLUE * timed.glue + timed.backward for timed in shard)
            + (GLUE * rehearsed.tail if k == len(shards) - 1 else 0.0)
            for k, shard in enumerate(shards)
        ],
        step=[machine.step * size for size in gradients],
        sizes=sizes,
        read=machine.disk.read,
        write=machine.disk.write,
        norm=CLIPPING * sum(gradients) / machine.memory.read,
        shared=machine.disk.shared,
        near=near,
        near_rate=min(machine.link.read, machine.link.write),
    )


def ranked(options: Sequence[Option], budget: int) -> list[Option]:
    """Put the quickest that fits first; what does not fit comes last, that which needs least first.

    A way that fits with room to spare is taken before one without, where freed memory that has not yet left the process
    may make it overshoot.
    """

    def rank(one: Option) -> tuple[int, float]:
        if not one.cut.fits(budget):
            return 2, one.cut.least
        return int(one.cut.comfort > budget), one.priced.seconds

    return sorted(options, key=rank)

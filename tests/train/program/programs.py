"""Programs to try things on: random steps, and what can go wrong in one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hypothesis import strategies as st

from lineshaft.train.program.actions import Action, Object, Program
from lineshaft.train.program.generate import checkpointed, resident, spilled
from lineshaft.train.program.place import place, uses
from lineshaft.train.program.validate import validate


@dataclass(frozen=True)
class Case:
    """A step to place: its order, the sizes and the room, and what is asked of it."""

    order: tuple[Action, ...]
    sizes: dict[Object, int]
    room: int
    trained: tuple[int, ...]
    first: int = 0
    commit: bool = False
    lead: int = 1
    pinned: tuple[Object, ...] = ()

    def place(self, before=None):
        return place(self.order, self.sizes, self.room, before, self.commit, self.lead, self.pinned)

    def validate(self, program):
        validate(
            program,
            self.sizes,
            self.room,
            self.trained,
            first=self.first,
            commit=self.commit,
            pinned=self.pinned,
        )

    def steady(self, steps=4):
        """Return the program of a step that follows others like it."""
        program = self.place()
        for _ in range(steps):
            program = self.place(program.after)
        return program


def sizes_of(shards, p=1, s=2):
    return {Object(k, what): size for k in range(shards) for what, size in (("p", p), ("s", s))}


def spilled_case(shards=4, micros=2, room=7, **options):
    """Return a step of equal shards of 1 + 2 bytes."""
    commit = options.pop("commit", False)
    trained = tuple(range(shards) if options.get("trained") is None else options["trained"])
    order = spilled(shards, micros, **options)
    return Case(order, sizes_of(shards), room, trained, options.get("first", 0), commit)


def least_room(order, sizes):
    return max(sum(sizes.get(item, 0) for item in uses(action)) for action in order)


@st.composite
def orders(draw, shards, micros):
    """Draw (order, trained, first) of each generator, with all that it can be asked for."""
    kind = draw(st.sampled_from(["spilled", "spilled", "spilled", "checkpointed", "resident", "forward"]))
    everything = tuple(range(shards))
    if kind == "forward":
        return tuple(Action("F", k, i) for i in range(micros) for k in range(shards)), (), shards
    if kind == "checkpointed":
        return checkpointed(shards, micros, together=draw(st.booleans())), everything, 0
    if kind == "resident":
        return resident(shards, micros, together=draw(st.booleans())), everything, 0
    first = draw(st.integers(0, shards - 1))
    trained = tuple(sorted(draw(st.sets(st.integers(first, shards - 1)))))
    together = draw(st.booleans())
    order = spilled(shards, micros, by_micro=draw(st.booleans()), first=first, trained=trained, together=together)
    if draw(st.booleans()):
        order, trained = (*order, Action("S", shards)), (*trained, shards)
    return order, trained, first


@st.composite
def cases(draw, shards=st.integers(1, 5), micros=st.integers(1, 3), commit=st.booleans()):
    k, i = draw(shards), draw(micros)
    order, trained, first = draw(orders(k, i))
    sizes = {Object(shard, what): draw(st.integers(0, 4)) for shard in range(k) for what in ("p", "s")}
    sizes |= {Object(k, "p"): 0, Object(k, "s"): 0}
    sizes |= draw(passing(order))
    room = draw(st.integers(least_room(order, sizes), sum(sizes.values())))
    pinned = draw(st.sampled_from([(), (Object(k, "p"),), (Object(k, "p"), Object(k, "s"))])) if k in trained else ()
    return Case(order, sizes, room, trained, first, draw(commit), draw(st.integers(0, 2)), pinned)


@st.composite
def passing(draw, order):
    """Draw sizes of what is made anew in every step, if anything: inputs of shards, and their gradients."""
    backward = {(action.shard, action.micro) for action in order if action.kind == "B"}
    kept = backward & {(action.shard, action.micro) for action in order if action.kind == "F" and not action.graph}
    inputs = [Object(k, "x", i) for k, i in sorted(kept)] if draw(st.booleans()) else []
    trained = {action.shard for action in order if action.kind == "S"} & {k for k, _ in backward}
    gradients = [Object(k, "g") for k in sorted(trained)] if draw(st.booleans()) else []
    return {item: draw(st.integers(0, 3)) for item in (*inputs, *gradients)}


def without_need(program, number, need):
    """Return the program with an action that does not wait for another."""
    action = program.actions[number]
    needs = tuple(one for one in action.needs if one != need)
    return with_action(program, number, dataclasses.replace(action, needs=needs))


def with_action(program, number, action):
    actions = (*program.actions[:number], action, *program.actions[number + 1 :])
    return dataclasses.replace(program, actions=actions)


def without(program, number):
    """Return the program without an action, which nobody waits for any more."""
    return listed(program, [other for other in range(len(program.actions)) if other != number])


def swapped(program, one, other):
    numbers = list(range(len(program.actions)))
    numbers[one], numbers[other] = numbers[other], numbers[one]
    return listed(program, numbers)


def listed(program, numbers) -> Program:
    """Return the program with its actions in another order, each still needing those that it needed."""
    place_of = {old: new for new, old in enumerate(numbers)}
    actions = tuple(
        dataclasses.replace(
            program.actions[old], needs=tuple(sorted(place_of[n] for n in program.actions[old].needs if n in place_of))
        )
        for old in numbers
    )
    return dataclasses.replace(program, actions=actions)


def number_of(program, text, lane=None):
    """Return the number of the first action of this text."""
    found = [n for n, action in enumerate(program.actions) if str(action) == text and lane in {None, action.lane}]
    assert found, f"no {text} in\n{program}"
    return found[0]

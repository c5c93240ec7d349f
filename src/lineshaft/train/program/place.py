"""Placement: when each object is loaded, into whose room, and when it is written.

The future of a step is known. What makes room is the object that is needed again furthest ahead (Belady, IBM Systems
Journal 5, 1966), so that the shards at both turns of the way stay in memory; but never one of the visit just before,
where that can be avoided: a LOAD may start once the object that makes room was used for the last time and its bytes are
below, and that should be a visit ahead of its own.

::

    compute   F0 F0 F1 F1 F2 F2 F3 F3 ...        room for three: L3p takes the room of 0p, whose next use is the
    in        L0p L1p L2p L3p(0p)                last of all, as soon as the second F0 is done: two visits ahead
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from lineshaft.errors import UsageError
from lineshaft.train.program.actions import Action, Object, Program

_NEVER = 1 << 60


def uses(action: Action) -> tuple[Object, ...]:
    """Return the objects that a compute action needs in memory; passing ones are none of all programs."""
    k, i = action.shard, action.micro
    if action.kind == "S":
        return Object(k, "p"), Object(k, "s"), Object(k, "g")
    if action.kind not in {"F", "R", "B"}:
        return ()
    inputs = () if action.graph else (Object(k, "x", i),)
    return (Object(k, "p"), *inputs, Object(k, "g")) if action.kind == "B" else (Object(k, "p"), *inputs)


def changes(action: Action) -> tuple[Object, ...]:
    """Return the objects that are newer than what lies below after a compute action."""
    k, i = action.shard, action.micro
    if action.kind == "S":
        return Object(k, "p"), Object(k, "s")
    if action.kind == "F" and not action.graph:
        return (Object(k, "x", i),)
    return (Object(k, "g"),) if action.kind == "B" else ()


def ends(action: Action) -> tuple[Object, ...]:
    """Return the passing objects that are of no use after a compute action."""
    if action.kind == "B":
        return (Object(action.shard, "x", action.micro),)
    return (Object(action.shard, "g"),) if action.kind == "S" else ()


def place(
    order: tuple[Action, ...],
    sizes: Mapping[Object, int],
    room: int,
    before: Mapping[Object, bool] | None = None,
    commit: bool = False,
    lead: int = 1,
    pinned: Collection[Object] = (),
    prefetch: bool = True,
) -> Program:
    """Add LOAD, WRITE and COMMIT to the order of a step that is followed by others like it.

    Parameters
    ----------
    order
        Compute actions.
    sizes
        Bytes of every object; one of 0 bytes, or a passing one that is not there, is never moved.
    room
        Bytes for objects in memory.
    before
        The objects in memory when the step begins, and whether each is newer than what lies below.
    commit
        Whether the state after the step is kept: everything that changed is written.
    lead
        How many visits ahead a LOAD should be able to start.
    pinned
        Objects that never leave memory, and are written only for a commit; their size is 0.
    prefetch
        Whether a LOAD may start before the action ahead of it is done; without, to see what that is worth.

    Raises
    ------
    UsageError
        Some action needs more objects at once than there is room for.

    """
    return _Placing(order, sizes, room, dict(before or {}), commit, lead, pinned, prefetch).program()


@dataclass
class _Placing:
    order: tuple[Action, ...]
    sizes: Mapping[Object, int]
    room: int
    before: dict[Object, bool]
    commit: bool
    lead: int
    pinned: Collection[Object]
    prefetch: bool
    actions: list[Action] = field(default_factory=list)
    resident: dict[Object, bool] = field(default_factory=dict)  # object -> newer than what lies below
    last: dict[Object, list[int]] = field(default_factory=dict)  # object -> actions that a drop of it waits for
    loaded: dict[Object, int] = field(default_factory=dict)
    used: dict[Object, int] = field(default_factory=dict)  # object -> time of its last use in this step
    made: set[Object] = field(default_factory=set)  # passing objects that are there, in memory or below

    def program(self) -> Program:
        self.when = self._when()
        self.visits = self._visits()
        leaving = self._leaving()
        self.resident = dict(self.before)
        for time, action in enumerate(self.order):
            needed = self._moved(uses(action))
            for item in needed:
                if item not in self.resident:
                    self._load(item, time, needed)
            number = self._add(replace(action, needs=self._loads(needed)))
            for item in needed:
                self.last.setdefault(item, []).append(number)
                self.used[item] = time
            for item in self._moved(changes(action)):
                self.resident[item] = True
                self.made.add(item)
                if (self.commit and not item.passing) or (item, time) in leaving:
                    self._write(item)
            for item in self._moved(ends(action)):
                self.resident[item] = False
                self.made.discard(item)
            for item in changes(action):
                if self.commit and item in self.pinned:
                    self._add(Action("W", item.shard, what=item.what, needs=(number,)))
        if self.commit:
            steps = [number for number, action in enumerate(self.actions) if action.kind == "S"]
            self._add(Action("C", needs=tuple(steps[-1:])))
        shards = 1 + max(action.shard for action in self.order)
        micros = 1 + max(action.micro for action in self.order)
        return Program(tuple(self.actions), shards, micros, self.before, self.resident)

    def _moved(self, items: Iterable[Object]) -> list[Object]:
        return [item for item in items if (self.sizes.get(item, 0) if item.passing else self.sizes[item])]

    def _when(self) -> dict[Object, list[int]]:
        """Say when each object is used, in this step and in the next, which is like it."""
        when: dict[Object, list[int]] = {}
        for time, action in enumerate((*self.order, *self.order)):
            for item in uses(action):
                when.setdefault(item, []).append(time)
        return when

    def _visits(self) -> list[int]:
        """Number the visits: runs of actions on one shard, in this step and in the next."""
        order = (*self.order, *self.order)
        numbers = [0]
        for one, other in pairwise(order):
            numbers.append(numbers[-1] + (one.shard != other.shard))
        return numbers

    def _next(self, item: Object, time: int) -> int:
        times = self.when.get(item, [])
        place = bisect.bisect_right(times, time)
        return times[place] if place < len(times) else _NEVER

    def _victims(self, item: Object, time: int, needed: list[Object], used: Mapping[Object, int]) -> list[Object]:
        """Choose who makes room for an object needed at this time; ``used``: when each resident was last used."""
        free = self.room - sum(self.sizes[other] for other in used)
        early = self.visits[time] - self.lead - 1
        others = sorted((other for other in used if other not in needed), key=lambda o: (self._next(o, time), o))
        at_rest = [other for other in others if used[other] < 0 or self.visits[used[other]] <= early]
        others = [other for other in others if other not in at_rest]
        leaving: list[Object] = []
        while free < self.sizes[item]:
            if not at_rest and not others:
                raise UsageError(
                    f"{self.order[time % len(self.order)]} needs {sum(self.sizes[one] for one in needed):,} bytes of "
                    f"{', '.join(map(str, needed))} in memory at once, and there is room for {self.room:,}"
                )
            leaving.append(at_rest.pop() if at_rest else others.pop())
            free += self.sizes[leaving[-1]]
        return leaving

    def _leaving(self) -> set[tuple[Object, int]]:
        """Play this step and the next through: pairs of an object and the time of the S that changed it before it left.

        They are written at once, so that nobody waits for the write when their room is wanted.
        """
        resident = dict.fromkeys(self.before, -1)
        changed, leaving = dict[Object, int](), set[tuple[Object, int]]()
        for time, action in enumerate((*self.order, *self.order)):
            needed = self._moved(uses(action))
            for item in needed:
                if item not in resident:
                    victims = self._victims(item, time, needed, resident)
                    leaving |= {(victim, changed.pop(victim)) for victim in victims if victim in changed}
                    for victim in victims:
                        del resident[victim]
                resident[item] = time
            changed |= dict.fromkeys(self._moved(changes(action)), time)
            for item in ends(action):
                changed.pop(item, None)
        return leaving

    def _load(self, item: Object, time: int, needed: list[Object]) -> None:
        victims = self._victims(item, time, needed, {other: self.used.get(other, -1) for other in self.resident})
        for victim in victims:
            if self.resident[victim]:
                self._write(victim)
        needs = sorted({number for other in (item, *victims) for number in self.last.pop(other, [])})
        if not self.prefetch:
            passes = [number for number, action in enumerate(self.actions) if action.lane == "compute"]
            needs = sorted({*needs, *passes[-1:]})
        for victim in victims:
            del self.resident[victim]
        self.resident[item] = False
        new = item.passing and item not in self.made
        load = Action("L", item.shard, item.micro, item.what, drops=tuple(victims), new=new, needs=tuple(needs))
        self.loaded[item] = self._add(load)
        self.last[item] = [self.loaded[item]]

    def _loads(self, needed: list[Object]) -> tuple[int, ...]:
        return tuple(sorted(self.loaded[item] for item in needed if item in self.loaded))

    def _write(self, item: Object) -> None:
        needs = tuple(self.last.get(item, [])[-1:])
        write = self._add(Action("W", item.shard, item.micro, item.what, needs=needs))
        self.last[item] = [*self.last.get(item, []), write]
        self.resident[item] = False

    def _add(self, action: Action) -> int:
        self.actions.append(action)
        return len(self.actions) - 1

"""Every timing of a small program, tried: what the validator proves by reasoning, seen by walking all that can happen.

A state says for each lane how many of its actions are over and whether the next is under way, and which objects are
newer than what lies below. From each state each lane may start its next action or end the one under way.
"""

from __future__ import annotations

from lineshaft.train.program.actions import LANES
from lineshaft.train.program.place import changes, ends, uses


def breach(program, sizes, room, pinned=()):
    """Return what goes wrong under some timing; None where nothing can."""
    return _Walk(program, sizes, room, frozenset(pinned)).first()


class _Walk:
    def __init__(self, program, sizes, room, pinned):
        self.program, self.sizes, self.room, self.actions = program, sizes, room, program.actions
        self.pinned = pinned
        self.lanes = [program.lane(lane) for lane in LANES]
        self.place = {number: (lane, at) for lane, own in enumerate(self.lanes) for at, number in enumerate(own)}
        self.memory = [frozenset(program.before)]  # after so many LOADs
        for number in self.lanes[0]:
            left = self.memory[-1] - set(self.actions[number].drops)
            self.memory.append(left | {self.actions[number].object})

    def first(self):
        dirty = frozenset(item for item, newer in self.program.before.items() if newer)
        if self._bytes(self.memory[0]) > self.room:
            return "too much before"
        start = ((0, 0, 0), (False, False, False), dirty)
        seen, waiting = {start}, [start]
        while waiting:
            state = waiting.pop()
            if wrong := self._wrong(*state):
                return wrong
            following = list(self._following(*state))
            if not following and state[0] != tuple(map(len, self.lanes)):
                return "all wait for ever"
            for what in following:
                if isinstance(what, str):
                    return what
                if what not in seen:
                    seen.add(what)
                    waiting.append(what)
        return None

    def _bytes(self, items):
        return sum(self.sizes.get(item, 0) for item in items)

    def _sized(self, items):
        return {item for item in items if self.sizes.get(item, 0) or item in self.pinned}

    def _under(self, over, running):
        return [
            self.actions[self.lanes[lane][over[lane]]] if running[lane] else None for lane in range(len(self.lanes))
        ]

    def _wrong(self, over, running, dirty):
        """Say what is wrong in a state."""
        load, made, write = self._under(over, running)
        there = self.memory[over[0]] if load is None else self.memory[over[0]] - set(load.drops)
        there |= self.pinned
        if made is not None and self._sized(uses(made)) - there:
            return f"{made} finds no {uses(made)}"
        if write is not None and write.kind == "W":
            if self._sized([write.object]) - there:
                return f"{write} finds nothing"
            if made is not None and write.object in self._sized(changes(made)):
                return f"{made} changes what {write} writes"
        if over[1] == len(self.lanes[1]) and over[0] < len(self.lanes[0]):
            return "loads go on when computation is over"
        if over == tuple(map(len, self.lanes)):
            after = {item: item in dirty for item in there - self.pinned}
            if after != dict(self.program.after):
                return "after is not so"
        return None

    def _following(self, over, running, dirty):
        for lane, own in enumerate(self.lanes):
            if running[lane]:
                yield self._ended(lane, over, running, dirty)
            elif over[lane] < len(own) and all(
                self._is_over(need, over) for need in self.actions[own[over[lane]]].needs
            ):
                yield self._started(lane, over, running, dirty)

    def _made(self, over):
        """Return the passing objects that hold something after so many passes."""
        made = set()
        for number in self.lanes[1][: over[1]]:
            made = (made | set(changes(self.actions[number]))) - set(ends(self.actions[number]))
        return {item for item in made if item.passing}

    def _is_over(self, need, over):
        lane, at = self.place[need]
        return at < over[lane]

    def _started(self, lane, over, running, dirty):
        action = self.actions[self.lanes[lane][over[lane]]]
        there = self.memory[over[0]]
        if action.kind == "L":
            if action.object.passing and action.new == (action.object in self._made(over)):
                return f"{action} forgets, or reads what is not there"
            if dirty & set(action.drops):
                return f"{action} drops what is newer than below"
            if set(action.drops) - there or action.object in there | self.pinned:
                return f"{action} moves what is not there, or is"
            if self._bytes(self.memory[over[0] + 1]) > self.room:
                return f"{action} is too much"
        if action.kind == "W":
            dirty -= {action.object}
        if action.kind == "C":
            steps = [number for number in self.lanes[1] if self.actions[number].kind == "S"]
            lasting = [item for item in dirty if not item.passing]
            if lasting or not all(self._is_over(step, over) for step in steps):
                return "C too early"
        return over, _with(running, lane, True), dirty

    def _ended(self, lane, over, running, dirty):
        action = self.actions[self.lanes[lane][over[lane]]]
        if lane == 1:
            dirty = (dirty | self._sized(changes(action))) - set(ends(action))
        return _with(over, lane, over[lane] + 1), _with(running, lane, False), dirty


def _with(values, place, value):
    return (*values[:place], value, *values[place + 1 :])

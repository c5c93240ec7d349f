"""The validator: proves, before anything runs, that a program is a training step whatever the timing of its actions.

::

    in        L2p          L3p(2p)             the stay of 2p in memory: from the end of L2p to the start of L3p(2p).
    compute        F2.0 S2                     Whoever uses 2p must be sure to start after the one and to be over
    out                W2p                     before the other; and W2p to start after S2, which changes 2p

An action can be sure of what it needs, of what stands before it in its lane, and of what those are sure of. The time
is linear in the number of actions and of needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import LANES, Object, Program
from lineshaft.train.program.complete import Step, require_complete
from lineshaft.train.program.place import changes, ends, uses
from lineshaft.train.program.precedence import Precedence

_IN = LANES.index("in")


@dataclass
class _Stay:
    """An object's time in memory: from the end of a LOAD to the start of the one that drops it."""

    item: Object
    since: int  # -1: from the beginning of the step
    dirty: bool  # whether it is newer, when it comes, than what lies below
    until: int | None = None  # None: to the end
    used: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # uses after which nobody needs it
    written: list[int] = field(default_factory=list)


def validate(
    program: Program,
    sizes: Mapping[Object, int],
    room: int,
    trained: Collection[int],
    *,
    first: int = 0,
    commit: bool = False,
    pinned: Collection[Object] = (),
) -> None:
    """Prove a program: nothing is returned, and what does not hold is refused.

    Proved are, for every timing that lanes and needs allow: no lanes wait for each other; every pass is there once and
    in an order that gives the numbers of the plain loop; each finds its objects in memory and nobody drops, loads or
    writes them while that would matter; nothing is dropped that is newer than what lies below; memory is never above
    its room; what is committed is the state after all steps; and `program.after` is what is then in memory.

    Assumed is of the executor that a step's computation begins when that of the step before is over, and that who
    loads, drops or changes an object waits for the writes of it that the step before left.

    Parameters
    ----------
    program
        One step.
    sizes
        Bytes of every object; one of 0 bytes is always in memory.
    room
        Bytes for objects in memory.
    trained
        The shards that are stepped; K, one past the last, stands for what shards share.
    first
        The first shard that a gradient goes through.
    commit
        Whether the state after the step is to be kept.
    pinned
        Objects of 0 bytes here that never leave memory, and are part of that state.

    Raises
    ------
    TrainingError
        What is wrong, with the actions at fault and what to change.

    """
    precedence = Precedence.of(program)
    require_complete(program, Step(_shards(program, trained), program.micros, first, trained))
    _Proof(precedence, sizes, room, frozenset(pinned)).run(commit)


def _shards(program: Program, trained: Collection[int]) -> int:
    """Return K; what shards share counts as one more in a program that steps it."""
    last = program.shards - 1
    passes = any(action.shard == last and action.kind in {"F", "R", "B"} for action in program.actions)
    return program.shards if passes or last not in trained else last


@dataclass
class _Proof:
    precedence: Precedence
    sizes: Mapping[Object, int]
    room: int
    pinned: frozenset[Object]
    stays: dict[Object, list[_Stay]] = field(default_factory=dict)
    makers: dict[Object, int] = field(default_factory=dict)  # passing object -> the first pass that uses it

    def __post_init__(self) -> None:
        self.program, self.name, self.surely = self.precedence.program, self.precedence.name, self.precedence.surely

    def run(self, commit: bool) -> None:
        self._follow_memory()
        for number, action in enumerate(self.program.actions):
            for item in filter(self._matters, self._touched(number)):
                stay = self._stay(number, item)
                (stay.written if action.kind == "W" else stay.used).append(number)
                if item in changes(action):
                    stay.changed.append(number)
                if item in ends(action):
                    stay.ended.append(number)
                if item.passing and action.kind != "W":
                    self._require_made(stay, number)
        for stays in self.stays.values():
            for stay in stays:
                self._require_kept(stay)
        self._require_commit(commit)
        self._require_end()

    def _require_made(self, stay: _Stay, number: int) -> None:
        """Refuse to use a passing object that is not there yet, and to bring one that is not, or only make its room."""
        maker = self.makers.setdefault(stay.item, number)
        load = None if stay.since < 0 else self.program.actions[stay.since]
        if number == maker:
            if load is not None and not load.new:
                raise TrainingError(f"{self.name(stay.since)} brings {stay.item}, which {self.name(number)} only makes")
        elif maker not in stay.used and (load is None or load.new):
            raise TrainingError(
                f"{self.name(number)} needs {stay.item}, which {self.name(maker)} made, but nothing brings it back; "
                f"let its LOAD bring it"
            )

    def _size(self, item: Object) -> int:
        if item.passing:
            return self.sizes.get(item, 0)
        if item not in self.sizes:
            raise TrainingError(f"the program moves or uses {item}, but sizes does not say how many bytes it has")
        return self.sizes[item]

    def _matters(self, item: Object) -> bool:
        return item in self.pinned or self._size(item) > 0

    def _touched(self, number: int) -> tuple[Object, ...]:
        action = self.program.actions[number]
        return (action.object,) if action.kind == "W" else uses(action)

    def _follow_memory(self) -> None:
        """Find the stays of all objects. LOADs alone move them, in one lane: memory does not depend on timing."""
        for item, dirty in (*self.program.before.items(), *((item, False) for item in self.pinned)):
            self.stays[item] = [_Stay(item, -1, dirty)]
        held = sum(map(self._size, self.program.before))
        self._require_room(held)
        for number in self.program.lane("in"):
            action = self.program.actions[number]
            for item in action.drops:
                self._open(item, number).until = number
                held -= self._size(item)
            stays = self.stays.setdefault(action.object, [])
            if stays and stays[-1].until is None:
                since = f"since {self.name(stays[-1].since)}" if stays[-1].since >= 0 else "from the beginning"
                raise TrainingError(
                    f"{self.name(number)} brings {action.object}, which is in memory {since}; take one of them out"
                )
            stays.append(_Stay(action.object, number, dirty=False))
            held += self._size(action.object)
            self._require_room(held, number)

    def _require_room(self, held: int, number: int = -1) -> None:
        if held > self.room:
            when = "before the step, memory holds" if number < 0 else f"from {self.name(number)} on, memory holds"
            raise TrainingError(f"{when} {held:,} bytes, but there is room for {self.room:,}; drop more, or sooner")

    def _open(self, item: Object, number: int) -> _Stay:
        """Return the stay that a LOAD ends."""
        stays = self.stays.get(item, [])
        if stays and stays[-1].until is None and item not in self.pinned:
            return stays[-1]
        why = "is pinned" if item in self.pinned else "is not in memory"
        if stays and stays[-1].until is not None:
            why += f" after {self.name(stays[-1].until)}"
        raise TrainingError(f"{self.name(number)} drops {item}, which {why}; name what may leave instead")

    def _stay(self, number: int, item: Object) -> _Stay:
        """Return the stay in which an action finds an object; that nobody ends it too early is shown later."""
        stays = self.stays.get(item, [])
        place = bisect_right(stays, self.precedence.over[number][_IN], key=lambda stay: stay.since) - 1
        if place >= 0:
            stay = stays[place]
            if stay.until is None or stay.until > number:
                return stay
        raise TrainingError(f"{self.name(number)} needs {item}, but {self._why_absent(number, stays, place)}")

    def _why_absent(self, number: int, stays: list[_Stay], place: int) -> str:
        """Say why an action cannot be sure of an object; ``place``: its last stay that surely began, -1 for none."""
        later = [stay.since for stay in stays[place + 1 :]]
        listed = [since for since in later if since < number]
        if listed:
            return f"does not wait for {self.name(listed[-1])}, which brings it; add that to what it needs"
        cure = f"{self.name(later[0])} comes too late" if later else "load it before"
        if place >= 0 and (until := stays[place].until) is not None:
            return f"nothing brings it back after {self.name(until)}; {cure}, or drop something else there"
        return f"it is not in memory when the step begins and nothing brings it; {cure}"

    def _require_kept(self, stay: _Stay) -> None:
        """Refuse to drop what is in use or newer than below, and a write that may be torn by a change."""
        for number in stay.changed:
            for write in stay.written:
                if not self.surely(number, write) and not self.surely(write, number):
                    raise TrainingError(
                        f"{self.name(number)} may change {stay.item} while {self.name(write)} writes it; let the "
                        f"later of them need the other"
                    )
        if stay.until is None:
            return
        if late := [number for number in (*stay.used, *stay.written) if not self.surely(number, stay.until)]:
            raise TrainingError(
                f"{self.name(stay.until)} drops {stay.item}, but does not wait for {self.name(max(late))}, which needs "
                f"it; add that to what it needs"
            )
        if self._newer(stay):
            changed = f"since {self.name(stay.changed[-1])}" if stay.changed else "since before the step"
            raise TrainingError(
                f"{self.name(stay.until)} drops {stay.item}, which is newer than what lies below {changed}, and no "
                f"write of it comes between; write it before, and wait for that"
            )

    def _newer(self, stay: _Stay) -> bool:
        """Say whether an object may be newer than what lies below when its stay ends, its writes being over."""
        if not stay.changed:
            return stay.dirty and not stay.written
        if any(self.surely(stay.changed[-1], end) for end in stay.ended):
            return False
        return not any(self.surely(stay.changed[-1], write) for write in stay.written)

    def _remaining(self) -> Iterator[_Stay]:
        for stays in self.stays.values():
            if stays[-1].until is None:
                yield stays[-1]

    def _require_commit(self, commit: bool) -> None:
        out, actions = self.program.lane("out"), self.program.actions
        found = [number for number in out if actions[number].kind == "C"]
        if not commit:
            if found:
                raise TrainingError(f"{self.name(found[0])} commits a step whose state is not to be kept; take it out")
            return
        if not found:
            raise TrainingError("the program lacks C, and the state after the step is to be kept; add it at its end")
        if len(found) > 1 or found[0] != out[-1]:
            number = out[-1] if found[0] != out[-1] else found[1]
            raise TrainingError(
                f"{self.name(number)} comes after {self.name(found[0])}, which commits all that was written; put that "
                f"last"
            )
        for number in self.program.lane("compute"):
            if actions[number].kind == "S" and not self.surely(number, found[0]):
                raise TrainingError(
                    f"{self.name(found[0])} does not wait for {self.name(number)}, and would keep a state that is half "
                    f"stepped; add that to what it needs"
                )
        for stay in self._remaining():
            if self._matters(stay.item) and self._newer(stay):
                changed = self.name(stay.changed[-1]) if stay.changed else "a step before"
                raise TrainingError(
                    f"{self.name(found[0])} commits, but {stay.item}, changed by {changed}, is not written since; "
                    f"write it before"
                )

    def _require_end(self) -> None:
        """Refuse a LOAD that the next step cannot know to be over, and an `after` that is not so."""
        loads, passes = self.program.lane("in"), self.program.lane("compute")
        if loads and not (passes and self.surely(loads[-1], passes[-1])):
            raise TrainingError(
                f"nothing that is computed waits for {self.name(loads[-1])}, so that the next step may begin before "
                f"it is over; leave it to that step"
            )
        remain = {stay.item: self._newer(stay) for stay in self._remaining() if stay.item not in self.pinned}
        for item in sorted(remain.keys() | self.program.after.keys()):
            real, said = (_state(of.get(item)) for of in (remain, self.program.after))
            if real != said:
                raise TrainingError(
                    f"at the end of the step {item} is {real}, but after says that it is {said}; correct after"
                )


def _state(newer: bool | None) -> str:
    if newer is None:
        return "not in memory"
    return "in memory, and newer than what lies below" if newer else "in memory as it lies below"

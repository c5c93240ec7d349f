"""The simulator: what a program costs, from what its actions cost.

::

    in        |L1p|   |L2p|L2s----|             a lane runs one action at a time, as soon as what it needs is over; the
    compute   |F0.0|F0.1|F1.0|F1.1|F2.0+|       program is run twice in a row, and the second run is what is reported,
    out       |W0p|W0s----|                     since it meets the writes that the one before left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.program.actions import LANES, Action, Lane, Object, Program, Span
from lineshaft.train.program.place import uses

RUNS = 2


@dataclass(frozen=True)
class Costs:
    """What actions cost.

    Attributes
    ----------
    forward, again, backward
        Seconds of F, R and B of each shard on one micro-batch.
    step
        Seconds of S of each shard, and of what shards share, if it is stepped.
    sizes
        Bytes of every object.
    read, write
        Bytes a second of LOAD and WRITE.
    near
        Objects that lie in memory below.
    near_rate
        Bytes a second of theirs.
    norm
        Seconds of N.
    latency
        Seconds that each LOAD, WRITE and COMMIT takes beside that.
    shared
        Whether reads and writes share the way: while both are under way, each takes twice as long.

    """

    forward: Sequence[float]
    again: Sequence[float]
    backward: Sequence[float]
    step: Sequence[float]
    sizes: Mapping[Object, int]
    read: float
    write: float
    norm: float = 0.0
    latency: float = 0.0
    shared: bool = False
    near: Collection[Object] = ()
    near_rate: float = math.inf

    def __post_init__(self) -> None:
        seconds = {
            "forward": self.forward,
            "again": self.again,
            "backward": self.backward,
            "step": self.step,
            "norm": [self.norm],
            "latency": [self.latency],
        }
        for what, values in seconds.items():
            if bad := [value for value in values if not 0 <= value < math.inf]:
                raise UsageError(f"{what} must be seconds, 0 or more, not {bad[0]!r}")
        if not (self.read > 0 and self.write > 0):
            raise UsageError(f"read and write must be bytes a second, more than 0, not {self.read} and {self.write}")

    def size(self, action: Action) -> int:
        """Return the bytes that an action moves."""
        return self.sizes[action.object] if action.kind in {"L", "W"} and not action.new else 0

    def seconds(self, action: Action) -> float:
        """Return what an action takes when nothing shares its way."""
        if action.lane != "compute":
            return 0.0 if action.new else self.latency + self.size(action) / self._rate(action)
        if action.kind == "N":
            return self.norm
        costs = {"F": self.forward, "R": self.again, "B": self.backward, "S": self.step}[action.kind]
        if action.shard >= len(costs):
            raise UsageError(f"{action} has no cost: there are those of {len(costs)} shards; give one for each")
        return costs[action.shard]

    def _rate(self, action: Action) -> float:
        if action.kind in {"L", "W"} and action.object in self.near:
            return self.near_rate
        return self.read if action.kind == "L" else self.write


@dataclass(frozen=True)
class Priced:
    """What a step costs that follows others like it.

    Attributes
    ----------
    spans
        Its actions, in the program's order; the step begins at 0.
    seconds
        Until the next step may begin: its computation, and the writes of the step before, are over.
    makespan
        Until all of it is over, the writes too.
    stalled
        Seconds that computing waited.
    critical
        Seconds of the longest chain of its actions of which each waits for the one before: no less is possible.
    loads
        Seconds that each lane was at work.
    read, written
        Bytes.

    """

    spans: Sequence[Span]
    seconds: float
    makespan: float
    stalled: float
    critical: float
    loads: Mapping[Lane, float]
    read: int
    written: int

    @property
    def binding(self) -> Lane:
        """The lane with the most work: what the step cannot be quicker than."""
        return max(LANES, key=lambda lane: (self.loads[lane], lane == "compute"))


def price(program: Program, costs: Costs) -> Priced:
    """Simulate a program as a step among others like it.

    Raises
    ------
    UsageError
        A shard has no cost, or an object no size.

    """
    moved = {action.object for action in program.actions if action.kind in {"L", "W"}}
    if unknown := sorted(moved - costs.sizes.keys()):
        raise UsageError(f"the program moves {unknown[0]}, which has no size in the costs; give it one")
    alone = [costs.seconds(action) for action in program.actions]
    run = _Simulation(program, alone, costs.shared)
    run.go()
    begin, start, end = run.begins[-1], run.start[-1], run.end[-1]
    spans = [
        Span(action, start[number] - begin, end[number] - begin, costs.size(action))
        for number, action in enumerate(program.actions)
    ]
    loads = {lane: math.fsum(spans[n].end - spans[n].start for n in program.lane(lane)) for lane in LANES}
    over = max((spans[number].end for number in program.lane("compute")), default=0.0)
    return Priced(
        spans=spans,
        seconds=max(over, max(run.end[0], default=0.0) - begin),
        makespan=max((span.end for span in spans), default=0.0),
        stalled=over - loads["compute"],
        critical=_critical(program, alone),
        loads=loads,
        read=sum(span.size for span in spans if span.action.kind == "L"),
        written=sum(span.size for span in spans if span.action.kind == "W"),
    )


def _critical(program: Program, alone: Sequence[float]) -> float:
    last, ends = dict[Lane, int](), list[float]()
    for number, action in enumerate(program.actions):
        earlier = [*action.needs, *([last[action.lane]] if action.lane in last else [])]
        ends.append(max((ends[one] for one in earlier), default=0.0) + alone[number])
        last[action.lane] = number
    return max(ends, default=0.0)


@dataclass
class _Under:
    """An action under way: of which run, which, and when it is over at the present rate."""

    run: int
    number: int
    due: float


@dataclass
class _Simulation:
    """Runs a program `RUNS` times in a row, as the executor does."""

    program: Program
    alone: Sequence[float]  # seconds of each action with the way to itself
    shared: bool
    now: float = 0.0
    begins: list[float] = field(default_factory=lambda: [0.0])
    under: dict[Lane, _Under] = field(default_factory=dict)

    def __post_init__(self) -> None:
        actions = self.program.actions
        self.queues = {
            lane: deque((run, number) for run in range(RUNS) for number in self.program.lane(lane)) for lane in LANES
        }
        self.start, self.end = ([[math.inf] * len(actions) for _ in range(RUNS)] for _ in range(2))
        self.passes = self.program.lane("compute")
        self.writes: dict[Object, list[int]] = {}
        for number, action in enumerate(actions):
            if action.kind == "W":
                self.writes.setdefault(action.object, []).append(number)

    def go(self) -> None:
        """Start what may start, go on to the next end, and again."""
        while self._begin() or any(self._start(lane) for lane in LANES) or self._finish():
            pass
        if stuck := [queue[0][1] for queue in self.queues.values() if queue]:
            raise TrainingError(f"{self.program.actions[stuck[0]]} waits for ever; validate the program first")

    def _begin(self) -> bool:
        """Begin the next run when the computation of the last one is over."""
        run = len(self.begins) - 1
        if run + 1 == RUNS or any(self.end[run][number] > self.now for number in self.passes[-1:]):
            return False
        self.begins.append(self.now)
        return True

    def _start(self, lane: Lane) -> bool:
        """Start the next action of a lane, where that is free and the action ready."""
        queue = self.queues[lane]
        if lane in self.under or not queue or not self._ready(*queue[0]):
            return False
        run, number = queue.popleft()
        self.start[run][number] = self.now
        rival = self._rival(lane)
        if rival is not None:
            rival.due = self.now + (rival.due - self.now) * 2
        self.under[lane] = _Under(run, number, self.now + self.alone[number] * (1 if rival is None else 2))
        return True

    def _ready(self, run: int, number: int) -> bool:
        """Say whether all is over that an action waits for, in its run and in the one before."""
        if run >= len(self.begins):
            return False
        action = self.program.actions[number]
        if any(self.end[run][need] > self.now for need in action.needs):
            return False
        touched = (action.object, *action.drops) if action.kind == "L" else uses(action) if action.kind == "S" else ()
        writes = (write for item in touched for write in self.writes.get(item, ()))
        return run == 0 or all(self.end[run - 1][write] <= self.now for write in writes)

    def _finish(self) -> bool:
        """Go on to when the next action is over."""
        if not self.under:
            return False
        lane = min(self.under, key=lambda one: self.under[one].due)
        over = self.under.pop(lane)
        self.now = max(self.now, over.due)
        self.end[over.run][over.number] = self.now
        rival = self._rival(lane)
        if rival is not None:
            rival.due = self.now + (rival.due - self.now) / 2
        return True

    def _rival(self, lane: Lane) -> _Under | None:
        """Return what shares its way with a lane just now."""
        other: Lane = "out" if lane == "in" else "in"
        return self.under.get(other) if self.shared and lane != "compute" else None

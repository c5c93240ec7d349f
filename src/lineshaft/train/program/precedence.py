"""What is surely over when an action starts: one number per lane says it, since a lane runs its actions in order.

::

    compute   0 F0.0   1 F0.1   4 F1.0          L2p needs 1: when it starts, all of compute up to 1 is over, and all
    in        2 L1p    3 L2p(0p)                of in up to 2. What is not known to be over may still be running.

These are the vector clocks of Fidge (1988) and Mattern (1989), with lanes for processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import LANES, Program

Clock = tuple[int, int, int]
_NOTHING: Clock = (-1, -1, -1)


@dataclass(frozen=True)
class Precedence:
    """What is over when each action of a program starts.

    Attributes
    ----------
    program
        Whose.
    lanes
        For each action the number of its lane.
    over
        For each action, for each lane: the last number in it that is surely over when the action starts; -1: none.

    """

    program: Program
    lanes: Sequence[int]
    over: Sequence[Clock]

    @classmethod
    def of(cls, program: Program) -> Precedence:
        """Read it off lanes and needs.

        Raises
        ------
        TrainingError
            An action needs one that is listed after it, or none at all: lanes could wait for each other for ever.

        """
        lanes = [LANES.index(action.lane) for action in program.actions]
        last, over = [-1, -1, -1], list[Clock]()
        for number, action in enumerate(program.actions):
            for need in action.needs:
                if not 0 <= need < number:
                    other = name(program, need) if number <= need < len(lanes) else f"number {need}"
                    raise TrainingError(
                        f"{name(program, number)} needs {other}, which is not listed before it, so that lanes could "
                        f"wait for each other for ever; list each action after those that it needs"
                    )
            clock = _NOTHING
            for earlier in (last[lanes[number]], *action.needs):
                if earlier >= 0:
                    clock = _later(clock, over[earlier], lanes[earlier], earlier)
            over.append(clock)
            last[lanes[number]] = number
        return cls(program, lanes, over)

    def surely(self, first: int, then: int) -> bool:
        """Say whether an action is over, whatever the timing, when another starts."""
        return first <= self.over[then][self.lanes[first]]

    def name(self, number: int) -> str:
        """Return how messages name an action."""
        return name(self.program, number)


def name(program: Program, number: int) -> str:
    """Name an action by its place in its lane: ``compute[5] B2.0``."""
    action = program.actions[number]
    place = sum(other.lane == action.lane for other in program.actions[:number])
    return f"{action.lane}[{place}] {action}"


def _later(clock: Clock, other: Clock, lane: int, number: int) -> Clock:
    """Return what is over when both are, and with the second the action of this number."""
    most = [max(pair) for pair in zip(clock, other, strict=True)]
    most[lane] = max(most[lane], number)
    return most[0], most[1], most[2]

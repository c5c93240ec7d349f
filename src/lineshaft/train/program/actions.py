"""The language of programs: actions over shards, micro-batches and the objects that they need.

::

    k  shard    i  micro-batch    p[k]  its parameters    s[k]  its optimizer state    (both live below, or in memory)
                                  x[k,i]  what shard k was called with, from F to B    g[k]  its gradients, from B to S

    compute   F2.1    forward of shard 2 on micro-batch 1, keeping its input only
              F2.1+   the same, keeping the graph that its backward needs
              R2.1    forward again, from the kept input, for the graph
              B2.1    backward: gives the gradient of the input, adds to the shard's gradients
              N       the norm of all gradients, and from it the scale that clips them
              S2      the optimizer's step of shard 2: its gradients are gone after it
    in        L2p     bring p[2] into memory, into the room of others where it says so: L2p(0p,0s)
              L2.1x*  make room for x[2,1], which is not there yet
    out       W2s     write s[2] below; it stays in memory, and may be dropped from there
              C       commit: all that was written is the state after this step

An action starts when those that it `needs` are done, and when the one before it in its lane is. A step begins when the
computation of the one before is over; what that one still writes is waited for by whoever loads or drops the object.
Nothing else orders actions, so timing cannot change what a program computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["F", "R", "B", "N", "S", "L", "W", "C"]
Lane = Literal["in", "compute", "out"]
What = Literal["p", "s", "x", "g"]
LASTING: tuple[What, ...] = ("p", "s")
PASSING: tuple[What, ...] = ("x", "g")
LANES: tuple[Lane, ...] = ("in", "compute", "out")
_LANE: dict[str, Lane] = {"L": "in", "W": "out", "C": "out"}


class Object(NamedTuple):
    """Something that is loaded and written: ``p``, ``s``, ``x`` or ``g`` of a shard; ``x`` is of a micro-batch too."""

    shard: int
    what: What
    micro: int = -1

    @property
    def passing(self) -> bool:
        """Whether it is made anew in every step, and of no use after that."""
        return self.what in PASSING

    def __str__(self) -> str:
        return f"{self.shard}{_dotted(self.micro)}{self.what}"

    @classmethod
    def parse(cls, text: str) -> Object:
        """Read what ``str`` wrote."""
        shard, _, micro = text[:-1].partition(".")
        (what,) = (one for one in (*LASTING, *PASSING) if one == text[-1])
        return cls(int(shard), what, int(micro or -1))


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Attributes
    ----------
    kind
        One of the letters above.
    shard, micro
        Which shard, on which micro-batch; -1 where it has none.
    what
        Of LOAD and WRITE: that of their object.
    graph
        Of F: whether it keeps the graph.
    drops
        Of LOAD: the objects in whose room it comes.
    needs
        Numbers of the actions of this step that come first.
    new
        Of LOAD: whether there is nothing to bring, only room to make.

    """

    kind: Kind
    shard: int = -1
    micro: int = -1
    what: What | None = None
    graph: bool = False
    drops: tuple[Object, ...] = ()
    needs: tuple[int, ...] = ()
    new: bool = False

    @property
    def lane(self) -> Lane:
        """Which list it stands in."""
        return _LANE.get(self.kind, "compute")

    @property
    def object(self) -> Object:
        """What a LOAD brings or a WRITE writes."""
        if self.what is None:
            raise ValueError(f"{self} moves nothing")
        return Object(self.shard, self.what, self.micro)

    def __str__(self) -> str:
        shard = "" if self.shard < 0 else str(self.shard)
        mark = "+" if self.graph else "*" if self.new else ""
        drops = f"({','.join(map(str, self.drops))})" if self.drops else ""
        return f"{self.kind}{shard}{_dotted(self.micro)}{self.what or ''}{mark}{drops}"


@dataclass(frozen=True, slots=True)
class Span:
    """What an action took, or is expected to take: seconds on the clock of its step, and bytes moved."""

    action: Action
    start: float
    end: float
    size: int = 0


@dataclass(frozen=True)
class Program:
    """One training step.

    Attributes
    ----------
    actions
        All of them, each after those that it needs; a lane runs its own in this order.
    shards, micros
        K and M.
    before, after
        The objects in memory at its beginning and at its end, each with whether it is newer than what lies below.

    """

    actions: tuple[Action, ...]
    shards: int
    micros: int
    before: Mapping[Object, bool] = field(default_factory=dict)
    after: Mapping[Object, bool] = field(default_factory=dict)

    def lane(self, name: Lane) -> list[int]:
        """Return the numbers of the actions of one lane."""
        return [number for number, action in enumerate(self.actions) if action.lane == name]

    def __str__(self) -> str:
        lines = (" ".join(str(self.actions[number]) for number in self.lane(name)) for name in LANES)
        return "\n".join(f"{name:8}{line}" for name, line in zip(LANES, lines, strict=True))


def _dotted(micro: int) -> str:
    return "" if micro < 0 else f".{micro}"

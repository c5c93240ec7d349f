"""Units: the calls that a model's forward is cut into, and shards: runs of units that share a visit.

::

    GPT ─ too large ─┬─ transformer ─ too large ─┬─ wte         unit 0  ┐
                     │                           ├─ wpe         unit 1  │ shard 0
                     │                           ├─ h.0         unit 2  ┘
                     │                           ├─ h.1         unit 3  ┐ shard 1
                     │                           └─ ln_f        unit 4  ┘
                     └─ lm_head                                 unit 5  ─ shard 2

A unit is the largest call whose state and graph are within a limit; what is larger is opened, and the code between the
units inside it is glue. A call is opened too that has a split point of the user's inside, and never where its parts
reach each other in other ways than by arguments and what they return. Children of an opened ``nn.Sequential`` are taken
together as far as the limit allows. Where a module's own code gives functions more parameters than the limit allows,
the calls of these are units as well (`functions`). A parameter that glue reads, or that is read by more than one unit,
is shared: it stays in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from lineshaft.train.spill.calls import original, taken_over
from lineshaft.train.spill.functions import pausing_in
from lineshaft.train.spill.line import current, pausing, visit

if TYPE_CHECKING:
    from lineshaft.train.spill.scopes import Scope


@dataclass(frozen=True, eq=False)
class Unit:
    """A call, or neighbouring calls of an ``nn.Sequential``, that run as one.

    Attributes
    ----------
    name
        The module's; of neighbours ``"body.2-4"``.
    scopes
        What the pilot saw of it.
    sequence
        The ``nn.Sequential`` that it is a part of, where it stands for neighbours.
    own
        Numbers of the tensors it is called with that no other unit is, and through which a gradient flows.

    """

    name: str
    scopes: tuple[Scope, ...]
    sequence: nn.Module | None = None
    own: tuple[int, ...] = ()

    @property
    def reads(self) -> set[str]:
        """Names of the parameters it reads."""
        return {name for scope in self.scopes for name in scope.all_reads()}

    @property
    def writes(self) -> set[str]:
        """Names of the buffers it writes."""
        return {name for scope in self.scopes for name in scope.all_writes()}

    @property
    def counts(self) -> list[tuple[nn.Module, str]]:
        """Numbers and words that it changes: the modules that have them, and their names there."""
        scopes = [scope for top in self.scopes for scope in top.all()]
        return [(scope.module, name) for scope in scopes for name in sorted(scope.counts)]

    @property
    def keeps(self) -> int:
        """Bytes of its graph."""
        return sum(scope.all_keeps() for scope in self.scopes)

    @property
    def takes(self) -> int:
        """Bytes of the tensors it is called with."""
        return self.scopes[0].takes

    @property
    def mutates(self) -> Collection[int]:
        """Numbers of the tensors it is called with that it changes in place."""
        return self.scopes[0].mutates

    @property
    def seen(self) -> bool:
        """Whether others see what it changes in place: not so between the children of one sequence."""
        return self.sequence is None or self.scopes[0].module is next(self.sequence.children())

    @property
    def repeats(self) -> Collection[int]:
        """Numbers of the tensors it is called with that it reads more than once."""
        return self.scopes[0].repeats

    @property
    def differentiable(self) -> bool:
        """Whether a gradient flows through it."""
        return self.scopes[-1].differentiable

    @property
    def seconds(self) -> float:
        """How long its forward took in the pilot."""
        return sum(scope.seconds for scope in self.scopes)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call what it stands for."""
        value = original(self.scopes[0].module, args, kwargs)
        for scope in self.scopes[1:]:
            value = original(scope.module, (value,), {})
        return value


@dataclass(frozen=True)
class Limit:
    """What one unit may need: bytes of state of the parameters it reads, bytes of its graph; calls that begin one."""

    state: int
    graph: int
    begin: Collection[Scope] = ()


def units_of(root: Scope, state: Mapping[str, int], limit: Limit) -> list[Unit]:
    """Cut a forward pass into units.

    Parameters
    ----------
    root
        What the pilot saw.
    state
        Parameter -> bytes of its value, gradient and optimizer state.
    limit
        What one unit may need; a call without parts may need more.

    """
    found = list(_cut(root, state, limit)) or [Unit(root.name or "model", (root,))]
    takers = Counter(storage for unit in found for storage in {given[0] for given in unit.scopes[0].given})
    return [replace(unit, own=_own(unit.scopes[0], takers)) for unit in found]


def _own(scope: Scope, takers: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(
        number
        for number, (storage, _, wanted) in enumerate(scope.given)
        if wanted and takers[storage] == 1 and number not in scope.mutates
    )


def shared_parameters(root: Scope, units: Sequence[Unit]) -> set[str]:
    """Return the parameters that glue reads, or more than one unit."""
    inside = {id(scope) for unit in units for top in unit.scopes for scope in top.all()}
    shared = {name for scope in root.all() if id(scope) not in inside for name in scope.reads}
    shared -= {name for unit in units if unit.scopes[0].within is not None for name in unit.reads}
    read = set[str]()
    for unit in units:
        shared |= read & unit.reads
        read |= unit.reads
    return shared


@contextmanager
def paused_at(units: Sequence[Unit]) -> Iterator[None]:
    """Let lines stop at these units."""
    sequences: dict[int, tuple[nn.Module, dict[int, Unit]]] = {}
    functions: dict[int, tuple[nn.Module, list[Unit]]] = {}
    single: dict[int, Unit] = {}
    for unit in units:
        if (within := unit.scopes[0].within) is not None:
            functions.setdefault(id(within), (within, []))[1].append(unit)
        elif unit.sequence is None:
            single[id(unit.scopes[0].module)] = unit
        else:
            sequences.setdefault(id(unit.sequence), (unit.sequence, {}))[1][id(unit.scopes[0].module)] = unit
    with ExitStack() as stack:
        for unit in single.values():
            stack.enter_context(taken_over([unit.scopes[0].module], pausing(unit)))
        for module, own in functions.values():
            stack.enter_context(taken_over([module], pausing_in(own)))
        for sequence, groups in sequences.values():
            stack.enter_context(taken_over([sequence], _grouped(groups)))
        yield


def _grouped(groups: Mapping[int, Unit]) -> Any:
    """Return a wrapper for an ``nn.Sequential`` that stops at groups of its children."""

    def call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        line = current()
        if line is None:
            return original(module, args, kwargs)
        (value,) = (*args, *kwargs.values())
        children, place = list(module.children()), 0
        while place < len(children):
            unit = groups.get(id(children[place]))
            value = children[place](value) if unit is None else visit(line, unit, (value,), {})
            place += 1 if unit is None else len(unit.scopes)
        return value

    return call


def _cut(scope: Scope, state: Mapping[str, int], limit: Limit) -> Iterator[Unit]:
    if not _opens(scope, state, limit) or (_fits([scope], state, limit) and not scope.hides):
        if scope.all_reads() or scope.all_keeps() > scope.takes or scope.all_writes():
            yield Unit(scope.name or "model", (scope,))
        return  # else it is cheaper as glue: a reshape, a dropout
    if _plain_sequence(scope):
        yield from _neighbours(scope, state, limit)
    else:
        for part in scope.inner if _wide(scope, state, limit) else scope.parts:
            yield from _cut(part, state, limit)


def _opens(scope: Scope, state: Mapping[str, int], limit: Limit) -> bool:
    return not scope.whole and (bool(scope.parts) or _wide(scope, state, limit))


def _wide(scope: Scope, state: Mapping[str, int], limit: Limit) -> bool:
    """Say whether the parameters that its own code gives to functions are too many to stay in memory."""
    return sum(state[name] for function in scope.functions for name in function.reads) > limit.state


def _neighbours(scope: Scope, state: Mapping[str, int], limit: Limit) -> Iterator[Unit]:
    """Take as many children together as fit; what does not fit alone is cut."""
    run: list[Scope] = []
    for part in [*scope.parts, None]:
        # What changes the sequence's own input in place stands alone: it returns it, so that others see the change.
        alone = bool(run) and run[0] is scope.parts[0] and bool(run[0].mutates)
        if part is not None and not alone and _fits([*run, part], state, limit):
            run.append(part)
            continue
        if run:
            yield _together(scope, run)
        run = []
        if part is not None and _fits([part], state, limit):
            run = [part]
        elif part is not None:
            yield from _alone(scope, part, state, limit)


def _alone(scope: Scope, part: Scope, state: Mapping[str, int], limit: Limit) -> Iterator[Unit]:
    """Take a child of a sequence that is too large: open it where that can be done."""
    if _opens(part, state, limit):
        yield from _cut(part, state, limit)
    else:
        yield _together(scope, [part])


def _together(scope: Scope, run: list[Scope]) -> Unit:
    first, last = run[0].name, run[-1].name.rsplit(".", 1)[-1]
    return Unit(first if len(run) == 1 else f"{first}-{last}", tuple(run), scope.module)


def _fits(scopes: Sequence[Scope], state: Mapping[str, int], limit: Limit) -> bool:
    if any(one in limit.begin for top in scopes for one in top.all() if one is not scopes[0]):
        return False
    reads = {name for scope in scopes for name in scope.all_reads()}
    return sum(state[name] for name in reads) <= limit.state and sum(s.all_keeps() for s in scopes) <= limit.graph


def _plain_sequence(scope: Scope) -> bool:
    """Say whether it calls its children one after the other, each once, and does nothing else."""
    module = scope.module
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    hooked = any(
        getattr(module, kind)
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )
    return plain and not hooked and [part.module for part in scope.parts] == list(module.children())

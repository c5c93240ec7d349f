"""The lines of one optimizer step: what forward, recompute and backward of a shard mean for a micro-batch.

::

    F k.i        line i runs on through the units of shard k; of each the input is kept, the graph dropped
    R k.i        the units again, from what was kept, each with the random state and the buffers it had: graphs
    B k.i        line i's backward runs on; at each unit the graph gives the gradients of input and parameters

Everything happens in the order of the plain loop as far as numbers can tell: micro-batches add to a gradient in their
order, each draws what it would have drawn, the same kernels run in the same grad mode.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.spill.calls import NotInShards, foreign, tensors_of, version, with_tensors
from lineshaft.train.spill.draws import now, stand_at
from lineshaft.train.spill.line import Answer, Backward, End, Forward, Line, Loss

if TYPE_CHECKING:
    from lineshaft.train.program.actions import Action
    from lineshaft.train.spill.units import Unit

Buffer = tuple[nn.Module, str]
SAMPLE = 64


@dataclass
class Kept:
    """What a unit needs to run again: its call, and what it found; of random states, where it drew."""

    call: Forward
    versions: list[int]
    random: Any
    buffers: list[torch.Tensor]
    sample: list[torch.Tensor]
    elsewhere: tuple[Any, Any] | None
    counts: list[Any]
    graph: tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]] = field(
        default_factory=lambda: ([], [], [])
    )
    moved_finite: bool = True  # whether all was that has left for an object

    def finite(self) -> bool:
        """Say whether all is that it was called with and that a gradient comes back for; masks may be not."""
        tensors = zip(self.tensors(), self.call.wanted or (), strict=True)
        return self.moved_finite and all(bool(value.isfinite().all()) for value, wanted in tensors if wanted)

    def tensors(self) -> list[torch.Tensor]:
        """Return those that it was called with."""
        return tensors_of((self.call.args, self.call.kwargs))

    def replace(self, others: Mapping[int, torch.Tensor]) -> None:
        """Put others, by their numbers, in the places of some of them."""
        own = self.tensors()
        self.call = _with(self.call, [others.get(number, value) for number, value in enumerate(own)])
        for number in others:
            self.versions[number] = 0


@dataclass
class Path:
    """A micro-batch under way: its line, where that stands, its random state, and what was kept of its units."""

    line: Line
    stop: Any = None
    random: Any = None
    kept: dict[int, Kept] = field(default_factory=dict)


class Lines:
    """The compute side of a step: F, R and B over the lines of its micro-batches.

    Parameters
    ----------
    units
        In the order of their calls.
    shards
        For each shard, the numbers of its units' calls, from and to.
    buffers
        For each unit, the buffers it writes: the module that has each, and its name there.
    after_backward
        Called with the number of a micro-batch when its backward pass got on.
    elsewhere
        Whether units draw from the generators of Python or numpy.

    """

    def __init__(
        self,
        units: Sequence[Unit],
        shards: Sequence[range],
        buffers: Sequence[list[Buffer]],
        after_backward: Callable[[int], None],
        *,
        elsewhere: bool = False,
    ) -> None:
        self.units, self.shards, self.buffers, self._after_backward = units, shards, buffers, after_backward
        self.elsewhere = elsewhere
        self.paths: list[Path] = []
        self._states: dict[tuple[int, int], torch.Tensor] = {}  # unit, micro-batch -> where it began to draw

    def begin(self, bodies: Sequence[Callable[[Line], None]], random: Sequence[Any]) -> None:
        """Take a step's micro-batches on, each with the random state it starts from."""
        self.paths = [Path(Line(body), random=state) for body, state in zip(bodies, random, strict=True)]

    def close(self) -> None:
        """Unwind what is still under way."""
        for path in self.paths:
            path.line.close()
        self.paths = []

    def forward(self, action: Action) -> None:
        """F: run line ``micro`` through the units of a shard."""
        path = self.paths[action.micro]
        if path.random is None:
            path.random = self.paths[action.micro - 1].random
        stand_at(path.random)
        if path.stop is None:
            path.stop = path.line.go()
        for number in self.shards[action.shard]:
            call = expected(path.stop, number, self.units)
            how = {"graph": action.graph, "elsewhere": self.elsewhere}
            answer, kept = run_forward(self.units[number], call, self.buffers[number], **how)
            if kept is not None and kept.random is not None:  # in one place for all steps: it stays for long
                kept.random = self._states.setdefault((number, action.micro), kept.random).copy_(kept.random)
            if kept is not None:
                path.kept[number] = kept
            del call
            path.stop = None  # nothing here holds the unit's inputs while the line runs on
            path.stop = path.line.go(answer)
        path.random = now()

    def inputs(self, action: Action) -> list[tuple[Kept, int]]:
        """Return the tensors that a shard's units keep and nobody else needs: what keeps each, and its number there."""
        path, found = self.paths[action.micro], []
        for number in self.shards[action.shard]:
            if (kept := path.kept.get(number)) is not None:
                _require_unchanged(self.units[number], kept)
                found += [(kept, own) for own in self.units[number].own]
        return found

    def recompute(self, action: Action) -> None:
        """R: make the graphs of a shard's units again."""
        path = self.paths[action.micro]
        for number in self.shards[action.shard]:
            if (kept := path.kept.get(number)) is not None:
                run_again(self.units[number], kept, self.buffers[number])

    def backward(self, action: Action) -> None:
        """B: run line ``micro`` back through the units of a shard."""
        path = self.paths[action.micro]
        if isinstance(path.stop, Loss):
            path.stop = path.line.go()
            self._after_backward(action.micro)
        for number in reversed(self.shards[action.shard]):
            kept = path.kept.pop(number, None)
            if kept is None or not isinstance(path.stop, Backward) or path.stop.number != number:
                continue  # nothing that the loss depends on
            gradients = run_backward(kept, path.stop)
            path.stop = path.line.go(gradients)
            self._after_backward(action.micro)
        require_onward(path.stop, self.shards[action.shard].start, self.units)

    def shard_that_broke(self, micro: int) -> str:
        """Say, before the way back, where on the way there numbers stopped being finite."""
        known = sorted(self.paths[micro].kept.items())
        broken = [number for number, kept in known if not kept.finite()]
        if not self.units:
            return "the model was in memory as a whole, where nobody looks at its parts"
        number = broken[0] - 1 if broken else len(self.units) - 1
        if number < 0:
            return "it came in with the inputs"
        if not broken and known and all(bool(value.isfinite().all()) for value in known[-1][1].graph[2]):
            return "the model's last outputs are finite, so it came from the loss"
        shard = next(k for k, numbers in enumerate(self.shards) if number in numbers)
        return f"it came out of {self.units[number].name!r}, in shard {shard} of 0 to {len(self.shards) - 1}"


def expected(stop: Any, number: int, units: Sequence[Unit]) -> Forward:
    """Return the stop at a unit, if that is where a line has come to."""
    unit = units[number] if number < len(units) else None
    if isinstance(stop, Forward) and unit and stop.unit.scopes[0].module is unit.scopes[0].module:
        return stop
    if isinstance(stop, Backward):
        raise NotInShards(
            f"a gradient through {units[stop.number].name!r} is taken in the forward pass; a model that is spilled is "
            f"run back once, from its loss: give memory= more, so that it fits as a whole"
        )
    seen, wanted = (stop.unit.name if isinstance(stop, Forward) else "its end", unit.name if unit else "its end")
    raise TrainingError(
        f"the model's forward came to {seen!r} where the pilot run saw {wanted!r}; a model that is spilled must call "
        f"its modules in the same order for every micro-batch"
    )


def require_onward(stop: Any, start: int, units: Sequence[Unit]) -> None:
    """Refuse a backward pass that calls units again, or comes to one out of turn."""
    if isinstance(stop, End) or (isinstance(stop, Backward) and stop.number < start):
        return
    name = stop.unit.name if isinstance(stop, Forward) else units[stop.number].name
    raise NotInShards(
        f"the backward pass came to {name!r} again; if the model checkpoints its own activations "
        f"(torch.utils.checkpoint, gradient_checkpointing_enable), switch that off: spilled training does it"
    )


def run_forward(
    unit: Unit, call: Forward, buffers: list[Buffer], *, graph: bool, elsewhere: bool = False
) -> tuple[Answer, Kept | None]:
    """Run a unit in a line's forward pass: return what the line goes on with, and what a backward pass needs."""
    if call.wanted is None:
        with torch.no_grad(), _casting(call):
            value = unit.run(call.args, call.kwargs)
        return Answer(value, (False,) * len(tensors_of(value))), None
    before = tensors_of((call.args, call.kwargs))
    before = [value.clone() if j in unit.mutates else value for j, value in enumerate(before)]
    state = now()
    found = [module.get_buffer(name).detach().clone() for module, name in buffers]
    generators = (random.getstate(), np.random.get_state()) if elsewhere else None  # noqa: NPY002 - the user's
    versions = [version(value) for value in before]
    kept = Kept(_with(call, before), versions, None, found, [], generators, _counted(unit.counts))
    leaves, given, value = _trace(unit, kept.call)
    if (odd := foreign(value)) is not None:
        raise NotInShards(
            f"{unit.name!r} returns a {type(odd).__name__}, in which a spilled model cannot find its tensors; let it "
            f"return tensors, or tuples, lists and dicts of them"
        )
    kept.random = None if torch.equal(state, now()) else state
    outputs = tensors_of(value)
    kept.sample = _sample(outputs)
    flags = tuple(output.requires_grad for output in outputs)
    if graph:
        kept.graph = (leaves, given, outputs)
    passed = _detached(outputs)
    for j in unit.mutates if unit.seen else ():
        _write_back(unit, call.given[j], given[j], outputs, passed)
    return Answer(with_tensors(value, passed), flags), kept if any(flags) else None


def run_again(unit: Unit, kept: Kept, buffers: list[Buffer]) -> None:
    """Run a unit once more as it ran, for its graph; its writes to buffers are discarded."""
    _require_unchanged(unit, kept)
    if kept.random is not None:
        stand_at(kept.random)
    with _found(buffers, kept.buffers), _drawing(kept.elsewhere), _counting(unit.counts, kept.counts):
        leaves, given, value = _trace(unit, kept.call)
    outputs = tensors_of(value)
    if not _same(_sample(outputs), kept.sample):
        raise TrainingError(
            f"{unit.name!r} gave other numbers when it was run again on the same input: it keeps a count, draws from a "
            f"generator of its own, or uses a kernel that is not deterministic; within memory= modules run more than "
            f"once, so it could not be trained to the same bits: mend it, or leave memory= out"
        )
    kept.graph = (leaves, given, outputs)


def _require_unchanged(unit: Unit, kept: Kept) -> None:
    if [version(value) for value in kept.tensors()] != kept.versions:
        raise NotInShards(
            f"an input of {unit.name!r} was changed in place after the call; its backward pass needs it as it was: use "
            f"an operation that is not in place (x = x + y for x += y) behind {unit.name!r}"
        )


def run_backward(kept: Kept, stop: Backward) -> tuple[torch.Tensor | None, ...]:
    """Run a unit's graph back: parameters collect their gradients, those of the inputs are returned."""
    leaves, given, outputs = kept.graph
    kept.graph = [], [], []
    known = [(given[j], gradient) for j, gradient in stop.later.items()]
    known += [(o, g) for o, g in zip(outputs, stop.gradients, strict=True) if g is not None and o.requires_grad]
    torch.autograd.backward([output for output, _ in known], [gradient for _, gradient in known])
    return tuple(leaf.grad for leaf in leaves)


def _trace(unit: Unit, call: Forward) -> tuple[list[torch.Tensor], list[torch.Tensor], Any]:
    """Run a unit on leaves of its own, always with a graph: without one, torch may pick other kernels."""
    tensors = tensors_of((call.args, call.kwargs))
    leaves = [value.detach().requires_grad_(wanted) for value, wanted in zip(tensors, call.wanted or (), strict=True)]
    # A view: autocast would cast a leaf once for all its readers, whose gradients then add up in half precision.
    given = [leaf.clone() if j in unit.mutates else leaf.view_as(leaf) for j, leaf in enumerate(leaves)]
    with torch.enable_grad(), _casting(call):
        args, kwargs = with_tensors((call.args, call.kwargs), given)
        return leaves, given, unit.run(args, kwargs)


def _write_back(
    unit: Unit, target: torch.Tensor, changed: torch.Tensor, returned: list[torch.Tensor], passed: list[torch.Tensor]
) -> None:
    """Change a line's tensor as the unit changed its own, and pass it on in the place of that."""
    same = (output.data_ptr() == changed.data_ptr() and output.shape == changed.shape for output in returned)
    places = [place for place, one in enumerate(same) if one]
    if not places and target.requires_grad:
        raise NotInShards(
            f"{unit.name!r} changes its input in place and does not return it; spilled training follows values through "
            f"what modules return: return it, or do not change it"
        )
    with torch.no_grad():
        target.copy_(changed)
    for place in places:
        passed[place] = target


def _sample(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return some numbers of each output, by which another run of the unit is known to be the same."""
    return [_some(output.detach()) for output in outputs]


def _same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def _some(value: torch.Tensor) -> torch.Tensor:
    """Take elements at even distances, whatever a tensor's layout."""
    places = torch.arange(0, value.numel(), max(1, value.numel() // SAMPLE), device=value.device)
    found = value[torch.unravel_index(places, value.shape)] if value.dim() else value.clone()
    return torch.nan_to_num(found) if found.is_floating_point() or found.is_complex() else found


def _counted(counts: list[tuple[nn.Module, str]]) -> list[Any]:
    return [getattr(module, name) for module, name in counts]


@contextmanager
def _counting(counts: list[tuple[nn.Module, str]], values: list[Any]) -> Iterator[None]:
    """Let modules find the numbers that they found in the forward pass, and leave those of now behind."""
    now = _counted(counts)
    for (module, name), value in zip(counts, values, strict=True):
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in zip(counts, now, strict=True):
            setattr(module, name, value)


@contextmanager
def _drawing(generators: tuple[Any, Any] | None) -> Iterator[None]:
    """Let Python's and numpy's generators stand where they stood, for the time of the block."""
    if generators is None:
        yield
        return
    now = random.getstate(), np.random.get_state()  # noqa: NPY002 - what user code draws from
    random.setstate(generators[0])
    np.random.set_state(generators[1])  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(now[0])
        np.random.set_state(now[1])  # noqa: NPY002


def _detached(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [value.detach() for value in tensors]


@contextmanager
def _found(buffers: list[Buffer], values: list[torch.Tensor]) -> Iterator[None]:
    """Let modules find other tensors as their buffers: a graph may hold on to them."""
    own = [module.get_buffer(name) for module, name in buffers]
    _put(buffers, values)
    try:
        yield
    finally:
        _put(buffers, own)


def _put(buffers: list[Buffer], values: list[torch.Tensor]) -> None:
    for (module, name), value in zip(buffers, values, strict=True):
        kept = name not in module._non_persistent_buffers_set  # noqa: SLF001 - registering asks for it
        module.register_buffer(name, value, kept)


def _with(call: Forward, tensors: Sequence[torch.Tensor]) -> Forward:
    args, kwargs = with_tensors((call.args, call.kwargs), tensors)
    return replace(call, args=args, kwargs=kwargs, given=())


def _casting(call: Forward) -> ExitStack:
    """Put autocast on as it was at the call; a region of its own, so that no cast outlives a parameter's value."""
    stack = ExitStack()
    for device, enabled, dtype in call.casts:
        if enabled:
            stack.enter_context(torch.autocast(device, dtype=dtype))
    return stack

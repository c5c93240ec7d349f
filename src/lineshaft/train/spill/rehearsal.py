"""The rehearsal: each unit runs by itself, to say how long it takes, how much it holds, and that it does so twice.

::

    line     ── glue ──► unit 0 ┐             ┌► glue ──► unit 1 ┐             ┌► ... loss
                                F, R, B                          F, R, B           no gradient is kept

F finds parameters that nobody has looked at yet; what R takes is what counts. Between units nothing of them is in
memory, so that a model which does not fit can be rehearsed too. A unit whose R differs from its F is found here, before
training.
"""

from __future__ import annotations

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lineshaft.core.heap import give_back, tight_heap
from lineshaft.core.memory import private
from lineshaft.train.spill.calls import tensors_of, without_caches
from lineshaft.train.spill.draws import now, stand_at
from lineshaft.train.spill.line import Answer, Backward, Forward, Line, Loss
from lineshaft.train.spill.lines import Buffer, Kept, expected, require_onward, run_again, run_backward, run_forward
from lineshaft.train.spill.unchanged import unchanged
from lineshaft.train.spill.units import paused_at

if TYPE_CHECKING:
    from torch import nn

    from lineshaft.train.spill.away import Away
    from lineshaft.train.spill.device import Device
    from lineshaft.train.spill.scopes import Scope
    from lineshaft.train.spill.units import Unit

LOOK, LOOKS = 0.0002, 5  # seconds between looks at memory, and how often what is looked at runs
NOISE = 1 << 18  # bytes below which what is seen of memory says nothing
BLUR = 8  # of what is seen, one part in so many that may have been missed
WHAT = ("glue", "forward", "backward")
GLUE = 2.0  # backward of the code between units, against its forward


@dataclass(frozen=True)
class Timed:
    """What one unit takes on one micro-batch.

    Attributes
    ----------
    glue
        Seconds of the code before it.
    forward, backward
        Seconds.
    extra
        Bytes that it needs beside its graph and its gradients, for the time of its run.

    """

    glue: float
    forward: float
    backward: float
    extra: int

    def part(self, share: float) -> Timed:
        """Return what a part of it takes; of memory all, because that is needed at once."""
        return Timed(self.glue * share, self.forward * share, self.backward * share, self.extra)


@dataclass(frozen=True)
class Rehearsed:
    """What a micro-batch takes: its units, what each takes, and the seconds from the last of them to the loss."""

    units: Sequence[Unit]
    timed: Sequence[Timed]
    tail: float

    @property
    def scratch(self) -> int:
        """Bytes that some unit needs beside its graph and its gradients, but for a few that may be noise."""
        return sure(max((timed.extra for timed in self.timed), default=0))

    def of(self, units: Sequence[Unit]) -> list[list[Timed]]:
        """Return what is known of other units of the same model: of each, what the calls in it take."""
        inside = [_inside(unit) for unit in units]
        found: list[list[Timed]] = [[] for _ in units]
        for unit, timed in zip(self.units, self.timed, strict=True):
            own = _inside(unit)
            shares = [len(own & other) / len(own) for other in inside]
            for number, share in enumerate(shares):
                if share:
                    found[number].append(timed.part(share))
        return found


def sure(seen: int) -> int:
    """Return the bytes to count for those that were seen: those that cannot be noise, and some more."""
    return max(0, seen - NOISE) * (BLUR + 1) // BLUR


def _inside(unit: Unit) -> set[Scope]:
    return {scope for top in unit.scopes for scope in top.all()}


def from_pilot(root: Scope, units: Sequence[Unit]) -> Rehearsed:
    """Guess from what the pilot saw, where nothing may be run back before training: backward is twice forward."""
    seconds = [unit.seconds for unit in units] or [root.seconds]
    return Rehearsed(units, [Timed(0.0, own, 2 * own, 0) for own in seconds], 0.0)


def rehearse(
    model: nn.Module,
    units: Sequence[Unit],
    buffers: Sequence[list[Buffer]],
    body: Callable[[Line], None],
    device: Device,
    away: Away | None = None,
) -> Rehearsed:
    """Run a micro-batch through the units, and time each; the model and the random generators are left as they were.

    Parameters
    ----------
    model, units
        The model, and its units in the order of their calls.
    buffers
        For each unit, the buffers that it writes.
    body
        A micro-batch's forward pass, to its loss.
    device
        Where.
    away
        Where the parameters are, if they are not there yet.

    Raises
    ------
    TrainingError
        A unit gives other numbers when it runs again, or the way back is not the way there.

    """
    line, timed, named = Line(body), list[Timed](), dict(model.named_parameters())
    copied = away.copied if away else _copied
    extra: dict[object, int] = {}
    shapes: list[list[torch.Tensor | None]] = []
    gradients = {name: parameter.grad for name, parameter in named.items()}
    model.zero_grad(set_to_none=True)
    read = {name for unit in units for name in unit.reads}
    beside = [parameter for name, parameter in named.items() if name not in read] if device.apart else []
    with unchanged(model), without_caches(model), paused_at(units), _brought(beside, copied):
        try:
            started = device.mark()
            stop = line.go()
            for number, unit in enumerate(units):
                glue = device.seconds(started, device.mark())
                call = expected(stop, number, units)
                with _brought([named[name] for name in unit.reads], copied) as parameters:
                    answer, kept, own = _alone(unit, call, buffers[number], glue, device)
                    if (kind := _kind(unit)) not in extra:
                        extra[kind] = 0 if kept is None else _extra(unit, kept, buffers[number], parameters, device)
                    del kept
                timed.append(replace(own, extra=extra[kind]))
                shapes.append(_nothing(call))
                del call
                started = device.mark()
                stop = line.go(answer)
            tail = device.seconds(started, device.mark())
            stop = line.go() if isinstance(stop, Loss) else expected(stop, len(units), units)
            for number in reversed(range(len(units))):
                if isinstance(stop, Backward) and stop.number == number:
                    stop = line.go(tuple(shapes[number]))
                require_onward(stop, number, units)
        finally:
            line.close()
            for name, parameter in named.items():
                parameter.grad = gradients[name]
    return Rehearsed(units, alike(units, timed), tail)


def _nothing(call: Forward) -> list[torch.Tensor | None]:
    """Return gradients of a call's inputs that take no memory; they are no true ones."""
    tensors = tensors_of((call.args, call.kwargs))
    wanted = call.wanted or (False,) * len(tensors)
    return [own.new_zeros(()).expand(own.shape) if one else None for own, one in zip(tensors, wanted, strict=True)]


def alike(units: Sequence[Unit], timed: Sequence[Timed]) -> list[Timed]:
    """Give units of one kind, the layers of a model say, their median times: what else the machine does is not theirs.

    Of one kind are those of the same classes, whose inputs, graphs and parameters have the same sizes.
    """
    kinds: dict[object, list[Timed]] = {}
    names = [_kind(unit) for unit in units[: len(timed)]]
    for name, one in zip(names, timed, strict=True):
        kinds.setdefault(name, []).append(one)
    middle = {
        name: {what: statistics.median(getattr(one, what) for one in own) for what in WHAT}
        for name, own in kinds.items()
    }
    return [replace(one, **middle[name]) for name, one in zip(names, timed, strict=True)]


def _kind(unit: Unit) -> object:
    classes = tuple(type(scope.module) for scope in unit.scopes)
    sizes = sorted(parameter.numel() for scope in unit.scopes for parameter in scope.module.parameters())
    return classes, unit.takes, unit.keeps, tuple(sizes)


def _copied(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.data.clone()


@contextmanager
def _brought(
    parameters: list[nn.Parameter], copied: Callable[[nn.Parameter], torch.Tensor]
) -> Iterator[list[nn.Parameter]]:
    """Bring parameters into memory for the time of the block, as a LOAD would."""
    before = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = copied(parameter)
    try:
        yield parameters
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.data, parameter.grad = value, None


def _alone(
    unit: Unit, call: Forward, buffers: list[Buffer], glue: float, device: Device
) -> tuple[Answer, Kept | None, Timed]:
    """Run a unit forward, forward again and back, and return what it needs to run once more."""
    give_back()
    answer, kept = run_forward(unit, call, buffers, graph=False, elsewhere=True)
    random = now()
    if kept is None:
        started = _now(device)
        with torch.no_grad():
            unit.run(call.args, call.kwargs)
        return answer, None, Timed(glue, max(0.0, _now(device) - started), 0.0, 0)
    again = _anew(kept)
    started = _now(device)
    run_again(unit, again, buffers)
    forward = max(0.0, _now(device) - started)  # the system counts in ticks
    started = _now(device)
    _back(again)
    backward = max(0.0, _now(device) - started)
    stand_at(random)
    return answer, kept, Timed(glue, forward, backward, 0)


def _anew(kept: Kept) -> Kept:
    """Return what a unit needs to run, to be used once: it may write to the buffers that it finds."""
    return replace(kept, buffers=[value.clone() for value in kept.buffers])


def _back(kept: Kept) -> None:
    gradients = tuple(torch.ones_like(value) if value.requires_grad else None for value in kept.graph[2])
    run_backward(kept, Backward(kept.call.number, gradients, {}))


def _extra(unit: Unit, kept: Kept, buffers: list[Buffer], parameters: list[nn.Parameter], device: Device) -> int:
    """Return the bytes that a unit needs beside its graph and its gradients, now that its kernels are loaded.

    It runs several times: on a busy machine a look at memory may come too late for a short peak.
    """
    random, most = now(), 0
    for _ in range(LOOKS):
        for parameter in parameters:
            parameter.grad = None
        give_back()
        again = _anew(kept)
        with tight_heap(0), device.peak() if device.apart else rising() as held:
            run_again(unit, again, buffers)
            _back(again)
        most = max(most, held())
    stand_at(random)
    gradient = sum(parameter.nbytes for parameter in parameters if parameter.grad is not None)
    return max(0, most - unit.keeps - gradient)


def _now(device: Device) -> float:
    """Return seconds that pass here, but for those of the system: memory is asked for once, and then used again."""
    if device.apart:
        device.sync()
        return time.perf_counter()
    return time.perf_counter() - resource.getrusage(resource.RUSAGE_THREAD).ru_stime


@contextmanager
def rising() -> Iterator[Callable[[], int]]:
    """Watch how much more memory the process holds inside the block than before it."""
    before, most, over = private(), [0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            most[0] = max(most[0], private() - before)

    thread = threading.Thread(target=look, name="lineshaft-peak", daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()
        most[0] = max(most[0], private() - before)

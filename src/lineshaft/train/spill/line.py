"""A line: one micro-batch's way through the user's own forward and backward, which stops at every unit.

::

    line's thread    glue ──► unit 0 ┐        ┌► glue ──► unit 1 ┐     ┌► ... loss ┐  ┌► autograd ──► unit 1 ┐   ┌► ...
    caller                           └ run it ┘                  └ ... ┘          └──┘                      └ ... ┘

The code between units (glue) is the user's and runs as it stands; autograd orders the backward pass through it, so that
skips, side inputs and shared tensors need no treatment of their own. Lines take turns: one thread runs at any time, and
whoever waits for a line's next stop decides in which order units of different micro-batches run. (Reentrant
checkpointing as in torch.utils.checkpoint, cut open: what happens at a unit is up to the caller.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch
from torch import nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from lineshaft.core.memory import anonymous
from lineshaft.train.spill.calls import NotInShards, foreign, original, tensors_of, with_tensors

LARGE = 1 << 16  # bytes from which a tensor has a mapping of its own
_here = threading.local()  # .line: the line that runs in this thread


@dataclass(frozen=True)
class Forward:
    """A stop: a unit is called; the answer is what it returns.

    Attributes
    ----------
    number
        How many units this line has called before.
    unit
        Whatever was given to `pausing`.
    args, kwargs
        What it is called with, detached.
    given
        The tensors in them, as the line has them.
    wanted
        Which of its tensors, in order, want a gradient; None where gradients are switched off.
    casts
        The autocast state at the call: device type, whether it is on, to which type.

    """

    number: int
    unit: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: tuple[torch.Tensor, ...]
    wanted: tuple[bool, ...] | None
    casts: tuple[tuple[str, bool, torch.dtype], ...]


@dataclass(frozen=True)
class Backward:
    """A stop: the gradients of the outputs of call ``number`` are there; the answer is those of its inputs.

    Attributes
    ----------
    number
        Of the call.
    gradients
        Of its outputs; None where nothing reads one.
    later
        Number of an input -> what those who read it after the unit gave; the unit adds its own.

    """

    number: int
    gradients: tuple[torch.Tensor | None, ...]
    later: dict[int, torch.Tensor]


@dataclass(frozen=True)
class Answer:
    """What a unit returned: the value, and which of its tensors a gradient may come back for."""

    value: Any
    differentiable: tuple[bool, ...]


@dataclass(frozen=True)
class Loss:
    """A stop: the forward pass is over; backward follows."""

    value: torch.Tensor


@dataclass(frozen=True)
class End:
    """The last stop."""


class _Cancelled(BaseException):
    """Unwinds a line that nobody waits for any more."""


class Line:
    """Runs ``body(line)`` in a thread of its own, one stretch at a time."""

    def __init__(self, body: Callable[[Line], None]) -> None:
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._stops: SimpleQueue[Any] = SimpleQueue()
        self._over = self._cancelled = False
        self.calls = 0
        self.anchor = torch.zeros((), requires_grad=True)  # lets a gradient reach units whose inputs want none
        self._thread = threading.Thread(target=self._run, args=(body,), name="lineshaft-line", daemon=True)
        self._thread.start()

    def go(self, answer: Any = None) -> Any:
        """Let it run on with the answer to its last stop; return the next, or raise what the user's code raised."""
        self._answers.put(answer)
        stop = self._stops.get()
        torch.clear_autocast_cache()
        if isinstance(stop, BaseException):
            self._over = True
            raise stop
        self._over = isinstance(stop, End)
        return stop

    def stop(self, what: Any) -> Any:
        """Called inside the line: hand a stop over and wait for the answer."""
        if self._cancelled:
            raise _Cancelled
        self._stops.put(what)
        return self._next()

    def close(self) -> None:
        """Unwind it, wherever it stands."""
        if not self._over:
            self._over = True
            self._answers.put(_Cancelled())
        self._thread.join()

    def _next(self) -> Any:
        answer = self._answers.get()
        torch.clear_autocast_cache()
        if isinstance(answer, _Cancelled):
            self._cancelled = True
            raise answer
        return answer

    def _run(self, body: Callable[[Line], None]) -> None:
        _here.line = self
        try:
            self._next()
            # One thread for all of autograd, on a GPU too: a unit's backward waits in it.
            with torch.autograd.set_multithreading_enabled(False):
                body(self)
            self._stops.put(End())
        except _Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the line is waited for
            self._stops.put(error)


def pausing(unit: Any) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]:
    """Return a wrapper for `taken_over`: inside a line the call is a stop, elsewhere it is what it always was."""

    def call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        line: Line | None = getattr(_here, "line", None)
        return original(module, args, kwargs) if line is None else visit(line, unit, args, kwargs)

    return call


def current() -> Line | None:
    """Return the line that runs in this thread."""
    line: Line | None = getattr(_here, "line", None)
    return line


def visit(line: Line, unit: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stop at a unit, and join its gradient to the line's graph."""
    tensors = tensors_of((args, kwargs))
    if (odd := foreign((args, kwargs))) is not None:
        raise NotInShards(
            f"{unit.name!r} is called with a {type(odd).__name__}; a spilled model calls its modules twice, so they "
            f"take tensors and plain values only: leave it out, as with use_cache=False, or give memory= more"
        )
    number, line.calls = line.calls, line.calls + 1
    if not torch.is_grad_enabled():
        return line.stop(Forward(number, unit, args, kwargs, (), None, _casts())).value
    wanted = tuple(value.requires_grad for value in tensors)
    alone, named = with_tensors((args, kwargs), [value.detach() for value in tensors])
    box: list[Any] = [Forward(number, unit, alone, named, tuple(tensors), wanted, _casts())]
    del alone, named
    through = [j for j in unit.repeats if wanted[j] and tensors[j].grad_fn is not None and not tensors[j]._is_view()]  # noqa: SLF001
    with _unsafe_preserve_version_counter(tuple(tensors[j] for j in through)):
        outputs = _Visit.apply(line, number, through, box, line.anchor, *tensors)  # type: ignore[no-untyped-call]
    return with_tensors(box.pop(), outputs[: len(outputs) - len(through)])


def _casts() -> tuple[tuple[str, bool, torch.dtype], ...]:
    types = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return tuple((one, torch.is_autocast_enabled(one), torch.get_autocast_dtype(one)) for one in types)


def _apart(value: torch.Tensor) -> torch.Tensor:
    """Copy what a unit gave to where its line keeps things.

    It outlives all that was made beside it. Left there, in the heap that units work in, it would keep that memory from
    being used as a whole by the next: a line is a thread, which the C library gives a heap of its own.
    """
    if value.nbytes < LARGE or value.device.type != "cpu" or not value.is_contiguous():
        return value.clone()
    flat = torch.frombuffer(anonymous(value.nbytes), dtype=torch.uint8)[: value.nbytes]
    return flat.view(value.dtype).view(value.shape).copy_(value)


class _Visit(torch.autograd.Function):
    """A unit as one node of the line's graph; it holds no tensor.

    Gradients of a tensor add up in the order of its readers, the last one first. Where a unit reads one of its inputs
    several times, the gradient that later readers gave has to be there before its own are added: so such inputs go
    through the node, as if it had changed them in place, and whoever reads them later reads an output of it.
    """

    @staticmethod
    def forward(
        ctx: Any, line: Line, number: int, through: list[int], box: list[Any], anchor: torch.Tensor, *tensors: Any
    ) -> Any:
        del anchor
        ctx.line, ctx.number, ctx.through = line, number, through
        ctx.set_materialize_grads(False)
        answer: Answer = line.stop(box.pop())
        changed = [value for value in tensors if any(value is output for output in tensors_of(answer.value))]
        outputs = [
            value if any(value is one for one in changed) else _apart(value) for value in tensors_of(answer.value)
        ]
        box.append(with_tensors(answer.value, outputs))
        passed = [tensors[j] for j in through]
        if changed or passed:
            ctx.mark_dirty(*changed, *passed)
        flags = zip(outputs, answer.differentiable, strict=True)
        ctx.mark_non_differentiable(*(output for output, flag in flags if not flag))
        return (*outputs, *passed)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        own = len(gradients) - len(ctx.through)
        later = {j: given for j, given in zip(ctx.through, gradients[own:], strict=True) if given is not None}
        line: Line = ctx.line
        if current() is not line:
            raise NotInShards(
                "a tensor of one unit reached another past its arguments, through an attribute or a closure; a spilled "
                "model's modules get all they read as arguments: pass it on, or give memory= more"
            )
        return (None,) * 5 + line.stop(Backward(ctx.number, gradients[:own], later))

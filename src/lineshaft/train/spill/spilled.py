"""Training steps of a spilled model: shards of units, paged parameters, programs, and an executor that runs them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from lineshaft.core.heap import give_back
from lineshaft.core.memory import show_size
from lineshaft.errors import Diverged
from lineshaft.train.batches import Batch, MicroBatch, call, cut, on
from lineshaft.train.in_memory import autocast, require_unreduced
from lineshaft.train.program.actions import Action, Object, Program
from lineshaft.train.program.place import place
from lineshaft.train.program.validate import validate
from lineshaft.train.spill.calls import tensors_of, without_caches
from lineshaft.train.spill.draws import Moved, between, now, onward, stand_at
from lineshaft.train.spill.execute import Executor, Trace
from lineshaft.train.spill.line import Line, Loss
from lineshaft.train.spill.lines import Buffer, Lines
from lineshaft.train.spill.together import Together
from lineshaft.train.spill.unchanged import Before, unchanged
from lineshaft.train.spill.units import paused_at
from lineshaft.train.spill.ways import order_of

if TYPE_CHECKING:
    from lineshaft.train.peeked import Peeked
    from lineshaft.train.program.generate import Order
    from lineshaft.train.settings import Settings
    from lineshaft.train.snapshot import Training, Watcher
    from lineshaft.train.spill.cutting import Cut
    from lineshaft.train.spill.keeper import Keeper
    from lineshaft.train.spill.paged import Paged, Part

SHARE = 20  # of the time, one part in so many may go into handing freed memory back
SETTLING = 3  # steps after which the C library's heap has found its form


class Spilled:
    """Takes optimizer steps on mini-batches, as the plain loop would.

    Parameters
    ----------
    training
        Its parameters are below, or in memory for good.
    settings
        What a step does.
    cut
        The model in shards.
    paged
        Their objects; one part more than shards: the shared parameters.
    words
        Shapes of a micro-batch -> draws of its forward pass; not needed where micro-batches go one after the other.
    keeper
        Where states are kept; None: nowhere.
    ceiling
        Bytes of the process above which freed memory is handed back to the system.
    held
        Bytes that the process held before training.

    """

    def __init__(
        self,
        training: Training,
        settings: Settings,
        cut: Cut,
        paged: Paged,
        words: dict[Any, Moved | None],
        keeper: Keeper | None,
        ceiling: float,
        held: int,
    ) -> None:
        self.training, self.settings, self.cut, self.paged = training, settings, cut, paged
        self.words, self.keeper, self.by_micro = words, keeper, cut.by_micro
        clipped = settings.global_norm is not None or training.scaler.is_enabled()
        self.together = Together(training.model, training.scaler, settings.global_norm) if clipped else None
        self.traces: deque[Trace] = deque(maxlen=1)  # of the last step: a trace is as large as its program
        self._steps = 0
        written = [buffers_of(training.model, unit.writes) for unit in cut.units]
        self._written = [buffer for buffers in written for buffer in buffers]
        self._lines = Lines(cut.units, cut.shards, written, self._collect, elsewhere=cut.elsewhere)
        self._shared = [paged.parts[-1].parameters[name] for name in cut.shared]
        self._device = paged.device
        self._executor = Executor(self._compute, self._load, self._write, self._device)
        self._before: dict[Object, bool] = {}
        self._programs: dict[Any, Program] = {}
        self._parts: dict[int, torch.Tensor] = {}  # number of a micro-batch -> its part of the loss
        self._own: dict[int, dict[int, torch.Tensor]] = {}  # its gradients of shared parameters
        self._starting: Sequence[torch.Tensor | None] = ()
        self._where, self._void, self._stepping, self._broken, self._shard = "", False, True, "", -1
        self._ceiling, self._held, self._tidied, self._tidying = ceiling, held, 0.0, 0.0
        self._coming = 2 * max(one.nbytes for one in training.model.parameters())  # what an action may take at once
        self.peeked: Peeked | None = None  # where its batches came from before training
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(without_caches(self.training.model))
        self._stack.enter_context(paused_at(self.cut.units))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Let go of threads, modules and files; the model has its values, mapped where they lie below."""
        self._lines.close()
        if self.keeper is not None:
            self.keeper.cancel()
        self._executor.close()
        self._stack.close()
        with closing(self.paged.below):
            try:
                if error is None:
                    for item in [item for item, newer in self._before.items() if newer]:
                        self.paged.write(item)
                    self.paged.let_go()
            finally:
                self.paged.bring_up()

    def resume(self, watcher: Watcher | None, data: Any) -> bool:
        """Go on from the newest whole commit, and say whether there was one."""
        found = self.keeper is not None and self.keeper.resume(self, watcher, data)
        return found or bool(self.training.losses)  # it was put into the state of an earlier run when it was made

    def open(self, data: Any) -> Iterator[Any]:
        """Begin an epoch: one ``iter(data)``; in the first, that in which batches were looked at before training."""
        peeked, self.peeked = self.peeked, None
        return iter(data) if peeked is None else peeked.open(data, self.training.epoch)

    def looking(self) -> AbstractContextManager[None]:
        """Let the model be called inside the block."""
        self._executor.settle()
        return self.paged.looking()

    def note(self) -> str:
        """Say, for people who watch, what is held where, and what was waited for."""
        sizes = {item: size for item, size in self.paged.moved().items() if size}
        near = sum(sizes[item] for item in self.paged.below.near(sizes))
        tiers = {"held": self._device.held() - self._held, "of it below": near, "on disk": sum(sizes.values()) - near}
        held = ", ".join(f"{show_size(max(size, 0))} {name}" for name, size in tiers.items() if size > 0)
        return f", {held}, waited {self.traces[-1].stalled:.2f} s"

    def after_step(self, watcher: Watcher | None, data: Any) -> None:
        """Say what the step's commit holds."""
        if self.keeper is not None:
            self.keeper.after_step(self, watcher, data)

    def after_epoch(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state if there is something new in it."""
        if self.keeper is not None and watcher is not None:
            self.finish(watcher, data)

    def finish(self, watcher: Watcher | None, data: Any) -> None:
        """Keep the state as it is now."""
        self._executor.settle()
        if self.keeper is not None and self.keeper.kept != self.training.cursor:
            for item in [item for item, newer in self._before.items() if newer]:
                self.paged.write(item)
                self._before[item] = False
            self.keeper.keep(self, watcher, data)

    def step(self, group: Sequence[Batch], where: str) -> float:
        """Take one optimizer step on a mini-batch and return its loss."""
        micros = list(cut(group, self.settings.micro_batch, where))
        self._where = where
        starts = self._starts(micros)
        if not self._run(micros, starts):
            # Draws that could not be foretold: nothing was stepped, so once more, one micro-batch after the other.
            self.by_micro = True
            self._run(micros, [starts[0]] + [None] * (len(micros) - 1))
        self._steps += 1
        if self._steps <= SETTLING:
            give_back()
        self.training.scaler.update()
        if self.training.schedule:
            self.training.schedule.step()
        return float(self._loss())

    def _run(self, micros: Sequence[MicroBatch], starts: Sequence[torch.Tensor | None]) -> bool:
        """Run a step's program; say whether every micro-batch drew what was foretold."""
        self._parts, self._own, self._void, self._starting, self._broken = {}, {}, False, starts, ""
        found = Before(self.training.model, [module.get_buffer(name) for module, name in self._written])
        if self.together is not None:
            self.together.begin()
        self._lines.begin([self._body(number, micro) for number, micro in enumerate(micros)], starts)
        try:
            self.traces.append(self._executor.run(self._program(self._order(len(micros)))))
            end = self._lines.paths[-1].random
        finally:
            self._lines.close()
        if self._void:
            if self.keeper is not None and self.keeper.due(len(self.training.losses) + 1):
                self.keeper.cancel()  # the program's commit: nothing was stepped
            found.put_back()
            self.paged.forget()
            self.training.model.zero_grad(set_to_none=True)
        else:
            stand_at(end)
        return not self._void

    def _order(self, micros: int) -> Order:
        trained = [k for k, part in enumerate(self.paged.parts) if _trained(part)]
        return order_of(self.cut, micros, by_micro=self.by_micro, trained=trained, together=self.together is not None)

    def _program(self, order: Order) -> Program:
        """Place an order, and prove what comes of it; one that was seen before is known."""
        steps = {action.shard for action in order if action.kind == "S"}
        commit = bool(steps) and self.keeper is not None and self.keeper.due(len(self.training.losses) + 1)
        key = order, commit, tuple(sorted(self._before.items()))
        if key not in self._programs:
            moved = self.paged.moved()
            if not any(action.kind == "B" for action in order):
                # A trial makes nothing anew; what is in memory already has its size.
                moved = {one: size for one, size in moved.items() if not one.passing or one in self._before}
            pinned = [item for item, size in self.paged.sizes().items() if size and not moved[item]]
            program = place(order, moved, self.paged.regions.limit, self._before, commit, pinned=pinned)
            first = 0 if any(action.kind == "B" for action in order) else program.shards
            validate(program, moved, self.paged.regions.limit, steps, first=first, commit=commit, pinned=pinned)
            self._programs[key] = program
            give_back()  # proving it took several times its size
        self._before = dict(self._programs[key].after)
        return self._programs[key]

    def _starts(self, micros: Sequence[MicroBatch]) -> list[torch.Tensor | None]:
        """Return the random state that each micro-batch starts from; None: where the one before ends."""
        state = now()
        states = [state]
        for micro in micros[:-1]:
            words = None if self.by_micro else self._words(micro)
            if words is None:
                self.by_micro = True
                return [states[0], *[None] * (len(micros) - 1)]
            states.append(onward(states[-1], words))
        return list(states)

    def _words(self, micro: MicroBatch) -> Moved | None:
        """Return the draws of a micro-batch's forward pass; a new shape is tried out."""
        if (shapes := signature(micro)) not in self.words:
            before = now()
            order = tuple(Action("F", k, 0) for k in range(len(self.cut.shards)))
            with unchanged(self.training.model):
                self._lines.begin([self._body(0, micro)], [before])
                try:
                    self._executor.run(self._program(order))
                    self.words[shapes] = between(before, self._lines.paths[0].random)
                finally:
                    self._lines.close()
        return self.words[shapes]

    def _body(self, number: int, micro: MicroBatch) -> Callable[[Line], None]:
        """Return a micro-batch's part of the plain loop."""

        def body(line: Line) -> None:
            training, settings = self.training, self.settings
            here = on(micro, self._device.name)
            with autocast(training.device, settings.precision):
                losses = settings.loss(call(training.model, here.inputs), here.target)
            require_unreduced(losses, micro.rows, self._where)
            part = (losses * micro.share.to(losses.device)).sum()
            self._parts[number] = part.detach().float().cpu()
            line.stop(Loss(part.detach()))
            training.scaler.scale(part).backward()  # type: ignore[no-untyped-call]

        return body

    def _loss(self) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32)
        for number in range(len(self._parts)):
            total += self._parts[number]
        return total

    def _compute(self, action: Action) -> None:
        self._tidy()
        if self._void:
            return
        self._shard = action.shard
        inputs = Object(action.shard, "x", action.micro)
        if action.kind == "F":
            self._lines.forward(action)
            if inputs in self.paged.resident and not action.graph:
                self.paged.collect_inputs(inputs, self._lines.inputs(action))
        elif action.kind == "R":
            self.paged.bind_inputs(inputs)
            self._lines.recompute(action)
        elif action.kind == "B":
            if action.shard == len(self.cut.shards) - 1 and not self._parts[action.micro].isfinite():
                self._broken = self._broken or self._lines.shard_that_broke(action.micro)
            self._lines.backward(action)
            if action.micro == len(self._lines.paths) - 1 and self.together is not None:
                self.together.add(self._passing(action.shard))
        elif self._ready():
            self._update(action)

    def _tidy(self) -> None:
        """Hand back what the C library keeps of freed activations, but not so often that it is asked for again."""
        began, spent = time.monotonic(), time.thread_time()
        if began - self._tidied > SHARE * self._tidying and self._device.held() + self._coming > self._ceiling:
            give_back()
            self._tidied, self._tidying = time.monotonic(), time.thread_time() - spent

    def _ready(self) -> bool:
        """Before anything is changed: say whether all drew what was foretold; refuse a loss that is no number."""
        ends = [path.random for path in self._lines.paths[:-1]]
        self._void = any(
            start is not None and not torch.equal(start, end)
            for start, end in zip(self._starting[1:], ends, strict=True)
        )
        value = float(self._loss())
        if not self._void and not math.isfinite(value):
            raise Diverged(
                f"the loss of {self._where} is {value}; {self._broken}; check its inputs and labels, lower the "
                f"learning rate, or set clip="
            )
        return not self._void

    def _update(self, action: Action) -> None:
        if action.kind == "N" and self.together is not None:
            self._all_gradients(self.together)
        elif self._stepping:
            parameters = [*self.paged.parts[action.shard].parameters.values()]
            if self.together is not None:
                self.together.scale(parameters)
            elif action.shard == len(self.cut.shards):
                self._sum_shared()
            if self.settings.shard_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.settings.shard_norm)
            self.paged.step(action.shard)
        elif action.shard in self.paged.gradients:
            self.paged.gradients[action.shard].clear()

    def _passing(self, shard: int) -> list[nn.Parameter]:
        """Return the parameters whose gradients may leave memory before those of all are there."""
        own = self.paged.gradients.get(shard)
        return [] if own is None else [*own.parameters.values()]

    def _collect(self, micro: int) -> None:
        """Move gradients to where they belong, after a unit of a micro-batch."""
        self.paged.collect_gradients(self._shard)
        self._collect_shared(micro)

    def _all_gradients(self, together: Together) -> None:
        """Take the norm of all gradients, and find out whether they are numbers."""
        self._sum_shared()
        passing = {id(one) for shard in self.paged.gradients for one in self._passing(shard)}
        together.add([one for one in self.training.model.parameters() if id(one) not in passing])
        self._stepping = together.decide()
        if not self._stepping:
            self.training.model.zero_grad(set_to_none=True)

    def _load(self, action: Action) -> int:
        return self.paged.load(action.object, action.drops, new=action.new)

    def _write(self, action: Action) -> int:
        if action.kind == "W":
            return self.paged.write(action.object)
        if self.keeper is not None:
            self.keeper.commit()
        return 0

    def _collect_shared(self, micro: int) -> None:
        """Set aside what a micro-batch adds to a shared parameter: it counts once all its uses are together."""
        own = self._own.setdefault(micro, {})
        for place_, parameter in enumerate(self._shared):
            if parameter.grad is not None:
                own[place_] = own[place_] + parameter.grad if place_ in own else parameter.grad
                parameter.grad = None

    def _sum_shared(self) -> None:
        """Add the micro-batches' gradients of shared parameters in their order."""
        for micro in sorted(self._own):
            for place_, gradient in self._own[micro].items():
                parameter = self._shared[place_]
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    parameter.grad += gradient
        self._own = {}


def signature(micro: MicroBatch) -> Any:
    """Return the shapes that the number of draws depends on."""
    return tuple((tuple(value.shape), value.dtype) for value in tensors_of((micro.inputs, micro.target)))


def _trained(part: Part) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters.values())


def buffers_of(model: nn.Module, names: Collection[str]) -> list[Buffer]:
    """Return the modules that have these buffers, and their names there."""
    modules = dict(model.named_modules())
    return [(modules[path], last) for path, _, last in (name.rpartition(".") for name in sorted(names))]

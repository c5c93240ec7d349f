"""The pilot run: one forward pass of one micro-batch that says what calls what, what it reads, and what it would hold.

::

    GPT                               a scope is one call of one module
    ├── wte         reads wte.weight           keeps  16 KB
    ├── h.0                                    keeps 310 KB
    │   ├── attn    reads h.0.attn.weight ...
    │   └── mlp
    └── lm_head     reads wte.weight (tied)

Nothing is changed by it: parameters are read, buffers and random generators are put back, and what autograd would save
is measured and dropped, so that it needs no more memory than the forward pass of an evaluation.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lineshaft.core.heap import give_back
from lineshaft.core.memory import resident
from lineshaft.errors import TrainingError
from lineshaft.train import randomness
from lineshaft.train.spill import draws
from lineshaft.train.spill.calls import foreign, original, taken_over, tensors_of, version
from lineshaft.train.spill.cradle import leave
from lineshaft.train.spill.functions import ABOUT, Function, apart, asked, has_memory
from lineshaft.train.spill.scopes import Scope
from lineshaft.train.spill.spans import Spans
from lineshaft.train.spill.unchanged import unchanged
from lineshaft.train.spill.written import Written

if TYPE_CHECKING:
    from lineshaft.train.spill.away import Away

WORTH = 0.1  # of a model's parameters, from which it pays to stop at the functions that read them
GROWTH = 1 << 22  # bytes by which the process may grow before freed memory is handed back


@dataclass(frozen=True)
class Observed:
    """What the pilot saw.

    Attributes
    ----------
    root
        The call of the model itself; the loss counts as its own code.
    before, after
        The states of torch's CPU generator around it: the number of draws is the way between them.
    drew_elsewhere
        Whether Python's or numpy's generator moved.
    obstacle
        Why it can only be trained in memory, as a whole; "" where it need not.

    """

    root: Scope
    before: torch.Tensor
    after: torch.Tensor
    drew_elsewhere: bool
    obstacle: str = ""


def observe(model: nn.Module, forward: Callable[[], Any], away: Away | None = None) -> Observed:
    """Run ``forward``, which calls the model once, and return what it did; the model is left as it was.

    ``away``: where its parameters are, if they are not on its device yet.

    Raises
    ------
    TrainingError
        Two parameters are on the same memory, or a tensor of the model's shows the memory of one.

    """
    watch = _Watch(model, away, keeping=False)
    try:
        before, after = watch.watch(forward)
    except _Wanted:  # a gradient of its own: it takes the memory for that anyway
        watch = _Watch(model, away, keeping=True)
        before, after = watch.watch(forward)
    root = watch.top.parts[0]
    for function in watch.top.functions:
        watch.top.keeps |= function.keeps
    root.reads |= watch.top.reads
    root.keeps |= watch.top.keeps
    _keep_functions(root, watch)
    elsewhere = _elsewhere(before) != _elsewhere(after)
    return Observed(
        root, draws.of(before), draws.of(after), elsewhere, _compiled(model) or watch.changed or watch.top.whole
    )


def _keep_functions(root: Scope, watch: _Watch) -> None:
    """Count functions as the code around them that share a parameter, are all that a module does, or read little."""
    much = WORTH * sum(value.nbytes for value in watch.named.values())
    for scope in [*root.all()]:
        alone = [one for one in scope.functions if one not in watch.spoilt and watch.alone(one.reads)]
        read = sum(watch.named[name].nbytes for one in alone for name in one.reads)
        kept = alone if len(alone) + len(scope.parts) > 1 and read > much else []
        for function in scope.functions:
            if function not in kept:
                scope.keeps |= function.keeps
                scope.inner.remove(function)


def _elsewhere(generators: randomness.State) -> tuple[Any, ...]:
    _, keys, *rest = generators["numpy"]
    return generators["python"], keys.tolist(), rest


def _compiled(model: nn.Module) -> str:
    """Say which module was compiled, if one was: its parts are called by what the compiler made of them."""
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:  # noqa: SLF001 - no other
            return f"{name or 'the model'!r} is compiled by torch.compile; leave that out"
    return ""


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes that are numbers or words."""
    return {name: value for name, value in vars(module).items() if type(value) in {bool, int, float, str}}


class _Wanted(RuntimeError):  # noqa: N818 - no fault: the pass takes a gradient itself
    """A graph of the pilot is run back."""


class _Watch:
    """Keeps the stack of calls, and attributes to its top what happens.

    Of each tensor it remembers the calls that came by it fairly: that made it, got it as an argument, or had it
    returned to them. A call that reads another's binds both to the call around them, which is not opened then.
    """

    def __init__(self, model: nn.Module, away: Away | None, *, keeping: bool) -> None:
        self.model, self.away, self.keeping = model, away, keeping
        self.names = {id(module): name for name, module in model.named_modules()}
        self.named = dict(model.named_parameters())
        self.places: Spans | Away = away or _apart(self.named)
        self.brought: dict[Scope, list[torch.Tensor]] = {}  # by the call that reads them, while it lasts
        self.own = {id(value) for value in self.named.values()}
        self.top = Scope("", nn.Identity())
        self.stack = [self.top]
        self.around: dict[Scope, Scope] = {}
        self.fair: dict[int, tuple[weakref.ref[torch.Tensor], list[Scope]]] = {}
        self.held = resident()
        self.storages: list[StorageWeakRef] = []  # held, so that no storage takes the number of another
        self.before: dict[str, torch.Tensor] = {}  # parameters that the pass changed, as they were
        self.changed = ""
        self.function: Scope | None = None  # the one that is called now
        self.spoilt: set[Scope] = set()  # functions whose inputs were changed after the call
        self.glued: set[str] = set()  # parameters that are read otherwise than by a function that could be a unit
        self.readers: Counter[str] = Counter()  # parameter -> how many such functions read it
        self.takers: dict[int, list[Scope]] = {}  # storage -> the functions that took it

    def watch(self, forward: Callable[[], Any]) -> tuple[randomness.State, randomness.State]:
        """Run the pass; return the random states around it."""
        saved = torch.autograd.graph.saved_tensors_hooks(self.keep, self.give)
        compiled = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
        with unchanged(self.model) as before, compiled:
            self.written = Written(self.model, before)
            try:
                with (
                    taken_over(self.model.modules(), self.call),
                    torch.enable_grad(),
                    saved,
                    _Writes(self),
                    _Reads(self),
                ):
                    forward()
                for writer, reader in self.written.settle(self.top.parts[0]):
                    self.bind(reader, [writer], f"{_called(reader)} reads a buffer that {_called(writer)} writes")
                return before.generators, randomness.capture()
            finally:
                self.drop(self.top)
                with torch.no_grad():
                    for name, value in () if self.away else self.before.items():
                        self.named[name].copy_(value)

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = Scope(self.names[id(module)], module)
        self.stack[-1].inner.append(scope)
        self.around[scope] = self.stack[-1]
        with torch._C.DisableTorchFunction():  # noqa: SLF001 - looking is not reading
            given = tensors_of((args, kwargs))
            for value in given:
                self.read(value)
                self.hand(value, scope)
            scope.takes = sum(value.nbytes for value in given)
            scope.given = tuple((self.storage(value), value.nbytes, value.requires_grad) for value in given)
            before = [version(value) for value in given]
            plain = plain_attributes(module)
        self.stack.append(scope)
        started = time.perf_counter()
        try:
            outputs = original(module, args, kwargs)
            scope.seconds = time.perf_counter() - started
            with torch._C.DisableTorchFunction():  # noqa: SLF001
                for value in tensors_of(outputs):
                    self.read(value)
        finally:
            self.drop(self.stack.pop())
        with torch._C.DisableTorchFunction():  # noqa: SLF001
            self.after(scope, plain, given, before, outputs)
        return outputs

    def after(
        self, scope: Scope, plain: dict[str, Any], given: list[torch.Tensor], before: list[int], outputs: Any
    ) -> None:
        """Note what a call did, now that it is over."""
        self.tidy()
        for value in tensors_of(outputs):
            self.hand(value, self.stack[-1])
        scope.mutates = tuple(j for j, count in enumerate(before) if version(given[j]) != count)
        scope.counts = {name for name, value in plain.items() if vars(scope.module).get(name) != value}
        self.written.after(scope)
        scope.differentiable = any(value.requires_grad for value in tensors_of(outputs))
        scope.repeats = _repeats(given, outputs)
        returned = {(value.data_ptr(), value.shape) for value in tensors_of(outputs)}
        changed_here = [given[j] for j in scope.mutates if given[j].requires_grad]
        scope.hides = any((value.data_ptr(), value.shape) not in returned for value in changed_here)

    def come(self, value: torch.Tensor, scope: Scope) -> None:
        """Note that a call came by a tensor that is new, or known already."""
        known = self.known(value)
        if known is None:
            self.fair[id(value)] = weakref.ref(value), [scope]
        elif scope not in known:
            known.append(scope)

    def hand(self, value: torch.Tensor, scope: Scope) -> None:
        """Note that a tensor of this pass is handed to a call, or back from one; older ones are everybody's."""
        if self.known(value) is not None:
            self.come(value, scope)

    def known(self, value: torch.Tensor) -> list[Scope] | None:
        """Return the calls that came by a tensor of this pass."""
        reference, scopes = self.fair.get(id(value), (None, None))
        return scopes if reference is not None and reference() is value else None

    def read(self, value: torch.Tensor) -> None:
        """Note that the call at the top reads a tensor."""
        scope = self.stack[-1]
        if self.away is not None and self.away.bring(value):
            self.brought.setdefault(self.function or scope, []).append(value)
        self.written.read(value, scope)
        names = self.places.of(value)
        scope.reads.update(names)
        (self.glued if self.function is None else self.function.reads).update(names)
        known = self.known(value)
        if known is not None:
            if scope not in known:
                self.bind(scope, known, f"{_called(scope)} reads a tensor of {_called(known[0])} past its arguments")
        elif names and id(value) not in self.own:
            raise TrainingError(
                f"{_called(scope)} reads the memory of parameter {names[0]!r} through another tensor, made before; "
                f"within memory= a parameter's memory changes, so it would read old values: read the parameter itself"
            )
        elif value.grad_fn is not None:
            self.come(value, scope)

    def bind(self, scope: Scope, others: list[Scope], why: str) -> None:
        """Keep a call in one with the nearest of others: the innermost that is around both is not opened."""
        ways = [list(self.way(other)) for other in others]
        whole = next(one for one in self.way(scope) if any(one in way for way in ways))
        whole.whole = whole.whole or why

    def way(self, scope: Scope) -> Iterator[Scope]:
        """Go outwards from a call."""
        yield scope
        while scope is not self.top:
            scope = self.around[scope]
            yield scope

    def write(self, value: torch.Tensor) -> None:
        """Note that a tensor is about to be changed in place."""
        self.written.write(value, self.stack[-1])
        self.spoilt.update(self.takers.get(self.storage(value), ()))
        for name in self.places.of(value):
            self.before.setdefault(name, self.named[name].detach().clone())
            self.changed = self.changed or f"{_called(self.stack[-1])} changes parameter {name!r} in its forward pass"

    def drop(self, scope: Scope) -> None:
        """Give up the parameters that were brought for a call."""
        with torch._C.DisableTorchFunction():  # noqa: SLF001
            for value in self.brought.pop(scope, ()):
                if self.away is not None:
                    self.away.drop(value)

    def alone(self, names: set[str]) -> bool:
        """Say whether parameters are read by one function, and by nobody else."""
        return all(self.readers[name] == 1 and name not in self.glued for name in names)

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function; keep it apart from the code around it where it could be a unit."""
        given = tensors_of((args, kwargs))
        if not any(id(value) in self.own for value in given) or not all(map(has_memory, given)):
            for value in given:
                self.read(value)
            return func(*args, **kwargs)
        module, around = Function.of(func, args, kwargs, self.own), self.stack[-1]
        self.function = scope = Scope("", module, within=around.module)
        try:
            for value in given:
                self.read(value)
            before = [version(value) for value in given]
            started = time.perf_counter()
            result = func(*args, **kwargs)
            scope.seconds = time.perf_counter() - started
        finally:
            self.function = None
        if before == [version(value) for value in given] and self.describe(scope, module.rest(args, kwargs), result):
            around.inner.append(scope)
            self.readers.update(scope.reads)
            self.drop(scope)
        else:
            self.brought.setdefault(around, []).extend(self.brought.pop(scope, ()))
            around.keeps |= scope.keeps
            self.glued |= scope.reads
        return result

    def describe(self, scope: Scope, rest: Any, result: Any) -> bool:
        """Note what a function did with its other arguments; say whether it could be a unit."""
        given, made = tensors_of(rest), tensors_of(result)
        held = [*scope.module.parameters()]
        plain = foreign(rest) is None and foreign(result) is None
        if not plain or not apart(made, [*given, *held]) or any(map(self.places.of, given)):
            return False
        scope.name = f"{asked(scope.module.func)} of {', '.join(sorted(scope.reads))}"
        scope.takes = sum(value.nbytes for value in given)
        scope.given = tuple((self.storage(value), value.nbytes, value.requires_grad) for value in given)
        scope.differentiable = any(value.requires_grad for value in made)
        scope.repeats = _repeats(given, result)
        for storage, _, _ in scope.given:
            self.takers.setdefault(storage, []).append(scope)
        return True

    def tidy(self) -> None:
        """Hand back what was freed: the C library keeps a forward pass's memory in pieces around what still lives."""
        if resident() - self.held > GROWTH:
            leave()
            give_back()
            self.held = resident()

    def keep(self, value: torch.Tensor) -> torch.Tensor | None:
        if not self.places.of(value):
            (self.function or self.stack[-1]).keeps[self.storage(value)] = value.untyped_storage().nbytes()
        return value if self.keeping else None

    def storage(self, value: torch.Tensor) -> int:
        """Number the memory that a tensor lies on."""
        storage = StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]
        self.storages.append(storage)
        number: int = storage.cdata
        return number

    def give(self, value: torch.Tensor | None) -> torch.Tensor:
        if value is None:
            raise _Wanted("the pilot keeps nothing for a backward pass")
        self.stack[-1].whole = f"{_called(self.stack[-1])} takes gradients in its forward pass"
        return value


def _apart(named: dict[str, nn.Parameter]) -> Spans:
    places = Spans(named)
    places.require_apart()
    return places


def _called(scope: Scope) -> str:
    return repr(scope.name) if scope.name else "the model" if type(scope.module) is not nn.Identity else "the loss"


def _repeats(given: list[torch.Tensor], outputs: Any) -> tuple[int, ...]:
    """Walk the graph from outputs to inputs: which inputs do several operators read?"""
    inputs = _edges(given)
    places = {(id(edge.node), edge.output_nr): j for j, edge in inputs}
    ends = {node for node, _ in places}
    readers: Counter[int] = Counter()
    todo = [edge.node for _, edge in _edges(tensors_of(outputs))]
    seen: dict[int, Any] = {}  # the nodes too: an id is only theirs while they live
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen or id(node) in ends:
            continue
        seen[id(node)] = node
        for following, number in node.next_functions:
            if (place := places.get((id(following), number))) is not None:
                readers[place] += 1
            todo.append(following)
    return tuple(sorted(place for place, count in readers.items() if count > 1))


def _edges(tensors: list[torch.Tensor]) -> list[tuple[int, Any]]:
    wanted = [(j, value) for j, value in enumerate(tensors) if value.requires_grad]
    return [(j, torch.autograd.graph.get_gradient_edge(value)) for j, value in wanted]


class _Reads(TorchFunctionMode):
    """Notes what torch's functions are called with, and what they make."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, named = tensors_of((args, kwargs)), kwargs or {}
        result = func(*args, **named) if asked(func) in ABOUT else self.watch.called(func, args, named)
        for value in tensors_of(result):
            if not any(value is one for one in given) and id(value) not in self.watch.own:
                self.watch.come(value, self.watch.stack[-1])
        return result


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors torch's operators change in place, before they do."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:  # noqa: SLF001 - there is no other
            for place, argument in enumerate(func._schema.arguments):  # noqa: SLF001
                if argument.alias_info is not None and argument.alias_info.is_write:
                    given = args[place] if place < len(args) else (kwargs or {}).get(argument.name)
                    for value in tensors_of(given):
                        self.watch.write(value)
        return func(*args, **(kwargs or {}))

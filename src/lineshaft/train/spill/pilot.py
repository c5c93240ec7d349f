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

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from lineshaft.core.memory import give_back, resident
from lineshaft.train import randomness
from lineshaft.train.spill.calls import original, taken_over, tensors_of, version

# What is asked about a tensor, and does not read it: it is known of a parameter that is not in memory too.
ABOUT = frozenset(
    [
        "dtype",
        "device",
        "shape",
        "size",
        "dim",
        "ndim",
        "ndimension",
        "stride",
        "numel",
        "nelement",
        "element_size",
        "itemsize",
        "nbytes",
        "layout",
        "requires_grad",
        "is_leaf",
        "grad_fn",
        "is_floating_point",
        "is_complex",
        "is_cuda",
        "is_meta",
        "is_sparse",
        "is_quantized",
        "get_device",
        "is_contiguous",
        "__len__",
    ]
)
GROWTH = 16 << 20  # bytes by which the process may grow before freed memory is handed back


@dataclass(eq=False)
class Scope:
    """One call of one module.

    Attributes
    ----------
    name, module
        Of the module; "" is the root.
    parts
        The calls inside this one, in their order.
    reads
        Names of the parameters that its own code reads, those of its parts not included.
    keeps
        Bytes that autograd would hold for it, by storage, its parts not included.
    takes
        Bytes of the tensors that it was called with.
    given
        Of each of them, what it shares with all tensors on the same memory, its bytes, and whether a gradient flows.
    writes
        Names of the buffers that its own code wrote.
    counts
        Names of the numbers and words among its module's attributes that its own code changed.
    mutates
        Numbers of the tensors, among those it was called with, that it changed in place.
    hides
        Whether it changes one in place through which a gradient flows, and does not return it.
    repeats
        Numbers of those that it reads more than once, so that their gradients add up inside it.
    differentiable
        Whether a gradient flows through it: to a parameter of it, or to a tensor that it was called with.
    seconds
        How long the call took.

    """

    name: str
    module: nn.Module
    parts: list[Scope] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    keeps: dict[int, int] = field(default_factory=dict)
    takes: int = 0
    given: tuple[tuple[int, int, bool], ...] = ()
    writes: set[str] = field(default_factory=set)
    counts: set[str] = field(default_factory=set)
    mutates: tuple[int, ...] = ()
    hides: bool = False
    repeats: tuple[int, ...] = ()
    differentiable: bool = False
    seconds: float = 0.0

    def all(self) -> Iterator[Scope]:
        """Go through this call and all inside it."""
        yield self
        for part in self.parts:
            yield from part.all()

    def all_reads(self) -> set[str]:
        """Return the names of the parameters read by it and its parts."""
        return {name for scope in self.all() for name in scope.reads}

    def all_writes(self) -> set[str]:
        """Return the names of the buffers written by it and its parts."""
        return {name for scope in self.all() for name in scope.writes}

    def all_keeps(self) -> int:
        """Return the bytes that autograd would hold for it and its parts, each storage once."""
        held: dict[int, int] = {}
        for scope in self.all():
            held |= scope.keeps
        return sum(held.values())


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

    """

    root: Scope
    before: torch.Tensor
    after: torch.Tensor
    drew_elsewhere: bool


def observe(model: nn.Module, forward: Callable[[], Any]) -> Observed:
    """Run ``forward``, which calls the model once, and return what it did; the model is left as it was."""
    watch = _Watch(model)
    with unchanged(model) as before:
        with watch.watching():
            forward()
        after = randomness.capture()
    root = watch.top.parts[0]
    root.reads |= watch.top.reads
    root.keeps |= watch.top.keeps
    return Observed(root, before["torch"], after["torch"], _elsewhere(before) != _elsewhere(after))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[randomness.State]:
    """Put back, after the block, a model's buffers and the numbers it counts, and the random generators."""
    generators = randomness.capture()
    counts = [(module, plain_attributes(module)) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield generators
    finally:
        randomness.restore(generators)
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                setattr(module, name, buffer)  # where the pass put another in its place
        for module, values in counts:
            vars(module).update(values)


def _elsewhere(generators: randomness.State) -> tuple[Any, ...]:
    _, keys, *rest = generators["numpy"]
    return generators["python"], keys.tolist(), rest


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes that are numbers or words."""
    return {name: value for name, value in vars(module).items() if type(value) in {bool, int, float, str}}


class _Watch:
    """Keeps the stack of calls, and attributes to its top what happens."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names = {id(module): name for name, module in model.named_modules()}
        self.parameters = {_place(value): name for name, value in model.named_parameters()}
        self.top = Scope("", nn.Identity())
        self.stack = [self.top]
        self.held = resident()
        self.storages: list[StorageWeakRef] = []  # held, so that no storage takes the number of another

    @contextmanager
    def watching(self) -> Iterator[None]:
        saved = torch.autograd.graph.saved_tensors_hooks(self.keep, _dropped)
        with taken_over(self.model.modules(), self.call), torch.enable_grad(), saved, _Reads(self):
            yield

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scope = Scope(self.names[id(module)], module)
        self.stack[-1].parts.append(scope)
        given = tensors_of((args, kwargs))
        scope.takes = sum(value.nbytes for value in given)
        scope.given = tuple((self.storage(value), value.nbytes, value.requires_grad) for value in given)
        before = [version(value) for value in given]
        # By value too: batch normalisation writes its running statistics past the version counter.
        buffers = {name: (version(value), value.detach().clone()) for name, value in module.named_buffers()}
        plain = plain_attributes(module)
        self.stack.append(scope)
        started = time.perf_counter()
        try:
            outputs = original(module, args, kwargs)
        finally:
            self.stack.pop()
        scope.seconds = time.perf_counter() - started
        self.tidy()
        after = [version(value) for value in given]
        scope.mutates = tuple(j for j, version in enumerate(before) if after[j] != version)
        scope.counts = {name for name, value in plain.items() if vars(module).get(name) != value}
        own = dict(module.named_buffers())
        prefix = f"{scope.name}." if scope.name else ""
        changed = {
            prefix + name
            for name, (count, value) in buffers.items()
            if version(own[name]) != count or not torch.equal(own[name], value)
        }
        scope.writes = changed - scope.all_writes()
        scope.differentiable = any(value.requires_grad for value in tensors_of(outputs))
        scope.repeats = _repeats(given, outputs)
        returned = {(value.data_ptr(), value.shape) for value in tensors_of(outputs)}
        changed_here = [given[j] for j in scope.mutates if given[j].requires_grad]
        scope.hides = any((value.data_ptr(), value.shape) not in returned for value in changed_here)
        return outputs

    def tidy(self) -> None:
        """Hand back what was freed: the C library keeps a forward pass's memory in pieces around what still lives."""
        if resident() - self.held > GROWTH:
            give_back()
            self.held = resident()

    def keep(self, value: torch.Tensor) -> None:
        if _place(value) not in self.parameters:
            self.stack[-1].keeps[self.storage(value)] = value.untyped_storage().nbytes()

    def storage(self, value: torch.Tensor) -> int:
        """Number the memory that a tensor lies on."""
        storage = StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]
        self.storages.append(storage)
        number: int = storage.cdata
        return number


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
    """Notes which parameters torch's functions are called with."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in () if _asked(func) in ABOUT else tensors_of((args, kwargs)):
            name = self.watch.parameters.get(_place(value))
            if name is not None:
                self.watch.stack[-1].reads.add(name)
        return func(*args, **(kwargs or {}))


def _asked(func: Any) -> str:
    """Return the name of a function, or of the attribute that it gets."""
    name: str = getattr(func, "__name__", "")
    return getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name


def _place(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr() if value.numel() and value.device.type != "meta" else -1


def _dropped(_: None) -> torch.Tensor:
    raise RuntimeError("the pilot keeps nothing for a backward pass")

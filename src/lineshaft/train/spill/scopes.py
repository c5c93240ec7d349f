"""Scopes: what the pilot saw of a forward pass, call by call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(eq=False)
class Scope:
    """One call of one module, or of one function that reads parameters.

    Attributes
    ----------
    name, module
        Of the module; "" is the root.
    inner
        The calls inside this one, in their order.
    within
        Of a function: the module whose code calls it.
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
    whole
        Why it cannot be opened: its parts have to do with each other in other ways than by arguments and what they
        return; "" where they have not.
    seconds
        How long the call took.

    """

    name: str
    module: nn.Module
    inner: list[Scope] = field(default_factory=list)
    within: nn.Module | None = None
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
    whole: str = ""
    seconds: float = 0.0

    @property
    def parts(self) -> list[Scope]:
        """The calls of modules inside this one."""
        return [one for one in self.inner if one.within is None]

    @property
    def functions(self) -> list[Scope]:
        """The calls of functions that its own code makes with parameters that nobody else reads."""
        return [one for one in self.inner if one.within is not None]

    def all(self) -> Iterator[Scope]:
        """Go through this call and all inside it."""
        yield self
        for part in self.inner:
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

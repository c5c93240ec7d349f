"""Generators: the order of a step's computation. Where its objects come from is `place`'s business.

::

    resident(K, M)     for i:  F0+ .. F(K-1)+  B(K-1) .. B0   all in memory, all graphs kept; then N, S
    checkpointed(K, M) for i:  F0.i .. F(K-2).i  F+(K-1).i   all in memory, graphs made again shard by shard
                               B(K-1).i  R B(K-2).i .. R B0.i
    spilled(K, M)      there:  for k: for i: F k.i           one visit of a shard = the whole mini-batch
                       turn:   for i: F+ B of shard K-1;  S
                       back:   for k: for i: R B k.i;  S k
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lineshaft.train.program.actions import Action

Order = tuple[Action, ...]


def resident(
    shards: int, micros: int, *, first: int = 0, trained: Collection[int] | None = None, together: bool = False
) -> Order:
    """Keep everything: the plain loop. Parameters as of `spilled`."""

    def actions() -> Iterator[Action]:
        for i in range(micros):
            yield from (Action("F", k, i, graph=True) for k in range(shards))
            yield from (Action("B", k, i) for k in reversed(range(first, shards)))

    return (*actions(), *_steps(shards, trained, together))


def checkpointed(
    shards: int, micros: int, *, first: int = 0, trained: Collection[int] | None = None, together: bool = False
) -> Order:
    """Keep parameters and state in memory, and of each micro-batch only the inputs of the shards; as `spilled`."""

    def actions() -> Iterator[Action]:
        last = shards - 1
        for i in range(micros):
            yield from (Action("F", k, i, graph=k == last) for k in range(shards))
            yield Action("B", last, i)
            for k in reversed(range(first, last)):
                yield from (Action("R", k, i), Action("B", k, i))

    return (*actions(), *_steps(shards, trained, together))


def spilled(
    shards: int,
    micros: int,
    *,
    by_micro: bool = False,
    first: int = 0,
    trained: Collection[int] | None = None,
    together: bool = False,
) -> Order:
    """Visit each shard twice, each time with all micro-batches.

    Parameters
    ----------
    shards, micros
        K and M.
    by_micro
        Go there once per micro-batch, because its random draws or buffers depend on those of the one before; the way
        back is the same.
    first
        The first shard that a gradient goes through.
    trained
        The shards with parameters to train; None: all.
    together
        Whether all gradients must be there before any step: their norm clips them.

    """
    there, last = by_micro and micros > 1, shards - 1
    stepped = range(shards) if trained is None else trained

    def step(k: int) -> Iterator[Action]:
        if k in stepped and not together:
            yield Action("S", k)

    def actions() -> Iterator[Action]:
        if there:
            yield from (Action("F", k, i) for i in range(micros) for k in range(shards))
        else:
            yield from (Action("F", k, i) for k in range(last) for i in range(micros))
            for i in range(micros):
                yield from (Action("F", last, i, graph=True), Action("B", last, i))
            yield from step(last)
        for k in reversed(range(first, shards if there else last)):
            for i in range(micros):
                yield from (Action("R", k, i), Action("B", k, i))
            yield from step(k)
        if together:
            yield from _steps(shards, trained, together)

    return tuple(actions())


def _steps(shards: int, trained: Collection[int] | None, together: bool) -> Iterator[Action]:
    if together:
        yield Action("N")
    yield from (Action("S", k) for k in range(shards) if trained is None or k in trained)

"""An optimizer that steps part of its parameters at a time, and what it keeps for each.

Any optimizer that works parameter by parameter may step shard by shard: those outside the shard leave its groups for
the time of the step. Whether one does is tried out on small stand-ins before training: stepped together and one by one
they must agree to the bit. The same trial says what is kept for a parameter, before there is memory for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lineshaft.core.heap import give_back, tight_heap
from lineshaft.errors import TrainingError
from lineshaft.train.spill.rehearsal import LOOKS, rising, sure

if TYPE_CHECKING:
    from lineshaft.train.spill.device import Device

_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23)  # sizes of a stand-in: each tells its dimension
_STEPS = 3


@dataclass(frozen=True)
class Form:
    """A tensor that an optimizer keeps for a parameter: its name, shape and type."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@contextmanager
def only(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Leave only these parameters in the optimizer's groups inside the block."""
    kept = {id(parameter) for parameter in parameters}
    before = [group["params"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in kept]
    try:
        yield
    finally:
        for group, all_of_it in zip(optimizer.param_groups, before, strict=True):
            group["params"] = all_of_it


def kept_forms(optimizer: torch.optim.Optimizer) -> dict[int, tuple[Form, ...]]:
    """Return the tensors (not the single numbers) that the optimizer keeps for each parameter, by the parameter's id.

    Raises
    ------
    TrainingError
        It couples parameters: stepping them together gives other numbers than stepping them one by one. Or it has
        step hooks.

    """
    _require_unhooked(optimizer)
    forms: dict[int, tuple[Form, ...]] = {}
    for number, group in enumerate(optimizer.param_groups):
        kinds = {_kind(parameter): parameter for parameter in group["params"]}
        tried = _try(optimizer, number, [*kinds.values()])
        for parameter in group["params"]:
            forms[id(parameter)] = _like(tried[_kind(parameter)], parameter)
    return forms


def _require_unhooked(optimizer: torch.optim.Optimizer) -> None:
    """Refuse hooks: they would run with the step of every shard, and see parameters that are not in memory."""
    hooks = [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]  # noqa: SLF001
    if hooks:
        name = getattr(hooks[0], "__qualname__", type(hooks[0]).__qualname__)
        raise TrainingError(
            f"{type(optimizer).__name__} has a step hook, {name!r}; within memory= an optimizer steps shard by shard, "
            f"so that it would run once for each and see parts of the model only: remove it, or leave memory= out"
        )


def _kind(parameter: nn.Parameter) -> tuple[int, torch.dtype]:
    return parameter.dim(), parameter.dtype


def _try(
    optimizer: torch.optim.Optimizer, number: int, kinds: Sequence[nn.Parameter]
) -> dict[tuple[int, torch.dtype], dict[str, torch.Tensor]]:
    """Step stand-ins of each kind, twice of each, together and apart; return what is kept for them."""
    group = optimizer.param_groups[number]
    options = {name: value for name, value in group.items() if name != "params"}
    ends = []
    for apart in (False, True):
        copies = [_stand_in(parameter, seed) for parameter in kinds for seed in (0, 1)]
        states = _step(optimizer, group, copies, apart)
        changed = {name for name, value in options.items() if not _same(group[name], value)}
        group.update(options)
        if changed:
            raise TrainingError(
                f"{type(optimizer).__name__} changes its group's {min(changed)!r} with every step, so that shards "
                f"cannot step one after the other; use one that works parameter by parameter, as torch's AdamW does"
            )
        ends.append((copies, states))
    (one, one_state), (other, other_state) = ends
    for index, (left, right) in enumerate(zip(one, other, strict=True)):
        if not torch.equal(left, right) or not _same(one_state[index], other_state[index]):
            raise TrainingError(
                f"{type(optimizer).__name__} couples parameters: stepped together and one by one they differ; a model "
                f"that does not fit memory is stepped shard by shard: use one that works parameter by parameter, as "
                f"torch's AdamW, SGD or Adafactor do"
            )
    return {_kind(copy): state for copy, state in zip(one, one_state, strict=True)}


def _step(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], copies: list[nn.Parameter], apart: bool
) -> list[dict[str, Any]]:
    with _instead(optimizer, group, copies) as states:
        for _ in range(_STEPS):
            for part in [[copy] for copy in copies] if apart else [copies]:
                group["params"] = part
                try:
                    optimizer.step()
                except TypeError as error:
                    raise TrainingError(
                        f"{type(optimizer).__name__}.step() cannot be called without a closure ({error}); a model that "
                        f"does not fit memory is stepped shard by shard: use torch's AdamW, SGD or Adafactor, say"
                    ) from error
    return states


@contextmanager
def _instead(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], copies: list[nn.Parameter]
) -> Iterator[list[dict[str, Any]]]:
    """Put copies in the place of all parameters; what was kept for them is in the list after the block."""
    before = [(other, other["params"]) for other in optimizer.param_groups]
    states: list[dict[str, Any]] = []
    try:
        for other, _ in before:
            other["params"] = []
        group["params"] = copies
        yield states
    finally:
        for other, parameters in before:
            other["params"] = parameters
        states += [dict(optimizer.state.pop(copy, {})) for copy in copies]


def step_seconds(optimizer: torch.optim.Optimizer, size: int, device: Device) -> float:
    """Return the seconds that a step takes for each byte of parameters, tried out on copies of some, up to a size."""
    group = max(optimizer.param_groups, key=lambda one: sum(parameter.nbytes for parameter in one["params"]))
    options = {name: value for name, value in group.items() if name != "params"}
    copies: list[nn.Parameter] = []
    for parameter in sorted(group["params"], key=lambda one: -one.nbytes):
        if parameter.requires_grad and sum(copy.nbytes for copy in copies) + parameter.nbytes <= size:
            copies.append(nn.Parameter(torch.zeros_like(parameter)))
            copies[-1].grad = torch.ones_like(parameter)
    if not copies:
        return 0.0
    with _instead(optimizer, group, copies):
        optimizer.step()  # makes what is kept
        started = device.mark()
        for _ in range(_STEPS):
            optimizer.step()
        seconds = device.seconds(started, device.mark()) / _STEPS
    group.update(options)
    return seconds / sum(copy.nbytes for copy in copies)


def step_scratch(optimizer: torch.optim.Optimizer, known: int) -> int:
    """Return the bytes that a step of the largest parameter takes for its time, above ``known`` times its own.

    It is tried out on a copy, several times: a look at memory may come too late. A few that may be noise are left out.
    """
    owned = [(one, group) for group in optimizer.param_groups for one in group["params"] if one.requires_grad]
    if not owned:
        return 0
    largest, group = max(owned, key=lambda one: one[0].nbytes)
    options = {name: value for name, value in group.items() if name != "params"}
    copy = nn.Parameter(torch.zeros_like(largest))
    copy.grad = torch.ones_like(largest)
    most = 0
    with _instead(optimizer, group, [copy]):
        optimizer.step()  # makes what is kept
        for _ in range(LOOKS):
            give_back()
            with tight_heap(0), rising() as held:
                optimizer.step()
            most = max(most, held())
    group.update(options)
    return sure(most - known * largest.nbytes)


def _stand_in(parameter: nn.Parameter, seed: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    shape = _PRIMES[: parameter.dim()]
    value = nn.Parameter(torch.randn(shape, generator=generator).to(parameter.dtype).to(parameter.device))
    value.grad = torch.randn(shape, generator=generator).to(parameter.dtype).to(parameter.device)
    return value


def _like(state: Mapping[str, Any], parameter: nn.Parameter) -> tuple[Form, ...]:
    """Say what is kept for a parameter by what was kept for its stand-in."""
    sizes = dict(zip(_PRIMES, parameter.shape, strict=False))
    whole = math.prod(_PRIMES[: parameter.dim()])
    forms = []
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor) and value.dim():
            shape = (
                (parameter.numel(),) if list(value.shape) == [whole] else tuple(sizes.get(s, s) for s in value.shape)
            )
            forms.append(Form(name, shape, value.dtype))
    return tuple(forms)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)

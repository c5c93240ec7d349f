"""A mini-batch: what it may look like, what its rows weigh, and how it is cut into micro-batches.

::

    (inputs, target)              weight 1 for every row
    (inputs, target, weight)      weight [rows], 0 or more
    inputs: tensor -> m(x)        tuple -> m(*x)        dict -> m(**x)

One optimizer step sees one mini-batch. With ``accumulate=a`` that mini-batch is ``a`` consecutive batches of the data
taken together: W is the weight of all their rows, so 4 batches of 8 give the gradient of one batch of 32. A row's
share w / W is fixed before the cut; micro-batches only say how many rows go through the model at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from lineshaft.errors import TrainingError


@dataclass(frozen=True)
class Batch:
    """One batch as the data gave it.

    Attributes
    ----------
    inputs, target
        A tensor, or a tuple or dict of tensors, rows first.
    weight
        ``[rows]``, floating; None: every row weighs 1.
    rows
        The number of rows.

    """

    inputs: Any
    target: Any
    weight: torch.Tensor | None
    rows: int


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model at once, and the share ``[rows]`` of each in the mini-batch's loss."""

    inputs: Any
    target: Any
    share: torch.Tensor
    rows: int


def require_reiterable(data: Any) -> None:
    """Refuse data that can be gone through only once: a second epoch, or a resume, would find it empty."""
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TrainingError(
            f"data is a {type(data).__name__}; give a list of (inputs, target) batches, a DataLoader, or any object "
            f"whose iter() starts again"
        )
    if isinstance(data, Iterator):
        raise TrainingError(
            f"data is a one-shot {type(data).__name__}: it can be gone through once, but every epoch and every resume "
            f"starts again; give a list, a DataLoader, or an object whose __iter__ makes a new iterator"
        )


def read_batch(item: Any, where: str) -> Batch:
    """Check one item of the data and count its rows."""
    if not isinstance(item, Sequence) or len(item) not in {2, 3}:
        size = f" of {len(item)}" if isinstance(item, Sequence) else ""
        raise TrainingError(
            f"{where}: the batch is a {type(item).__name__}{size}; it must be (inputs, target) or "
            f"(inputs, target, weight)"
        )
    inputs, target = item[0], item[1]
    rows = _count(target, where)
    for part in (inputs, target):
        _check_rows(part, rows, where)
    weight = _check_weight(item[2], rows, where) if len(item) == 3 and item[2] is not None else None
    return Batch(inputs, target, weight, rows)


def cut(group: Sequence[Batch], micro_batch: int | None, where: str) -> Iterator[MicroBatch]:
    """Cut a mini-batch (one batch, or several taken together) into micro-batches of at most ``micro_batch`` rows."""
    weights = [torch.ones(batch.rows) if batch.weight is None else batch.weight for batch in group]
    total = torch.cat(weights).sum()
    if not total > 0:
        raise TrainingError(
            f"{where}: the weights of its {sum(b.rows for b in group)} rows sum to 0; leave such rows out"
        )
    for batch, weight in zip(group, weights, strict=True):
        share, size = weight / total, micro_batch or batch.rows
        for start in range(0, batch.rows, size):
            rows = slice(start, min(start + size, batch.rows))
            inputs, target = _rows(batch.inputs, rows), _rows(batch.target, rows)
            yield MicroBatch(inputs, target, share[rows], rows.stop - start)


def on(micro: MicroBatch, device: str) -> MicroBatch:
    """Return a micro-batch whose tensors are on a device."""
    if device == "cpu":
        return micro
    inputs, target = pytree.tree_map_only(torch.Tensor, lambda value: value.to(device), (micro.inputs, micro.target))
    return replace(micro, inputs=inputs, target=target)


def call(model: torch.nn.Module, inputs: Any) -> Any:
    """Call the model: a tensor as ``m(x)``, a tuple or list as ``m(*x)``, a dict as ``m(**x)``."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def _tensors(part: Any) -> Iterable[torch.Tensor]:
    """Yield the tensors of a part that have rows; numbers, flags and None are passed to the model as they are."""
    items = part.values() if isinstance(part, Mapping) else part if isinstance(part, (tuple, list)) else [part]
    return (item for item in items if isinstance(item, torch.Tensor) and item.dim())


def _count(target: Any, where: str) -> int:
    first = next(iter(_tensors(target)), None)
    if first is None or not len(first):
        seen = "no tensor with rows" if first is None else "0 rows"
        raise TrainingError(f"{where}: the target holds {seen}; it must be a tensor, rows first")
    return len(first)


def _check_rows(part: Any, rows: int, where: str) -> None:
    for tensor in _tensors(part):
        if len(tensor) != rows:
            raise TrainingError(
                f"{where}: a tensor of shape {list(tensor.shape)} beside a target of {rows} rows; rows come first and "
                f"agree in number"
            )


def _check_weight(weight: Any, rows: int, where: str) -> torch.Tensor:
    tensor = torch.as_tensor(weight)
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    if list(tensor.shape) != [rows]:
        raise TrainingError(
            f"{where}: weights of shape {list(tensor.shape)} for {rows} rows; give one per row, [{rows}]"
        )
    wrong = ~(torch.isfinite(tensor) & (tensor >= 0))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise TrainingError(
            f"{where}: the weight of row {row} is {float(tensor[row])}; weights are finite and 0 or more"
        )
    return tensor


def _rows(part: Any, rows: slice) -> Any:
    if isinstance(part, Mapping):
        return {name: _slice(item, rows) for name, item in part.items()}
    if isinstance(part, (tuple, list)):
        return tuple(_slice(item, rows) for item in part)
    return _slice(part, rows)


def _slice(item: Any, rows: slice) -> Any:
    return item[rows] if isinstance(item, torch.Tensor) and item.dim() else item

"""Nested state (dicts, lists, numbers, tensors) as one JSON value beside named tensors, and back, exactly.

::

    {"lr": 0.1, "state": {0: {"exp_avg": T}}}   ─pack─►   {"dict": [["lr", 0.1], ["state", {"dict": [[0, ...]]}]]}
                                                          tensors {"root.state.0.exp_avg": T}

What a state_dict holds (optimizers, schedules, loss scalers, random generators) goes through here instead of a pickle:
keys keep their type, tuples stay tuples, infinities stay infinities, and anything else is refused with its path.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lineshaft.core.codec import Tensors
from lineshaft.errors import IntegrityError, TrainingError

ROOT = "root"


def pack(state: Any) -> Tensors:
    """Return the state's tensors (copies: training may go on) by path, and the rest as JSON in the header."""
    values: dict[str, torch.Tensor] = {}
    return Tensors(values, {"state": _pack(state, ROOT, values)})


def unpack(packed: Tensors) -> Any:
    """Return the state that `pack` was given; its tensors are copies, free to be changed in place.

    Raises
    ------
    IntegrityError
        The header names a tensor that is not there, or is not of this form.

    """
    if "state" not in packed.header:
        raise IntegrityError(f"no state in these tensors; the header holds {sorted(packed.header) or 'nothing'}")
    return _unpack(packed.header["state"], packed.values)


def unpack_one(packed: Tensors, key: str) -> Any:
    """Return one entry of a state that is a dict; its tensors are copies."""
    for name, content in packed.header["state"]["dict"]:
        if name == key:
            return _unpack(content, packed.values)
    raise IntegrityError(f"the state has no entry {key!r}")


def _pack(value: Any, path: str, values: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        values[path] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{path}.{index}", values) for index, item in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    if isinstance(value, Mapping) and all(isinstance(key, (int, str)) for key in value):
        pairs = [[key, _pack(item, f"{path}.{key}", values)] for key, item in value.items()]
        return {"counter" if isinstance(value, Counter) else "dict": pairs}
    raise TrainingError(
        f"cannot store {path.removeprefix(ROOT + '.')}: a {type(value).__name__} is neither a number, text, tensor, "
        f"list, tuple nor dict; keep such objects out of state_dict()"
    )


def _unpack(value: Any, values: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    form: str
    content: Any
    form, content = next(iter(value.items()), ("nothing", None))
    if form == "tensor":
        if content not in values:
            raise IntegrityError(f"the state names a tensor {content!r} that is not there")
        return values[content].clone()
    if form == "float":
        return float(content)
    if form in {"list", "tuple"}:
        items = [_unpack(item, values) for item in content]
        return items if form == "list" else tuple(items)
    if form in {"dict", "counter"}:
        pairs = {key: _unpack(item, values) for key, item in content}
        return pairs if form == "dict" else Counter(pairs)
    raise IntegrityError(f"stored state has the unknown form {form!r}")

"""Steps of the user's own: any function from the contents of artifacts to a table, tensors or a JSON value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.core.codec import Tensors, encode
from lineshaft.core.step import Step, make
from lineshaft.core.table import Table, read_table
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    from lineshaft.core.artifact import Artifact

RETURNS = ("Value", "Table", "Tensors")


def make_step(
    function: Callable[..., Any],
    inputs: Sequence[Artifact],
    parameters: Mapping[str, Any],
    returns: str,
    *,
    version: str | None,
    impure: bool,
) -> Step:
    """Describe a user's function as a step."""
    if returns not in RETURNS:
        raise UsageError(f"returns={returns!r} is not a kind that a step of your own can give: {', '.join(RETURNS)}")
    name = f"step {getattr(function, '__name__', type(function).__name__)}"
    given = {f"input{number}": artifact for number, artifact in enumerate(inputs)}
    how: dict[str, Any] = {"parameters": dict(parameters), "kind": returns}
    kinds = {"kinds": tuple(artifact.kind for artifact in inputs)}
    if version is None:
        how["function"] = function
        return make(name, call, given, {"result": returns}, how, impure=impure, aside=kinds)
    code: dict[str, Any] = {"function": function} | kinds
    return make(name, call, given, {"result": returns}, how, impure=impure, version=version, aside=code)


def call(
    function: Callable[..., Any], parameters: Mapping[str, Any], kind: str, kinds: Sequence[str], **inputs: Any
) -> dict[str, Any]:
    """Call the user's function with the contents of its inputs, in order, and its parameters by name."""
    contents = [content(kinds[number])(inputs[f"input{number}"]) for number in range(len(kinds))]
    return {"result": _payload(function(*contents, **parameters), kind)}


def content(kind: str) -> Callable[[Any], Any]:
    """Return what makes the content that users see of a stored payload."""
    if kind == "Table":
        return Table.from_payload
    if kind == "Tensors":
        return lambda payload: payload.values
    return lambda payload: payload


def _payload(result: Any, kind: str) -> Any:
    if kind == "Table":
        return read_table(result).arrow
    if kind == "Tensors":
        return Tensors(_tensors(result))
    try:
        encode("Value", result)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the step returned a {type(result).__name__} that is no JSON value ({error}); return numbers, text, lists "
            f"and dicts, or say returns='Table' or 'Tensors'"
        ) from error
    return result


def _tensors(result: Any) -> dict[str, Any]:
    import numpy as np
    import torch

    named = dict(result) if isinstance(result, Mapping) else {}
    values = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in named.items()
    }
    wrong = [type(value).__name__ for value in values.values() if not isinstance(value, torch.Tensor)]
    if wrong or not isinstance(result, Mapping):
        what = f"a dict with a {wrong[0]}" if wrong else f"a {type(result).__name__}"
        raise DataError(f"the step declares Tensors and returned {what}; return a dict of tensors")
    return values

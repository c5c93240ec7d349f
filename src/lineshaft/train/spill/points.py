"""Split points: the modules at which the user lets shards begin, found among the calls that the pilot saw.

::

    split=["h.1", "head"]     wte  wpe  h.0 │ h.1  h.2  ln_f │ head        shards begin there, and nowhere else
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from lineshaft.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from lineshaft.train.spill.scopes import Scope


def calls_of(model: nn.Module, root: Scope, names: Sequence[str]) -> dict[Scope, str]:
    """Return the calls at which shards begin, with the names that the user gave.

    Parameters
    ----------
    model
        Its modules have the names.
    root
        What the pilot saw of it.
    names
        Of modules.

    Raises
    ------
    UsageError
        A name is not known, or no shard can begin there; the message says why.

    """
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    found = {}
    for name in names:
        if name not in modules:
            raise UsageError(f"split={name!r}: the model has no module of that name{_near(name, [*modules])}")
        found[_only_call(name, modules[name], root)] = name
    return found


def _only_call(name: str, module: nn.Module, root: Scope) -> Scope:
    ways = [way for way in _ways(root) if way[-1].module is module]
    if not ways:
        parts = [f"{name}.{part}" for part, _ in module.named_children()][:3]
        inner = f", or one of its parts, as {', '.join(map(repr, parts))}" if parts else ""
        raise UsageError(
            f"split={name!r}: the model's forward never calls that module, so that no shard can begin there; name one "
            f"that it calls{inner}"
        )
    if len(ways) > 1:
        raise UsageError(
            f"split={name!r}: the model's forward calls that module {len(ways)} times, and a shard begins at one call; "
            f"name a module that is called once"
        )
    (*around, call), = ways  # fmt: skip
    for scope in around:
        if scope.whole:
            raise UsageError(
                f"split={name!r}: {scope.name or 'the model'!r} around it cannot be cut, because {scope.whole}; mend "
                f"that, or leave the name out"
            )
    return call


def _ways(scope: Scope, around: tuple[Scope, ...] = ()) -> list[tuple[Scope, ...]]:
    """Return the way to every call: those around it, and itself."""
    own = (*around, scope)
    return [own, *(way for part in scope.parts for way in _ways(part, own))]


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; it has {', '.join(map(repr, known[:8]))}"

"""Which calls read and write which buffers: by torch's operators, by putting another in its place, or past both.

Batch normalisation writes its running statistics without saying so, hence values are compared: each module's own, at
the end of its call, with the copies that are held to put them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from lineshaft.train.spill.spans import Spans

if TYPE_CHECKING:
    from lineshaft.train.spill.scopes import Scope
    from lineshaft.train.spill.unchanged import Before


class Written:
    """The buffers of a model, and what calls do to them."""

    def __init__(self, model: nn.Module, before: Before) -> None:
        found = {
            f"{path}.{name}" if path else name: (module, name)
            for path, module in model.named_modules()
            for name, _ in module.named_buffers(recurse=False)
        }
        self._holders = found
        values = {name: module.get_buffer(last) for name, (module, last) in found.items()}
        self._values = {name: (value, before.copy_of(value)) for name, value in values.items()}
        self._places = Spans(values)
        self._readers: dict[str, list[Scope]] = {}
        self._own: dict[int, list[str]] = {}
        for name, (module, _) in found.items():
            self._own.setdefault(id(module), []).append(name)

    def read(self, value: torch.Tensor, scope: Scope) -> None:
        """Note that a call reads a tensor."""
        for name in self._places.of(value):
            if scope not in (readers := self._readers.setdefault(name, [])):
                readers.append(scope)

    def write(self, value: torch.Tensor, scope: Scope) -> None:
        """Note that a call is about to change a tensor in place."""
        scope.writes.update(self._places.of(value))

    def after(self, scope: Scope) -> None:
        """Compare, at the end of a call, its module's own buffers and those that it is known to have written."""
        scope.writes |= self._changed({*scope.writes, *self._own.get(id(scope.module), ())})

    def settle(self, root: Scope) -> Iterator[tuple[Scope, Scope]]:
        """Go through the pairs of calls of which the second reads a buffer that the first writes."""
        unclaimed = self._changed(self._holders)
        for name in sorted(unclaimed | root.all_writes()):
            readers = self._readers.get(name, [])
            writers = [scope for scope in root.all() if name in scope.writes] or readers[:1] or [root]
            if name in unclaimed:
                writers[0].writes.add(name)
            yield from ((writer, reader) for writer in writers for reader in readers if reader not in writers)

    def _changed(self, names: Collection[str]) -> set[str]:
        """Return those that are not what they were when this was asked last."""
        changed = set()
        for name in names:
            module, last = self._holders[name]
            value, (before, copy) = module._buffers[last], self._values[name]  # noqa: SLF001 - get_buffer is slower
            if value is not before or not torch.equal(value, copy):
                changed.add(name)
                self._values[name] = value, value.detach().clone()
        return changed

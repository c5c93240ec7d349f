"""A model on its way to a device whose memory is another: its parameters stay in the machine's until they are read.

::

    machine     h.0.weight   h.1.weight   ...           where the factory made them
    device                   h.1.weight                 brought by whatever reads it, and dropped when the call of the
                                                        module that read it is over
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from lineshaft.errors import UsageError
from lineshaft.train.spill.places import nothing
from lineshaft.train.spill.spans import Spans

if TYPE_CHECKING:
    from lineshaft.train.spill.device import Device


class Away:
    """The parameters of a model, in the machine's memory; those of a failed block are left there.

    Parameters
    ----------
    model
        As a factory made it.
    device
        Where it will be trained; its buffers go there at once.

    Raises
    ------
    UsageError
        It is on a device already.

    """

    def __init__(self, model: nn.Module, device: Device) -> None:
        named = dict(model.named_parameters())
        if there := [name for name, parameter in named.items() if parameter.device.type != "cpu"]:
            raise UsageError(
                f"parameter {there[0]!r} is on {named[there[0]].device} already; within memory= a model is made on the "
                f"CPU and goes to devices= piece by piece: leave .to() and device= out of its factory"
            )
        Spans(named).require_apart()
        self._model, self.device = model, device
        self._names = {id(parameter): name for name, parameter in named.items()}
        self._values = {id(parameter): parameter.data for parameter in named.values()}
        self._here: set[int] = set()
        self._shown: dict[int, tuple[StorageWeakRef, str]] = {}  # address on the device -> whose it is, while it lives
        for parameter in named.values():
            parameter.data = nothing(parameter, device.name)
        move_buffers(model, device.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the model its values back if it was not sent on."""
        if error is not None:
            for parameter in self._model.parameters():
                parameter.data = self._values[id(parameter)]
            move_buffers(self._model, "cpu")

    def value(self, parameter: nn.Parameter) -> torch.Tensor:
        """Return a parameter's value, in the machine's memory."""
        return self._values[id(parameter)]

    def copied(self, parameter: nn.Parameter) -> torch.Tensor:
        """Return a copy of it on the device."""
        return self._values[id(parameter)].to(self.device.name, copy=True)

    def bring(self, value: torch.Tensor) -> bool:
        """Bring a tensor, if it is a parameter that is not here; say whether that was so."""
        if id(value) not in self._names or id(value) in self._here:
            return False
        value.data = self.copied(value)  # type: ignore[arg-type]
        storage = value.untyped_storage()
        self._shown[storage.data_ptr()] = StorageWeakRef(storage), self._names[id(value)]  # type: ignore[no-untyped-call]
        self._here.add(id(value))
        return True

    def drop(self, parameter: torch.Tensor) -> None:
        """Give up what was brought."""
        parameter.data = nothing(parameter, self.device.name)
        self._here.discard(id(parameter))

    def of(self, value: torch.Tensor) -> list[str]:
        """Return the name of the parameter that a tensor shows, if it shows one."""
        if value.layout != torch.strided or value.is_meta or not value.numel():
            return []
        reference, name = self._shown.get(value.untyped_storage().data_ptr(), (None, ""))
        return [name] if reference is not None and not reference.expired() else []  # type: ignore[no-untyped-call]


def move_buffers(model: nn.Module, device: str) -> None:
    """Move a model's buffers, which stay the tensors that they are."""
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)

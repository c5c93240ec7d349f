"""Where parameters are while a factory makes them: in a file, so that a model larger than memory can be made at all.

A parameter moves into the file the moment a module registers it. The factory goes on to initialise it there, in its own
order and with its own draws, so that its values are those of any other instance; what it has touched stays in the
system's page cache, and leaves this process every few milliseconds.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lineshaft.core.durable import disk_operation
from lineshaft.core.memory import pages, show_size
from lineshaft.errors import StorageError

LEAST = 1 << 16  # bytes: smaller parameters stay in memory
PAUSE = 0.005  # seconds between looks at what is touched
_open: list[Cradle] = []
CHUNK = 1 << 30  # bytes mapped at a time, of addresses: each mapping costs a file handle


class Cradle:
    """Holds parameters in a file until they are sent to where they stay.

    Parameters
    ----------
    folder
        Where the file is; it has no name there.

    Raises
    ------
    StorageError
        The folder cannot be written, or the disk is full.

    """

    def __init__(self, folder: Path) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="lineshaft-", dir=folder)  # noqa: SIM115 - closed in `close`
        except OSError as error:
            raise StorageError(
                f"could not make a file in {folder}: {error.strerror}; name a folder that can be written with spill= "
                f"or checkpoint="
            ) from error
        self._end, self._mapped = 0, 0
        self._known: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()  # by id, while they live
        self._maps: list[mmap.mmap] = []
        _open.append(self)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._leave, name="lineshaft-cradle", daemon=True)
        self._thread.start()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Move parameters into the file as modules register them."""
        hook = register_module_parameter_registration_hook(self._register)
        try:
            yield
        finally:
            hook.remove()

    def close(self) -> None:
        """Let go of the file; nobody may look at a parameter that is still there."""
        _open.remove(self)
        self._over.set()
        self._thread.join()
        self._maps = []
        self._file.close()

    def _register(self, module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        del module, name
        if parameter is None or parameter.device.type != "cpu" or parameter.nbytes < LEAST:
            return
        if nn.parameter.is_lazy(parameter) or id(parameter) in self._known or not parameter.is_contiguous():
            return
        self.leave()
        region = self._more(parameter.nbytes)
        view = torch.frombuffer(region, dtype=torch.uint8).view(parameter.dtype)
        view = view.view(parameter.shape)
        view.copy_(parameter.data)
        parameter.data = view
        self._known[id(parameter)] = parameter

    def _more(self, size: int) -> memoryview:
        """Return room in the file, as memory."""
        try:
            if self._end + size > self._mapped:
                self._map(size)
            start, self._end = self._end, self._end + pages(size)
            disk_operation()
            os.posix_fallocate(self._file.fileno(), start, self._end - start)
        except OSError as error:
            raise StorageError(
                f"no room to make the model: {show_size(self._end)} are wanted for parameters ({error.strerror}); free "
                f"some, or name a folder on a larger disk with spill= or checkpoint="
            ) from error
        first = start - (self._mapped - len(self._maps[-1]))
        return memoryview(self._maps[-1])[first : first + size]

    def _map(self, size: int) -> None:
        """Map what comes after the last mapping; the disk gives no room for it yet."""
        self._end, self._mapped = self._mapped, self._mapped + max(CHUNK, pages(size))
        self._file.truncate(self._mapped)
        self._maps.append(mmap.mmap(self._file.fileno(), self._mapped - self._end, offset=self._end))

    def leave(self) -> None:
        """Unmap what was touched: it is in the page cache, and comes back when it is looked at."""
        for region in tuple(self._maps):
            region.madvise(mmap.MADV_DONTNEED)

    def _leave(self) -> None:
        """Unmap what is touched within one call, of a module or a factory, that takes long."""
        while not self._over.wait(PAUSE):
            self.leave()


def leave() -> None:
    """Unmap what was touched of all parameters that are being made; on a busy machine no thread comes in time."""
    for cradle in tuple(_open):
        cradle.leave()

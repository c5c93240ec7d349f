"""Where computing happens, and how bytes come there: in the machine's own memory, or in a GPU's beside it.

::

              fast memory      below it                             an action of a lane is over ...
    Device    the process's    files, or more of its memory         when the call that does it returns
    Cuda      the GPU's        page-locked memory, then files       for its thread when it is queued on the lane's
                                                                    stream, for the GPU when its mark is reached

The threads of a GPU's lanes run ahead of it: what they queue waits, on the GPU, behind the marks of what it needs.
Page-locked memory is copied to and from without the processor (CUDA C Programming Guide, Asynchronous Concurrent
Execution).
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lineshaft.core.memory import Regions, anonymous, available, pages, resident, show_size
from lineshaft.errors import UsageError
from lineshaft.train.spill.places import flat

if TYPE_CHECKING:
    import mmap

    from lineshaft.core.memory import Region as HostRegion
    from lineshaft.train.program.actions import Lane, Object
    from lineshaft.train.spill.below import Below
    from lineshaft.train.spill.places import Region

_NAME = re.compile(r"cpu|cuda(:\d+)?")
Mark = Any  # a point in what a lane does: seconds, or an event of a GPU


class Rooms(Protocol):
    """Memory that is used again and again."""

    limit: int

    def take(self, size: int) -> Region:
        """Return a region of at least so many bytes; its content is arbitrary."""

    def give(self, region: Any) -> None:
        """Take a region back; nothing may look into it any more."""

    def close(self) -> None:
        """Give what is free back to the system."""


class Device:
    """The machine's own processor and memory: a lane does what it is given at once.

    Attributes
    ----------
    name
        As torch names it.
    apart
        Whether its memory is another than the machine's.

    """

    name, apart = "cpu", False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def kind(self) -> str:
        """Return its name without a number."""
        return self.name.partition(":")[0]

    def held(self) -> int:
        """Return the bytes of fast memory that this process holds."""
        return resident()

    def left(self) -> int:
        """Return the bytes of fast memory that are left."""
        return available()

    def capped(self, size: int) -> AbstractContextManager[None]:
        """Let this process hold no more fast memory than so many bytes, where the device can see to that."""
        del size
        return nullcontext()

    def peak(self) -> AbstractContextManager[Callable[[], int]]:
        """Watch how much more fast memory is held inside the block than before it, where the device counts that."""
        raise NotImplementedError(f"{self.name} does not count what is held")

    def region(self, size: int) -> Region:
        """Return fast memory that stays."""
        return anonymous(size)

    def rooms(self, limit: int) -> Rooms:
        """Return fast memory for what comes and goes."""
        return Regions(limit)

    def under(self, size: int) -> HostRegion:
        """Return memory of the machine's for what is not in fast memory."""
        return anonymous(size)

    def copy(self, target: Region, source: Region) -> None:
        """Copy one region into another."""
        memoryview(target)[:] = memoryview(source)  # type: ignore[arg-type]

    def bring(self, below: Below, item: Object, region: Any) -> None:
        """Fill a region with an object."""
        below.read(item, memoryview(region))

    def send(self, below: Below, item: Object, region: Any) -> None:
        """Keep what is in a region."""
        below.write(item, memoryview(region))

    def lane(self, lane: Lane) -> AbstractContextManager[Any]:
        """Let this thread work for a lane inside the block."""
        del lane
        return nullcontext()

    def mark(self) -> Mark:
        """Return the point that this thread's lane has come to."""
        return time.perf_counter()

    def after(self, mark: Mark) -> None:
        """Let what this thread's lane does next come after a mark."""

    def seconds(self, since: Mark, until: Mark) -> float:
        """Return the seconds between two marks."""
        elapsed: float = until - since
        return elapsed

    def settle(self) -> None:
        """Wait until this thread's lane has done what it was given."""

    def sync(self) -> None:
        """Wait until all lanes have."""


def device_of(devices: Any) -> Device:
    """Return the device that ``devices=`` names.

    Raises
    ------
    UsageError
        It is none, or none that is here.

    """
    if isinstance(devices, Device):
        return devices
    names = [*devices] if isinstance(devices, (list, tuple)) else ["cpu" if devices is None else devices]
    name = str(names[0]) if names else ""
    if len(names) != 1 or not _NAME.fullmatch(name):
        raise UsageError(f"devices={devices!r}: training uses one device, 'cpu' or 'cuda' (or 'cuda:1', ...)")
    if name == "cpu":
        return Device()
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(name.partition(":")[2] or 0)
    if number >= there:
        raise UsageError(
            f"devices={devices!r}: torch {torch.__version__} sees {there} CUDA devices here; leave devices= out to "
            f"train on the CPU, or install a build of torch for CUDA"
        )
    return Cuda(number)


class Apart(Device):
    """A device with memory of its own, to which lanes queue copies; who it is says how one is queued."""

    apart = True

    def __init__(self) -> None:
        self._stages = threading.local()

    def rooms(self, limit: int) -> Rooms:
        """Return memory for what comes and goes."""
        return _Rooms(limit, self)

    def bring(self, below: Below, item: Object, region: Any) -> None:
        """Queue the copy of an object into a region."""
        source = below.lies(item, len(region))
        if source is not None:
            self.copy(region, source)
            return
        stage = self._stage(len(region))
        below.read(item, stage[: len(region)])
        self.copy(region, stage[: len(region)])
        self.settle()  # the stage is used again

    def send(self, below: Below, item: Object, region: Any) -> None:
        """Queue the copy of a region to where the object lies."""
        target = below.lies(item, len(region))
        if target is not None:
            self.copy(target, region)
            below.changed(item)
            return
        stage = self._stage(len(region))
        self.copy(stage[: len(region)], region)
        self.settle()
        below.write(item, stage[: len(region)])

    def _stage(self, size: int) -> memoryview:
        """Return page-locked memory of this thread's own, through which files are read and written."""
        stage: memoryview | None = getattr(self._stages, "memory", None)
        if stage is None or len(stage) < size:
            self._stages.memory = stage = memoryview(self.under(size))
        return stage


class Cuda(Apart):
    """A GPU: streams for lanes, events for marks, and page-locked memory below its own.

    Parameters
    ----------
    number
        Which.

    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name, self.device = f"cuda:{number}", torch.device("cuda", number)
        torch.cuda.init()  # type: ignore[no-untyped-call]
        self._streams: dict[Lane, Any] = {
            "compute": torch.cuda.default_stream(self.device),  # what lines run in threads of their own goes there too
            "in": torch.cuda.Stream(self.device),  # type: ignore[no-untyped-call]
            "out": torch.cuda.Stream(self.device),  # type: ignore[no-untyped-call]
        }

    def held(self) -> int:
        """Return the bytes that torch holds of the GPU's memory, freed ones that it keeps included."""
        return torch.cuda.memory_reserved(self.device)

    def left(self) -> int:
        """Return the bytes of the GPU's memory that nobody holds."""
        return torch.cuda.mem_get_info(self.device)[0]

    @contextmanager
    def capped(self, size: int) -> Iterator[None]:
        """Let torch hold no more than so many bytes: what it keeps of freed memory goes back before that is reached."""
        whole = torch.cuda.get_device_properties(self.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / whole), self.device)
        try:
            with torch.cuda.device(self.device):
                yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, self.device)

    @contextmanager
    def peak(self) -> Iterator[Callable[[], int]]:
        """Watch how much more of the GPU's memory is in use inside the block than before it."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield lambda: torch.cuda.max_memory_allocated(self.device) - before

    def region(self, size: int) -> Region:
        """Return memory of the GPU that stays."""
        return torch.empty(pages(size), dtype=torch.uint8, device=self.device)

    def under(self, size: int) -> HostRegion:
        """Return page-locked memory of the machine's."""
        return locked(size)

    def copy(self, target: Region, source: Region) -> None:
        """Queue the copy of one region into another."""
        flat(target).copy_(flat(source), non_blocking=True)

    def lane(self, lane: Lane) -> AbstractContextManager[Any]:
        """Let what this thread queues go to a lane's stream."""
        return torch.cuda.stream(self._streams[lane])

    def mark(self) -> Mark:
        """Record an event on this thread's stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def after(self, mark: Mark) -> None:
        """Let this thread's stream wait for an event."""
        torch.cuda.current_stream(self.device).wait_event(mark)

    def seconds(self, since: Mark, until: Mark) -> float:
        """Return the seconds between two events, once the GPU has come to them."""
        since.synchronize()
        until.synchronize()
        elapsed: float = since.elapsed_time(until) / 1000
        return elapsed

    def settle(self) -> None:
        """Wait for this thread's stream."""
        torch.cuda.current_stream(self.device).synchronize()

    def sync(self) -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize(self.device)


class _Rooms:
    """Regions from torch's allocator, each stream's lane its own: it takes them back in the lane's order."""

    def __init__(self, limit: int, device: Device) -> None:
        self.limit, self.used, self.peak, self._device = limit, 0, 0, device

    def take(self, size: int) -> Region:
        """Return a region of whole pages."""
        size = pages(size)
        if self.used + size > self.limit:
            raise UsageError(
                f"a region of {show_size(size)} beside {show_size(self.used)} in use is over the limit of "
                f"{show_size(self.limit)}"
            )
        self.used += size
        self.peak = max(self.peak, self.used)
        return self._device.region(size)

    def give(self, region: Any) -> None:
        """Count it out; the allocator has it again when the last reference is gone."""
        self.used -= len(region)

    def close(self) -> None:
        """Give free memory back to the GPU."""
        torch.cuda.empty_cache()


def locked(size: int) -> memoryview:
    """Return memory that the system never moves; torch's own would be rounded up to a power of two.

    Raises
    ------
    UsageError
        The system does not lock so much.

    """
    memory = anonymous(size)
    view = memoryview(memory)
    address = flat(memory).data_ptr()
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    if int(runtime.cudaHostRegister(address, len(memory), 0)) != 0:
        raise UsageError(
            f"the system locks no {show_size(size)} of memory beside what is locked; give less with "
            f"memory={{'device': ..., 'dram': ...}}, so that the rest lies on a disk"
        )
    weakref.finalize(view, _unlock, runtime, address, memory)
    return view


def _unlock(runtime: Any, address: int, memory: mmap.mmap) -> None:
    """Unlock memory, which is there as long as this is called with it."""
    del memory
    runtime.cudaHostUnregister(address)

"""A stored state on its way: into a training in memory, and out of lineshaft as a safetensors file.

::

    folder/epoch-…-batch-….safetensors      a checkpoint: the whole state in one file        ┐ the one that is further
    folder/commit-….safetensors + objects   a commit: small, names objects in spill files    ┘ counts

So a run may go on with ``memory=`` where it began without, and the other way round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lineshaft.core.durable import writing_atomic
from lineshaft.core.events import emit
from lineshaft.core.memory import anonymous
from lineshaft.errors import IntegrityError, StorageError, TrainingError
from lineshaft.train import state
from lineshaft.train.checkpoint import newest
from lineshaft.train.snapshot import Training, Watcher, put_around, resume, unpack
from lineshaft.train.spill.commits import Commit, commit_files, read_commit, whole_commits
from lineshaft.train.spill.slots import reading

if TYPE_CHECKING:
    from lineshaft.core.codec import Tensors
    from lineshaft.train.checkpoint import Cursor

TRIES = 5  # reads of a folder in which a training goes on
_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}


class Stored(Protocol):
    """A whole state in a folder."""

    @property
    def cursor(self) -> Cursor:
        """Where in the data it stands."""

    def put_into(self, training: Training, watcher: Watcher | None, data: Any) -> None:
        """Put a training in memory that has just begun into this state."""

    def forms(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return what the model's state dict holds."""

    def values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Go through the state dict; each tensor is good until the next."""


@dataclass(frozen=True)
class Checkpoint:
    """A state in one file."""

    state: Tensors

    @property
    def cursor(self) -> Cursor:
        """Where in the data it stands."""
        found: Mapping[str, int] = state.unpack_one(self.state, "cursor")
        return found["epoch"], found["batch"]

    def put_into(self, training: Training, watcher: Watcher | None, data: Any) -> None:
        """Put a training in memory that has just begun into this state."""
        resume(training, self.state, watcher, data)

    def forms(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return what the model's state dict holds."""
        return {name: (value.dtype, tuple(value.shape)) for name, value in self.values()}

    def values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Go through the state dict."""
        yield from state.unpack_one(self.state, "model").items()


@dataclass(frozen=True)
class Committed:
    """A state in objects."""

    commit: Commit
    folder: Path

    @property
    def cursor(self) -> Cursor:
        """Where in the data it stands."""
        return self.commit.cursor

    def put_into(self, training: Training, watcher: Watcher | None, data: Any) -> None:
        """Put a training in memory that has just begun into this state."""
        content = unpack(training, self.commit.state)
        names = {id(parameter): name for name, parameter in training.model.named_parameters()}
        order = [names[id(one)] for group in training.optimizer.param_groups for one in group["params"]]
        kept = {name: content["optimizer"]["state"].get(number, {}) for number, name in enumerate(order)}
        parameters, buffers = dict(training.model.named_parameters()), dict(training.model.named_buffers())
        with torch.no_grad():
            for name, value in content["buffers"].items():
                buffers[name].copy_(value)
            for name, value in self._objects():
                own, _, what = name.partition(" ")
                if not what:
                    parameters[own].copy_(value)
                elif what in kept.get(own, {}):
                    kept[own][what] = value.clone()
        training.optimizer.load_state_dict(content["optimizer"])
        put_around(training, content, watcher, data)

    def forms(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return what the model's state dict holds."""
        buffers, places, found = self._buffers(), self.commit.places, {}
        for key, name in self._keys().items():
            if name is None:
                raise TrainingError(
                    f"{key!r} of the model's state dict is neither a parameter nor a buffer, and so in no commit; save "
                    f"fit.model.state_dict() after training"
                )
            one = buffers[name] if name in buffers else places[name][1]
            found[key] = one.dtype, tuple(one.shape)
        return found

    def values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Go through the state dict; each tensor is good until the next."""
        keys: dict[str | None, list[str]] = {}
        for key, name in self._keys().items():
            keys.setdefault(name, []).append(key)
        for name, value in (*self._buffers().items(), *self._objects("p")):
            for key in keys.get(name, ()):
                yield key, value

    def _keys(self) -> dict[str, str | None]:
        keys: dict[str, str | None] = state.unpack_one(self.commit.state, "keys")
        return keys

    def _buffers(self) -> dict[str, torch.Tensor]:
        buffers: dict[str, torch.Tensor] = state.unpack_one(self.commit.state, "buffers")
        return buffers

    def _objects(self, what: str = "ps") -> Iterator[tuple[str, torch.Tensor]]:
        """Go through what lies in objects, one object in memory at a time."""
        commit = self.commit
        with reading(self.folder / commit.layout, commit.sizes, commit.objects) as named:
            for item in sorted(commit.objects):
                if item.what not in what:
                    continue
                region = anonymous(commit.sizes[item])
                named.read(item, memoryview(region))
                flat = torch.frombuffer(region, dtype=torch.uint8)
                for name, (own, place) in commit.places.items():
                    if own == item:
                        yield name, place.view(flat)


@dataclass
class Found:
    """What a folder holds to go on from.

    Attributes
    ----------
    stored
        The state that is furthest on, whole; None: there is none, or it was taken.
    commits
        The commits, the newest first, which is whole.
    stale
        What is damaged: it goes when the next state is kept.

    """

    stored: Stored | None = None
    commits: Sequence[Commit] = ()
    stale: Sequence[Path] = field(default_factory=list)


def furthest(folder: Path) -> Found:
    """Return what a folder holds to go on from; damaged states are told, and stay.

    Raises
    ------
    IntegrityError
        There are states, and none is whole.
    StorageError
        One cannot be read, or was written by another version of lineshaft.

    """
    (commits, damaged), (whole, more) = whole_commits(folder), newest(folder)
    damaged += more
    for one in damaged:
        emit("checkpoint.damaged", file=one.path.name, reason=one.reason)
    found: list[Stored] = [Committed(commit, folder) for commit in commits[:1]]
    found += [Checkpoint(whole)] if whole else []
    if damaged and not found:
        seen = "; ".join(f"{one.path.name}: {one.reason}" for one in damaged)
        raise IntegrityError(
            f"no whole state in {folder}: {seen}; delete the folder, or name another one, to start anew"
        )
    stored = max(found, key=lambda stored: stored.cursor, default=None)
    return Found(stored, commits, [one.path for one in damaged])


def export(folder: str | Path, file: str | Path) -> Path:
    """Write the model of the newest state in a checkpoint folder to a safetensors file, one tensor in memory at a time.

    The training may go on meanwhile, in this process or another. The file holds every key of the model's state dict;
    tied weights are there once for each of their names.

    Parameters
    ----------
    folder
        The ``checkpoint=`` of a training.
    file
        Where to write; replaced at once, or not at all.

    Returns
    -------
    Path
        ``file``.

    Raises
    ------
    StorageError
        The folder holds no whole state, or the disk refuses.

    """
    where, target = Path(folder), Path(file)
    for _ in range(TRIES):
        stored = _look(where)
        if stored is None:
            raise StorageError(f"{where} holds no state to export; give the folder that was checkpoint= of a training")
        try:
            _write(stored, target)
        except IntegrityError:  # the training has gone on, and needed the room
            continue
        return target
    raise StorageError(f"no state in {where} stayed whole while it was read; try again when training has ended")


def _look(folder: Path) -> Stored | None:
    """Return the furthest state as it seems: whether its objects are whole shows when they are read."""
    found: list[Stored] = []
    for path in commit_files(folder):
        try:
            found.append(Committed(read_commit(path), folder))
            break
        except IntegrityError:
            continue  # damaged, or removed just now: the one before counts
    whole, _ = newest(folder)
    found += [Checkpoint(whole)] if whole else []
    return max(found, key=lambda stored: stored.cursor, default=None)


def _write(stored: Stored, target: Path) -> None:
    """Write a file as https://huggingface.co/docs/safetensors has it: the header's length, the header, the bytes."""
    forms, end = stored.forms(), 0
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name in sorted(forms):
        dtype, shape = forms[name]
        if dtype not in _CODES:
            raise TrainingError(f"{name} is of {dtype}, which safetensors files cannot hold; save fit.model otherwise")
        size = dtype.itemsize * _count(shape)
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    start = 8 + len(head)
    with writing_atomic(target, start + end) as handle:
        _write_at(handle, 0, len(head).to_bytes(8, "little") + head)
        for name, value in stored.values():
            raw = value.detach().contiguous().reshape(-1).view(torch.uint8)
            _write_at(handle, start + header[name]["data_offsets"][0], raw.numpy())
            del forms[name]
    if forms:
        raise IntegrityError(f"the state holds no values of {', '.join(sorted(forms))}")


def _write_at(handle: int, start: int, content: Any) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(handle, rest, start)
        rest, start = rest[written:], start + written


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())

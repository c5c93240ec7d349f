"""Parameters that a factory makes lie in a file, with the values that they would have in memory."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from lineshaft.core.memory import resident
from lineshaft.errors import StorageError
from lineshaft.train.spill import cradle as module
from lineshaft.train.spill.cradle import Cradle


@pytest.fixture
def cradle(tmp_path):
    made = Cradle(tmp_path)
    yield made
    made.close()


def inside(cradle, parameter):
    starts = [(ctypes.addressof(ctypes.c_char.from_buffer(mapped)), len(mapped)) for mapped in cradle._maps]
    return any(start <= parameter.data_ptr() < start + size for start, size in starts)


def test_parameters_move_into_the_file_with_their_values(cradle, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 1 << 19)  # two to a chunk, and one that is larger
    torch.manual_seed(1)
    with cradle.holding():
        layers = [nn.Linear(256, width) for width in (256, 250, 1024, 256, 256)]
    torch.manual_seed(1)
    for layer, width in zip(layers, (256, 250, 1024, 256, 256), strict=True):
        assert inside(cradle, layer.weight)
        assert torch.equal(layer.weight, nn.Linear(256, width).weight)
    assert len(cradle._maps) < len(layers)


def test_a_parameter_that_takes_the_place_of_a_dead_one_moves_too(cradle):
    kept = []
    with cradle.holding():
        for _ in range(20):
            nn.Linear(256, 256)
            kept.append(nn.Linear(256, 256))
    assert all(inside(cradle, layer.weight) for layer in kept)


def test_many_parameters_take_few_handles(cradle):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, hard))
    try:
        with cradle.holding():
            layers = [nn.Linear(128, 128) for _ in range(40)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(inside(cradle, layer.weight) for layer in layers)


def test_a_full_disk_is_told(cradle, monkeypatch):
    monkeypatch.setenv("LINESHAFT_FAULT", "ENOSPC:1")
    monkeypatch.setattr("lineshaft.core.durable._operations", iter([1]))
    with pytest.raises(StorageError, match=r"no room to make the model: 262 KB are wanted"), cradle.holding():
        nn.Linear(256, 256)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"could not make a file in .*: No such file or directory; name a folder"):
        Cradle(tmp_path / "none")


def test_what_was_touched_leaves_at_once(cradle, monkeypatch):
    """On a busy machine the thread that sees to it may come too late."""
    with cradle.holding():
        layer = nn.Linear(1024, 1024)
    cradle._over.set()
    cradle._thread.join()
    layer.weight.data.fill_(2.0)
    before = resident()
    module.leave()
    assert resident() < before - (3 << 20)
    assert bool((layer.weight == 2.0).all())

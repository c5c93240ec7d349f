"""Ctrl-C while training: the step under way ends, and is kept; a second one ends it at once."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from torch import nn

import lineshaft as ls
from lineshaft.train.checkpoint import Checkpoints
from lineshaft.train.interrupts import interrupts

DATA = [(torch.randn(4, 6), torch.tensor([0, 1, 2, 0])) for _ in range(6)]
KEPT = {"every": 100, "seconds": None}


def press():
    os.kill(os.getpid(), signal.SIGINT)


def factory():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def pressing(at, times=1):
    """Return a loss in whose nth call somebody presses Ctrl-C, once or several times."""
    calls = []

    def loss(outputs, target):
        calls.append(1)
        if len(calls) == at:
            for _ in range(times):
                press()
        return nn.functional.cross_entropy(outputs, target, reduction="none")

    return loss


@pytest.mark.parametrize("memory", [None, "1MB"])
def test_the_step_under_way_ends_and_is_kept(tmp_path, memory):
    straight = ls.train.fit(factory, DATA, pressing(10**6), progress=False).losses
    extra = 2 if memory else 0  # the loss is called in the pilot and in the rehearsal too
    with pytest.raises(KeyboardInterrupt):
        kept = Checkpoints(tmp_path, **KEPT)
        ls.train.fit(factory, DATA, pressing(3 + extra), memory=memory, checkpoint=kept, progress=False)
    file = ls.train.export(tmp_path, tmp_path / "model.safetensors")
    assert file.exists()
    resumed = ls.train.fit(factory, DATA, pressing(10**6), memory=memory, checkpoint=kept, progress=False, steps=3)
    assert resumed.losses == straight[:3]


@pytest.mark.parametrize("memory", [None, "1MB"])
def test_a_second_one_ends_it_at_once_and_keeps_nothing_half_done(tmp_path, memory):
    kept = Checkpoints(tmp_path, every=1, seconds=None)
    extra = 2 if memory else 0
    with pytest.raises(KeyboardInterrupt):
        ls.train.fit(factory, DATA, pressing(3 + extra, 2), memory=memory, checkpoint=kept, progress=False)
    straight = ls.train.fit(factory, DATA, pressing(10**6), progress=False).losses
    resumed = ls.train.fit(factory, DATA, pressing(10**6), memory=memory, checkpoint=kept, progress=False)
    assert resumed.losses == straight


def test_who_handles_interrupts_himself_goes_on_doing_so():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with interrupts() as held, held:
            press()
        assert seen == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_handler_is_given_back():
    with interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

"""Data is gone through once, whether or not its first batches were looked at before training."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lineshaft as ls
from lineshaft.errors import TrainingError

ROWS, TARGET = torch.randn(24, 6), torch.arange(24) % 3


class Drawing(Dataset):
    """Adds noise to a row whenever it is asked for."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, at):
        return ROWS[at] + torch.randn(6), TARGET[at]


class Counting:
    """Gives other rows each time it is gone through."""

    def __init__(self):
        self.times = 0

    def __iter__(self):
        self.times += 1
        for at in range(0, 24, 8):
            yield ROWS[at : at + 8] * self.times, TARGET[at : at + 8]


class OwnGenerator(Counting):
    def __init__(self):
        super().__init__()
        self.random = random.Random(3)

    def __iter__(self):
        for rows, target in super().__iter__():
            yield rows * self.random.random(), target


class Lazy:
    """A sequence of batches that draws when one is asked for."""

    def __len__(self):
        return 3

    def __getitem__(self, at):
        if at >= 3:
            raise IndexError
        return ROWS[8 * at : 8 * at + 8] + torch.randn(8, 6), TARGET[8 * at : 8 * at + 8]


DATA = {
    "list": lambda: [(ROWS[:8], TARGET[:8]), (ROWS[8:20], TARGET[8:20]), (ROWS[20:], TARGET[20:])],
    "noise": lambda: DataLoader(Drawing(), batch_size=8, shuffle=True),
    "own order": lambda: DataLoader(
        TensorDataset(ROWS, TARGET), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(4)
    ),
    "workers": lambda: DataLoader(Drawing(), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True),
    "counting": Counting,
    "own generator": OwnGenerator,
    "lazy": Lazy,
}


def factory():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", sorted(DATA))
def test_the_losses_are_those_of_the_plain_loop(kind, accumulate):
    options = {"epochs": 3, "accumulate": accumulate, "progress": False}
    plain = ls.train.fit(factory, DATA[kind](), **options)
    assert ls.train.fit(factory, DATA[kind](), memory="10MB", **options).losses == plain.losses


def test_a_resume_goes_through_it_as_the_plain_loop_does(tmp_path):
    kept = {False: tmp_path / "plain", True: tmp_path / "below"}
    for below, folder in kept.items():
        for steps in (2, 4):
            fit = ls.train.fit(
                factory,
                DATA["noise"](),
                steps=steps,
                memory="10MB" if below else None,
                checkpoint=folder,
                progress=False,
            )
    straight = ls.train.fit(factory, DATA["noise"](), steps=4, progress=False)
    assert fit.losses == straight.losses


class Nothing:
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize("empty", [[], (), Nothing()], ids=["list", "tuple", "object"])
def test_data_without_batches_is_refused_with_a_sentence(empty):
    with pytest.raises(TrainingError, match="gave no batch"):
        ls.train.fit(factory, empty, memory="10MB", progress=False)

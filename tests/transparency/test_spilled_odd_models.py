"""Models that do what most do not: trained to the same bits, or refused by name, never something between."""

from __future__ import annotations

import random

import pytest
import torch
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from torch.utils.checkpoint import checkpoint
from zoo import Case, mlp, numbers, row_loss, spilled

from lineshaft.errors import TrainingError

BUDGET = 60_000


def adamw(named):
    return torch.optim.AdamW([p for _, p in named], lr=1e-3)


class Around(nn.Module):
    """Layers on both sides of the odd one."""

    def __init__(self, odd):
        super().__init__()
        self.before = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.1))
        self.odd = odd
        self.after = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, x):
        return self.after(self.odd(self.before(x)))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (1 + 0.1 * self.calls)


class FromPython(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, x):
        return self.layer(x) * random.random()


class Replacing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.layer(x) * (1 + 0.1 * self.calls)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


class InPlaceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(24, 24), nn.ReLU(inplace=True), nn.Linear(24, 24))

    def forward(self, x):
        return self.layers(x * 1.0)


def seeded(model):
    def factory():
        random.seed(3)
        return Around(model())

    return factory


@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole", "micro-batches"])
@pytest.mark.parametrize("odd", [Counting, FromPython, Replacing, Reused, InPlaceFirst])
def test_to_the_same_bits(odd, micro_batch):
    options = {"epochs": 3, "micro_batch": micro_batch}
    model, made, losses = plain(seeded(odd), numbers(), row_loss, adamw, **options)
    expected = random.random()
    fit = spilled(Case(seeded(odd), numbers(), BUDGET), optimizer=adamw, **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))
    assert random.random() == expected


def adagrad(named):
    return torch.optim.Adagrad([p for _, p in named], lr=0.05, initial_accumulator_value=0.1)


def test_an_optimizer_that_makes_its_state_early():
    model, made, losses = plain(mlp, numbers(), row_loss, adagrad, epochs=3)
    fit = spilled(Case(mlp, numbers(), 60_000), optimizer=adagrad, epochs=3)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))


class OwnGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x):
        return self.layer(x) * torch.rand(1, generator=self.generator)


class Checkpointing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(24, 24) for _ in range(6)])

    def body(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x

    def forward(self, x):
        return checkpoint(self.body, x, use_reentrant=False)


class Box:
    def __init__(self, value):
        self.value = value


class Boxing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, x):
        return Box(self.layer(x))


class Unboxing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, box):
        return self.layer(box.value)


class Closing(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = Counting(), Calling()

    def forward(self, x):
        value = self.one(x)
        return self.other(lambda: value)


class Calling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 24)

    def forward(self, get):
        return self.layer(get())


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (OwnGenerator, r"gave other numbers when it was run again"),
        (Checkpointing, r"the backward pass came to 'odd\.layers\.\d' again; if the model checkpoints"),
    ],
    ids=["own generator", "own checkpointing"],
)
def test_refused_by_name(odd, said):
    with pytest.raises(TrainingError, match=said):
        spilled(Case(seeded(odd), numbers(), 80_000), micro_batch=3)

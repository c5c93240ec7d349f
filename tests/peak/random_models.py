"""Trains random models within random budgets, one after the other, and reports how far memory rose. Run as a script.

random_models.py N      a line of JSON for each of models 0 to N - 1
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict, dataclass

import torch
from held import Rising, warm_up
from torch import nn

import lineshaft as ls

OPTIMIZERS = {
    "adamw": lambda named: torch.optim.AdamW([p for _, p in named], lr=1e-4),
    "momentum": lambda named: torch.optim.SGD([p for _, p in named], lr=1e-3, momentum=0.9),
    "adafactor": lambda named: torch.optim.Adafactor([p for _, p in named], lr=1e-3),
}
TIMES = {"adamw": 4, "momentum": 3, "adafactor": 2}  # bytes of value, gradient and state for each byte of value


class Middle(nn.Module):
    def forward(self, x):
        return x.mean(1)


def linear(width):
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1))


def encoder(width):
    return nn.TransformerEncoderLayer(width, 4, 4 * width, 0.1, batch_first=True, norm_first=True)


def convolution(width):
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


@dataclass(frozen=True)
class Kind:
    """Layers of one width, what stands before and behind them, the shape of a row, and the widths to draw from."""

    layer: object
    before: object
    behind: object
    row: tuple
    widths: tuple


KINDS = {
    "linear": Kind(linear, lambda w: nn.Linear(24, w), lambda w: [nn.Linear(w, 5)], (24,), (256, 512, 768)),
    "encoder": Kind(
        encoder, lambda w: nn.Linear(24, w), lambda w: [Middle(), nn.Linear(w, 5)], (32, 24), (64, 128, 256)
    ),
    "convolution": Kind(
        convolution,
        lambda w: nn.Conv2d(3, w, 3, padding=1),
        lambda w: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w, 5)],
        (3, 12, 12),
        (48, 96, 144),
    ),
}


def trained(number):
    """Draw a model of 5 to 60 MB of state and a budget between the least that works and all it takes; train it."""
    dice = random.Random(number)
    kind, width = dice.choice(sorted(KINDS)), 0
    made, width, name = KINDS[kind], dice.choice(KINDS[kind].widths), dice.choice(sorted(OPTIMIZERS))
    state = 5e6 * 12 ** dice.random()
    own = 4 * TIMES[name] * sum(parameter.numel() for parameter in made.layer(width).parameters())
    layers = max(3, round(state / own))
    rows, micro, clip = dice.choice([8, 16, 32]), dice.choice([4, 8, None]), dice.choice([None, None, 1.0])

    def factory():
        return nn.Sequential(made.before(width), *[made.layer(width) for _ in range(layers)], *made.behind(width))

    torch.manual_seed(number)
    data = [(torch.randn(rows, *made.row), torch.randint(0, 5, (rows,))) for _ in range(2)]
    options = {"optimizer": OPTIMIZERS[name], "micro_batch": micro, "clip": clip}
    plan = ls.train.plan(factory, data[0], memory="8GB", **options)
    budget = int(plan.least + dice.random() ** 2 * max(plan.chosen.memory - plan.least, 0))
    with Rising() as rise:
        fit = ls.train.fit(factory, data, steps=4, epochs=2, memory=budget, progress=False, **options)
    drawn = {"model": f"{number}: {layers} x {kind} {width}", "rows": rows}
    return drawn | options | {
        "optimizer": name, "budget": budget, "least": plan.least, "way": fit.plan.way, "planned": fit.plan.peak,
        "micros": -(-rows // (micro or rows)), "over": round(rise.peak / budget, 3), **asdict(rise),
    }  # fmt: skip


if __name__ == "__main__":
    warm_up()
    for one in range(int(sys.argv[1])):
        print(json.dumps(trained(one)), flush=True)

"""Trains on batches of many lengths, the longest neither first nor last, and reports how far memory rose. A script.

lengths.py list|loader
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import torch
from held import Rising, warm_up
from torch import nn

import lineshaft as ls

LENGTHS = [16, 48, 8, 256, 32, 96]
ROWS, LAST = 8, 3


class Reader(nn.Module):
    def __init__(self, width=96, layers=8):
        super().__init__()
        self.embedding = nn.Embedding(100, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def texts():
    """Return rows whose lengths differ, the last batch shorter than the others."""
    generator = torch.Generator().manual_seed(1)
    rows = [ROWS] * (len(LENGTHS) - 1) + [LAST]
    return [
        torch.randint(0, 100, (length,), generator=generator)
        for length, count in zip(LENGTHS, rows, strict=True)
        for _ in range(count)
    ]


def collate(rows):
    x = torch.stack(rows)
    return x, x.sum(1) % 3


def given(how):
    loader = torch.utils.data.DataLoader(texts(), batch_size=ROWS, collate_fn=collate)
    return loader if how == "loader" else list(loader)


def train(how):
    options = {"micro_batch": 4, "progress": False}
    longest = max(given("list"), key=lambda batch: batch[0].numel())
    plan = ls.train.plan(Reader, longest, micro_batch=4, memory="1GB")
    budget = 2 * plan.least
    with Rising() as rise:
        fit = ls.train.fit(Reader, given(how), memory=budget, **options)
    return {"budget": budget, "least": plan.least, "way": fit.plan.way, "losses": fit.losses, **asdict(rise)}


if __name__ == "__main__":
    warm_up()
    print(json.dumps(train(sys.argv[1])))

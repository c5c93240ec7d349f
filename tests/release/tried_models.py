"""Models that behave and models that do not, for trials."""

from __future__ import annotations

import datetime as dt

import torch
from torch import nn

import lineshaft as ls
from lineshaft.core.codec import encode
from lineshaft.core.table import Table, read_table
from lineshaft.train.model import assemble
from lineshaft.train.targets import Targets
from lineshaft.train.trainer import train

TASK = ls.Task("late", classes=["no", "yes"])
DAY = dt.date(2024, 1, 1)


@ls.features(reads=["size", "day", "tags"])
def sizes(batch):
    days = [0 if day is None else (day - DAY).days for day in batch["day"].to_pylist()]
    counts = [len(tags or []) for tags in batch["tags"].to_pylist()]
    return torch.tensor([batch["size"].to_pylist(), days, counts], dtype=torch.float32).T


@ls.features(reads=["size"])
def sizes_by_batch(batch):
    """Divides by the largest of the batch: what people do who forget that requests come alone."""
    values = torch.tensor(batch["size"].to_pylist(), dtype=torch.float32)[:, None]
    return values / values.abs().max()


class Centred(nn.Module):
    def __init__(self, inputs, classes):
        super().__init__()
        self.line = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.line(x - x.mean(0))


def line(inputs: int, classes: int) -> nn.Module:
    return nn.Linear(inputs, classes)


def centred(inputs: int, classes: int) -> nn.Module:
    return Centred(inputs, classes)


def orders(n=40, sizes=None) -> Table:
    rows = [
        {"id": f"o{k}", "size": float(k % 7) / 3 + 1, "day": DAY + dt.timedelta(days=k), "tags": ["a"] * (k % 3)}
        for k in range(n)
    ]
    for row, size in zip(rows, sizes or [], strict=False):
        row["size"] = size
    return read_table(rows, key="id")


def model_of(builder, features):
    """A trained model as stored: payload and digest."""
    data = features.compute(orders()).values
    recipe = ls.Recipe(builder, inputs=features, batch=16, epochs=1, optimizer=ls.adamw(lr=0.3))
    trained = train(recipe, data, Targets.of_classes([k % 2 for k in range(40)], 2), classes=2)
    payload = assemble(recipe, trained, TASK).payload()
    return payload, encode("Model", payload)[0].digest


def schema_of(table=None, **options) -> str:
    return ls.infer_schema(table or orders(), key=["id"], **options).text()

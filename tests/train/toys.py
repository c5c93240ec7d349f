"""Small rows, features and builders that several tests share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import nn

import lineshaft as ls
from lineshaft.core.table import Table, read_table
from lineshaft.train.targets import Targets

WIDTH = 6


@ls.features(reads=["text"], batch_rows=16)
def letters(batch):
    """How often each of the letters a to f stands in a text."""
    return np.array(
        [[text.count(letter) for letter in "abcdef"] for text in batch["text"].to_pylist()], dtype=np.float32
    )


def head(width: int = 8, depth: int = 1) -> nn.Module:
    layers = [nn.LazyLinear(width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def table(n=50) -> Table:
    texts = ["".join("abcdef"[(7 * row + 3 * place * row) % 6] for place in range(row % 9 + 1)) for row in range(n)]
    return read_table([{"id": f"r{row}", "text": text, "other": row} for row, text in enumerate(texts)], key="id")


def batch(texts) -> pa.RecordBatch:
    return pa.record_batch({"text": list(texts)})


def learnable(n=80, seed=0) -> tuple[dict[str, torch.Tensor], Targets]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, generator=generator)
    return {"x": x}, Targets.of_classes((x[:, 0] > 0).long(), 2)

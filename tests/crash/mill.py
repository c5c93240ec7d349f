"""A whole job in miniature: 300 made-up sentences, seven sources of five kinds, three candidates, one published model.

The tests copy this file beside ``raw.parquet``, edit it, kill it, and run it again. ``MILL_LOG`` names a file to which
the job's own functions append what they do; ``MILL_GATE`` names a folder in which ``gate`` says that it was reached
and waits for ``open``.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lineshaft as ls

FOLDER = Path(__file__).resolve().parent
GOOD = ["fine", "sturdy", "quiet", "quick"]
BAD = ["broken", "noisy", "slow", "cracked"]

task = ls.Task("verdict", classes=["bad", "good"], gold="expert")


def note(what):
    if "MILL_LOG" in os.environ:
        with Path(os.environ["MILL_LOG"]).open("a") as stream:
            stream.write(f"{what}\n")


def gate(name):
    if "MILL_GATE" in os.environ:
        folder = Path(os.environ["MILL_GATE"])
        (folder / f"{name}.reached").touch()
        while not (folder / "open").exists():
            time.sleep(0.01)


@ls.labeling_function(reads=["text"])
def balance(x):
    note(f"balance {x.text}")
    words = x.text.split()
    score = sum(word in GOOD for word in words) - sum(word in BAD for word in words)
    return "good" if score > 0 else "bad" if score < 0 else ls.ABSTAIN


@ls.labeling_function()
def starred(x):
    return "good" if x.stars >= 4 else "bad" if x.stars <= 1 else ls.ABSTAIN


@ls.features(reads=["text"])
def letters(batch):
    """Count letters and telling words: float32 [rows, 32]."""
    texts = batch.column("text").to_pylist()
    note(f"letters {len(texts)} {texts[0]}")
    rows = np.zeros((len(texts), 32), np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            rows[row, 2 + sum(map(ord, word)) % 30] += 1.0
        rows[row, :2] = [sum(word in words for word in text.split()) for words in (GOOD, BAD)]
    return torch.from_numpy(rows)


@ls.model_source(inputs=letters, threshold=0.6)
def leaning(x):
    note(f"leaning {len(x)}")
    good = 1 / (1 + np.exp(x[:, 1] - x[:, 0]))
    return np.stack([1 - good, good], axis=1)


sources = [
    ls.keywords("text", GOOD[:3], label="good", name="praise"),
    ls.keywords("text", BAD[:3], label="bad", name="blame"),
    ls.regex("text", r"\b(never|not) (\w+ )?(works?|fits?)\b", label="bad", name="fails"),
    ls.expression("length(text) < 18 and stars >= 3", label="good", name="brief"),
    balance,
    starred,
    leaning,
]


def head(width: int, inputs: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, classes))


recipe = ls.Recipe(
    head, inputs=letters, loss=ls.cross_entropy, optimizer=ls.adamw(lr=0.01), batch=32, epochs=4, patience=3,
    model={"width": 8},
)  # fmt: skip
SPACE = {"optimizer.lr": [0.003, 0.01, 0.05]}
RULES = [ls.at_least("accuracy", 0.5), ls.no_worse_than("mill@live", "accuracy", slack=0.05)]


def count_labels(labels, unit):
    """Tell how many rows learn what, in units."""
    note("count_labels")
    gate("count_labels")
    tiers = labels.column("tier").to_pylist()
    return {tier: tiers.count(tier) / unit for tier in sorted(set(tiers))}


def main(run):
    raw = run.read(FOLDER / "raw.parquet", key="id", group="shop", split={"train": 0.75, "test": 0.25})
    schema = run.schema(raw["train"], file=FOLDER / "mill.schema.toml", gold=["expert"])
    good = run.check(raw, schema)
    labels = run.label(good["train"], sources, task)
    run.step(count_labels, labels, unit=1)
    search = run.select(recipe, good["train"], labels, space=SPACE)
    model = run.bless(search.best, on=good["test"], rules=RULES, slices={"long": "length(text) > 25"})
    run.publish(model, "mill@live")

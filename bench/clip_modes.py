"""What does exact clipping cost a spilled training, and what could a mode that steps before it knows the norm save?

13 M parameters (16 encoder layers, d 256, dropout 0.1) with AdamW in a fifth of the memory of their state, from disk,
one row at a time. Arms: no clipping; each shard by its own norm; all gradients by the norm of all, which waits for
them, so that they go below and come back where memory asks for it. Each arm runs in a process of its own, one torch
thread, in turns; seconds of a step are medians of all rounds.

    python bench/clip_modes.py [--quick]

``could``: what a mode would move that steps each shard at once and undoes that where the norm says so. It moves what
``none`` does and writes each gradient. To undo a step it reads the old parameters and state and the gradient of each
shard, and writes it again. ``undone`` is the share of steps from which on it moves more than the exact mode.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from clocks import Clocks, apart

D, LAYERS, HEADS, LENGTH = 256, 16, 8, 128
SHARE = 5
SCRATCH = Path(__file__).resolve().parent / ".scratch"  # a folder on a disk: the system's may be in memory
ARMS = ("none", "per_shard", "global")
BAR = 1.5  # exact clipping against none, in bytes moved


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--arm")
    parser.add_argument("--tokens", type=int, default=512)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(train(given.arm, given.tokens)))
        return
    found = {tokens: compare(tokens, 1 if given.quick else 3) for tokens in (512, 32)}
    moved = found[512]["moved"]
    ratio = moved["global"] / moved["none"]
    print(
        json.dumps({
            "name": "clip_modes", "ours": moved["global"], "peer": moved["none"], "ratio": round(ratio, 3), "bar": BAR,
            "holds": ratio <= BAR, "tokens": found,
        })
    )  # fmt: skip


def compare(tokens, rounds):
    seen = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm in ARMS:
            one = apart(__file__, "--arm", arm, "--tokens", tokens)
            if "failed" in one:
                raise SystemExit(f"{arm}: {one['failed']}")
            seen[arm].append(one)
            print(f"{tokens} tokens {arm:10} {one}", flush=True)
    middle = {
        what: {arm: statistics.median(one[what] for one in seen[arm]) for arm in ARMS}
        for what in ("wall", "main", "all", "stalled", "moved")
    }
    values = seen["none"][0]["values"]
    could, again = middle["moved"]["none"] + values, 7 * values  # reads 3 and the gradient, writes 3
    spare = middle["moved"]["global"] - could
    return middle | {"could": could, "undone": round(spare / again, 3)}


def train(arm, tokens):
    """One arm, in this process."""
    import torch
    from torch import nn
    from torch.nn import functional

    import lineshaft as ls

    torch.set_num_threads(1)

    def factory():
        layers = [nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.1, batch_first=True) for _ in range(LAYERS)]
        return nn.Sequential(*layers, nn.Linear(D, 10))

    def loss(outputs, target):
        return functional.cross_entropy(outputs.mean(1), target, reduction="none")

    length = min(LENGTH, tokens)
    rows = tokens // length
    batch = torch.randn(rows, length, D), torch.randint(0, 10, (rows,))
    values = sum(value.nbytes for value in factory().parameters())
    clip = {"none": None, "per_shard": ls.train.Clip(1.0, "per_shard"), "global": 1.0}[arm]
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        options = {"memory": 4 * values // SHARE, "spill": folder, "optimizer": ls.adamw(lr=1e-4), "clip": clip}
        with Clocks([batch], 6) as clocks:
            fit = ls.train.fit(factory, clocks, loss, steps=6, micro_batch=1, progress=False, **options)
    times = clocks.result(warm=3)
    return {name: round(times[name], 4) for name in ("wall", "main", "all")} | {
        "stalled": round(fit.trace.stalled, 4), "moved": sum(span.size for span in fit.trace.spans), "values": values,
        "shards": len(fit.plan.chosen.cut.shards), "passing": fit.plan.chosen.cut.passing, "way": fit.plan.way,
    }  # fmt: skip


if __name__ == "__main__":
    main()

"""How fast does a model train on one GPU when its state does not fit the GPU's memory?

    3b    3.0 B parameters, float32 under bf16 autocast, AdamW: 48 GB of parameters, gradients and moments, in 16 GB of
          the GPU; beside it the plain loop with all of it in the GPU's memory and the blocks checkpointed.
          bar: 0.90 of its tokens a second, at 16,384 tokens a step
    7b    6.7 B parameters in bf16, AdamW: 54 GB, in 30 GB of the GPU, at 65,536 tokens a step.
          bar: 200 TFLOP/s, counted as 6 x parameters x tokens + attention; what is computed again does not count

    python bench/spill_cuda.py 3b|7b [--quick]

Each arm runs in a process of its own; a step's seconds are medians between the moments at which the data is asked for
its next batch. ``stall``: the share of a step in which the GPU's computing waited; ``plan``: the step's predicted
seconds over those measured; ``peak``: what torch held of the GPU's memory, over the budget. ``--quick``: a twelfth of
the layers, in a sixth of the memory. Without a GPU it says so, and nothing holds.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

VOCABULARY, LENGTH = 32_000, 2048
QUICK = 12
WARM = 2


@dataclass(frozen=True)
class Size:
    """A model and how it is trained: ``rows`` of ``LENGTH`` tokens a step, ``budget`` bytes of the GPU."""

    width: int
    layers: int
    heads: int
    rows: int
    micro_batch: int
    budget: int
    half: bool

    @property
    def flops(self):
        """Return those of a step: 6 a parameter and token, and causal attention's."""
        tokens = self.rows * LENGTH
        dense = self.layers * 12 * self.width**2 + self.width * VOCABULARY
        return 6 * tokens * dense + 6 * tokens * self.layers * self.width * LENGTH


SIZES = {
    "3b": Size(2560, 36, 20, 8, 1, 16 * 10**9, half=False),
    "7b": Size(4096, 32, 32, 32, 4, 30 * 10**9, half=True),
}


class Block(nn.Module):
    """A decoder's layer, normalised before."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, length, width = x.shape
        parts = self.mix(self.before(x)).view(rows, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class Model(nn.Module):
    """A decoder; ``again``: its layers' graphs are made again on the way back."""

    def __init__(self, size, *, again):
        super().__init__()
        self.again = again
        self.embedding = nn.Embedding(VOCABULARY, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.again else block(x)
        return self.head(self.norm(x))


class Stamped:
    """Mini-batches, and when each was asked for."""

    def __init__(self, size, steps):
        generator = torch.Generator().manual_seed(0)
        words = torch.randint(VOCABULARY, (size.rows, LENGTH + 1), generator=generator)
        self.batch, self.steps, self.stamps = (words[:, :-1], words[:, 1:]), steps, []

    def __iter__(self):
        for number in range(self.steps + 1):
            torch.cuda.synchronize()
            self.stamps.append(time.perf_counter())
            if number < self.steps:
                yield self.batch

    def seconds(self):
        steps = [after - before for before, after in itertools.pairwise(self.stamps)]
        return statistics.median(steps[WARM:])


def loss(outputs, target):
    """Return the mean over a row's tokens ``[rows]``."""
    return functional.cross_entropy(outputs.transpose(1, 2), target, reduction="none").mean(1)


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-4)


def train(size, arm, steps):
    """Train one arm and return its figures."""
    import lineshaft as ls

    def factory():
        model = Model(size, again=arm == "resident")
        return model.to(torch.bfloat16) if size.half else model

    data = Stamped(size, steps)
    options = {"micro_batch": size.micro_batch, "precision": None if size.half else "bf16", "progress": False}
    if arm == "spilled":
        options["memory"] = size.budget
    torch.cuda.init()
    with tempfile.TemporaryDirectory() as folder:
        if arm == "spilled":
            options["spill"] = folder
        fit = ls.train.fit(factory, data, loss, adamw, devices="cuda", **options)
    seconds = data.seconds()
    found = {
        "tokens": size.rows * LENGTH / seconds,
        "tflops": size.flops / seconds / 1e12,
        "seconds": seconds,
        "held": torch.cuda.max_memory_reserved(),
        "parameters": sum(value.numel() for value in fit.model.parameters()),
        "losses": fit.losses[:3],
    }
    if fit.plan is not None:
        found |= {
            "stall": fit.trace.stalled / seconds,
            "plan": fit.plan.chosen.priced.seconds / seconds,
            "peak": found["held"] / size.budget,
            "way": str(fit.plan),
        }
    return found


def apart(given, arm):
    """Run an arm in a process of its own."""
    options = ["--quick"] if given.quick else []
    done = subprocess.run(
        [sys.executable, __file__, given.size, "--arm", arm, *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def judged(name, size, found):
    """Return the closing line."""
    spilled, resident = found["spilled"], found.get("resident", {})
    if size.half:
        bar, ours, peer, ratio = 200.0, spilled.get("tflops"), None, None
        holds = ours is not None and ours >= bar
    else:
        bar, ours, peer = 0.90, spilled.get("tokens"), resident.get("tokens")
        ratio = ours / peer if ours and peer else None
        holds = ratio is not None and ratio >= bar
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "bar": bar, "holds": holds, "arms": found}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--quick", action="store_true", help="a twelfth of the layers, in a twelfth of the memory")
    parser.add_argument("--arm", choices=("spilled", "resident"))
    parser.add_argument("--steps", type=int, default=7)
    given = parser.parse_args()
    size = SIZES[given.size]
    if given.quick:
        size = replace(size, layers=size.layers // QUICK, budget=2 * size.budget // QUICK)
    name = f"spill_cuda_{given.size}"
    if not torch.cuda.is_available():
        why = f"torch {torch.__version__} sees no CUDA device here"
        print(json.dumps({"name": name, "ours": None, "peer": None, "ratio": None, "holds": False, "why": why}))
        return
    if given.arm:
        print("\n" + json.dumps(train(size, given.arm, given.steps)))
        return
    arms = ["spilled"] if size.half else ["resident", "spilled"]
    found = {"device": torch.cuda.get_device_name()} | {arm: apart(given, arm) for arm in arms}
    for arm in arms:
        print(arm, json.dumps(found[arm], indent=1))
    line = judged(name, size, found)
    results = Path(__file__).parent / "results" / f"{name}.json"
    if not given.quick:
        results.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(line))


if __name__ == "__main__":
    main()

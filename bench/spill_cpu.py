"""What does it cost to train a model whose state is eight times its memory, from disk, on a CPU?

101 M parameters (32 encoder layers, d 512, dropout 0.1) with AdamW: 1.61 GB of parameters, gradients and moments, in a
budget of an eighth of that, 512 tokens a visit. The peer is the same training with everything in memory and activation
checkpointing on every layer. Each arm runs in processes of its own, one torch thread, in turns; CPU seconds of a step
are medians. Files are opened with O_DIRECT, past the page cache (``direct`` says whether the disk took that).

    python bench/spill_cpu.py [--quick]

``main``: the CPU of the threads that compute; ``all``: with those that read and write. Beside it: no
prefetch; micro-batches of 128 tokens inside a visit, and each of them with visits of its own (both against the same in
memory); a commit after every step, and one that is waited for; and what a step costs at fewer tokens a visit, against
the formula n >= 28 F / (8 W) of bytes that hide behind computing (half-duplex disk).
"""

import argparse
import functools
import json
import statistics
import tempfile
from pathlib import Path

from clocks import Clocks, apart

D, LAYERS, HEADS, LENGTH = 512, 32, 8, 128
SHARE = 8
SCRATCH = Path(__file__).resolve().parent / ".scratch"  # a folder on a disk: the system's may be in memory
BARS = {"main": 1.10, "all": 1.25, "stalled": 0.02, "peak": 0.10}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one round of fewer steps, and no curve")
    parser.add_argument("--arm")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--micro", type=int, default=512, help="tokens in a micro-batch")
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(train(given.arm, given.tokens, given.micro, given.steps)))
        return
    rounds, steps = (1, 5) if given.quick else (4, 8)
    peer, ours = [], []
    for _ in range(rounds):  # in turns: the machine is never the same for long
        peer.append(run("memory", steps=steps))
        ours.append(run("spilled", steps=steps))
    report(peer, ours)
    variants = {} if given.quick else other_ways(peer, steps)
    curve = [] if given.quick else over_tokens(steps)
    print(json.dumps(summary(peer, ours, variants, curve)))


def run(arm, **options):
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    found = apart(__file__, "--arm", arm, *flags)
    if "failed" in found:
        raise SystemExit(f"{arm}: {found['failed']}")
    return found


def best(rounds, name):
    return min(one[name] for one in rounds)


def report(peer, ours):
    for label, rounds in (("in memory", peer), ("spilled", ours)):
        for one in rounds:
            print(
                f"{label:12} main {one['main']:.2f} all {one['all']:.2f} wall {one['wall']:.2f} s a step; "
                f"peak {one['peak'] / 1e6:.0f} MB; stalled {one.get('stalled', 0):.3f} s",
                flush=True,
            )


def other_ways(peer, steps):
    found = {}
    small = {"micro": 128}
    fair = {"micro_batches": run("memory", steps=steps, **small)}
    fair["no_visits"] = fair["micro_batches"]
    for arm, options in (
        ("no_prefetch", {}),
        ("micro_batches", small),
        ("no_visits", small),
        ("commit", {}),
        ("waited_commit", {}),
    ):
        one = run(arm, steps=steps, **options)
        found[arm] = {name: round(one[name], 3) for name in ("main", "all", "wall", "stalled")}
        found[arm]["to_memory"] = round(one["main"] / best([fair[arm]] if arm in fair else peer, "main"), 3)
        print(f"{arm:14} {found[arm]}", flush=True)
    return found


def over_tokens(steps):
    """Return, for fewer and fewer tokens, the stall and the wall time against computing, and what the formula says."""
    found = []
    for tokens in (512, 256, 128, 64, 32, 16):
        one = run("spilled", steps=steps, tokens=tokens, micro=tokens)
        needed = 28 * one["flops"] / (8 * one["rate"])
        slowdown, expected = one["wall"] / (one["wall"] - one["stalled"]), max(1.0, needed / tokens)
        found.append({
            "tokens": tokens, "needed": round(needed), "slowdown": round(slowdown, 3), "expected": round(expected, 3),
        })  # fmt: skip
        print(f"curve {found[-1]}", flush=True)
    return found


def summary(peer, ours, variants, curve):
    main_ratio, all_ratio = (best(ours, name) / best(peer, name) for name in ("main", "all"))
    stalled = statistics.median(one["stalled"] / one["wall"] for one in ours)
    over = [one["peak"] / one["planned"] for one in ours]
    off = max(abs(one - 1) for one in over)
    time_off = [abs(one["seconds"] / one["wall"] - 1) for one in ours]
    holds = {
        "main": main_ratio <= BARS["main"],
        "all": all_ratio <= BARS["all"],
        "stalled": stalled <= BARS["stalled"],
        "peak": off <= BARS["peak"],
        "state": ours[0]["state"] >= SHARE * ours[0]["budget"],
        "bits": all(one["losses"] == peer[0]["losses"] for one in ours),
    }
    return {
        "name": "spill_cpu", "ours": round(best(ours, "main"), 3), "peer": round(best(peer, "main"), 3),
        "ratio": round(main_ratio, 3), "bar": BARS["main"], "holds": all(holds.values()),
        "all_threads": round(all_ratio, 3), "stalled": round(stalled, 4),
        "peak_over_plan": [round(one, 3) for one in over], "peak": [one["peak"] for one in ours],
        "budget": ours[0]["budget"], "state": ours[0]["state"],
        "peak_in_memory": peer[0]["peak"], "plan_seconds_off": [round(one, 3) for one in time_off],
        "direct": ours[0]["direct"], "each": holds, "variants": variants, "curve": curve,
    }  # fmt: skip


def train(arm, tokens, micro, steps):
    """One arm, in this process."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.checkpoint import checkpoint

    import lineshaft as ls
    from lineshaft.train.program import place
    from lineshaft.train.spill import spilled

    torch.set_num_threads(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.1, batch_first=True, norm_first=True)
                for _ in range(LAYERS)
            )
            self.head = nn.Linear(D, 10)

        def forward(self, x):
            for layer in self.layers:
                x = checkpoint(layer, x, use_reentrant=False) if arm == "memory" else layer(x)
            return self.head(x.mean(1))

    def loss(outputs, target):
        return functional.cross_entropy(outputs, target, reduction="none")

    length = min(LENGTH, tokens)
    rows = tokens // length
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(rows, length, D, generator=generator), torch.randint(0, 10, (rows,), generator=generator))
        for _ in range(2)
    ]
    warm_up(nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.1, batch_first=True, norm_first=True), batches[0][0])
    state = 16 * (LAYERS * (12 * D * D + 13 * D) + 10 * D + 10)
    budget = state // SHARE
    if arm == "no_prefetch":
        spilled.place = functools.partial(place.place, prefetch=False)
    if arm == "no_visits":
        spilled.order_of = by_micro_batch
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        options = {} if arm == "memory" else {"memory": budget, "spill": folder}
        if "commit" in arm:
            options = {"memory": budget, "checkpoint": folder}
        if arm == "waited_commit":
            wait_for_commits(spilled.Spilled)
        options |= {"optimizer": ls.adamw(lr=1e-4), "steps": steps, "micro_batch": micro // length}
        with Clocks(batches, steps) as clocks:
            fit = ls.train.fit(Net, clocks, loss, progress=False, **options)
        found = clocks.result(warm=3) | {"losses": fit.losses, "state": state, "budget": budget}
        if arm != "memory":
            found |= measured(fit, tokens, Path(folder))
        return found


def measured(fit, tokens, folder):
    from lineshaft.core.memory import SpillFile

    costs, priced = fit.plan.chosen.costs, fit.plan.chosen.priced
    computing = 8 * (101e6) * tokens / (priced.loads["compute"] - sum(costs.step))
    probe = SpillFile(folder / "probe", 1 << 20)
    probe.close()
    return {
        "stalled": fit.trace.stalled, "planned": fit.plan.peak, "seconds": fit.plan.seconds, "flops": computing,
        "rate": 2 / (1 / costs.read + 1 / costs.write), "shards": len(fit.plan.chosen.cut.shards),
        "direct": probe.direct, "trace": [[str(one.action), one.start, one.end] for one in fit.trace.spans],
    }  # fmt: skip


def warm_up(layer, x):
    """Let torch load its kernels before anything is measured."""
    import torch

    layer(x).sum().backward()
    torch.optim.AdamW(layer.parameters()).step()


def by_micro_batch(made, micros, **options):
    """Every micro-batch through all shards by itself: the weights cross once for each."""
    from lineshaft.train.program.generate import checkpointed

    del options["by_micro"]
    return checkpointed(len(made.shards), micros, **options)


def wait_for_commits(kind):
    """Let a step end when its commit is on the disk."""
    after_step = kind.after_step

    def waiting(self, watcher, data):
        after_step(self, watcher, data)
        self._executor.settle()

    kind.after_step = waiting


if __name__ == "__main__":
    main()

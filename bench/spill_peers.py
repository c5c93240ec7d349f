"""What do others who offload a model hold when they train it on a CPU, and do they train it to the same bits?

76 M parameters (24 encoder layers, d 512, dropout 0.1) with AdamW: 1.21 GB of parameters, gradients and moments, 512
tokens a step, one torch thread. Each arm trains the same model on the same mini-batches in a process of its own:

    plain            the loop written out in torch, everything in memory; its losses and parameters are the reference
    lineshaft        ``ls.train.fit(memory=state / 8, spill=folder)``
    save_on_cpu      the plain loop, its activations moved by ``torch.autograd.graph.save_on_cpu``
    accelerate_cpu   the plain loop on a model under ``accelerate.cpu_offload``; _disk: ``disk_offload``
    deepspeed        ZeRO stage 3, parameters and optimizer offloaded to the CPU's memory; _nvme: to a folder
    fsdp2            the plain loop on a model under ``fully_shard`` with ``CPUOffloadPolicy``, a group of one process;
                     _pinned: with the policy's default, pages that are pinned

    python bench/spill_peers.py [--quick]

The table has seconds of a step (medians; CPU of the threads that compute, of all threads, wall) and the peak of the
process's memory above what it held before the model was made; ``off`` is the largest difference of a loss from the
plain one. ``failed`` is the last line of what an arm said. A run that is not quick makes an environment for accelerate
and deepspeed, in ``bench/.peers`` or ``$LINESHAFT_PEERS``, and deepspeed compiles its operators first, for minutes.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import torch
from clocks import Clocks, apart
from torch import nn
from torch.nn import functional

D, LAYERS, HEADS, LENGTH, ROWS = 512, 24, 8, 128, 4
BLOCK = 12 * D * D + 13 * D  # parameters of a layer
STATE = 16 * (LAYERS * BLOCK + 10 * D + 10)
SHARE, LR = 8, 1e-4
HERE = Path(__file__).parent
PACKAGES = ("torch==2.13.0", "accelerate", "deepspeed", "setuptools")
COMPILING = 900  # seconds that deepspeed may take: killed while it compiles, it leaves a lock behind
FIGURES = ("main", "all", "wall")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer steps, and only what needs no other environment")
    parser.add_argument("--arm", choices=ARMS)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    if given.arm:
        print("\n" + json.dumps(train(given.arm, given.steps)))
        return
    names, steps = (QUICK, 4) if given.quick else (ARMS, given.steps)
    elsewhere = sys.executable if given.quick else peers()
    found = {}
    for name in names:
        found[name] = run(name, steps, elsewhere if name.startswith(("accelerate", "deepspeed")) else sys.executable)
        compare(found[name], found["plain"])
        print(f"{name:15} {line(found[name])}", flush=True)
    print(json.dumps(summary(found)))


def peers():
    """Return the interpreter of the environment that holds the peers; make it if it is not there."""
    folder = Path(os.environ.get("LINESHAFT_PEERS", HERE / ".peers")).absolute()
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        venv.create(folder, clear=True, with_pip=True)
        constraints = HERE.parent / "constraints.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, *PACKAGES], check=True)
        whole.touch()
    return python


def run(arm, steps, python):
    try:
        found = apart(__file__, "--arm", arm, "--steps", steps, python=python, limit=COMPILING)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {COMPILING} s"}
    if "failed" in found:
        return {"failed": found["failed"].removeprefix("[rank0]: ")}
    return found


def compare(found, plain):
    """Say whether an arm that trained came to the bits of the plain loop, and how far off its losses are."""
    if "failed" not in found:
        found["same_bits"] = all(found[part] == plain[part] for part in ("losses", "digest"))
        found["off"] = max(abs(one - other) for one, other in zip(found["losses"], plain["losses"], strict=True))


def line(found):
    if "failed" in found:
        return f"failed: {found['failed']}"
    seconds = " ".join(f"{name} {found[name]:.2f}" for name in FIGURES)
    bits = "same bits" if found["same_bits"] else f"other bits, losses up to {found['off']:.2g} off"
    return f"{seconds} s a step; peak {found['peak'] / 1e6:.0f} MB; {bits}"


def summary(found):
    if "failed" in found["lineshaft"]:
        raise SystemExit(f"lineshaft: {found['lineshaft']['failed']}")
    ours = found["lineshaft"]
    peer = min(one["peak"] for name, one in found.items() if name not in OURS and "failed" not in one)
    return {
        "name": "spill_peers", "ours": ours["peak"], "peer": peer, "ratio": round(ours["peak"] / peer, 3), "bar": 1.0,
        "holds": ours["same_bits"] and ours["peak"] < peer, "state": STATE, "budget": STATE // SHARE,
        "arms": {name: kept(one) for name, one in found.items()},
    }  # fmt: skip


def kept(found):
    if "failed" in found:
        return found
    seconds = {name: round(found[name], 3) for name in FIGURES}
    return seconds | {"peak": found["peak"], "same_bits": found["same_bits"], "off": round(found["off"], 6)}


class Net(nn.Module):
    """Layers of an encoder, and a head on their mean."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.1, batch_first=True, norm_first=True) for _ in range(LAYERS)
        )
        self.head = nn.Linear(D, 10)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def row_losses(outputs, target):
    """Losses [rows], not yet reduced: cross_entropy's own mean adds them up in another order."""
    return functional.cross_entropy(outputs, target, reduction="none")


def train(arm, steps):
    """One arm, in this process."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(ROWS, LENGTH, D, generator=generator), torch.randint(0, 10, (ROWS,), generator=generator))
        for _ in range(2)
    ]
    warm_up(batches[0][0])
    with tempfile.TemporaryDirectory(prefix="spill-peers-", dir=Path.cwd()) as folder:
        return ARMS[arm](Clocks(batches, steps), Path(folder))


def warm_up(x):
    """Let torch load its kernels before anything is measured."""
    layer = nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.1, batch_first=True, norm_first=True)
    layer(x).sum().backward()
    torch.optim.AdamW(layer.parameters()).step()


def plain(clocks, _folder, change=lambda model: model, around=contextlib.nullcontext):
    """Train by the loop written out, on the model as an offloader changes it."""
    losses = []
    with clocks:
        torch.manual_seed(0)
        model = change(Net())
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        for x, target in clocks:
            optimizer.zero_grad()
            with around():
                loss = row_losses(model(x), target).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    parameters = list(model.parameters())
    if left := sum(parameter.grad is None for parameter in parameters):
        raise RuntimeError(
            f"{left} of {len(parameters)} parameters have no gradient after backward: nothing trains them"
        )
    return result(clocks, losses, parameters)


def lineshaft(clocks, folder):
    import lineshaft as ls

    budget = {"memory": STATE // SHARE, "spill": folder}
    with clocks:
        fit = ls.train.fit(
            Net, clocks, row_losses, optimizer=ls.adamw(lr=LR), steps=clocks.steps, progress=False, **budget
        )  # fmt: skip
    return result(clocks, fit.losses, fit.model.parameters())


def accelerate(clocks, folder, tier):
    import accelerate

    # Attention reads the weights of a linear layer that it never calls, so whole layers are brought in.
    offload = {"cpu": accelerate.cpu_offload, "disk": functools.partial(accelerate.disk_offload, offload_dir=folder)}
    whole = {"execution_device": torch.device("cpu"), "preload_module_classes": ["TransformerEncoderLayer"]}
    return plain(clocks, folder, change=functools.partial(offload[tier], **whole))


def fsdp2(clocks, folder, pinned):
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

    def change(model):
        for layer in (*model.layers, model):
            fully_shard(layer, mesh=mesh, offload_policy=CPUOffloadPolicy(pin_memory=pinned))
        return model

    with alone(folder):
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        return plain(clocks, folder, change=change)


def deepspeed(clocks, folder, tier):
    tools = Path(sys.executable).parent
    os.environ |= {"DS_ACCELERATOR": "cpu", "TORCH_EXTENSIONS_DIR": str(folder), "LOCAL_RANK": "0"}
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"  # where ninja is
    import deepspeed

    below = {"device": tier, "nvme_path": str(folder)} if tier == "nvme" else {"device": tier}
    config = {
        "train_micro_batch_size_per_gpu": ROWS,
        "gradient_clipping": 0.0,  # left out, it is 1.0
        "optimizer": {"type": "AdamW", "params": {"lr": LR, "weight_decay": 0.01}},
        "zero_optimization": {
            "stage": 3, "offload_param": below, "offload_optimizer": below, "stage3_max_live_parameters": 2 * BLOCK,
            "stage3_prefetch_bucket_size": BLOCK, "reduce_bucket_size": BLOCK, "sub_group_size": BLOCK,
        },
    }  # fmt: skip
    losses = []
    with alone(folder):
        if tier == "nvme":
            deepspeed.ops.op_builder.AsyncIOBuilder().load()  # needs libaio and its headers
        deepspeed.ops.op_builder.CPUAdamBuilder().load()  # compiled before anything is measured, as is the group's
        deepspeed.init_distributed()
        with clocks:
            torch.manual_seed(0)
            model = Net()
            engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
            for x, target in clocks:
                loss = row_losses(engine(x), target).mean()
                engine.backward(loss)
                engine.step()
                losses.append(loss.item())
        parameters = list(model.parameters())
        with deepspeed.zero.GatheredParameters(parameters):
            return result(clocks, losses, parameters)


@contextlib.contextmanager
def alone(folder):
    """Be a process group of one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def result(clocks, losses, parameters):
    digest = hashlib.sha256()
    for parameter in parameters:
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        digest.update(whole.detach().contiguous().numpy().data)
    return clocks.result(warm=2) | {"losses": losses, "digest": digest.hexdigest()}


ARMS = {
    "plain": plain,
    "lineshaft": lineshaft,
    "save_on_cpu": functools.partial(plain, around=torch.autograd.graph.save_on_cpu),
    "accelerate_cpu": functools.partial(accelerate, tier="cpu"),
    "accelerate_disk": functools.partial(accelerate, tier="disk"),
    "deepspeed": functools.partial(deepspeed, tier="cpu"),
    "deepspeed_nvme": functools.partial(deepspeed, tier="nvme"),
    "fsdp2": functools.partial(fsdp2, pinned=False),
    "fsdp2_pinned": functools.partial(fsdp2, pinned=True),
}
QUICK = ("plain", "lineshaft", "save_on_cpu")
OURS = ("plain", "lineshaft")


if __name__ == "__main__":
    main()

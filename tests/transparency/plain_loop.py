"""The training loop written out as anyone would in plain torch, and models and data to try it on.

It shares nothing with lineshaft: what `fit` claims to compute is computed here a second time.
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn
from torch.nn import functional

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def plain(
    factory, data, loss, optimizer, *, micro_batch=None, accumulate=1, epochs=1, clip=None, precision=None,
    schedule=None, seed=0, parts=lambda model: [model.parameters()],
):  # fmt: skip
    """Return model, optimizer and losses; each of the parts is clipped by its own norm."""
    torch.manual_seed(seed)
    model = factory()
    made = optimizer(list(model.named_parameters()))
    plan = schedule(made) if schedule else None
    scaler = torch.amp.GradScaler("cpu") if precision == "fp16" else None
    losses = []

    def step(batches):
        made.zero_grad()
        weights = [batch[2] if len(batch) == 3 else torch.ones(len(batch[1])) for batch in batches]
        total_weight = torch.cat(weights).sum()
        seen = torch.zeros(())
        for (x, y, *_), w in zip(batches, weights, strict=False):
            size = micro_batch or len(y)
            for start in range(0, len(y), size):
                cast = torch.autocast("cpu", dtype=HALF[precision]) if precision else contextlib.nullcontext()
                with cast:
                    own = slice(start, start + size)
                    out = model(**{k: v[own] for k, v in x.items()}) if isinstance(x, dict) else model(x[own])
                    rows = loss(out, y[own])
                part = (rows * (w[start : start + size] / total_weight)).sum()
                (scaler.scale(part) if scaler else part).backward()
                seen += part.detach()
        if clip:
            if scaler:
                scaler.unscale_(made)
            for part in parts(model):
                torch.nn.utils.clip_grad_norm_(part, clip)
        if scaler:
            scaler.step(made)
            scaler.update()
        else:
            made.step()
        if plan:
            plan.step()
        losses.append(float(seen))

    for _ in range(epochs):
        pending = []
        for batch in data:
            pending.append(batch)
            if len(pending) == accumulate:
                step(pending)
                pending = []
        if pending:
            step(pending)
    return model, made, losses


def rows(n=90, columns=12, classes=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=generator)
    return x, (x @ torch.randn(columns, classes, generator=generator)).argmax(1)


def batches(n=90, size=20, *, weighted=False, soft=False):
    x, y = rows(n)
    target = functional.softmax(2 * functional.one_hot(y, 3).float(), dim=1) if soft else y
    weight = torch.rand(n, generator=torch.Generator().manual_seed(2)) + 0.1
    parts = (x, target, weight) if weighted else (x, target)
    return [tuple(part[start : start + size] for part in parts) for start in range(0, n, size)]


def dropout_net():
    return nn.Sequential(
        nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.Dropout(0.1), nn.Linear(16, 3)
    )


def norm_net():
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))


class Tied(nn.Module):
    """Two uses of one weight, and a buffer that forward writes but no state dict holds."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(12, 12)
        self.again = nn.Linear(12, 12, bias=False)
        self.again.weight = self.body.weight
        self.head = nn.Linear(12, 3)
        self.drop = nn.Dropout(0.2)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.head(self.drop(self.again(torch.tanh(self.body(x)))) * (1 + 0.01 * torch.sin(self.calls)))


def all_state(model, optimizer):
    """Every number that training changed, by name."""
    state = {f"model {name}": value for name, value in model.state_dict().items()}
    state |= {f"buffer {name}": value for name, value in model.named_buffers()}
    for index, own in optimizer.state_dict()["state"].items():
        state |= {f"optimizer {index} {name}": torch.as_tensor(value) for name, value in own.items()}
    return {name: value.detach().clone() for name, value in state.items()}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), f"{name} differs by {(one[name] - other[name]).abs().max()}"

"""What users of other systems complain about, asked of one spilled model."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest
import torch
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from zoo import ZOO, Case, bert, numbers, row_loss, spilled, tokens

import lineshaft as ls
from lineshaft.errors import UsageError


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


def same(case, **options):
    model, made, losses = plain(case.factory, case.data, row_loss, adamw, **options)
    fit = spilled(case, optimizer=adamw, **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))
    return fit


@pytest.mark.parametrize("name", ["llama", "t5", "bert", "vit", "gpt-2"])
def test_models_of_transformers_are_split(name):
    """None is refused, nor taken as one piece, in a budget of less than its state."""
    case = ZOO[name]
    fit = spilled(case, steps=1, micro_batch=3)
    assert len(fit.plan.chosen.cut.shards) >= 3


def masked(rows=32, size=8):
    """Every row has a length of its own."""
    given = []
    for x, y in tokens(rows, size):
        lengths = 3 + (x.sum(1) % 9)
        given.append(({"input_ids": x, "attention_mask": (torch.arange(12) < lengths[:, None]).long()}, y))
    return given


def test_side_inputs_are_those_of_their_micro_batch():
    same(Case(bert, masked(), ZOO["bert"].memory), epochs=3, micro_batch=3)


def deep(width=64, layers=12):
    middle = [nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1)) for _ in range(layers)]
    return nn.Sequential(nn.Linear(12, width), *middle, nn.Linear(width, 3))


def test_a_memory_budget_is_all_that_has_to_be_said():
    data = numbers()
    fit = ls.train.fit(deep, data, memory="500KB", progress=False)
    assert fit.plan.way == "spilled"
    assert fit.losses == ls.train.fit(deep, data, progress=False).losses


def test_what_a_budget_has_room_for_stays():
    """The more memory, the less is moved: a fraction of the shards is never sent away."""
    moved = []
    for memory in (400_000, 600_000, 800_000):
        fit = spilled(Case(deep, numbers(), memory), steps=3)
        assert fit.plan.way == "spilled"
        moved.append(sum(span.size for span in fit.trace.spans if span.action.kind in "LW"))
    assert moved[0] > moved[1] > moved[2]


def in_place(block):
    block.compile(backend="eager")
    return block


def wrapped(block):
    return torch.compile(block, backend="aot_eager")


@pytest.mark.parametrize("compiled", [in_place, wrapped])
def test_compiled_blocks_are_refused_by_name_or_stay_in_memory(compiled):
    def factory():
        first, *blocks, last = deep(layers=6)
        return nn.Sequential(first, *map(compiled, blocks), last)

    torch._dynamo.reset()
    with pytest.raises(UsageError, match=r"too small.* if all of the model could be cut .* compiled"):
        spilled(Case(factory, numbers(), 300_000), micro_batch=4)
    fit = same(Case(factory, numbers(), 1 << 30), epochs=1, micro_batch=4)
    assert fit.plan.way == "resident"


def test_training_again_and_again_holds_no_more():
    """Files and threads of one training are gone with it."""

    def held():
        gc.collect()
        lines = Path("/proc/self/maps").read_text().splitlines()
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            sum("lineshaft" in x for x in lines),
        )

    spilled(ZOO["mlp"])
    before = held()
    for _ in range(5):
        spilled(ZOO["mlp"], micro_batch=3)
    assert held() == before

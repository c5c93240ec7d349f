"""Spilled == the loop written out, bit for bit: 20 AdamW steps with dropout, whatever the model, tier or option."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from plain_loop import Tied, all_state, assert_same_bits, batches, norm_net, plain
from torch import nn
from zoo import ZOO, Case, mlp, numbers, only, row_loss, spilled, tokens

import lineshaft as ls
from lineshaft.errors import Diverged, TrainingError, UsageError

TIERS = {
    "disk": lambda size: size,
    "dram": lambda size: {"device": size},
    "two levels": lambda size: {"device": size, "dram": size // 4},
}


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


def grouped(named):
    named = list(named)
    return torch.optim.AdamW(
        [
            {"params": [p for _, p in named if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for _, p in named if p.dim() <= 1], "weight_decay": 0.0, "lr": 5e-3},
        ],
        lr=1e-3,
    )


def momentum(named):
    return torch.optim.SGD([p for _, p in named], lr=0.05, momentum=0.9, nesterov=True)


def adafactor(named):
    return torch.optim.Adafactor([p for _, p in named], lr=0.01)


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=60)


def same(case, *, optimizer=adamw, memory=None, **options):
    """Train both ways and compare losses, parameters, buffers and optimizer state."""
    options = {"epochs": 5} | options
    model, made, losses = plain(case.factory, case.data, row_loss, optimizer, **options)
    fit = spilled(case, optimizer=optimizer, memory=memory or case.memory, **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))
    return fit


@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole batches", "micro-batches"])
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ZOO)
def test_twenty_steps(name, tier, micro_batch):
    fit = same(ZOO[name], memory=TIERS[tier](ZOO[name].memory), micro_batch=micro_batch)
    assert len(fit.losses) == 20


@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole batches", "micro-batches"])
@pytest.mark.parametrize("way", ["resident", "checkpointed"])
@pytest.mark.parametrize("name", sorted(set(ZOO) - {"mlp", "u-net"}))  # of those two, checkpoints would save nothing
def test_what_fits_is_trained_in_memory(name, way, micro_batch):
    """In one shard, or with the graphs of several made again."""
    case = ZOO[name]
    memory = 1 << 30
    if way == "checkpointed":
        planned = ls.train.plan(case.factory, case.data[0], row_loss, micro_batch=micro_batch, memory=memory)
        memory = replace(planned.chosen.cut, scratch=0).least - 1  # what a run needs is not the same each time
    model, made, losses = plain(case.factory, case.data, row_loss, adamw, epochs=2, micro_batch=micro_batch)
    options = {"loss": row_loss, "optimizer": adamw, "epochs": 2, "micro_batch": micro_batch, "progress": False}
    with only(way):
        fit = ls.train.fit(case.factory, case.data, memory=memory, **options)
    assert fit.plan.way == way
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))


OPTIONS = {
    "clipping": {"clip": 0.1, "micro_batch": 3},
    "accumulation": {"accumulate": 2},
    "accumulation and micro-batches": {"accumulate": 3, "micro_batch": 5},
    "bf16": {"precision": "bf16", "micro_batch": 3},
    "fp16": {"precision": "fp16", "micro_batch": 3},
    "fp16 and clipping": {"precision": "fp16", "clip": 0.1},
    "schedule": {"schedule": one_cycle},
    "groups": {"optimizer": grouped, "micro_batch": 3},
    "momentum": {"optimizer": momentum, "clip": 1.0},
    "adafactor": {"optimizer": adafactor, "micro_batch": 3},
    "another seed": {"seed": 7, "micro_batch": 4},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["decoder with tied embedding", "resnet", "gpt-2"])
def test_every_option(name, option):
    case = ZOO[name]
    same(Case(case.factory, case.data, 2 * case.memory), epochs=2, **OPTIONS[option])


@pytest.mark.parametrize("factory", [norm_net, Tied])
@pytest.mark.parametrize("micro_batch", [None, 7, 20])
def test_buffers_that_forward_writes(factory, micro_batch):
    same(Case(factory, batches(80, 20), 60_000), micro_batch=micro_batch)


def test_the_last_batch_may_be_shorter():
    same(Case(mlp, [*numbers(), *numbers(5, 5)], 60_000), micro_batch=3)


def test_lengths_may_vary():
    data = [(x[:, : 12 - i], y) for i, (x, y) in enumerate(tokens())]
    case = ZOO["encoder"]
    same(Case(case.factory, data, 2 * case.memory), micro_batch=3)


class Jittered(nn.Module):
    """Draws as many numbers as the data says: nobody can foretell where the next micro-batch begins to draw."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, x):
        noise = torch.rand(1 + int(x[0, 0].abs() * 100) % 7)
        return self.layers(x + 0.01 * noise.mean())


def test_draws_that_depend_on_the_data():
    same(Case(Jittered, numbers(), 60_000), micro_batch=3)


def test_draws_that_depend_on_the_data_while_states_are_kept(tmp_path):
    straight = spilled(Case(Jittered, numbers(), 60_000), micro_batch=3, steps=6)
    for steps in (3, 6):
        kept = spilled(Case(Jittered, numbers(), 60_000), micro_batch=3, steps=steps, checkpoint=tmp_path)
    assert kept.losses == straight.losses
    assert_same_bits(all_state(kept.model, kept.optimizer), all_state(straight.model, straight.optimizer))


class Normal(nn.Module):
    """Draws normal numbers, of which torch keeps one for later."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, x):
        return self.layers(x + 0.01 * torch.randn(3).sum())


def test_draws_that_leave_something_for_later():
    same(Case(Normal, numbers(), 60_000), micro_batch=3)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*[nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Dropout(0.1)) for _ in range(4)])
        self.head = nn.Linear(12, 3)
        for parameter in self.body[:2].parameters():
            parameter.requires_grad_(False)
        self.body[3][0].bias.requires_grad_(False)

    def forward(self, x):
        return self.head(self.body(x))


def trainable(named):
    return torch.optim.AdamW([p for _, p in named if p.requires_grad], lr=1e-3)


@pytest.mark.parametrize("optimizer", [adamw, trainable])
def test_frozen_parts(optimizer):
    same(Case(Frozen, numbers(), 60_000), optimizer=optimizer, micro_batch=3)


def test_a_module_is_trained_in_place():
    torch.manual_seed(5)
    model = mlp()
    twin = mlp()
    twin.load_state_dict(model.state_dict())
    fit = spilled(Case(model, numbers(), 60_000))
    assert fit.model is model
    assert fit.losses == plain(lambda: twin, numbers(), row_loss, adamw)[2]


def test_the_generators_stand_where_the_plain_loop_leaves_them():
    plain(mlp, numbers(), row_loss, adamw, epochs=1, micro_batch=3)
    expected = torch.rand(3)
    spilled(ZOO["mlp"], micro_batch=3)
    assert torch.equal(torch.rand(3), expected)


def test_a_budget_that_holds_everything_changes_nothing():
    same(Case(mlp, numbers(), 10**9))


def test_a_budget_too_small_names_the_least_that_works():
    with pytest.raises(UsageError, match=r"a budget of 1 KB is too small: the least that works is [\d.]+ KB"):
        spilled(ZOO["encoder"], memory="1KB")


def test_a_loss_that_is_no_number_is_refused_before_anything_is_stepped():
    data = numbers()
    data[1][0][0, 0] = float("nan")
    model = mlp()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Diverged, match=r"the loss of step 1 \(epoch 1, batch 1\) is nan"):
        spilled(Case(model, data[1:], 60_000))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("poisoned", "named"),
    [
        ("parts.1.0.bias", r"it came out of 'parts\.1.*', in shard \d of 0 to "),
        ("head.bias", r"it came out of 'head', in shard \d of 0 to "),
        ("input", r"it came out of 'parts\.0.*', in shard 0 of 0 to "),
        ("loss", r"the model's last outputs are finite, so it came from the loss"),
    ],
)
def test_a_loss_that_is_no_number_names_step_and_shard(poisoned, named):
    def make():
        parts = [nn.Sequential(nn.Linear(12 if not k else 48, 48), nn.Tanh()) for k in range(4)]
        model = nn.Sequential(OrderedDict(parts=nn.Sequential(*parts), head=nn.Linear(48, 3)))
        if poisoned in dict(model.named_parameters()):
            with torch.no_grad():
                model.get_parameter(poisoned)[0] = float("nan")
        return model

    data = numbers()
    if poisoned == "input":
        data[0][0][0, 0] = float("nan")

    def loss(outputs, target):
        return row_loss(outputs, target) * (float("inf") if poisoned == "loss" else 1)

    with pytest.raises(Diverged, match=r"the loss of step 1 \(epoch 1, batch 1\) is (nan|inf); " + named):
        spilled(Case(make, data, 120_000), loss=loss, micro_batch=3)


def test_an_optimizer_that_couples_parameters_is_refused_by_name():
    with pytest.raises(TrainingError, match="LBFGS"):
        spilled(ZOO["mlp"], optimizer=lambda named: torch.optim.LBFGS([p for _, p in named]))


def test_a_model_that_calls_its_parts_in_another_order_is_refused():
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(12, 12) for _ in range(4)])
            self.head = nn.Linear(12, 3)
            self.turn = 0

        def forward(self, x):
            self.turn += 1
            for part in self.parts if self.turn < 3 else reversed(self.parts):
                x = torch.relu(part(x))
            return self.head(x)

    with pytest.raises(TrainingError, match=r"forward came to 'parts\.3' where the pilot run saw 'parts\.0'"):
        spilled(Case(Turning, numbers(), 46_000))


def test_what_the_user_raises_inside_the_model_comes_out_as_it_is():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
            self.head = nn.Linear(12, 3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 4:
                raise ZeroDivisionError("mine")
            return self.head(self.parts(x))

    with pytest.raises(ZeroDivisionError, match="mine"):
        spilled(Case(Broken, numbers(), 60_000))


def test_losses_are_those_of_ls_train_fit_in_memory():
    case = ZOO["mlp"]
    options = {"loss": row_loss, "optimizer": ls.adamw(lr=1e-3), "progress": False}
    assert spilled(case).losses == ls.train.fit(case.factory, case.data, **options).losses


def test_nothing_is_left_in_the_spill_folder(tmp_path):
    fit = spilled(ZOO["mlp"], spill=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert all(torch.isfinite(value).all() for value in fit.model.state_dict().values())


def test_nothing_is_left_after_a_failure(tmp_path):
    data = numbers()
    data[1][0][0, 0] = float("nan")
    with pytest.raises(Diverged):
        spilled(Case(mlp, data, 60_000), spill=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory", ["much", "0MB", {"dram": "1GB"}, {"device": "1GB", "tape": "1TB"}, True])
def test_a_budget_that_says_nothing_is_refused(memory):
    with pytest.raises(UsageError, match=r"size|tier"):
        spilled(ZOO["mlp"], memory=memory)

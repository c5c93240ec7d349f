"""fit == the loop written out, bit for bit."""

from __future__ import annotations

import pytest
import torch
from plain_loop import Tied, all_state, assert_same_bits, batches, dropout_net, norm_net, plain
from torch import nn
from torch.nn import functional

import lineshaft as ls


def ONE_CYCLE(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=40)


def COSINE(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)


def torch_loss(outputs, target):
    return functional.cross_entropy(outputs, target, reduction="none")


def torch_adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-2)


def grouped(named):
    named = list(named)
    return torch.optim.SGD(
        [
            {"params": [p for name, p in named if name.endswith("weight")], "weight_decay": 0.1},
            {"params": [p for name, p in named if name.endswith("bias")], "lr": 0.2},
        ],
        lr=0.05,
        momentum=0.9,
    )


CASES = {
    "plain": {},
    "micro-batches": {"micro_batch": 7},
    "one row at a time": {"micro_batch": 1},
    "accumulation": {"accumulate": 2},
    "accumulation and micro-batches": {"accumulate": 3, "micro_batch": 6},
    "clipping": {"clip": 0.05},
    "schedule": {"schedule": ONE_CYCLE},
    "bf16": {"precision": "bf16", "micro_batch": 8},
    "fp16": {"precision": "fp16", "clip": 1.0},
    "another seed": {"seed": 99},
    "all at once": {
        "micro_batch": 8, "accumulate": 2, "clip": 0.1, "schedule": COSINE, "precision": "bf16", "seed": 5,
    },
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_loop(case, weighted):
    options = {"epochs": 3} | CASES[case]
    data = batches(weighted=weighted)
    model, optimizer, losses = plain(dropout_net, data, torch_loss, torch_adamw, **options)
    fit = ls.train.fit(dropout_net, data, optimizer=ls.adamw(lr=1e-2), **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, optimizer))


@pytest.mark.parametrize("factory", [norm_net, Tied])
def test_equals_the_plain_loop_with_buffers_and_ties(factory):
    options = {"epochs": 3, "micro_batch": 10}
    model, optimizer, losses = plain(factory, batches(), torch_loss, torch_adamw, **options)
    fit = ls.train.fit(factory, batches(), optimizer=ls.adamw(lr=1e-2), **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, optimizer))


def test_parameter_groups_by_name():
    model, optimizer, losses = plain(dropout_net, batches(), torch_loss, grouped, epochs=2)
    fit = ls.train.fit(dropout_net, batches(), optimizer=grouped, epochs=2)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, optimizer))


def test_sgd_is_torch_sgd():
    def plain_sgd(named):
        return torch.optim.SGD([p for _, p in named], lr=0.1, momentum=0.9, nesterov=True)

    model, _, losses = plain(dropout_net, batches(), torch_loss, plain_sgd, epochs=2)
    fit = ls.train.fit(dropout_net, batches(), optimizer=ls.sgd(lr=0.1, momentum=0.9, nesterov=True), epochs=2)
    assert fit.losses == losses
    assert_same_bits(dict(fit.model.state_dict()), dict(model.state_dict()))


def test_soft_targets_with_weights():
    data = batches(weighted=True, soft=True)
    _, _, losses = plain(dropout_net, data, torch_loss, torch_adamw, epochs=2)
    assert ls.train.fit(dropout_net, data, optimizer=ls.adamw(lr=1e-2), epochs=2).losses == losses


def test_a_shuffling_loader_draws_from_the_same_generator():
    x, y = (torch.cat(part) for part in zip(*batches(), strict=False))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    _, _, losses = plain(dropout_net, loader, torch_loss, torch_adamw, epochs=3)
    fit = ls.train.fit(dropout_net, loader, optimizer=ls.adamw(lr=1e-2), epochs=3)
    assert fit.losses == losses


def test_a_module_is_trained_in_place():
    torch.manual_seed(7)
    model = dropout_net()
    twin = dropout_net()
    twin.load_state_dict(model.state_dict())
    fit = ls.train.fit(model, batches(), optimizer=ls.adamw(lr=1e-2))
    assert fit.model is model
    _, _, losses = plain(lambda: twin, batches(), torch_loss, torch_adamw)
    assert fit.losses == losses


def test_double_precision_models_stay_double():
    data = [(x.double(), y, torch.ones(len(y), dtype=torch.float64)) for x, y in batches()]

    def factory():
        return dropout_net().double()

    model, _, _ = plain(factory, data, torch_loss, torch_adamw)
    fit = ls.train.fit(factory, data, optimizer=ls.adamw(lr=1e-2))
    assert_same_bits(dict(fit.model.state_dict()), dict(model.state_dict()))


@pytest.mark.parametrize("size", [1, 3, 8, 20, 64])
def test_the_micro_batch_size_changes_gradients_by_rounding_only(size):
    def smooth():
        return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 3))

    data = batches(60, 60, weighted=True)
    whole = ls.train.fit(smooth, data, optimizer=ls.sgd(lr=0.1))
    parts = ls.train.fit(smooth, data, optimizer=ls.sgd(lr=0.1), micro_batch=size)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=False):
        assert torch.allclose(one.grad, other.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_are_one_larger_batch(weighted):
    """W is the weight of the whole mini-batch, so 3 batches of 10 in micro-batches equal one of 30, bit for bit."""
    small = ls.train.fit(dropout_net, batches(90, 10, weighted=weighted), accumulate=3, epochs=2)
    large = ls.train.fit(dropout_net, batches(90, 30, weighted=weighted), micro_batch=10, epochs=2)
    assert small.losses == large.losses
    assert_same_bits(all_state(small.model, small.optimizer), all_state(large.model, large.optimizer))


def test_a_row_of_weight_two_is_the_row_twice():
    def smooth():
        return nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))

    x, y = batches(30, 30)[0]
    weight = torch.ones(30)
    weight[:10] = 2
    heavy = ls.train.fit(smooth, [(x, y, weight)], optimizer=ls.sgd(lr=0.1))
    twice = ls.train.fit(smooth, [(torch.cat([x, x[:10]]), torch.cat([y, y[:10]]))], optimizer=ls.sgd(lr=0.1))
    for one, other in zip(heavy.model.parameters(), twice.model.parameters(), strict=False):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_one_hot_soft_targets_equal_hard_ones():
    hard = batches(weighted=True)
    soft = [(x, functional.one_hot(y, 3).float(), w) for x, y, w in hard]
    one, other = (ls.train.fit(dropout_net, data, epochs=2) for data in (hard, soft))
    assert one.losses == pytest.approx(other.losses, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 5, 7, 12])
def test_steps_decide_alone(steps):
    """5 batches an epoch: the first ``steps`` losses of a longer training, whatever epochs says."""
    long = ls.train.fit(dropout_net, batches(), epochs=3)
    fit = ls.train.fit(dropout_net, batches(), epochs=1, steps=steps)
    assert fit.losses == long.losses[:steps]

"""A device with memory of its own: the same bits, though its copies come late; on a GPU too, where there is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from as_if_apart import AsIfApart
from plain_loop import all_state, assert_same_bits, batches, norm_net, plain
from torch import nn
from zoo import ZOO, Case, only, row_loss, spilled

import lineshaft as ls
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.checkpoint import Checkpoints
from training_threads import training_threads

TIERS = {
    "dram": lambda size: size,
    "disk": lambda size: {"device": size, "dram": 1},
    "two levels": lambda size: {"device": size, "dram": size // 4},
}
OPTIONS = {
    "clipping": {"clip": 0.1, "micro_batch": 3},
    "accumulation and micro-batches": {"accumulate": 3, "micro_batch": 5},
    "bf16": {"precision": "bf16", "micro_batch": 3},
    "fp16 and clipping": {"precision": "fp16", "clip": 0.1},
}
GPU = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
)
DEVICES = pytest.mark.parametrize("device", [pytest.param(AsIfApart, id="as if apart"), GPU])


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    """A GPU's quickest kernels add up in no fixed order."""
    if torch.cuda.is_available():
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def on(device):
    return device if isinstance(device, str) else device()


def reference(case, device, **options):
    """Return model, optimizer and losses of the loop in memory: written out, or on a GPU that of `fit`."""
    if device == "cuda":
        fit = ls.train.fit(case.factory, case.data, row_loss, devices=device, progress=False, **options)
        return fit.model.cpu(), fit.optimizer, fit.losses
    return plain(case.factory, case.data, row_loss, **options)


def same(case, device, *, memory=None, **options):
    options = {"epochs": 5, "optimizer": adamw} | options
    model, made, losses = reference(case, device, **options)
    fit = spilled(case, memory=memory or case.memory, devices=on(device), **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))
    return fit


@DEVICES
@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole batches", "micro-batches"])
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ZOO)
def test_twenty_steps(name, tier, micro_batch, device):
    fit = same(ZOO[name], device, memory=TIERS[tier](ZOO[name].memory), micro_batch=micro_batch)
    assert len(fit.losses) == 20
    assert {value.device.type for value in fit.model.state_dict().values()} == {"cpu"}


@DEVICES
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["decoder with tied embedding", "resnet", "gpt-2"])
def test_every_option(name, option, device):
    case = ZOO[name]
    same(case, device, memory=2 * case.memory, epochs=2, **OPTIONS[option])


@DEVICES
def test_buffers_that_forward_writes(device):
    same(Case(norm_net, batches(80, 20), 60_000), device, micro_batch=7)


@DEVICES
@pytest.mark.parametrize("way", ["resident", "checkpointed"])
def test_what_fits_stays_there(device, way):
    case = ZOO["gpt-2"]
    memory = 1 << 30
    if way == "checkpointed":
        planned = ls.train.plan(case.factory, case.data[0], row_loss, memory=memory)
        memory = replace(planned.chosen.cut, scratch=0).least - 1
    model, made, losses = reference(case, device, optimizer=adamw, epochs=2)
    options = {"loss": row_loss, "optimizer": adamw, "epochs": 2, "progress": False}
    with only(way):
        fit = ls.train.fit(case.factory, case.data, memory=memory, devices=on(device), **options)
    assert fit.plan.way == way
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))


@DEVICES
@pytest.mark.parametrize("memory", [lambda size: size, lambda size: {"device": size, "dram": size // 4}, None])
def test_it_goes_on_from_what_another_tier_kept(tmp_path, device, memory):
    """Three steps on the device, three on the CPU or in memory, two on the device again."""
    case = ZOO["encoder"]
    options = {"optimizer": adamw, "micro_batch": 3}
    straight = spilled(case, steps=8, devices=on(device), **options)
    kept = {"checkpoint": Checkpoints(tmp_path, every=1), **options}
    spilled(case, steps=3, devices=on(device), **kept)
    between = {"memory": memory and memory(case.memory)}
    spilled(case, steps=6, **kept, **(between | ({"devices": on(device)} if device == "cuda" else {})))
    fit = spilled(case, steps=8, devices=on(device), **kept)
    assert fit.losses == straight.losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(straight.model, straight.optimizer))
    assert training_threads() == []


@DEVICES
def test_what_was_measured_is_of_the_program_that_was_run(device):
    fit = spilled(ZOO["bert"], devices=on(device), steps=3)
    spans = fit.trace.spans
    assert sorted(str(span.action) for span in spans) == sorted(str(one.action) for one in fit.plan.chosen.priced.spans)
    assert all(0 <= span.start <= span.end for span in spans)
    assert fit.trace.stalled >= 0
    assert any(span.size for span in spans if span.action.kind == "L")


@DEVICES
def test_a_budget_that_is_too_small_leaves_the_model_where_it_was(device):
    torch.manual_seed(0)
    model = norm_net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError, match="the least that works is"):
        ls.train.fit(model, batches(80, 20), memory=5_000, devices=on(device), progress=False)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


@DEVICES
def test_a_model_that_is_on_another_device_already_is_refused(device):
    model = nn.Sequential(nn.Linear(12, 3, device="meta"))
    with pytest.raises((UsageError, TrainingError), match=r"'0\.weight' is on meta already; .* leave \.to\(\)"):
        ls.train.fit(model, batches(80, 20), memory="1MB", devices=on(device), progress=False)


@pytest.mark.parametrize("devices", ["tpu", ["cpu", "cpu"], "cuda:99", 3])
def test_a_device_that_is_not_here_is_refused(devices):
    with pytest.raises(UsageError, match=r"devices=.*(uses one device|CUDA devices here)"):
        ls.train.fit(norm_net, batches(80, 20), devices=devices, progress=False)

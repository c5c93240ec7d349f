"""Models whose parts reach each other past their arguments, or change what others leave alone: the same bits or a name."""

from __future__ import annotations

import copy
import random
import re
import threading
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import lineshaft as ls
from lineshaft.errors import TrainingError, UsageError

torch.manual_seed(1)
X, Y = torch.randn(16, 8), torch.randint(0, 3, (16,))
DATA = [(X[:8], Y[:8]), (X[8:], Y[8:])]
MEMORY = "1GB"


def fit(model, data=DATA, **options):
    return ls.train.fit(model, data, **({"steps": 4, "progress": False} | options))


def deep(width=32):
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(6)]
    return nn.Sequential(nn.Linear(8, width), *layers, nn.Linear(width, 3))


def require_same(model, *, memory=None, data=DATA, **options):
    """Train twins with and without ``memory``, which is by default the least that works."""
    twin = copy.deepcopy(model)
    memory = memory or ls.train.plan(model, data[0], memory=MEMORY, **options).least
    found, expected = fit(model, data, memory=memory, **options), fit(twin, data, **options)
    assert found.losses == expected.losses
    for (name, value), other in zip(
        found.model.state_dict().items(), expected.model.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    return found


class Made(nn.Module):
    """A module whose forward is the function given."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args):
        return self.function(self, *args)


def between(odd):
    """Layers on both sides of an odd one."""
    before = nn.Sequential(nn.Linear(8, 16), *[nn.Sequential(nn.ReLU(), nn.Linear(16, 16)) for _ in range(4)])
    after = nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(4)], nn.Linear(16, 3))
    return Made(lambda self, x: self.after(self.odd(self.before(x))), before=before, odd=odd, after=after)


@pytest.mark.parametrize("memory", [MEMORY, None], ids=["ample", "least"])
def test_a_model_trained_within_memory_may_be_trained_again(memory):
    model, plain = deep(), deep()
    plain.load_state_dict(model.state_dict())
    least = ls.train.plan(model, DATA[0], memory=MEMORY).least
    for _ in range(2):
        assert fit(model, memory=memory or least).losses == fit(plain).losses
    assert ls.train.plan(model, DATA[0], memory=MEMORY).least == least


def test_parameters_that_are_pieces_of_one_buffer():
    model = deep()
    flat, start = torch.empty(sum(value.numel() for value in model.parameters())), 0
    for value in model.parameters():
        piece = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
        value.data = piece.copy_(value.data)
    require_same(model)


def test_two_parameters_on_the_same_memory_are_refused_by_both_names():
    model = deep()
    model[2][0].weight.data = model[1][0].weight.data
    with pytest.raises(TrainingError, match=r"'1\.0\.weight' and '2\.0\.weight' are two parameters on the same memory"):
        fit(model, memory=MEMORY)


def test_a_parameter_read_through_an_older_tensor_is_refused_by_name():
    odd = Made(lambda self, x: functional.linear(x, self.alias) + self.layer(x), layer=nn.Linear(16, 16))
    odd.alias = odd.layer.weight.data
    with pytest.raises(
        TrainingError, match=r"'odd' reads the memory of parameter 'odd\.layer\.weight' through another"
    ):
        fit(between(odd), memory=MEMORY)


def clamping(self, x):
    with torch.no_grad():
        self.weight.clamp_(-0.1, 0.1)
    return functional.linear(x, self.weight)


def shrinking(self, x):
    self.weight.data.mul_(0.9)
    return functional.linear(x, self.weight)


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("change", [clamping, shrinking])
def test_a_parameter_changed_in_forward(change, clip):
    def model():
        return between(Made(change, weight=nn.Parameter(torch.randn(16, 16))))

    found = require_same(model(), memory=MEMORY, micro_batch=3, clip=clip)
    assert "'odd' changes parameter 'odd.weight' in its forward pass" in str(found.plan)
    with pytest.raises(UsageError, match=r"but 'odd' changes parameter 'odd\.weight' in its forward pass"):
        fit(model(), memory="1KB", clip=clip)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_an_embedding_that_keeps_its_rows_short(clip):
    model = Made(lambda self, x: self.head(self.words(x).mean(1)), words=nn.Embedding(9, 8, max_norm=0.5), head=deep())
    words = torch.randint(0, 9, (16, 5))
    require_same(model, memory=MEMORY, data=[(words, Y)], micro_batch=3, clip=clip)


def called_with_others(self, x):
    scaled = {name: value * self.scale for name, value in self.layer.named_parameters()}
    return torch.func.functional_call(self.layer, scaled, (x,))


def reading_aux(self, x):
    return self.layer(x) + self.layer.aux


def setting_aux(self, x):
    value = self.layer(x)
    self.aux = value.mean()
    return value


def filling(self, x):
    given = {}
    self.layer(x, given)
    return given["value"]


def penalised(self, x):
    value = self.layer(x)
    own = self.layer.weight
    (slope,) = torch.autograd.grad(value.pow(2).sum(), own, create_graph=True)
    return value * (1 + slope.pow(2).mean())


class Box:
    def __init__(self, value):
        self.value = value


def boxes():
    return nn.Sequential(
        Made(lambda self, x: Box(self.layer(x)), layer=nn.Linear(16, 16)),
        Made(lambda self, box: self.layer(box.value), layer=nn.Linear(16, 16)),
    )


def closing(self, x):
    value = self.one(x)
    return self.other(lambda: value)


def one_mean_for_two(self, x):
    return self.norm(x) + self.layer(x) * self.norm.running_mean


def larger(forward, **parts):
    """A module that would rather be cut: another layer follows the function."""
    return Made(lambda self, x: self.more(forward(self, x)), **parts, more=nn.Linear(16, 16))


ODD = {
    "parameters of others": lambda: larger(
        called_with_others, layer=nn.Linear(16, 16), scale=nn.Parameter(torch.ones(()))
    ),
    "kept on the module": lambda: larger(reading_aux, layer=Made(setting_aux, layer=nn.Linear(16, 16))),
    "filled in": lambda: larger(
        filling, layer=Made(lambda self, x, given: given.update(value=self.layer(x)), layer=nn.Linear(16, 16))
    ),
    "a gradient of its own": lambda: larger(penalised, layer=nn.Linear(16, 16)),
    "boxes": lambda: larger(lambda self, x: self.boxes(x), boxes=boxes()),
    "a closure": lambda: larger(
        closing, one=nn.Linear(16, 16), other=Made(lambda self, get: self.layer(get()), layer=nn.Linear(16, 16))
    ),
    "another's buffer": lambda: larger(one_mean_for_two, norm=nn.BatchNorm1d(16), layer=nn.Linear(16, 16)),
}


@pytest.mark.parametrize("micro_batch", [None, 3], ids=["whole", "micro-batches"])
@pytest.mark.parametrize("name", ODD)
def test_parts_that_reach_each_other_stay_together(name, micro_batch):
    found = require_same(between(ODD[name]()), micro_batch=micro_batch)
    assert found.plan.way == "spilled"
    assert {unit.name for unit in found.plan.chosen.cut.units} & {"odd", "odd.boxes"}


def test_a_loss_of_the_module_s_own_that_the_training_loss_reads_is_trained_in_memory():
    def model():
        return between(Made(setting_aux, layer=nn.Linear(16, 16)))

    def made(model):
        return lambda outputs, target: functional.cross_entropy(outputs, target, reduction="none") + model.odd.aux

    one, other = (model() for _ in range(2))
    other.load_state_dict(one.state_dict())
    options = {"micro_batch": 3}
    assert fit(one, loss=made(one), memory=MEMORY, **options).losses == fit(other, loss=made(other), **options).losses
    with pytest.raises(UsageError, match="but the loss reads a tensor of 'odd' past its arguments"):
        fit(one, loss=made(one), memory="1KB")


class Drifting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("centre", torch.zeros(8), persistent=False)

    def forward(self, x):
        self.centre = self.centre * 0.9 + x.detach().mean(0) * 0.1
        return self.layer(x - self.centre)


def test_ways_that_are_cut_at_other_places_than_the_rehearsal():
    model = nn.Sequential(*[Drifting() for _ in range(4)], nn.Linear(8, 3))
    require_same(model, micro_batch=3)


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(16, 16), 0

    def forward(self, x):
        self.calls += 1
        return functional.dropout(self.layer(x), 0.1) * (1 + 0.1 * self.calls + random.random())


class CountedOnly(Counted):
    def forward(self, x):
        self.calls += 1
        return functional.dropout(self.layer(x), 0.1) * (1 + 0.1 * self.calls)


@pytest.mark.parametrize("odd", [Counted, CountedOnly])
def test_a_micro_batch_of_a_new_shape_counts_and_draws_once(odd):
    """Of 8 rows, taken together with 8 more: the third of six micro-batches is shorter than those before it."""
    ends = []
    for memory in (None, "least"):
        random.seed(1)
        torch.manual_seed(2)
        model = between(odd())
        options = {"micro_batch": 3, "accumulate": 2}
        if memory:
            memory = ls.train.plan(model, DATA[0], memory=MEMORY, **options).least
        ends.append((fit(model, memory=memory, **options).losses, random.random(), model.odd.calls))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("compiled", ["model", "block", "in place"])
def test_a_compiled_model_is_trained_in_memory_or_refused_by_name(compiled):
    def model():
        torch.manual_seed(3)
        made = deep()
        if compiled == "block":
            made[2] = torch.compile(made[2], backend="eager")
        elif compiled == "in place":
            made[2].compile(backend="eager")
        return torch.compile(made, backend="eager") if compiled == "model" else made

    assert fit(model(), memory=MEMORY, micro_batch=4).losses == fit(model(), micro_batch=4).losses
    with pytest.raises(UsageError, match=r"is compiled by torch\.compile; leave that out"):
        fit(model(), memory="1KB")


def test_no_data_is_refused():
    with pytest.raises(TrainingError, match="the data gave no batch"):
        fit(deep(), [], memory=MEMORY)


def test_a_step_hook_is_refused_by_name():
    def optimizer(named):
        made = torch.optim.AdamW([value for _, value in named], lr=1e-3)
        made.register_step_pre_hook(lambda *_: None)
        return made

    with pytest.raises(TrainingError, match="AdamW has a step hook"):
        fit(deep(), optimizer=optimizer, memory=MEMORY)


def test_a_second_training_within_memory_at_the_same_time_is_refused():
    inside, over = threading.Event(), threading.Event()

    def loss(outputs, target):
        inside.set()
        over.wait(60)
        return functional.cross_entropy(outputs, target, reduction="none")

    thread = threading.Thread(target=lambda: fit(deep(), loss=loss, memory=MEMORY))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(UsageError, match="another training with memory= is running in this process"):
        fit(deep(), memory=MEMORY)
    over.set()
    thread.join()
    fit(deep(), memory=MEMORY)


@pytest.mark.parametrize("other", [nn.Tanh(), nn.Dropout(0.2)], ids=["another class", "another rate"])
@pytest.mark.parametrize("memory", [None, MEMORY])
def test_a_changed_model_is_no_resume(tmp_path, other, memory):
    def model(part):
        return nn.Sequential(nn.Linear(8, 16), part, nn.Linear(16, 3))

    fit(model(nn.Dropout(0.1)), checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="the saved state is of another training: its model is"):
        fit(model(other), checkpoint=tmp_path, memory=memory, steps=6)


def checkpointing(self, x):
    return checkpoint(lambda y: self.head(torch.tanh(self.layers(y))), x, use_reentrant=False)


@dataclass
class Outputs:
    logits: torch.Tensor


AGAIN = r"the backward pass came to '.*' again; if the model checkpoints its own activations"


def test_what_only_stands_as_a_whole_is_so_trained_and_says_why():
    def model():
        return Made(checkpointing, layers=deep(), head=nn.Linear(3, 3))

    found = require_same(model(), memory=MEMORY, micro_batch=3)
    assert re.search("no other way: " + AGAIN, str(found.plan))
    with pytest.raises(TrainingError, match=AGAIN):
        ls.train.plan(model(), DATA[0], memory=found.plan.least - 1)


def test_outputs_in_a_class_of_ones_own_are_trained_in_memory():
    def loss(outputs, target):
        return functional.cross_entropy(outputs.logits, target, reduction="none")

    model = Made(lambda self, x: Outputs(self.layers(x)), layers=deep())
    twin = copy.deepcopy(model)
    assert fit(model, loss=loss, memory=MEMORY).losses == fit(twin, loss=loss).losses

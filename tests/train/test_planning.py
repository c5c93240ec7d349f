"""A plan says what would be done within a budget, and training does that; what it foretells is what happens."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

import lineshaft as ls
from lineshaft.core.memory import available, parse_size
from lineshaft.errors import TrainingError, UsageError

ROWS = 24


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(functional.dropout(functional.gelu(self.up(self.norm(x))), 0.1, self.training))


def deep(layers=8, width=64):
    return nn.Sequential(nn.Linear(16, width), *[Layer(width) for _ in range(layers)], nn.Linear(width, 3))


def batch(rows=ROWS):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 16, generator=generator), torch.randint(0, 3, (rows,), generator=generator)


def state(model):
    return 16 * sum(parameter.numel() for parameter in model.parameters())


def test_with_much_memory_all_of_it_stays_there():
    plan = ls.train.plan(deep, batch(), memory="1GB")
    assert plan.way == "resident"
    assert plan.chosen.priced.read == plan.chosen.priced.written == 0
    assert str(plan).startswith("in memory: ")


def test_with_less_it_is_spilled_and_the_ways_that_do_not_fit_say_so():
    plan = ls.train.plan(deep, batch(), memory="1.2MB", micro_batch=8)
    assert plan.way == "spilled"
    assert state(deep()) > 3 * plan.budget
    text = str(plan)
    assert re.search(r"^spilled: [\d.]+ m?s a step, [\d.]+ [KM]B", text)
    assert re.search(r"shards of up to [\d.]+ KB, room for [\d.]+ of them; [\d.]+ MB read and [\d.]+ MB written", text)
    assert re.search(r"of computing, .* of moving, .* of waiting: (computing|reading|writing) binds", text)
    assert re.search(r"next: in memory.* a step, [\d.]+ MB: over the budget of 1.2 MB", text)


@pytest.mark.parametrize("memory", ["1MB", "1.2MB", "6MB", {"device": "1.2MB"}, {"device": "1.2MB", "dram": "2MB"}])
def test_what_is_planned_is_what_training_does(memory):
    options = {"memory": memory, "micro_batch": 8}
    plan = ls.train.plan(deep, batch(), **options)
    fit = ls.train.fit(deep, [batch()] * 3, steps=3, progress=False, **options)
    assert fit.plan.way == plan.way
    assert fit.plan.chosen.cut.shards == plan.chosen.cut.shards
    moved = {"L": 0, "W": 0}
    for span in fit.trace.spans:
        if span.action.kind in moved:
            moved[span.action.kind] += span.size
    priced = fit.plan.chosen.priced
    assert (moved["L"], moved["W"]) == (priced.read, priced.written)
    assert sorted(str(span.action) for span in fit.trace.spans) == sorted(str(s.action) for s in priced.spans)


def test_a_plan_may_be_trained_by_and_gives_the_same_bits():
    plan = ls.train.plan(deep, batch(), memory="1.2MB")
    by_plan = ls.train.fit(deep, [batch()], steps=3, plan=plan, progress=False)
    assert by_plan.plan is plan
    assert by_plan.losses == ls.train.fit(deep, [batch()], steps=3, progress=False).losses


def test_planning_changes_nothing():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 3))
    torch.set_rng_state(before)
    values = {name: value.clone() for name, value in model.state_dict().items()}
    ls.train.plan(model, batch(), memory="1GB")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_a_budget_it_is_what_the_machine_has_left():
    plan = ls.train.plan(deep, batch())
    assert plan.way == "resident"
    assert 0.5 * available() < plan.budget < 2 * available()


def test_the_least_that_is_named_works_and_a_byte_less_does_not():
    with pytest.raises(UsageError, match="the least that works is") as caught:
        ls.train.plan(deep, batch(), memory=1000, micro_batch=8)
    plan = ls.train.plan(deep, batch(), memory="1GB", micro_batch=8)
    named = parse_size(re.search(r"least that works is ([\d.]+ \w+),", str(caught.value))[1].replace(" ", ""))
    assert plan.least <= named <= 1.01 * plan.least
    fit = ls.train.fit(deep, [batch()], steps=2, memory=plan.least, micro_batch=8, progress=False)
    assert fit.losses == ls.train.fit(deep, [batch()], steps=2, micro_batch=8, progress=False).losses
    with pytest.raises(UsageError, match="the least that works is"):
        ls.train.plan(deep, batch(), memory=plan.least - 1, micro_batch=8)


def test_fewer_rows_a_visit_wait_longer_for_the_disk():
    """A step moves the same bytes whatever it computes, so that what hides them shrinks with the rows."""
    shares = []
    for rows in (8, 64):
        priced = ls.train.plan(deep, batch(rows), memory="1.2MB", micro_batch=8).chosen.priced
        shares.append(priced.loads["in"] / priced.loads["compute"])
    assert shares[0] > shares[1]


def test_a_plan_and_another_budget_are_refused_together():
    plan = ls.train.plan(deep, batch(), memory="1.2MB")
    with pytest.raises(UsageError, match=r"memory='2MB' and a plan for '1\.2MB'"):
        ls.train.fit(deep, [batch()], memory="2MB", plan=plan)


@pytest.mark.parametrize("devices", ["cuda:7", ["cpu", "cpu"], 3])
def test_devices_there_are_not_are_refused(devices):
    with pytest.raises(UsageError, match=r"devices=.*(one device, 'cpu'|CUDA devices here)"):
        ls.train.plan(deep, batch(), memory="1GB", devices=devices)
    with pytest.raises(UsageError, match=r"devices=.*(one device, 'cpu'|CUDA devices here)"):
        ls.train.fit(deep, [batch()], devices=devices)


def test_a_layer_that_gives_other_numbers_every_time_is_found_before_training():
    class Restless(nn.Linear):
        def forward(self, x):
            self.generator = getattr(self, "generator", None) or torch.Generator().manual_seed(1)
            return super().forward(x) * torch.rand((), generator=self.generator)

    seen = []

    def loss(outputs, target):
        seen.append(len(outputs))
        return functional.cross_entropy(outputs, target, reduction="none")

    with pytest.raises(TrainingError, match=r"'\w+' gave other numbers when it was run again on the same input"):
        ls.train.fit(nn.Sequential(nn.Linear(16, 8), Restless(8, 3)), [batch()], loss, steps=1, memory="1GB")
    assert len(seen) == 1  # the pilot's


def test_a_model_that_goes_another_way_the_second_time_is_refused_by_name():
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.parts = nn.Linear(16, 64), nn.ModuleList([Layer(64) for _ in range(6)])
            self.last, self.seen = nn.Linear(64, 3), []

        def forward(self, x):
            self.seen.append(len(x))
            x = self.first(x)
            for part in self.parts if len(self.seen) < 2 else reversed(self.parts):
                x = part(x)
            return self.last(x)

    with pytest.raises(TrainingError, match=r"forward came to 'parts\.5.*' where the pilot run saw 'parts\.0"):
        ls.train.fit(Turning, [batch()], steps=1, memory="1.2MB", micro_batch=8, progress=False)


def test_hooks_on_gradients_see_those_of_training_only():
    model, seen = deep(2), []
    parameter = next(model.parameters())
    parameter.register_hook(lambda gradient: seen.append(gradient.clone()))
    ls.train.plan(model, batch(), memory="1GB")
    assert seen == []


def test_it_is_drawn():
    plan = ls.train.plan(deep, batch(), memory="1.2MB")
    assert plan.diagram(60).splitlines()[1].startswith("in ")
    assert "<svg" in plan._repr_html_()
    assert repr(plan).startswith("Plan(spilled, ")
    fit = ls.train.fit(deep, [batch()], steps=2, plan=plan, progress=False)
    assert fit.trace.diagram(60).splitlines()[2].startswith("compute ")
    assert "<svg" in fit.trace._repr_html_()


class Wasteful(nn.Module):
    """Takes 8 MB for the time of its run, of which nothing is kept."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x) * torch.ones(2_000_000).max()


def test_memory_that_kernels_take_for_their_time_is_planned_for():
    def factory():
        return nn.Sequential(Wasteful(), Wasteful(), nn.Linear(8, 2))

    batch = torch.randn(8, 8), torch.arange(8) % 2
    found = ls.train.plan(factory, batch, memory="1GB")
    assert 8e6 < found.least < 16e6
    with pytest.raises(UsageError, match="the least that works is"):
        ls.train.fit(factory, [batch], memory=found.least // 2, progress=False)
    within = ls.train.fit(factory, [batch], memory=found.least, progress=False)
    assert within.losses == ls.train.fit(factory, [batch], progress=False).losses

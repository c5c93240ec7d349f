"""Shards that begin where the user says == the plain loop, bit for bit, wherever that is; where none can, says why."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from zoo import ZOO, Case, numbers, only, row_loss, spilled

import lineshaft as ls
from lineshaft.core.memory import parse_size
from lineshaft.errors import UsageError

AMPLE = 1 << 30
POINTS = {
    "mlp": [str(n) for n in range(7)],
    "encoder": ["embedding", "encoder.layers.0", "encoder.layers.1.linear1", "encoder.layers.2", "head"],
    "decoder with tied embedding": ["blocks.0", "blocks.0.linear2", "blocks.1", "blocks.2.norm1", "norm", "head"],
    "resnet": ["stem.1", "early", "early.1", "early.1.two", "late.0.skip", "late.1.norm_two", "drop", "head"],
    "u-net": ["deeper", "middle", "up", "out", "head"],
    "gpt-2": [f"inner.{one}" for one in ("transformer.wpe", "transformer.h.0.mlp", "transformer.h.1", "lm_head")],
}


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


@functools.cache
def plainly(name):
    case = ZOO[name]
    model, made, losses = plain(case.factory, case.data, row_loss, adamw, micro_batch=3, clip=0.5)
    return all_state(model, made), losses


def starts(cut):
    """Return the names of the units that shards begin with."""
    return [cut.units[numbers.start].scopes[0].name for numbers in cut.shards]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_points_give_the_bits_of_the_plain_loop(data):
    name = data.draw(st.sampled_from(sorted(POINTS)))
    points = data.draw(st.lists(st.sampled_from(POINTS[name]), min_size=1, unique=True))
    way = data.draw(st.sampled_from(["spilled", "checkpointed"]))
    options = {"optimizer": adamw, "micro_batch": 3, "clip": 0.5, "memory": AMPLE, "progress": False, "split": points}
    with only(way):
        fit = ls.train.fit(ZOO[name].factory, ZOO[name].data, row_loss, **options)
    state, losses = plainly(name)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), state)
    assert len(fit.plan.chosen.cut.shards) <= len(points) + 1


def stack():
    return nn.Sequential(*[nn.Sequential(nn.Linear(12, 12), nn.Tanh()) for _ in range(5)], nn.Linear(12, 3))


def planned(points, factory=stack, **options):
    with only("spilled"):
        return ls.train.plan(factory, numbers()[0], row_loss, **{"memory": AMPLE, "split": points} | options)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (["2", "4"], ["0", "2", "4"]),
        (["4", "2", "2"], ["0", "2", "4"]),  # in whatever order
        (["0", "3"], ["0", "3"]),
        (["1.1", "3.0"], ["0", "1.1", "3.0"]),  # a nested one opens what is around it
        (["3", "3.0"], ["0", "3.0"]),
    ],
)
def test_shards_begin_there_and_nowhere_else(points, expected):
    assert starts(planned(points).chosen.cut) == expected
    assert starts(planned(points, memory=20_000).chosen.cut) == expected


def test_a_point_at_what_needs_no_memory_counts_for_what_comes_next():
    def model():
        return Gluing()

    class Gluing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.flat, self.two = nn.Linear(12, 12), nn.Flatten(), nn.Linear(12, 3)

        def forward(self, x):
            return self.two(self.flat(self.one(x)))

    assert starts(planned(["flat"], model).chosen.cut) == ["one", "two"]


def test_a_plan_is_trained_with_its_points():
    plan = planned(["2", "4"])
    with only("spilled"):
        fit = ls.train.fit(stack, numbers(), row_loss, plan=plan, progress=False)
        assert fit.plan is plan
        with pytest.raises(UsageError, match=r"split=\['3'\] and a plan for \['2', '4'\]: give one of them"):
            ls.train.fit(stack, numbers(), row_loss, plan=plan, split=["3"], progress=False)
    assert sorted({span.action.shard for span in fit.trace.spans if span.action.kind == "B"}) == [0, 1, 2]


def test_a_resume_may_be_split_elsewhere(tmp_path):
    case = Case(stack, numbers(), AMPLE)
    straight = spilled(case, steps=6)
    spilled(case, steps=3, checkpoint=tmp_path, split=["2"])
    assert spilled(case, steps=6, checkpoint=tmp_path, split=["1", "4"]).losses == straight.losses


def test_clipping_per_shard_does_not_depend_on_the_budget_then():
    clip = ls.train.Clip(0.01, "per_shard")
    fits = [spilled(Case(stack, numbers(), memory), split=["2", "4"], clip=clip) for memory in (25_000, AMPLE)]
    assert fits[0].losses == fits[1].losses
    assert fits[0].plan.chosen.room < fits[1].plan.chosen.room


def test_a_budget_too_small_names_the_least_with_these_points_and_without():
    with pytest.raises(UsageError, match="the least that works is") as caught:
        planned(["5"], memory=9000)
    found = re.search(r"works is ([\d.]+ \wB), .* begin at 5: without split= it is ([\d.]+ \wB)", str(caught.value))
    own, free = (parse_size(size.replace(" ", "")) for size in found.groups())
    assert free < own
    assert planned(["5"], memory=own).least <= own
    assert planned([], memory=free).least <= free
    with pytest.raises(UsageError, match="without split="):
        planned(["5"], memory=free)


class Looping(nn.Module):
    """Calls a layer twice, one never, and two that reach each other."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"layer": nn.Linear(12, 12), "idle": nn.Linear(12, 12)})
        self.pair = Pair()
        self.head = nn.Linear(12, 3)
        self.last = nn.Identity()

    def forward(self, x):
        return self.last(self.head(self.pair(self.inner["layer"](self.inner["layer"](x)))))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = Leaving(), nn.Linear(12, 12)

    def forward(self, x):
        return self.two(self.one(x)) + self.one.left


class Leaving(nn.Linear):
    def __init__(self):
        super().__init__(12, 12)

    def forward(self, x):
        self.left = super().forward(x)
        return self.left * 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("heed", r"no module of that name; did you mean 'head'\?"),
        ("zzz", r"no module of that name; it has 'inner', 'inner\.layer'"),
        ("", r"no module of that name"),
        ("inner", r"never calls that module.*, or one of its parts, as 'inner\.layer', 'inner\.idle'"),
        ("inner.idle", r"never calls that module, so that no shard can begin there; name one that it calls$"),
        ("inner.layer", r"calls that module 2 times, and a shard begins at one call"),
        ("pair.two", r"'pair' around it cannot be cut, because 'pair' reads a tensor of 'pair\.one' past its arg"),
        ("last", r"neither it nor what is called behind it has parameters"),
    ],
)
def test_where_no_shard_can_begin_says_why(name, why):
    with pytest.raises(UsageError, match=rf"^split='{name}': .*{why}"):
        planned([name], Looping)


def test_a_model_that_only_runs_as_it_stands_is_not_split():
    class Clamping(nn.Sequential):
        def forward(self, x):
            with torch.no_grad():
                self[0].weight.clamp_(-1, 1)
            return super().forward(x)

    with pytest.raises(UsageError, match=r"split=\['1'\] needs a model that is cut into shards, but .*'0\.weight'"):
        planned(["1"], lambda: Clamping(nn.Linear(12, 12), nn.Linear(12, 3)))


def test_without_a_budget_nothing_is_cut():
    with pytest.raises(UsageError, match=r"split=\['1'\] without memory="):
        ls.train.fit(stack, numbers(), row_loss, split=["1"])


def test_a_name_by_itself_is_no_list_of_names():
    with pytest.raises(UsageError, match=r"split='1': give a list of names of modules"):
        planned("1")

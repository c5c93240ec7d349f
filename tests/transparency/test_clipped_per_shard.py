"""Clip per shard == the loop written out, with each shard's gradients clipped by their own norm; the cut decides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from zoo import ZOO, Case, mlp, numbers, row_loss, spilled

import lineshaft as ls
from lineshaft.errors import TrainingError, UsageError

APART = ls.train.Clip(0.1, "per_shard")
OPTIONS = {
    "whole batches": {},
    "micro-batches": {"micro_batch": 3},
    "accumulation": {"accumulate": 2, "micro_batch": 5},
    "bf16": {"precision": "bf16", "micro_batch": 3},
    "fp16": {"precision": "fp16", "micro_batch": 3},
}


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


def deep():
    return nn.Sequential(nn.Linear(12, 32), *[nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(6)])


def shards_of(cut):
    """Return what gives the parameters of each shard of a cut, and of what they share."""

    def parts(model):
        named = dict(model.named_parameters())
        return [[named[name] for name in names] for names in (*cut.owned, cut.shared)]

    return parts


def require_plain(fit, case, clip, **options):
    cut = fit.plan.chosen.cut
    model, made, losses = plain(case.factory, case.data, row_loss, adamw, clip=clip, parts=shards_of(cut), **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["decoder with tied embedding", "resnet", "gpt-2", "mlp"])
def test_each_shard_is_clipped_by_its_own_norm(name, option):
    case = Case(ZOO[name].factory, ZOO[name].data, 3 * ZOO[name].memory // 2)
    fit = spilled(case, optimizer=adamw, clip=APART, epochs=2, **OPTIONS[option])
    assert len(fit.plan.chosen.cut.shards) > 1
    require_plain(fit, case, APART.norm, epochs=2, **OPTIONS[option])


@settings(max_examples=15, deadline=None)
@given(memory=st.integers(60_000, 300_000), norm=st.sampled_from([0.01, 0.1, 1.0, 100.0]))
def test_whatever_the_cut_and_however_often_it_clips(memory, norm):
    case = Case(deep, numbers(), memory)
    fit = ls.train.fit(
        deep, numbers(), row_loss, adamw, clip=ls.train.Clip(norm, "per_shard"), memory=memory, progress=False
    )
    require_plain(fit, case, norm)


def test_it_goes_on_with_the_same_cut_and_is_refused_with_another(tmp_path):
    case = Case(deep, numbers(), 100_000)
    straight = spilled(case, clip=APART, steps=6)
    for steps in (3, 6):
        kept = spilled(case, clip=APART, steps=steps, checkpoint=tmp_path)
    assert kept.losses == straight.losses
    assert_same_bits(all_state(kept.model, kept.optimizer), all_state(straight.model, straight.optimizer))
    wider = Case(deep, numbers(), 200_000)
    assert spilled(wider, clip=APART, steps=6).losses != straight.losses
    with pytest.raises(TrainingError, match=r"its cut, whose shards are clipped apart, is \d+ shards \(\w+\), this"):
        spilled(wider, clip=APART, steps=9, checkpoint=tmp_path)


def test_it_does_not_go_on_from_a_run_that_clips_by_the_norm_of_all(tmp_path):
    case = Case(deep, numbers(), 100_000)
    spilled(case, clip=0.1, steps=3, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="of another training"):
        spilled(case, clip=APART, steps=6, checkpoint=tmp_path)


def test_the_global_mode_is_the_plain_number(tmp_path):
    case = Case(deep, numbers(), 100_000)
    straight = spilled(case, clip=0.1, steps=6)
    spilled(case, clip=ls.train.Clip(0.1), steps=3, checkpoint=tmp_path)
    assert spilled(case, clip=0.1, steps=6, checkpoint=tmp_path).losses == straight.losses


def test_the_plan_says_that_the_cut_decides():
    plan = ls.train.plan(deep, numbers()[0], row_loss, clip=APART, memory="1GB")
    assert "each shard is clipped by its own norm: another cut gives other numbers" in str(plan)
    assert [one.cut.way for one in plan.options] == ["spilled"]
    assert "clipped" not in str(ls.train.plan(deep, numbers()[0], row_loss, clip=0.1, memory="1GB"))


def test_without_a_budget_there_are_no_shards():
    with pytest.raises(UsageError, match=r"Clip\(norm=0.1, mode='per_shard'\) without memory=.*or clip=0.1, which"):
        ls.train.fit(mlp, numbers(), row_loss, clip=APART)


def test_a_model_that_only_runs_as_it_stands_has_no_shards():
    class Clamping(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(12, 12), nn.Linear(12, 3)

        def forward(self, x):
            with torch.no_grad():
                self.head.weight.clamp_(-1, 1)
            return self.head(self.body(x))

    with pytest.raises(UsageError, match=r"a model that is cut into shards, but .* changes parameter 'head\.weight'"):
        ls.train.fit(Clamping, numbers(), row_loss, clip=APART, memory="1GB", progress=False)


def test_a_recipe_is_named_without_its_budget_and_so_refuses_it():
    @ls.features(reads=["x"])
    def features(batch):
        return torch.tensor(batch["x"].to_pylist())

    with pytest.raises(UsageError, match="no part of what names a model"):
        ls.Recipe(lambda inputs, classes: nn.Linear(inputs, classes), features, clip=APART)


@pytest.mark.parametrize(("norm", "mode"), [(0.0, "global"), (float("nan"), "per_shard"), (1.0, "optimistic")])
def test_a_clip_that_says_nothing_is_refused(norm, mode):
    with pytest.raises(UsageError, match=r"must be above 0|mode 'optimistic' is not known; give 'global' or 'per_sh"):
        ls.train.Clip(norm, mode)

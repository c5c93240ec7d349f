from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from toys import head, letters

import lineshaft as ls
from lineshaft.errors import UsageError

RECIPE = ls.Recipe(head, letters, model={"width": 8})


def test_defaults():
    recipe = ls.Recipe(head, inputs=letters)
    assert (recipe.batch, recipe.epochs, recipe.patience, recipe.seed) == (256, 5, None, 0)
    assert recipe.optimizer == ls.adamw(lr=1e-3)
    assert recipe.loss is ls.cross_entropy
    assert recipe.model == {}


def test_overrides_by_dotted_name():
    changed = RECIPE.with_({"model.width": 64, "model.depth": 2, "optimizer.lr": 1e-2, "epochs": 3, "clip": 0.5})
    assert changed.model == {"width": 64, "depth": 2}
    assert changed.optimizer == ls.adamw(lr=1e-2)
    assert (changed.epochs, changed.clip) == (3, 0.5)
    assert RECIPE.model == {"width": 8}
    assert RECIPE.optimizer == ls.adamw(lr=1e-3)


def test_no_change_is_the_same_recipe():
    assert RECIPE.with_({}) == RECIPE
    assert RECIPE.with_({"epochs": 5, "model.width": 8, "optimizer.lr": 1e-3}) == RECIPE


@pytest.mark.parametrize("names", [["optimizer", "optimizer.lr"], ["optimizer.lr", "optimizer"]])
def test_a_whole_optimizer_and_one_of_its_options_in_any_order(names):
    values = {"optimizer": ls.sgd(lr=0.5, momentum=0.9), "optimizer.lr": 0.1}
    assert RECIPE.with_({name: values[name] for name in names}).optimizer == ls.sgd(lr=0.1, momentum=0.9)


def test_the_order_of_parameters_does_not_matter():
    one = ls.Recipe(head, letters, model={"width": 8, "depth": 2})
    other = ls.Recipe(head, letters, model={"depth": 2, "width": 8})
    assert list(one.model) == list(other.model)


@pytest.mark.parametrize(
    "name",
    [
        "epoch",
        "model.wdth",
        "model",
        "model.",
        "optimizer.momentum",
        "optimizer.",
        "builder",
        "inputs",
        "inputs.reads",
        "batch.size",
        "",
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(UsageError) as caught:
        RECIPE.with_({name: 1})
    assert f"the recipe has no {name!r}" in str(caught.value)
    assert all(known in str(caught.value) for known in ("epochs", "model.width", "model.depth", "optimizer.lr"))


def test_a_callable_optimizer_has_no_options_to_override():
    recipe = dataclasses.replace(RECIPE, optimizer=lambda named: torch.optim.SGD(named, lr=0.1))
    assert not [name for name in recipe.known() if name.startswith("optimizer.")]
    with pytest.raises(UsageError, match=r"no 'optimizer\.lr'"):
        recipe.with_({"optimizer.lr": 1})


def test_what_the_builder_is_told_is_not_offered():
    def told(inputs, classes, width):
        return nn.Linear(inputs, classes)

    assert [name for name in ls.Recipe(told, letters).known() if name.startswith("model.")] == ["model.width"]


def test_an_open_builder_takes_any_name():
    def open_builder(**options):
        return nn.Linear(6, options["k"])

    assert ls.Recipe(open_builder, letters).with_({"model.k": 2}).model == {"k": 2}


def test_a_builder_may_be_a_class():
    assert ls.Recipe(nn.Bilinear, letters, model={"in1_features": 3}).model == {"in1_features": 3}


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, float("nan"), torch.ones(1), {3}, object(), b"x"])
def test_parameters_that_json_changes_are_refused(value):
    with pytest.raises(UsageError, match=r"model\.width="):
        ls.Recipe(head, letters, model={"width": value})


@pytest.mark.parametrize("value", [1, 0.5, "a", True, None, [1, [2]], {"a": [1]}])
def test_parameters_that_json_keeps_are_taken(value):
    assert ls.Recipe(head, letters, model={"width": value}).model["width"] == value


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0}, {"epochs": 0}, {"patience": 0}, {"clip": -1}, {"precision": "int8"}, {"micro_batch": 0},
        {"model": {"wide": 3}}, {"inputs": lambda batch: batch},
    ],
)  # fmt: skip
def test_wrong_use(wrong):
    with pytest.raises(UsageError):
        ls.Recipe(**({"builder": head, "inputs": letters} | wrong))


def test_overrides_are_checked_too():
    with pytest.raises(UsageError, match="batch=0"):
        RECIPE.with_({"batch": 0})


def test_it_reads_well():
    assert str(RECIPE) == "head(width=8) by adamw(lr=0.001), batch=256, epochs=5, seed=0"

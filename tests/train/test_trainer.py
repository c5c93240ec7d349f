from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from toys import head, learnable, letters

import lineshaft as ls
from lineshaft.core.codec import encode
from lineshaft.errors import DataError, Diverged, TrainingError, UsageError
from lineshaft.train.history import evaluate
from lineshaft.train.spill import prepare
from lineshaft.train.targets import Targets
from lineshaft.train.trainer import Shuffled, train

RECIPE = ls.Recipe(head, letters, batch=16, epochs=4, optimizer=ls.adamw(lr=1e-2))


def stored(trained):
    return encode("Tensors", trained.payload())[1]


def test_it_learns_and_says_how():
    trained = train(RECIPE.with_({"epochs": 15}), *learnable(), learnable(40, 1), classes=2)
    assert [curve["epoch"] for curve in trained.curves] == list(range(1, 16))
    assert trained.curves[-1]["train_loss"] < 0.5 * trained.curves[0]["train_loss"]
    assert trained.score("validation_accuracy") > 0.8
    assert trained.best_epoch == 15
    assert trained.shapes == {"x": {"shape": [6], "dtype": "float32"}}


def test_the_same_inputs_give_the_same_bytes():
    one, other = (stored(train(RECIPE, *learnable(), learnable(40, 1), classes=2)) for _ in range(2))
    assert one == other


def test_another_seed_gives_others():
    one, other = (train(RECIPE.with_({"seed": seed}), *learnable(), classes=2) for seed in (0, 1))
    assert not torch.equal(one.weights["0.weight"], other.weights["0.weight"])


def test_validation_does_not_disturb_training():
    def noisy(width: int = 8):
        return nn.Sequential(nn.LazyLinear(width), nn.LazyBatchNorm1d(), nn.Dropout(0.5), nn.Linear(width, 2))

    recipe = dataclasses.replace(RECIPE, builder=noisy)
    without = train(recipe, *learnable(), classes=2)
    with_it = train(recipe, *learnable(), learnable(40, 1), classes=2)
    assert all(torch.equal(without.weights[name], with_it.weights[name]) for name in without.weights)
    assert [c["train_loss"] for c in without.curves] == [c["train_loss"] for c in with_it.curves]


def test_without_validation_there_is_no_validation_score():
    trained = train(RECIPE, *learnable(), classes=2)
    assert set(trained.curves[0]) == {"epoch", "train_loss"}
    with pytest.raises(UsageError, match="no 'validation_loss'; they have epoch, train_loss"):
        trained.score("validation_loss")


def test_it_is_the_public_loop_over_shuffled_batches():
    inputs, target = learnable()
    trained = train(RECIPE, inputs, target, classes=2)

    def factory():
        return RECIPE.build({"x": {"shape": [6], "dtype": "float32"}}, 2)

    fit = ls.train.fit(factory, Shuffled(inputs, target, 16, 0), optimizer=RECIPE.optimizer, epochs=4)
    assert all(torch.equal(trained.weights[name], value) for name, value in fit.model.state_dict().items())


def test_rows_of_weight_zero_are_not_there():
    inputs, target = learnable(60)
    weights = torch.ones(60)
    weights[::3] = 0
    present = weights > 0
    one = train(RECIPE, inputs, Targets(target.probabilities, weights), classes=2)
    other = train(RECIPE, {"x": inputs["x"][present]}, target[present], classes=2)
    assert stored(one) == stored(other)


def test_weights_move_the_model():
    inputs, target = learnable()
    doubted = target.weights.clone()
    doubted[:40] = 0.01
    one = train(RECIPE, inputs, target, classes=2)
    other = train(RECIPE, inputs, Targets(target.probabilities, doubted), classes=2)
    assert not torch.equal(one.weights["0.weight"], other.weights["0.weight"])


def test_the_order_of_features_does_not_matter():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, left, right):
            return self.head(torch.cat([left, right], dim=1))

    x, target = learnable()[0]["x"], learnable()[1]
    recipe = dataclasses.replace(RECIPE, builder=lambda: Both())
    one = train(recipe, {"left": x[:, :3], "right": x[:, 3:]}, target, classes=2)
    other = train(recipe, {"right": x[:, 3:], "left": x[:, :3]}, target, classes=2)
    assert stored(one) == stored(other)


class Scripted(nn.Module):
    """Its validation loss follows a script, one value per epoch: the weight counts the steps."""

    def __init__(self, script):
        super().__init__()
        self.script = script
        self.steps = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        if self.training:
            return torch.stack([self.steps, -self.steps]).expand(len(x), 2) * 1.0
        level = self.script[min(len(self.script), max(1, round(float(self.steps)))) - 1]
        return torch.tensor([[0.0, -level]]).expand(len(x), 2)


def scripted(script, patience, epochs):
    """One batch an epoch, one unit of the weight a step."""
    recipe = ls.Recipe(
        lambda: Scripted(script), letters, batch=99, epochs=epochs, patience=patience,
        loss=lambda outputs, target: -outputs[:, 0] if outputs.requires_grad else -outputs[:, 1],
        optimizer=ls.sgd(lr=1.0),
    )  # fmt: skip
    return train(recipe, *learnable(10), learnable(10, 1), classes=2)


@pytest.mark.parametrize(
    ("script", "patience", "epochs", "best"),
    [
        ([5.0, 4, 3, 2, 1], 2, 5, 5),
        ([5.0, 4, 4, 4, 1], 2, 4, 2),
        ([5.0, 4, 4, 3, 4, 4, 1], 2, 6, 4),
        ([1.0, 2, 3], 1, 2, 1),
        ([1.0, 2, 3], None, 3, 3),
        ([2.0, 2, 2, 2], 3, 4, 1),
    ],
)
def test_early_stopping_by_the_script(script, patience, epochs, best):
    trained = scripted(script, patience, len(script))
    assert [curve["validation_loss"] for curve in trained.curves] == script[:epochs]
    assert trained.best_epoch == best
    assert float(trained.weights["steps"]) == best
    assert trained.score("validation_loss") == script[best - 1]


def test_a_validation_loss_of_nan_is_an_error():
    with pytest.raises(Diverged, match="the validation loss after epoch 2 is nan"):
        scripted([1.0, math.nan], None, 2)


def test_evaluation_is_weighted():
    inputs = {"x": torch.tensor([[2.0, 0], [0, 2], [2, 0]])}
    target = Targets(torch.tensor([[1.0, 0], [1, 0], [0.4, 0.6]]), torch.tensor([1.0, 2, 1]))
    loss, accuracy = evaluate(nn.Identity(), ls.cross_entropy, inputs, target, batch=2)
    rows = functional.cross_entropy(inputs["x"], target.probabilities, reduction="none")
    assert loss == pytest.approx(float((rows * target.weights).sum() / 4))
    assert accuracy == 0.25


def test_evaluation_leaves_modes_and_generators():
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.5))
    model[1].eval()
    before = torch.get_rng_state()
    evaluate(model, ls.cross_entropy, *learnable(), batch=7)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), before)


def test_shuffled_deals_every_row_once_by_seed_and_epoch():
    inputs, target = learnable(50)
    inputs["x"] = torch.arange(50.0)[:, None]

    def order(seed, epoch):
        data = Shuffled(inputs, target, 8, seed)
        data.set_epoch(epoch)
        return torch.cat([x for x, _, _ in data])[:, 0].tolist()

    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert len(Shuffled(inputs, target, 8, 0)) == len(list(Shuffled(inputs, target, 8, 0))) == 7


def test_shuffled_keeps_rows_together():
    inputs, target = learnable(30)
    target = Targets(target.probabilities, torch.arange(1.0, 31))
    for x, probabilities, weights in Shuffled(inputs, target, 7, 0):
        rows = weights.long() - 1
        assert torch.equal(x, inputs["x"][rows])
        assert torch.equal(probabilities, target.probabilities[rows])


WRONG = {
    "rows": (lambda i, t: ({"x": i["x"][:-1]}, t, 2), "feature 'x' has 79 rows, the targets have 80"),
    "classes": (lambda i, t: (i, t, 3), "the training targets have 2 classes, the task has 3"),
    "no weight": (
        lambda i, t: (i, Targets(t.probabilities, 0 * t.weights), 2),
        "none of the 80 training rows has a weight",
    ),
    "no features": (lambda i, t: ({}, t, 2), "there are no training features"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_do_not_fit(name):
    change, message = WRONG[name]
    inputs, target, classes = change(*learnable())
    with pytest.raises(DataError, match=message):
        train(RECIPE, inputs, target, classes=classes)


def test_validation_rows_that_do_not_fit():
    inputs, target = learnable(40, 1)
    with pytest.raises(DataError, match=r"validation features are .*, training features"):
        train(RECIPE, *learnable(), ({"x": inputs["x"][:, :3]}, target), classes=2)
    with pytest.raises(UsageError, match="patience=2 needs the loss on validation rows"):
        train(dataclasses.replace(RECIPE, patience=2), *learnable(), classes=2)


def test_a_model_with_the_wrong_number_of_outputs():
    with pytest.raises(TrainingError, match="the task has 3 classes"):
        train(RECIPE, learnable()[0], Targets.of_classes([0, 1, 2, 0] * 20, 3), classes=3)


def test_deterministic_kernels_are_given_back():
    assert not torch.are_deterministic_algorithms_enabled()
    seen = []
    recipe = dataclasses.replace(
        RECIPE, builder=lambda: seen.append(torch.are_deterministic_algorithms_enabled()) or head()
    )
    train(recipe, *learnable(), classes=2, epochs=1)
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.fixture(params=["resident", "checkpointed", "spilled"])
def within_memory(request, monkeypatch):
    def ranked(options, budget):
        return sorted(options, key=lambda option: option.cut.way != request.param)

    monkeypatch.setattr(prepare, "ranked", ranked)
    return RECIPE.with_({"model.width": 32, "memory": "60KB", "micro_batch": 5})


@pytest.mark.parametrize("patience", [None, 2])
def test_a_budget_changes_no_byte(within_memory, patience, tmp_path):
    recipe = within_memory.with_({"patience": patience})
    data = *learnable(), learnable(40, 1)
    whole = stored(train(recipe.with_({"memory": None}), *data, classes=2))
    assert stored(train(recipe, *data, classes=2)) == whole
    assert stored(train(recipe, *data, classes=2, checkpoint=tmp_path)) == whole
    assert stored(train(recipe.with_({"split": ["2"]}), *data, classes=2)) == whole


def test_split_points_are_those_of_the_built_model(within_memory):
    with pytest.raises(UsageError, match="split='9': the model has no module of that name; it has '0', '1', '2'"):
        train(within_memory.with_({"split": ["9"]}), *learnable(), classes=2)
    with pytest.raises(UsageError, match=r"split=\['2'\] without memory="):
        train(within_memory.with_({"split": ["2"], "memory": None}), *learnable(), classes=2)


def test_in_a_budget_too_training_goes_on_from_an_earlier_one(within_memory):
    data = *learnable(), learnable(40, 1)
    whole = train(within_memory.with_({"memory": None}), *data, classes=2)
    for first, second in ((within_memory, within_memory), (within_memory.with_({"memory": None}), within_memory)):
        begun = train(first, *data, classes=2, epochs=2)
        assert stored(train(second, *data, classes=2, start=begun.snapshot)) == stored(whole)

"""Two epochs and then three more == five at once: the same bytes, also through the store's form and through checkpoints."""

from __future__ import annotations

import random

import pytest
import torch
from plain_loop import rows
from torch import nn
from torch.nn import functional

from lineshaft.core.codec import decode, encode
from lineshaft.errors import TrainingError
from lineshaft.train.features import features
from lineshaft.train.recipe import Recipe
from lineshaft.train.select import Halving, expand, search
from lineshaft.train.targets import Targets
from lineshaft.train.trainer import Trained, train


@features(reads=["text"])
def embed(batch):
    return torch.zeros(len(batch), 12)


def head(width: int = 16, drop: float = 0.2):
    return nn.Sequential(nn.LazyLinear(width), nn.ReLU(), nn.Dropout(drop), nn.Linear(width, 3))


def soft(n, seed):
    x, y = rows(n, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    probabilities = functional.softmax(3 * functional.one_hot(y, 3) + torch.randn(n, 3, generator=generator), dim=1)
    return {"x": x}, Targets(probabilities, torch.rand(n, generator=generator).clamp(min=0.3) - 0.3)


RECIPES = {
    "plain": {},
    "patience": {"patience": 2},
    "everything": {
        "patience": 3, "clip": 0.2, "precision": "bf16", "micro_batch": 9,
        "schedule": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95),
    },
}  # fmt: skip


def recipe(name="plain", **changes):
    return Recipe(head, embed, batch=32, **{"epochs": 5, **RECIPES[name], **changes})


def run(made, **options):
    (inputs, target), validation = soft(100, 1), soft(40, 2)
    return train(made, inputs, target, validation, classes=3, **options)


def stored(trained):
    return encode("Tensors", trained.payload())[1]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("rungs", [(2, 5), (1, 2, 3, 4, 5), (4, 5)])
def test_rung_by_rung_equals_straight(name, rungs):
    straight = run(recipe(name))
    trained = None
    for epochs in rungs:
        start = decode("Tensors", stored(trained)) if trained else None
        trained = run(recipe(name), epochs=epochs, start=start)
    assert stored(trained) == stored(straight)
    assert trained.curves == straight.curves
    assert all(torch.equal(trained.weights[key], straight.weights[key]) for key in straight.weights)


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_from_its_folder_equals_straight(name, tmp_path):
    straight = run(recipe(name))
    run(recipe(name), epochs=2, checkpoint=tmp_path)
    assert stored(run(recipe(name), checkpoint=tmp_path)) == stored(straight)


def test_the_folder_goes_before_the_start(tmp_path):
    straight = run(recipe())
    first = run(recipe(), epochs=1)
    run(recipe(), epochs=3, start=first.snapshot, checkpoint=tmp_path)
    assert stored(run(recipe(), start=first.snapshot, checkpoint=tmp_path)) == stored(straight)


def test_early_stopping_stops_at_the_same_epoch_in_rungs():
    made = recipe("patience", epochs=40, optimizer=lambda named: torch.optim.SGD(named, lr=2.0))
    straight = run(made)
    assert len(straight.curves) < 40
    trained = run(made, epochs=1)
    for epochs in range(2, 41):
        trained = run(made, epochs=epochs, start=trained.snapshot)
    assert stored(trained) == stored(straight)


def test_the_same_bytes_whatever_was_drawn_before():
    one = stored(run(recipe()))
    random.seed(77)
    torch.manual_seed(78)
    assert stored(run(recipe())) == one


def test_the_callers_generators_are_left_alone():
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    run(recipe(), epochs=1)
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]


def test_a_stored_training_reads_back():
    trained = run(recipe("patience"))
    again = Trained.from_payload(decode("Tensors", stored(trained)))
    assert (again.curves, again.best_epoch, again.shapes, again.classes) == (
        trained.curves, trained.best_epoch, trained.shapes, trained.classes,
    )  # fmt: skip
    assert stored(again) == stored(trained)


def test_going_on_does_not_change_what_it_starts_from():
    first = run(recipe(), epochs=2)
    before = stored(first)
    run(recipe(), start=first.snapshot)
    assert stored(first) == before


@pytest.mark.parametrize(
    "changes", [{"optimizer.lr": 1e-2}, {"model.width": 8}, {"seed": 3}, {"clip": 1.0}, {"batch": 16}]
)
def test_the_state_of_another_recipe_is_refused(changes):
    first = run(recipe(), epochs=2)
    with pytest.raises(TrainingError, match="the saved state is of another training"):
        run(recipe().with_(changes), start=first.snapshot)


def test_the_state_of_other_rows_is_refused():
    first = run(recipe(), epochs=2)
    inputs, target = soft(100, 3)
    with pytest.raises(TrainingError, match="its rows is"):
        train(recipe(), inputs, target, soft(40, 2), classes=3, start=first.snapshot)


def test_a_halving_search_gives_its_best_the_weights_of_a_straight_training():
    candidates = expand({"model.width": [4, 16], "optimizer.lr": [1e-3, 3e-2]})
    kept: dict[int, Trained] = {}

    def train_rung(numbers, epochs):
        for number in numbers:
            start = kept[number].snapshot if number in kept else None
            kept[number] = run(recipe().with_(candidates[number]), epochs=epochs, start=start)
        return [kept[number].score("validation_loss") for number in numbers]

    found = search(candidates, Halving((1, 2, 5), reduction=2), "validation_loss", train_rung)
    straight = run(recipe().with_(candidates[found.best]))
    assert stored(kept[found.best]) == stored(straight)
    assert sorted(trial.epochs for trial in found.trials) == [1, 1, 2, 5]

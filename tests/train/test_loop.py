"""What fit refuses and reports; that its bits are right is held by tests/transparency."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import lineshaft as ls
from lineshaft.core.events import listening
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.checkpoint import Checkpoints


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 3))


def data(n=4, rows=6):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(rows, 4, generator=generator), torch.randint(0, 3, (rows,), generator=generator)) for _ in range(n)
    ]


def test_a_model_learns():
    fit = ls.train.fit(net, data(1), optimizer=ls.adamw(lr=0.05), epochs=60)
    assert fit.losses[-1] < 0.3 * fit.losses[0]
    assert (len(fit.losses), fit.epochs) == (60, 60)
    assert "60 steps" in repr(fit)


@pytest.mark.parametrize("made", [lambda: iter(data()), lambda: (batch for batch in data())])
def test_one_shot_data_is_refused_before_anything_is_made(made):
    with pytest.raises(TrainingError, match="one-shot"):
        ls.train.fit(lambda: pytest.fail("the factory was called"), made())


def test_empty_data():
    with pytest.raises(TrainingError, match="the data gave no batch in epoch 1"):
        ls.train.fit(net, [])


class Once:
    def __init__(self):
        self.left = iter(data())

    def __iter__(self):
        return self.left


def test_data_that_does_not_start_again_is_found_in_the_second_epoch():
    with pytest.raises(TrainingError, match="no batch in epoch 2; it must start again"):
        ls.train.fit(net, Once(), epochs=2)


def test_nan_loss_names_step_epoch_and_batch():
    batches = data()
    batches[2][0][3, 1] = math.nan
    with pytest.raises(TrainingError, match=r"the loss of step 3 \(epoch 1, batch 3\) is nan"):
        ls.train.fit(net, batches)


def test_a_diverging_training_is_stopped_before_the_step():
    model = net()
    with pytest.raises(TrainingError, match=r"step \d+ .* is (nan|inf)"):
        ls.train.fit(model, data(), loss=lambda o, t: (o * 1e30).square().sum(1), optimizer=ls.sgd(lr=1.0), epochs=5)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("loss", "seen"),
    [
        (lambda o, t: functional.cross_entropy(o, t), r"\[\]"),
        (lambda o, t: o, r"\[6, 3\]"),
        (lambda o, t: functional.cross_entropy(o, t, reduction="none")[:, None], r"\[6, 1\]"),
        (lambda o, t: 3.0, "float"),
    ],
)
def test_a_loss_of_the_wrong_shape_is_refused(loss, seen):
    with pytest.raises(TrainingError, match=rf"step 1 .*: the loss returned {seen} for 6 rows; it must be unreduced"):
        ls.train.fit(net, data(), loss=loss)


def test_weights_are_checked_with_their_place():
    batches = [(x, y, torch.ones(len(y))) for x, y in data()]
    batches[1][2][4] = -1
    with pytest.raises(TrainingError, match="epoch 1, batch 2: the weight of row 4 is -1"):
        ls.train.fit(net, batches)
    with pytest.raises(TrainingError, match="sum to 0"):
        ls.train.fit(net, [(x, y, torch.zeros(len(y))) for x, y in data()])


def test_accumulation_names_the_batch_within_the_group():
    batches = data()
    batches[3] = (batches[3][0][:2], batches[3][1])
    with pytest.raises(TrainingError, match="epoch 1, batch 4: "):
        ls.train.fit(net, batches, accumulate=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"micro_batch": 0}, {"accumulate": 0}, {"epochs": 0}, {"steps": 0}, {"clip": 0.0}, {"clip": -1.0},
        {"clip": math.nan}, {"precision": "fp8"},
    ],
)  # fmt: skip
def test_parameters_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        ls.train.fit(net, data(), **wrong)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: "model", "returned a str, not a torch.nn.Module"),
        (nn.ReLU, "ReLU has no parameters to train"),
        (lambda: nn.LazyLinear(3), "'weight' has no shape yet"),
    ],
)
def test_factories_that_make_nothing_to_train(factory, message):
    with pytest.raises(UsageError, match=message):
        ls.train.fit(factory, data())


def test_inputs_as_tuple_and_dict():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, left, right):
            return self.head(left + right)

    as_tuple = [((x, 2 * x), y) for x, y in data()]
    as_dict = [({"right": 2 * x, "left": x}, y) for x, y in data()]
    one, other = (ls.train.fit(Sum, batches, micro_batch=4) for batches in (as_tuple, as_dict))
    assert one.losses == other.losses


def test_a_model_in_eval_mode_is_left_so():
    model = net().eval()
    ls.train.fit(model, data())
    assert not model.training


class Numbered(list):
    def __init__(self, batches):
        super().__init__(batches)
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


def test_data_hears_which_epoch_comes(tmp_path):
    batches = Numbered(data())
    ls.train.fit(net, batches, epochs=3)
    assert batches.epochs == [0, 1, 2]
    ls.train.fit(net, Numbered(data()), steps=6, checkpoint=tmp_path)
    resumed = Numbered(data())
    ls.train.fit(net, resumed, steps=10, checkpoint=tmp_path)
    assert resumed.epochs == [1, 2]


def test_progress_is_told_in_steps(tmp_path):
    heard = []
    with listening(heard.append):
        ls.train.fit(net, data(), epochs=2, accumulate=3)
    begin = next(event for event in heard if event.kind == "progress.begin")
    assert begin.facts["total"] == 4
    assert sum(event.facts["amount"] for event in heard if event.kind == "progress.advance") == 4
    silent = []
    with listening(silent.append):
        ls.train.fit(net, data(), progress=False)
    assert not [event for event in silent if event.kind.startswith("progress")]


def test_a_state_past_the_goal_is_refused(tmp_path):
    ls.train.fit(net, data(), steps=6, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match=r"before step 7 \(epoch 2, batch 3\), asked were 5 steps"):
        ls.train.fit(net, data(), steps=5, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="asked were 1 epochs"):
        ls.train.fit(net, data(), epochs=1, checkpoint=tmp_path)


OTHERS = {
    "model": ({"factory": lambda: nn.Linear(4, 3)}, "Linear", "Sequential"),
    "optimizer": ({"optimizer": ls.adamw(lr=0.5)}, "lr=0.5", "lr=0.001"),
    "optimizer kind": ({"optimizer": ls.sgd(lr=0.001)}, "SGD", "AdamW"),
    "loss": ({"loss": lambda o, t: o.square().sum(1)}, "lambda", "cross_entropy"),
    "seed": ({"seed": 4}, "seed=4", "seed=0"),
    "micro_batch": ({"micro_batch": 2}, "micro_batch=2", "micro_batch=None"),
    "clip": ({"clip": 1.0}, "clip=1.0", "clip=None"),
    "precision": ({"precision": "bf16"}, "bf16", "None"),
    "schedule": ({"schedule": lambda o: torch.optim.lr_scheduler.ConstantLR(o)}, "ConstantLR", "none"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_training_is_refused_and_both_are_named(tmp_path, name):
    change, ours, theirs = OTHERS[name]
    ls.train.fit(net, data(), checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="the saved state is of another training") as caught:
        ls.train.fit(**({"factory": net, "data": data(), "epochs": 2, "checkpoint": tmp_path} | change))
    assert ours in str(caught.value)
    assert theirs in str(caught.value)


def test_a_checkpoint_may_be_a_text_a_path_or_checkpoints(tmp_path):
    for where in (str(tmp_path / "a"), tmp_path / "b", Checkpoints(tmp_path / "c")):
        ls.train.fit(net, data(), checkpoint=where)
    assert all(len(list((tmp_path / name).glob("*.json"))) == 1 for name in "abc")

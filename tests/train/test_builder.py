from __future__ import annotations

import pytest
import torch
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.builder import arguments, build, describe, try_out

SHAPES = {"x": {"shape": [6], "dtype": "float32"}}


def told(inputs, classes, width=4):
    return nn.Sequential(nn.Linear(inputs, width), nn.Linear(width, classes))


def lazy(width):
    return nn.Sequential(nn.LazyLinear(width), nn.LazyBatchNorm1d(), nn.Dropout(0.5), nn.LazyLinear(2))


class TwoInputs(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.words = nn.EmbeddingBag(10, 3)
        self.head = nn.Linear(3 + inputs["age"][0], 2)

    def forward(self, tokens, age):
        return self.head(torch.cat([self.words(tokens), age], dim=1))


def test_shapes_and_types_are_described_without_rows():
    inputs = {"y": torch.zeros(3, 2, 4), "b": torch.zeros(3, dtype=torch.int64)}
    assert describe(inputs) == {"b": {"shape": [], "dtype": "int64"}, "y": {"shape": [2, 4], "dtype": "float32"}}


def test_one_tensor_goes_by_position_several_by_name():
    x = torch.zeros(2)
    assert arguments({"tokens": x}) is x
    assert arguments({"a": x, "b": x}) == {"a": x, "b": x}


def test_a_builder_is_told_what_it_asks_for():
    assert build(told, {"width": 5}, SHAPES, 2)[0].weight.shape == (5, 6)
    assert build(told, {"inputs": 6}, SHAPES, 3)[1].weight.shape == (3, 4)


def test_lazy_layers_get_their_shapes_from_zeros_alone():
    torch.manual_seed(1)
    one = build(lazy, {"width": 5}, SHAPES, 2)
    torch.manual_seed(1)
    other = build(lazy, {"width": 5}, SHAPES, 2)
    assert one[0].weight.shape == (5, 6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=False))
    assert one.training
    assert one[1].num_batches_tracked == 0


def test_several_tensors_of_several_types():
    shapes = {"age": {"shape": [1], "dtype": "float32"}, "tokens": {"shape": [7], "dtype": "int64"}}
    assert build(TwoInputs, {}, shapes, 2).head.weight.shape == (2, 4)


def test_each_module_keeps_its_own_mode():
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.1))
    model[1].eval()
    try_out(model, SHAPES, 2)
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(
    ("builder", "parameters", "message"),
    [
        (told, {"depth": 3}, r"the builder is told\(inputs, classes, width=4\), given were .*depth"),
        (lazy, {}, "missing a required argument: 'width'"),
        (lambda: "module", {}, "returned a str, not a torch.nn.Module"),
        (lambda: nn.Linear(6, 5), {}, r"the model gave \[2, 5\] for 2 rows; the task has 2 classes"),
        (lambda: nn.Flatten(0), {}, r"the model gave \[12\]"),
        (lambda: nn.LSTM(6, 2), {}, "the model gave tuple"),
    ],
)
def test_builders_that_do_not_fit_are_refused(builder, parameters, message):
    with pytest.raises(TrainingError, match=message):
        build(builder, parameters, SHAPES, 2)

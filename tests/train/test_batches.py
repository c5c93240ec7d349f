from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.batches import Batch, call, cut, read_batch, require_reiterable

X, Y = torch.arange(12.0).reshape(6, 2), torch.arange(6)


def test_a_batch_without_weights():
    batch = read_batch((X, Y), "here")
    assert batch.rows == 6
    assert batch.weight is None


@pytest.mark.parametrize(
    "item", [[X, Y], (X, Y, None), (X, Y, [1, 2, 3, 4, 5, 6]), ((X, X), Y), ({"a": X, "flag": True}, Y)]
)
def test_forms_that_are_taken(item):
    assert read_batch(item, "here").rows == 6


def test_whole_weights_become_floating():
    assert read_batch((X, Y, torch.tensor([1, 2, 3, 4, 5, 6])), "here").weight.is_floating_point()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (X, "the batch is a Tensor; it must be"),
        ((X,), "the batch is a tuple of 1; it must be"),
        ((X, Y, None, None), "the batch is a tuple of 4"),
        ((X, "labels"), "the target holds no tensor with rows"),
        ((X, torch.tensor(3)), "the target holds no tensor with rows"),
        ((X[:0], Y[:0]), "the target holds 0 rows"),
        ((X[:4], Y), r"shape \[4, 2\] beside a target of 6 rows"),
        (({"a": X, "b": X[:5]}, Y), r"shape \[5, 2\] beside a target of 6 rows"),
        ((X, Y, torch.ones(5)), r"weights of shape \[5\] for 6 rows"),
        ((X, Y, torch.ones(6, 1)), r"weights of shape \[6, 1\] for 6 rows"),
        ((X, Y, torch.tensor([1, 1, -0.5, 1, 1, 1])), "the weight of row 2 is -0.5"),
        ((X, Y, torch.tensor([1, float("nan"), 1, 1, 1, 1])), "the weight of row 1 is nan"),
        ((X, Y, torch.tensor([1, 1, 1, 1, 1, float("inf")])), "the weight of row 5 is inf"),
    ],
)
def test_forms_that_are_refused_with_their_place(item, message):
    with pytest.raises(TrainingError, match=message) as caught:
        read_batch(item, "epoch 2, batch 7")
    assert str(caught.value).startswith("epoch 2, batch 7: ")


def group(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        x = torch.randn(size, 3, generator=generator)
        made.append(Batch(x, torch.arange(size), torch.rand(size, generator=generator) + 0.01, size))
    return made


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.one_of(st.none(), st.integers(1, 15)))
def test_cutting_keeps_rows_order_and_total_share(sizes, micro):
    batches = group(sizes)
    parts = list(cut(batches, micro, "here"))
    assert torch.equal(torch.cat([part.inputs for part in parts]), torch.cat([batch.inputs for batch in batches]))
    assert torch.equal(torch.cat([part.target for part in parts]), torch.cat([batch.target for batch in batches]))
    shares = torch.cat([part.share for part in parts])
    weights = torch.cat([batch.weight for batch in batches])
    assert torch.equal(shares, weights / weights.sum())
    assert all(part.rows == len(part.target) <= (micro or 12) for part in parts)


def test_without_weights_every_row_has_the_same_share():
    (part,) = cut([read_batch((X, Y), "here")], None, "here")
    assert torch.equal(part.share, torch.full((6,), 1 / 6))


def test_zero_total_weight_is_refused():
    with pytest.raises(TrainingError, match=r"step 3.*: the weights of its 6 rows sum to 0"):
        list(cut([read_batch((X, Y, torch.zeros(6)), "here")], None, "step 3"))


def test_a_row_of_weight_zero_beside_others_is_fine():
    weight = torch.tensor([0.0, 1, 1, 1, 1, 0])
    (part,) = cut([read_batch((X, Y, weight), "here")], None, "here")
    assert part.share.tolist() == [0, 0.25, 0.25, 0.25, 0.25, 0]


def test_what_has_no_rows_goes_to_every_micro_batch():
    inputs = {"x": X, "scale": torch.tensor(2.0), "flag": True, "none": None}
    parts = list(cut([read_batch((inputs, Y), "here")], 4, "here"))
    assert [part.inputs["x"].shape[0] for part in parts] == [4, 2]
    assert all(part.inputs["flag"] is True and part.inputs["scale"] == 2 for part in parts)


class Two(nn.Module):
    def forward(self, a, b=1):
        return a + 10 * b


def test_the_model_is_called_by_the_form_of_its_inputs():
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert call(Two(), one) == 11
    assert call(Two(), (one, two)) == 21
    assert call(Two(), [one, two]) == 21
    assert call(Two(), {"b": one, "a": two}) == 12


@pytest.mark.parametrize(
    "make", [lambda: iter([(X, Y)]), lambda: ((X, Y) for _ in range(2)), lambda: map(tuple, [(X, Y)])]
)
def test_one_shot_iterators_are_refused(make):
    with pytest.raises(TrainingError, match="data is a one-shot"):
        require_reiterable(make())


def test_the_iterator_of_a_loader_is_one_shot():
    loader = torch.utils.data.DataLoader([(X, Y)])
    require_reiterable(loader)
    with pytest.raises(TrainingError, match="one-shot"):
        require_reiterable(iter(loader))


def test_what_cannot_be_gone_through_is_refused():
    with pytest.raises(TrainingError, match="data is a int; give a list"):
        require_reiterable(3)

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lineshaft.core.codec import decode, encode
from lineshaft.train import randomness
from lineshaft.train.state import pack, unpack


def draw(generator=None):
    return (
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),
        float(np.random.randn()),
        float(torch.rand(())),
        float(torch.randn(())),
        float(torch.rand((), generator=generator)) if generator else None,
    )


class Holder:
    def __init__(self, generator):
        self.generator = generator


@pytest.mark.parametrize("before", [0, 1, 3])
def test_draws_go_on_after_bytes(before):
    own = torch.Generator().manual_seed(3)
    for _ in range(before):
        draw(own)  # gauss() keeps every second value for later: odd numbers of draws matter
    stored = encode("Tensors", pack(randomness.capture(Holder(own))))[1]
    expected = [draw(own) for _ in range(3)]
    draw(own)
    randomness.restore(unpack(decode("Tensors", stored)), Holder(own))
    assert [draw(own) for _ in range(3)] == expected


def test_without_data_its_generators_are_left_alone():
    own = torch.Generator().manual_seed(3)
    state = randomness.capture(Holder(own))
    drawn = torch.rand(2, generator=own)
    randomness.restore(state)
    assert not torch.equal(torch.rand(2, generator=own), drawn)


def test_a_loaders_generators_are_found_once():
    own = torch.Generator()
    data = torch.utils.data.TensorDataset(torch.zeros(4))
    loader = torch.utils.data.DataLoader(data, shuffle=True, generator=own)
    assert len(randomness.capture(loader)["data"]) == 1
    sampler = torch.utils.data.RandomSampler(data, generator=torch.Generator())
    batched = torch.utils.data.DataLoader(data, batch_sampler=torch.utils.data.BatchSampler(sampler, 2, False))
    assert len(randomness.capture(batched)["data"]) == 1
    assert randomness.capture([1, 2])["data"] == []


def test_isolated_seeds_and_gives_back():
    state = randomness.capture()
    expected = draw()
    randomness.restore(state)
    with randomness.isolated(9):
        first = draw()
    assert draw() == expected
    with randomness.isolated(9):
        assert draw() == first
    with randomness.isolated(10):
        assert draw() != first


def test_isolated_gives_back_after_an_error():
    state = randomness.capture()
    with pytest.raises(ZeroDivisionError), randomness.isolated(0):
        draw()
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state["torch"])
    assert random.getstate() == state["python"]


def test_untouched():
    state = randomness.capture()
    with randomness.untouched():
        draw()
    assert torch.equal(torch.get_rng_state(), state["torch"])
    assert random.getstate() == state["python"]


def test_seeds_of_any_size_are_taken():
    with randomness.isolated(2**40 + 1):
        pass

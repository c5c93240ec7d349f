"""Random states moved on without drawing are those that drawing leads to, and the way between two is found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lineshaft.train.spill import draws
from lineshaft.train.spill.draws import WORDS, advance, distance

OPERATIONS = {
    "dropout": lambda n: functional.dropout(torch.ones(n), 0.3),
    "dropout2d": lambda n: functional.dropout2d(torch.ones(2, n, 3, 3), 0.3),
    "alpha dropout": lambda n: functional.alpha_dropout(torch.ones(n), 0.3),
    "rand": lambda n: torch.rand(n),
    "rand double": lambda n: torch.rand(n, dtype=torch.float64),
    "rand half": lambda n: torch.rand(n, dtype=torch.bfloat16),
    "bernoulli": lambda n: torch.bernoulli(torch.full((n,), 0.4)),
    "randint": lambda n: torch.randint(0, 9, (n,)),
    "randint wide": lambda n: torch.randint(0, 2**40, (n,)),
    "randperm": lambda n: torch.randperm(n),
    "multinomial": lambda n: torch.multinomial(torch.ones(n + 1), 1),
    "exponential": lambda n: torch.empty(n).exponential_(),
    "gumbel": lambda n: functional.gumbel_softmax(torch.zeros(n), tau=1.0),
    "attention": lambda n: functional.scaled_dot_product_attention(*[torch.ones(1, 1, n, 4)] * 3, dropout_p=0.2),
}
SMALL = 1 << 14


@pytest.fixture(autouse=True)
def own_generator():
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    monkeypatch.setattr(draws, "_LOOK", 2048)  # so that ways cross from one look to the next


def after(state, words):
    """Draw so many words."""
    torch.set_rng_state(state)
    torch.empty(words, dtype=torch.int32).random_()
    return torch.get_rng_state()


def fresh(seed):
    return torch.Generator().manual_seed(seed).get_state()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 3 * WORDS), st.integers(0, 3 * WORDS))
def test_advancing_is_drawing(seed, started, words):
    before = after(fresh(seed), started)
    assert torch.equal(advance(before, words), after(before, words))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2000), st.integers(0, 2000))
def test_advancing_twice_is_advancing_by_the_sum(seed, one, other):
    assert torch.equal(advance(advance(fresh(seed), one), other), advance(fresh(seed), one + other))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2 * WORDS), st.integers(0, 6000))
def test_the_way_is_as_long_as_what_was_drawn(seed, started, words):
    before = after(fresh(seed), started)
    assert distance(before, after(before, words), SMALL) == words


@pytest.mark.parametrize("started", [0, 1, WORDS - 1, WORDS, WORDS + 1, 2 * WORDS - 1, 2 * WORDS])
@pytest.mark.parametrize("words", [1, WORDS - 1, WORDS, WORDS + 1, 2 * WORDS])
def test_states_at_the_edge_of_a_twist_are_moved_on_right(started, words):
    before = after(fresh(3), started)
    moved = advance(before, words)
    assert torch.equal(moved, after(before, words))
    assert distance(before, moved, SMALL) == words


@pytest.mark.parametrize("words", [2047, 2048, 2049, 4096])
def test_a_way_that_ends_where_a_look_ends_is_found(words):
    assert distance(fresh(1), after(fresh(1), words), SMALL) == words


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**62),
    st.integers(0, 1300),
    st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(1, 60)), max_size=4),
)
def test_what_operators_draw_can_be_foretold(seed, started, calls):
    before = after(fresh(seed), started)
    torch.set_rng_state(before)
    for name, size in calls:
        OPERATIONS[name](size)
    end = torch.get_rng_state()
    words = distance(before, end, 1 << 16)
    assert words is not None
    assert torch.equal(advance(before, words), end)


def test_what_follows_an_advanced_state_is_what_would_have_followed():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    torch.rand(700)
    wanted = [torch.rand(3), torch.randint(0, 100, (4,)), torch.randn(20), torch.randn(3)]
    torch.set_rng_state(advance(before, 700))
    found = [torch.rand(3), torch.randint(0, 100, (4,)), torch.randn(20), torch.randn(3)]
    assert all(torch.equal(one, other) for one, other in zip(wanted, found, strict=True))


def test_no_draw_is_no_way():
    assert distance(fresh(5), fresh(5)) == 0
    assert torch.equal(advance(fresh(5), 0), fresh(5))


def test_an_advanced_state_is_another_tensor():
    before = fresh(5)
    kept = before.clone()
    advance(before, 0).zero_()
    advance(before, 3).zero_()
    assert torch.equal(before, kept)


def test_states_of_other_seeds_are_not_on_the_way():
    assert distance(fresh(1), fresh(2), SMALL) is None


def test_a_way_back_is_none():
    assert distance(after(fresh(1), 100), fresh(1), SMALL) is None


def test_a_way_longer_than_asked_for_is_none():
    assert distance(fresh(1), after(fresh(1), 3 * SMALL), SMALL) is None


def test_a_normal_draw_that_keeps_half_of_a_pair_is_no_way():
    """An odd number of normal values leaves one for later: a state that no number of words leads to."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    torch.randn(3)
    assert distance(before, torch.get_rng_state(), SMALL) is None


def test_a_kept_half_of_a_pair_stays_where_words_are_skipped():
    torch.manual_seed(0)
    torch.randn(3)
    before = torch.get_rng_state()
    torch.rand(10)
    end = torch.get_rng_state()
    assert distance(before, end, SMALL) == 10
    assert torch.equal(advance(before, 10), end)


def test_looking_for_a_way_draws_nothing():
    torch.manual_seed(4)
    now = torch.get_rng_state()
    distance(fresh(1), after(fresh(1), 50), SMALL)
    torch.set_rng_state(now)
    distance(now, advance(now, 77), SMALL)
    assert torch.equal(torch.get_rng_state(), now)

"""Parameters and optimizer state come up and go below shard by shard, and lose no bit on the way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from lineshaft.core.memory import PAGE, Regions
from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.program.actions import Object
from lineshaft.train.spill.below import InMemory
from lineshaft.train.spill.paged import Paged, Place, lay_out
from lineshaft.train.spill.stepping import Form, kept_forms

SHAPES = {
    "a.weight": (5, 3),
    "a.bias": (5,),
    "b.weight": (2, 2, 3, 3),
    "b.scale": (),
    "c.weight": (300, 7),
    "c.idle": (4,),
}
SHARDS = [["a.weight", "a.bias"], ["b.weight", "b.scale"], ["c.weight", "c.idle"]]

OPTIMIZERS = {
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "AdamW for each": lambda p: optim.AdamW(p, lr=0.01, foreach=True),
    "AdamW fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "Adam amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "SGD": lambda p: optim.SGD(p, lr=0.01),
    "SGD nesterov": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.01),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "Adamax": lambda p: optim.Adamax(p, lr=0.01),
    "ASGD": lambda p: optim.ASGD(p, lr=0.01, t0=1),
    "Rprop": lambda p: optim.Rprop(p, lr=0.01),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
}


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()}
    made["b.weight"].data = made["b.weight"].data.contiguous(memory_format=torch.channels_last)
    return made


def paged_of(named, make=OPTIMIZERS["AdamW"], room=1 << 20, pinned=()):
    optimizer = make(list(named.values()))
    forms = kept_forms(optimizer)
    parts = [
        lay_out({name: named[name] for name in names}, forms, pinned=k in pinned) for k, names in enumerate(SHARDS)
    ]
    return Paged(parts, optimizer, Regions(room), InMemory())


def gradients(step, without=("c.idle",)):
    generator = torch.Generator().manual_seed(50 + step)
    made = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    return {name: gradient for name, gradient in made.items() if name not in without}


def step_of(paged, shard, given_gradients):
    """Bring a shard up, step it, and send it below."""
    items = [Object(shard, what) for what in "ps" if paged.parts[shard].sizes[what]]
    for item in items:
        if item not in paged.resident:
            paged.load(item, [])
    for name, parameter in paged.parts[shard].parameters.items():
        if name in given_gradients:
            parameter.grad = given_gradients[name].clone()
    paged.step(shard)
    for item in items:
        paged.write(item)
        if not paged.parts[shard].pinned:
            paged._drop(item)


def values(paged):
    with paged.looking():
        return {name: own.detach().clone() for part in paged.parts for name, own in part.parameters.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def state_of(optimizer, named):
    return {
        name: {what: value for what, value in optimizer.state.get(parameter, {}).items()}
        for name, parameter in named.items()
    }


def test_what_is_sent_below_is_not_in_memory_and_not_lost():
    named = parameters()
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    paged = paged_of(named)
    paged.send_below()
    assert paged.resident == {}
    assert paged.regions.used == 0
    assert all(parameter.isnan().all() for parameter in named.values())
    assert {name: parameter.shape for name, parameter in named.items()} == {
        name: torch.Size(shape) for name, shape in SHAPES.items()
    }
    assert same(values(paged), before)


def test_an_absent_parameter_holds_one_number():
    named = parameters()
    paged_of(named).send_below()
    assert {parameter.untyped_storage().nbytes() for parameter in named.values()} == {4}


def test_only_one_object_is_in_memory_while_all_are_sent():
    paged = paged_of(parameters())
    paged.send_below()
    assert paged.regions.peak <= max(paged.sizes().values())


def test_a_loaded_shard_is_what_was_sent_and_the_others_are_not_there():
    named = parameters()
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    paged = paged_of(named)
    paged.send_below()
    assert paged.load(Object(1, "p"), []) == paged.sizes()[Object(1, "p")]
    assert torch.equal(named["b.weight"], before["b.weight"])
    assert torch.equal(named["b.scale"], before["b.scale"])
    assert named["a.weight"].isnan().all()


def test_a_load_into_the_room_of_another_drops_it():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    paged.regions.limit = paged.sizes()[Object(2, "p")]
    paged.load(Object(0, "p"), [])
    with pytest.raises(UsageError):
        paged.load(Object(2, "p"), [])
    paged.load(Object(2, "p"), [Object(0, "p")])
    assert set(paged.resident) == {Object(2, "p")}
    assert named["a.weight"].isnan().all()
    assert not named["c.weight"].isnan().any()


def test_the_memory_format_of_a_parameter_stays():
    named = parameters()
    paged = paged_of(named)
    stride = named["b.weight"].stride()
    paged.send_below()
    paged.load(Object(1, "p"), [])
    assert named["b.weight"].stride() == stride == (18, 1, 6, 2)
    step_of(paged, 1, gradients(0))
    paged.load(Object(1, "s"), [])
    assert paged.optimizer.state[named["b.weight"]]["exp_avg"].stride() == stride


def test_a_parameter_that_is_a_view_of_something_larger_becomes_whole():
    base = torch.arange(24.0).reshape(4, 6)
    part = lay_out({"w": nn.Parameter(base[:, :2])}, {})
    assert part.values["w"].stride == (2, 1)
    assert part.sizes["p"] == PAGE


def test_state_that_is_not_born_is_not_read():
    paged = paged_of(parameters())
    paged.send_below()
    assert paged.load(Object(0, "s"), []) == 0


@pytest.mark.parametrize("pinned", [(), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_stepping_shard_by_shard_from_below_is_stepping_in_memory(name, pinned):
    plain, named = parameters(), parameters()
    together = OPTIMIZERS[name](list(plain.values()))
    paged = paged_of(named, OPTIMIZERS[name], pinned=pinned)
    paged.send_below()
    for step in range(4):
        without = ("c.idle",) if step < 2 else ()  # first trained in the third step
        given_gradients = gradients(step, without)
        for own, parameter in plain.items():
            parameter.grad = given_gradients[own].clone() if own in given_gradients else None
        together.step()
        for shard in (2, 1, 0):
            step_of(paged, shard, given_gradients)
    wanted = {own: parameter.detach() for own, parameter in plain.items()}
    assert same(values(paged), wanted)
    paged.bring_up()
    assert same({own: parameter.detach() for own, parameter in named.items()}, wanted)
    one, other = state_of(together, plain), state_of(paged.optimizer, named)
    for own, kept in one.items():
        assert kept.keys() == other[own].keys()
        assert all(torch.equal(torch.as_tensor(kept[what]), torch.as_tensor(other[own][what])) for what in kept)


def test_gradients_are_gone_after_a_step():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    step_of(paged, 0, gradients(0))
    assert named["a.weight"].grad is None


def test_state_lies_in_the_shards_region_after_its_first_step():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    for what in "ps":
        paged.load(Object(0, what), [])
    for name in SHARDS[0]:
        named[name].grad = torch.ones(SHAPES[name])
    paged.step(0)
    flat = torch.frombuffer(paged.resident[Object(0, "s")], dtype=torch.uint8)
    start, end = flat.data_ptr(), flat.data_ptr() + len(flat)
    for name in SHARDS[0]:
        for what in ("exp_avg", "exp_avg_sq"):
            assert start <= paged.optimizer.state[named[name]][what].data_ptr() < end


def test_dropped_state_holds_no_memory():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    step_of(paged, 0, gradients(0))
    state = paged.optimizer.state[named["a.weight"]]
    assert (state["exp_avg"], state["exp_avg_sq"]) == (None, None)
    assert state["step"] == 1


def test_pinned_parts_never_count_as_moved():
    paged = paged_of(parameters(), pinned=(1,))
    moved = paged.moved()
    assert {item for item, size in moved.items() if not size} == {Object(1, "p"), Object(1, "s")}
    assert all(paged.sizes().values())


def test_a_pinned_part_stays_where_computing_finds_it():
    named = parameters()
    before = named["b.weight"].detach().clone()
    paged = paged_of(named, pinned=(1,))
    paged.send_below()
    assert torch.equal(named["b.weight"], before)
    paged.let_go()
    assert torch.equal(named["b.weight"], before)
    assert set(paged.resident) == {Object(1, "p"), Object(1, "s")}


def test_looking_shows_all_and_leaves_what_was_there():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    paged.load(Object(0, "p"), [])
    place = named["a.weight"].data_ptr()
    with paged.looking():
        assert not any(parameter.isnan().any() for parameter in named.values())
    assert named["a.weight"].data_ptr() == place
    assert named["b.weight"].isnan().all()


def test_a_look_that_fails_gives_memory_up_too():
    named = parameters()
    paged = paged_of(named)
    paged.send_below()
    with pytest.raises(ZeroDivisionError), paged.looking():
        raise ZeroDivisionError
    assert named["a.weight"].isnan().all()


def test_a_frozen_parameter_is_paged_and_has_no_state():
    named = parameters()
    named["a.weight"].requires_grad_(False)
    before = named["a.weight"].detach().clone()
    paged = paged_of(named)
    paged.send_below()
    assert paged.parts[0].kept["a.weight"] == {}
    step_of(paged, 0, {"a.bias": torch.ones(5)})
    assert torch.equal(values(paged)["a.weight"], before)


def test_state_of_another_shape_than_the_trial_showed_is_refused():
    class Growing(optim.AdamW):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for value in group["params"]:
                    if value.shape == (5, 3):
                        self.state[value]["extra"] = torch.zeros(9)

    paged = paged_of(parameters(), lambda p: Growing(p, lr=0.01))
    paged.send_below()
    with pytest.raises(TrainingError, match=r"Growing keeps 'extra' of shape \[9\] for a\.weight"):
        step_of(paged, 0, gradients(0))


def test_state_that_changes_its_shape_is_refused():
    class Shrinking(optim.AdamW):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for value in group["params"]:
                    if value.shape == (5, 3):
                        self.state[value]["exp_avg"] = torch.zeros(2)

    paged = paged_of(parameters(), lambda p: Shrinking(p, lr=0.01))
    paged.send_below()
    with pytest.raises(TrainingError, match=r"'exp_avg' of shape \[2\] .*expected were \[5, 3\]"):
        step_of(paged, 0, gradients(0))


def test_state_that_is_made_anew_with_every_step_comes_back_into_its_region():
    class Replacing(optim.AdamW):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for value in group["params"]:
                    state = self.state.get(value, {})
                    state |= {what: own.clone() for what, own in state.items() if isinstance(own, torch.Tensor)}

    plain, named = parameters(), parameters()
    together = OPTIMIZERS["AdamW"](list(plain.values()))
    paged = paged_of(named, lambda p: Replacing(p, lr=0.01))
    paged.send_below()
    for step in range(3):
        for own, gradient in gradients(step).items():
            plain[own].grad = gradient.clone()
        together.step()
        for shard in range(3):
            step_of(paged, shard, gradients(step))
    assert same(values(paged), {own: parameter.detach() for own, parameter in plain.items()})


def test_restoring_takes_what_lies_below():
    named = parameters()
    paged = paged_of(named, pinned=(1,))
    paged.send_below()
    for shard in range(3):
        step_of(paged, shard, gradients(0))
    wanted = values(paged)
    for name in SHARDS[1]:
        named[name].data = torch.zeros(SHAPES[name])
    paged.restore()
    assert same(values(paged), wanted)


def test_parameters_may_be_filled_from_elsewhere_while_they_are_sent():
    named = parameters()
    paged = paged_of(named)

    def fill(item, region):
        region[:] = bytes(len(region))

    paged.send_below(fill)
    assert all(not value.any() for value in values(paged).values())


SHAPE = st.lists(st.integers(1, 6), max_size=4).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SHAPE, DTYPES), min_size=1, max_size=8))
def test_places_never_overlap_and_lie_within_their_object(forms):
    named = {f"w{number}": nn.Parameter(torch.zeros(shape, dtype=dtype)) for number, (shape, dtype) in enumerate(forms)}
    kept = {id(value): (Form("m", tuple(value.shape), value.dtype),) for value in named.values()}
    part = lay_out(named, kept)
    for what, places in (("p", part.values), ("s", {name: own["m"] for name, own in part.kept.items()})):
        spans = sorted((own.offset, own.offset + named[name].nbytes) for name, own in places.items())
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        assert spans[-1][1] <= part.sizes[what]
        assert part.sizes[what] % PAGE == 0
        assert all(own.offset % own.dtype.itemsize == 0 for own in places.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SHAPE, DTYPES), min_size=1, max_size=8))
def test_tensors_put_into_their_places_are_found_there(forms):
    named = {f"w{number}": nn.Parameter(torch.randn(shape).to(dtype)) for number, (shape, dtype) in enumerate(forms)}
    part = lay_out(named, {})
    flat = torch.zeros(part.sizes["p"], dtype=torch.uint8)
    for name, value in named.items():
        part.values[name].view(flat).copy_(value.detach())
    assert all(torch.equal(part.values[name].view(flat), value) for name, value in named.items())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4096), SHAPE, DTYPES)
def test_a_place_is_read_back_from_plain_data(offset, shape, dtype):
    place = Place(offset, shape, tuple(torch.zeros(shape).stride()), dtype)
    assert Place.of(*place.plain()) == place


def test_every_tensor_has_one_place_under_its_name():
    paged = paged_of(parameters())
    places = paged.places()
    assert set(places) == {
        *SHAPES,
        *(f"{name} {what}" for name, shape in SHAPES.items() if shape for what in ("exp_avg", "exp_avg_sq")),
    }
    assert places["b.weight exp_avg"][0] == Object(1, "s")

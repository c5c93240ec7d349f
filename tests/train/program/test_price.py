from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import Case, cases, sizes_of, spilled_case

from lineshaft.errors import TrainingError, UsageError
from lineshaft.train.program.actions import LANES, Action, Object, Program
from lineshaft.train.program.generate import resident, spilled
from lineshaft.train.program.price import Costs, price

UNITS = Costs([1.0] * 3, [1.0] * 3, [2.0] * 3, [1.0] * 3, sizes_of(3), read=1.0, write=1.0)


def costs_of(case, **changes):
    """Return the costs of shards that differ: F and R are 1 + k, B is 2 + k, S is 1."""
    shards = 2 + max(action.shard for action in case.order)
    given_ = {
        "forward": [1.0 + k for k in range(shards)],
        "again": [1.0 + k for k in range(shards)],
        "backward": [2.0 + k for k in range(shards)],
        "step": [1.0] * shards,
        "sizes": case.sizes,
        "read": 1.0,
        "write": 0.5,
        "norm": 0.25,
    }
    return Costs(**{**given_, **changes})


def span_of(priced, text):
    return next(span for span in priced.spans if str(span.action) == text)


def chained(program):
    """Return the program with nothing at the same time: each action waits for the one listed before it."""
    actions = tuple(dataclasses.replace(a, needs=(n - 1,) if n else ()) for n, a in enumerate(program.actions))
    return dataclasses.replace(program, actions=actions)


# three shards and two micro-batches: F 1, R 1, B 2, S 1; p takes 1 to move and s takes 2; memory for two shards


def example(**options):
    return spilled_case(shards=3, micros=2, room=6, **options)


def test_two_buffers_hide_all_that_is_moved():
    priced = price(example(commit=True).steady(), UNITS)
    assert (priced.seconds, priced.stalled, priced.makespan) == (25, 0, 28)
    assert priced.loads == {"in": 6, "compute": 25, "out": 9}
    assert (priced.read, priced.written, priced.binding) == (6, 9, "compute")


def test_writes_go_on_beside_the_next_step():
    priced = price(example(commit=True).steady(), UNITS)
    assert [(str(s.action), s.start, s.end) for s in priced.spans if s.action.lane == "out"] == [
        ("W2p", 11, 12),
        ("W2s", 12, 14),
        ("W1p", 18, 19),
        ("W1s", 19, 21),
        ("W0p", 25, 26),
        ("W0s", 26, 28),
        ("C", 28, 28),
    ]
    assert span_of(priced, "L2p(0s)").start == 3  # when the step before has written 0s: its time is 25 to 28


def test_without_prefetch_and_write_behind():
    priced = price(chained(example(commit=True).steady()), UNITS)
    assert priced.makespan == priced.critical == 25 + 6 + 9


def test_in_memory_without_recompute():
    shards = range(3)
    forward = [Action("F", k, i, graph=True) for i in range(2) for k in shards]
    backward = [Action("B", k, i) for i in range(2) for k in reversed(shards)]
    order = (*forward, *backward, *(Action("S", k) for k in shards))
    case = Case(order, sizes_of(3), 9, (0, 1, 2))
    program = case.steady()
    case.validate(program)
    assert price(program, UNITS).seconds == 25 - 4


def test_a_third_of_the_bandwidth_stalls():
    slow = price(example(commit=True).steady(), dataclasses.replace(UNITS, read=0.25, write=0.25))
    assert slow.stalled > 0
    assert slow.binding == "out"
    assert slow.seconds >= slow.loads["out"] == 36


def test_room_for_one_shard_stalls():
    case = spilled_case(shards=3, micros=2, room=3)
    priced = price(case.steady(), UNITS)
    assert priced.stalled == 10
    assert priced.seconds == 35


# meaning


def test_the_drawing_is_exact():
    program = Program(
        (
            Action("L", 0, what="p"),
            Action("F", 0, 0, graph=True, needs=(0,)),
            Action("B", 0, 0),
            Action("L", 0, what="s"),
            Action("S", 0, needs=(3,)),
            Action("W", 0, what="p", needs=(4,)),
        ),
        1,
        1,
    )
    costs = Costs([2], [0], [3], [1], {Object(0, "p"): 10, Object(0, "s"): 40}, read=10, write=5, latency=0.5)
    priced = price(program, costs)
    assert [(span.start, span.end, span.size) for span in priced.spans] == [
        (2.5, 4.0, 10),  # the write of the step before is over at 2.5
        (4.0, 6.0, 0),
        (6.0, 9.0, 0),
        (4.0, 8.5, 40),
        (9.0, 10.0, 0),
        (10.0, 12.5, 10),
    ]
    assert (priced.seconds, priced.stalled, priced.makespan, priced.critical) == (10.0, 4.0, 12.5, 10.0)


def test_a_step_that_changes_an_object_waits_until_that_is_written():
    program = Case(resident(1, 1), sizes_of(1), 3, (0,), commit=True).steady()
    costs = Costs([1], [0], [1], [1], sizes_of(1), read=1, write=0.25)
    priced = price(program, costs)
    assert span_of(priced, "S0").start == 12  # 3 bytes at 4 a byte, from the beginning on
    assert priced.stalled == 10


def test_the_next_step_waits_for_the_writes_of_the_step_before():
    program = Program((Action("F", 0, 0), Action("W", 0, what="p", needs=(0,))), 1, 1)
    priced = price(program, Costs([1], [0], [0], [0], sizes_of(1), read=1, write=0.2))
    assert (priced.seconds, priced.stalled) == (5, 0)  # the write of the step before began when this step did


def test_reads_and_writes_that_share_the_way():
    program = Program((Action("L", 0, what="p"), Action("W", 0, what="s"), Action("F", 0, 0, needs=(0, 1))), 1, 1)
    costs = Costs([1], [0], [0], [0], sizes_of(1, p=4, s=1), read=1, write=1)
    assert [(s.start, s.end) for s in price(program, costs).spans] == [(0, 4), (0, 1), (4, 5)]
    shared = price(program, dataclasses.replace(costs, shared=True))
    assert [(s.start, s.end) for s in shared.spans] == [(0, 5), (0, 2), (5, 6)]


# what holds for all


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, 2), st.booleans(), st.floats(0.1, 10), st.floats(0, 2))
def test_no_quicker_than_its_longest_chain_and_its_lanes(case, steps, shared, speed, latency):
    program = case.steady(steps)
    priced = price(program, costs_of(case, read=speed, write=speed / 2, latency=latency, shared=shared))
    slack = 1 - 1e-9
    assert priced.makespan >= priced.critical * slack
    for lane in LANES:
        alone = costs_of(case, read=speed, write=speed / 2, latency=latency)
        assert priced.critical >= math.fsum(alone.seconds(program.actions[n]) for n in program.lane(lane)) * slack
        assert priced.makespan >= priced.loads[lane] * slack
    assert priced.makespan >= priced.seconds * slack
    assert priced.seconds >= (priced.loads["compute"] + priced.stalled) * slack


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, 2), st.booleans(), st.floats(0.1, 10))
def test_lanes_keep_their_order_and_actions_wait_for_what_they_need(case, steps, shared, speed):
    program = case.steady(steps)
    priced = price(program, costs_of(case, read=speed, write=speed, shared=shared))
    assert [span.action for span in priced.spans] == list(program.actions)
    for lane in LANES:
        own = [priced.spans[number] for number in program.lane(lane)]
        assert all(one.end <= other.start for one, other in pairwise(own))
    for span in priced.spans:
        assert all(priced.spans[need].end <= span.start for need in span.action.needs)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 2), st.booleans())
def test_with_endless_bandwidth_only_computing_takes_time(case, steps, shared):
    program = case.steady(steps)
    priced = price(program, costs_of(case, read=math.inf, write=math.inf, shared=shared))
    computing = math.fsum(costs_of(case).seconds(program.actions[n]) for n in program.lane("compute"))
    assert priced.makespan == priced.seconds == pytest.approx(computing)
    assert priced.stalled == pytest.approx(0, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(
    cases(), st.integers(0, 2), st.booleans(), st.tuples(*[st.floats(0.1, 4)] * 2), st.tuples(*[st.floats(1, 4)] * 2)
)
def test_less_bandwidth_is_never_quicker(case, steps, shared, speeds, factors):
    program = case.steady(steps)
    quick = price(program, costs_of(case, read=speeds[0], write=speeds[1], shared=shared))
    slow = price(program, costs_of(case, read=speeds[0] / factors[0], write=speeds[1] / factors[1], shared=shared))
    assert slow.seconds >= quick.seconds * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(cases(), st.floats(0.1, 4))
def test_a_shared_way_is_never_quicker(case, speed):
    program = case.steady(2)
    own, shared = (price(program, costs_of(case, read=speed, write=speed, shared=way)) for way in (False, True))
    assert shared.seconds >= own.seconds * (1 - 1e-9)
    assert (shared.read, shared.written) == (own.read, own.written)


# refusals


def test_costs_that_are_none():
    with pytest.raises(UsageError, match=r"backward must be seconds, 0 or more, not -1\.0"):
        dataclasses.replace(UNITS, backward=[1.0, -1.0])
    with pytest.raises(UsageError, match="latency must be seconds, 0 or more, not nan"):
        dataclasses.replace(UNITS, latency=math.nan)
    with pytest.raises(UsageError, match=r"bytes a second, more than 0, not 0 and 1\.0"):
        dataclasses.replace(UNITS, read=0)


def test_a_shard_without_costs():
    with pytest.raises(UsageError, match=r"F3\.0 has no cost: there are those of 3 shards"):
        price(Case(spilled(5, 1), sizes_of(5), 15, ()).place(), dataclasses.replace(UNITS, sizes=sizes_of(5)))


def test_an_object_without_a_size():
    case = example()
    with pytest.raises(UsageError, match="moves 0p, which has no size"):
        price(case.place(), dataclasses.replace(UNITS, sizes={}))


def test_a_program_that_waits_for_ever():
    waiting = Program((Action("L", 0, what="p", needs=(1,)), Action("F", 0, 0, needs=(0,))), 1, 1)
    with pytest.raises(TrainingError, match="L0p waits for ever; validate"):
        price(waiting, UNITS)

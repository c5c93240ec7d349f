from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from programs import Case, cases, least_room, sizes_of, spilled_case

from lineshaft.errors import UsageError
from lineshaft.train.program.actions import Action, Object
from lineshaft.train.program.generate import spilled
from lineshaft.train.program.place import changes, place, uses


def lane(program, name):
    return " ".join(str(program.actions[number]) for number in program.lane(name))


def moved(program, sizes, kinds="LW"):
    return sum(sizes[action.object] for action in program.actions if action.kind in kinds)


def moved_in_six_steps(case):
    before, total = {}, 0
    for _ in range(6):
        program = case.place(before)
        before, total = program.after, total + moved(program, case.sizes)
    return total


def test_what_actions_use():
    assert uses(Action("F", 1, 0)) == uses(Action("R", 1, 0)) == (Object(1, "p"), Object(1, "x", 0))
    assert uses(Action("F", 1, 0, graph=True)) == (Object(1, "p"),)
    assert uses(Action("B", 1, 0)) == (Object(1, "p"), Object(1, "x", 0), Object(1, "g"))
    assert uses(Action("S", 1)) == (Object(1, "p"), Object(1, "s"), Object(1, "g"))
    assert uses(Action("N")) == uses(Action("W", 1, what="p")) == uses(Action("C")) == ()


def test_the_room_of_what_is_needed_furthest_ahead_two_visits_ahead():
    case = Case(spilled(4, 2), sizes_of(4, p=1, s=0), 3, (0, 1, 2, 3))
    program = case.place()
    assert lane(program, "in").startswith("L0p L1p L2p L3p(0p)")
    load = next(action for action in program.actions if str(action) == "L3p(0p)")
    assert [str(program.actions[need]) for need in load.needs] == ["L0p", "F0.0", "F0.1"]


def test_the_shards_at_both_turns_stay():
    case = Case(spilled(6, 2), sizes_of(6, p=1, s=0), 3, tuple(range(6)))
    program = case.steady(8)
    loads = [action.shard for action in program.actions if action.kind == "L"]
    assert loads == [3, 4, 5, 2, 1, 0]  # 3, 4 and 5 are there when the way turns, and 0, 1 and 2 when it turns again


def test_what_has_room_is_never_moved_again():
    case = spilled_case(room=12)
    assert moved(case.place(), case.sizes, "L") == 12
    assert moved(case.steady(1), case.sizes) == 0


def test_what_leaves_is_written_once_it_is_changed():
    case = Case(spilled(2, 1), sizes_of(2), 3, (0, 1))
    program = case.steady()
    numbered = {str(action): number for number, action in enumerate(program.actions)}
    assert numbered["S1"] < numbered["W1p"] < numbered["R0.0"]
    assert program.actions[numbered["W1p"]].needs == (numbered["S1"],)


def test_a_commit_writes_all_that_is_stepped_once():
    case = spilled_case(room=7, commit=True, trained=(1, 3))
    program = case.steady()
    assert sorted(lane(program, "out").split()) == ["C", "W1p", "W1s", "W3p", "W3s"]
    assert lane(program, "out").endswith("C")
    assert not any(program.after.values())


def test_a_commit_waits_for_the_last_step_of_all():
    order = (*spilled(2, 1), Action("S", 2))
    program = place(order, {**sizes_of(3, 0, 0), **sizes_of(2)}, 6, commit=True)
    commit = program.actions[-1]
    assert [str(program.actions[need]) for need in commit.needs] == ["S2"]


def test_frozen_shards_are_only_read():
    case = spilled_case(room=4, trained=(3,), first=3)
    program = case.steady()
    assert {action.shard for action in program.actions if action.kind == "W"} <= {3}
    assert not any(newer for item, newer in program.after.items() if item.shard != 3)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_too_little_room_for_one_action(room):
    case = spilled_case(shards=2, micros=1, room=room)
    message = (
        f"needs 3 bytes of 1p, 1s in memory at once, and there is room for {room}" if room else "needs 1 bytes of 0p"
    )
    with pytest.raises(UsageError, match=message):
        case.place()


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 2))
def test_placement_does_not_change_what_is_computed(case, steps):
    program = case.steady(steps)
    bare = tuple(dataclasses.replace(program.actions[number], needs=()) for number in program.lane("compute"))
    assert bare == case.order


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 3))
def test_empty_objects_are_never_moved_and_nothing_is_written_that_is_not_changed(case, steps):
    before = {}
    for _ in range(steps + 1):
        program = case.place(before)
        changed = {item for item, newer in before.items() if newer}
        for action in program.actions:
            if action.kind in {"L", "W"}:
                assert case.sizes.get(action.object) or action.object in case.pinned
            changed |= set(changes(action))
            if action.kind == "W":
                assert action.object in changed
                changed.discard(action.object)
        before = program.after


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 3))
def test_steps_settle(case, extra):
    """After some steps all programs are alike, or take turns: what is in memory repeats."""
    seen, before = [], {}
    for _ in range(24):
        program = case.place(before)
        before = dict(program.after)
        if before in seen:
            return
        seen.append(before)
    pytest.fail(f"memory did not repeat within 24 steps:\n{program}")


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 6))
def test_more_room_never_moves_more_where_objects_are_of_one_size(case, more):
    sizes = {item: int(item.shard < max(a.shard for a in case.order) + 1) for item in case.sizes if not item.passing}
    shared = 1 + max(action.shard for action in case.order if action.kind == "F")
    sizes |= {Object(shared, "p"): 0, Object(shared, "s"): 0}
    room = max(least_room(case.order, sizes), case.room // 2)
    small = dataclasses.replace(case, sizes=sizes, room=room)
    large = dataclasses.replace(small, room=room + more)
    assert moved_in_six_steps(large) <= moved_in_six_steps(small)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 5))
def test_fewer_loads_than_dropping_what_was_used_longest_ago(case, more):
    sizes = {item: 1 for item in case.sizes if not item.passing}
    room = least_room(case.order, sizes) + more
    assume(room <= len(sizes))
    ours, before = 0, {}
    for _ in range(6):
        program = place(case.order, sizes, room, before, lead=0)
        before, ours = program.after, ours + len(program.lane("in"))
    assert ours <= _least_recently_used(case.order * 6, room)


def _least_recently_used(order, room):
    held, loads = [], 0
    for action in order:
        needed = [item for item in uses(action) if not item.passing]
        loads += sum(item not in held for item in needed)
        held = [item for item in held if item not in needed]
        held = [*held[max(len(held) + len(needed) - room, 0) :], *needed]
    return loads


@given(cases())
def test_the_same_step_is_placed_the_same(case):
    shuffled = dict(reversed(case.sizes.items()))
    program = case.steady(1)
    backwards = dict(reversed(program.before.items()))
    again = place(case.order, shuffled, case.room, backwards, case.commit, case.lead, case.pinned)
    assert again.actions == program.actions

from __future__ import annotations

import dataclasses
import re
import sys

import pytest
from algebra import outcome
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from programs import (
    Case,
    cases,
    listed,
    number_of,
    sizes_of,
    spilled_case,
    swapped,
    with_action,
    without,
    without_need,
)
from timings import breach

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import Action, Object, Program
from lineshaft.train.program.generate import checkpointed, resident, spilled


def refused(case, program):
    try:
        case.validate(program)
    except TrainingError as error:
        return str(error)
    return None


def refuse(case, program, *words):
    message = refused(case, program)
    assert message, f"not refused:\n{program}"
    for word in words:
        assert word in message
    return message


def steady(**options):
    case = spilled_case(**options)
    program = case.steady()
    case.validate(program)
    return case, program


# what place makes


@settings(max_examples=500, deadline=None)
@given(cases(), st.integers(1, 4))
def test_whatever_place_makes_is_proved(case, steps):
    before = {}
    for _ in range(steps):
        program = case.place(before)
        case.validate(program)
        before = program.after


@settings(max_examples=200, deadline=None)
@given(cases(commit=st.just(False)), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_steps_of_different_lengths_and_trials_between_them_are_proved(case, lengths):
    before = {}
    micros = 1 + max(action.micro for action in case.order)
    for length in lengths:
        order = tuple(action for action in case.order if action.micro < min(length, micros))
        here = dataclasses.replace(case, order=order)
        if not length:  # a trial: forward only
            shards = 1 + max(action.shard for action in case.order if action.kind == "F")
            order = tuple(Action("F", k, 0) for k in range(shards))
            here = dataclasses.replace(case, order=order, trained=(), first=shards)
        program = here.place(before)
        here.validate(program)
        before = program.after


@settings(max_examples=60, deadline=None)
@given(cases(shards=st.integers(1, 3), micros=st.integers(1, 2)), st.integers(0, 2))
def test_what_is_proved_holds_under_every_timing(case, steps):
    program = case.steady(steps)
    case.validate(program)
    assert breach(program, case.sizes, case.room, case.pinned) is None


@settings(max_examples=400, deadline=None)
@given(cases(shards=st.integers(1, 3), micros=st.integers(1, 2)), st.integers(0, 2), st.data())
def test_a_mutant_is_refused_exactly_if_some_timing_breaks_it(case, steps, data):
    program = case.steady(steps)
    mutant = data.draw(mutants(program))
    message = refused(case, mutant)
    if message is None:
        assert breach(mutant, case.sizes, case.room, case.pinned) is None
    elif "not listed before it" not in message:
        assert breach(mutant, case.sizes, case.room, case.pinned) is not None, message
    if message and "before the step" not in message:
        assert re.search(r"(in|compute|out)\[\d+\] \w|^at the end of the step \d|lacks", message), message


@st.composite
def mutants(draw, program):
    """Change when and what is moved; the computation stays as it is."""
    needing = [(n, need) for n, action in enumerate(program.actions) for need in action.needs]
    moves = [n for n, action in enumerate(program.actions) if action.kind in {"L", "W"}]
    loads = [n for n in moves if program.actions[n].kind == "L"]
    kinds = [
        ("need", needing),
        ("remove", moves),
        ("swap", moves[1:]),
        ("drops", loads),
        ("after", list(program.after)),
    ]
    kind, choices = draw(st.sampled_from([(kind, found) for kind, found in kinds if found] or [("none", [None])]))
    chosen = draw(st.sampled_from(choices))
    if kind == "need":
        return without_need(program, *chosen)
    if kind == "remove":
        return without(program, chosen)
    if kind == "swap":
        return swapped(program, draw(st.sampled_from([n for n in moves if n != chosen])), chosen)
    if kind == "drops":
        load = program.actions[chosen]
        drops = draw(st.sets(st.sampled_from(sorted({*load.drops, *program.before}) or [load.object])))
        return with_action(program, chosen, dataclasses.replace(load, drops=tuple(sorted(drops))))
    if kind == "after":
        return dataclasses.replace(program, after={**program.after, chosen: not program.after[chosen]})
    return program


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_any_pass_that_is_left_out_is_missed(case, data):
    program = case.steady(1)
    passes = [n for n in program.lane("compute") if program.actions[n].kind != "N"]
    gone = data.draw(st.sampled_from(passes))
    made = program.actions[gone]
    refuse(case, without(program, gone), f"lacks {dataclasses.replace(made, graph=False)}")


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_any_pass_done_twice_is_found(case, data):
    program = case.steady(1)
    again = program.actions[data.draw(st.sampled_from(program.lane("compute")))]
    twice = dataclasses.replace(program, actions=(*program.actions, again))
    refuse(case, twice, f"{again} does again what compute[")


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_less_room_than_memory_ever_holds_is_refused(case, data):
    program = case.steady(1)
    held = [sum(case.sizes[item] for item in program.before)]
    for number in program.lane("in"):
        load = program.actions[number]
        held.append(held[-1] + case.sizes[load.object] - sum(case.sizes[item] for item in load.drops))
    dataclasses.replace(case, room=max(held)).validate(program)
    assume(max(held))
    refuse(dataclasses.replace(case, room=max(held) - 1), program, f"there is room for {max(held) - 1:,}")


@settings(max_examples=400, deadline=None)
@given(cases(), st.data())
def test_another_order_is_refused_exactly_if_it_gives_other_numbers(case, data):
    program = in_memory(case.place(), dataclasses.replace(case, commit=False, pinned=()))
    case = dataclasses.replace(case, commit=False, pinned=(), room=sum(case.sizes.values()))
    assume(len(program.actions) > 1)
    one = data.draw(st.integers(0, len(program.actions) - 2))
    mutant = swapped(program, one, data.draw(st.integers(one + 1, min(one + 4, len(program.actions) - 1))))
    shards = 1 + max(action.shard for action in case.order if action.kind == "F")
    message = refused(case, mutant)
    if message is None:
        assert outcome(mutant.actions, shards) == outcome(program.actions, shards)
    else:
        assert re.match(r"compute\[\d+\] \S+ comes before compute\[\d+\] \S+, but", message)
        assert outcome(mutant.actions, shards) != outcome(program.actions, shards)


# one fault at a time: the message names it


def test_a_loaded_object_that_nobody_waits_for():
    case, program = steady(room=6)
    use, load = number_of(program, "F2.0"), number_of(program, "L2p(0s)")
    mutant = without_need(program, use, load)
    refuse(case, mutant, "compute[4] F2.0 needs 2p, but does not wait for in[0] L2p(0s), which brings it; add that to")


def test_an_object_that_nothing_brings():
    case, program = one_shard_after_another()
    message = "compute[3] S1 needs 1s, but it is not in memory when the step begins and nothing brings it; load it"
    load = dataclasses.replace(program.actions[8], drops=(Object(1, "p"),))
    refuse(case, without(with_action(program, 8, load), 4), message)


def test_an_object_that_comes_too_late():
    case, program = one_shard_after_another()
    late = listed(program, [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11, 12])
    late = with_action(late, 4, dataclasses.replace(late.actions[4], needs=()))
    refuse(case, late, "compute[3] S1 needs 1s, but it is not in memory", "in[1] L1s comes too late")


def test_an_object_that_nothing_brings_back():
    case, program = one_shard_after_another()
    kept = without(program, 11)
    state = dataclasses.replace(kept.actions[8], what="s")
    refuse(
        case,
        with_action(kept, 8, state),
        "compute[4] R0.0 needs 0p, but nothing brings it back after in[0] L1p(0p); load it before, or drop something "
        "else there",
    )


def one_shard_after_another():
    """Return two shards in the room of one, written by hand."""
    case = Case(spilled(2, 1), sizes_of(2), 3, (0, 1))
    actions = (
        Action("F", 0, 0),  # 0
        Action("L", 1, what="p", drops=(Object(0, "p"),), needs=(0,)),
        Action("F", 1, 0, graph=True, needs=(1,)),  # 2
        Action("B", 1, 0),
        Action("L", 1, what="s"),  # 4
        Action("S", 1, needs=(4,)),
        Action("W", 1, what="p", needs=(5,)),  # 6
        Action("W", 1, what="s"),
        Action("L", 0, what="p", drops=(Object(1, "p"), Object(1, "s")), needs=(7,)),  # 8
        Action("R", 0, 0, needs=(8,)),
        Action("B", 0, 0),  # 10
        Action("L", 0, what="s"),
        Action("S", 0, needs=(11,)),  # 12
    )
    program = Program(actions, 2, 1, {Object(0, "p"): False}, {Object(0, "p"): True, Object(0, "s"): True})
    case.validate(program)
    return case, program


def test_waiting_through_others_counts():
    case, program = one_shard_after_another()
    assert program.actions[7].needs == ()  # W1s waits for S1 only because W1p stands before it
    out_of_order = swapped(program, 6, 7)
    refuse(case, out_of_order, "out[0] W1s needs 1s, but does not wait for in[1] L1s, which brings it")


def test_a_drop_while_it_may_be_in_use():
    case, program = one_shard_after_another()
    refuse(
        case,
        without_need(program, 1, 0),
        "in[0] L1p(0p) drops 0p, but does not wait for compute[0] F0.0, which needs it; add that to what it needs",
    )


def test_a_drop_of_what_was_changed():
    case, program = one_shard_after_another()
    waiting = with_action(program, 8, dataclasses.replace(program.actions[8], needs=(6, 7)))
    refuse(
        case,
        without(waiting, 7),
        "in[2] L0p(1p,1s) drops 1s, which is newer than what lies below since compute[3] S1, and no write of it comes",
    )


def test_a_drop_of_what_the_step_before_changed():
    case, program = one_shard_after_another()
    changed = dataclasses.replace(program, before={Object(0, "p"): True})
    refuse(case, changed, "in[0] L1p(0p) drops 0p, which is newer than what lies below since before the step")


def test_a_drop_while_it_may_be_being_written():
    case, program = one_shard_after_another()
    waiting = with_action(program, 8, dataclasses.replace(program.actions[8], needs=(6,)))
    refuse(case, waiting, "in[2] L0p(1p,1s) drops 1s, but does not wait for out[1] W1s, which needs it")


def test_a_write_of_what_was_dropped():
    case, program = one_shard_after_another()
    late = dataclasses.replace(program, actions=(*program.actions, Action("W", 1, what="p", needs=(8,))))
    refuse(case, late, "out[2] W1p needs 1p, but nothing brings it back after in[2] L0p(1p,1s)")


def test_a_write_that_may_be_torn():
    case, program = one_shard_after_another()
    early = with_action(program, 6, dataclasses.replace(program.actions[6], needs=(4,)))
    early = with_action(early, 8, dataclasses.replace(program.actions[8], needs=(5, 7)))
    refuse(case, early, "compute[3] S1 may change 1p while out[0] W1p writes it")


def test_an_object_brought_twice():
    case, program = one_shard_after_another()
    twice = dataclasses.replace(program, actions=(*program.actions, Action("L", 0, what="s", needs=(12,))))
    refuse(case, twice, "in[4] L0s brings 0s, which is in memory since in[3] L0s; take one of them out")


def test_an_object_dropped_that_is_not_there():
    case, program = one_shard_after_another()
    load = dataclasses.replace(program.actions[11], drops=(Object(1, "s"),))
    refuse(
        case, with_action(program, 11, load), "in[3] L0s(1s) drops 1s, which is not in memory after in[2] L0p(1p,1s)"
    )


def test_one_byte_too_much():
    case, program = one_shard_after_another()
    larger = dataclasses.replace(case, sizes={**case.sizes, Object(1, "s"): 1_003})
    refuse(larger, program, "from in[1] L1s on, memory holds 1,004 bytes, but there is room for 3")


def test_too_much_from_the_beginning():
    case, program = one_shard_after_another()
    full = dataclasses.replace(program, before=dict.fromkeys(case.sizes, False))
    refuse(case, full, "before the step, memory holds 6 bytes, but there is room for 3")


def test_an_object_without_a_size():
    case, program = one_shard_after_another()
    del case.sizes[Object(1, "s")]
    refuse(case, program, "uses 1s, but sizes does not say")


def test_a_load_that_only_the_next_step_would_wait_for():
    case, program = one_shard_after_another()
    case = dataclasses.replace(case, room=9)
    after = {**program.after, Object(1, "p"): False}
    prefetch = dataclasses.replace(
        program, actions=(*program.actions, Action("L", 1, what="p", needs=(12,))), after=after
    )
    refuse(case, prefetch, "nothing that is computed waits for in[4] L1p", "leave it to that step")


@pytest.mark.parametrize("need", [13, 9, 12, -1])
def test_a_need_that_points_forwards(need):
    case, program = one_shard_after_another()
    mutant = with_action(program, 9, dataclasses.replace(program.actions[9], needs=(need,)))
    refuse(case, mutant, "compute[4] R0.0 needs ", "list each action after those that it needs")


@pytest.mark.parametrize(
    ("item", "newer", "real"),
    [("0p", None, "in memory, and newer"), ("0s", False, "in memory, and newer"), ("1p", False, "not in memory")],
)
def test_an_after_that_is_not_so(item, newer, real):
    case, program = one_shard_after_another()
    after = {str(one): dirty for one, dirty in program.after.items()} | {item: newer}
    claimed = {Object(int(one[0]), one[1]): dirty for one, dirty in after.items() if dirty is not None}
    refuse(case, dataclasses.replace(program, after=claimed), f"{item} is {real}", "correct after")


# commits


def test_a_commit_before_all_is_written():
    case, program = steady(shards=3, room=9, commit=True)
    write = number_of(program, "W1s")
    refuse(case, without(program, write), "C commits, but 1s, changed by compute[", "S1, is not written since")


def test_a_commit_that_is_not_last():
    case, program = steady(shards=3, room=9, commit=True)
    commit = number_of(program, "C")
    write = program.lane("out")[-2]
    refuse(case, swapped(program, commit, write), "comes after out[5] C, which commits all that was written")


def test_a_commit_that_is_missing_or_not_asked_for():
    case, program = steady(shards=3, room=9, commit=True)
    refuse(case, without(program, number_of(program, "C")), "the program lacks C")
    refuse(dataclasses.replace(case, commit=False), program, "out[6] C commits a step whose state is not to be kept")


def test_a_commit_that_does_not_wait_for_the_last_step():
    order = (*spilled(2, 1), Action("S", 2))
    case = Case(order, {**sizes_of(2), **sizes_of(3, 0, 0), **sizes_of(2)}, 6, (0, 1, 2), commit=True)
    program = case.place()
    case.validate(program)
    commit, shared = number_of(program, "C"), number_of(program, "S2")
    refuse(case, without_need(program, commit, shared), "out[4] C does not wait for compute[7] S2, and would keep")


def shared_and_pinned():
    pinned = (Object(2, "p"), Object(2, "s"))
    sizes = {**sizes_of(3, 0, 0), **sizes_of(2)}
    case = Case((*spilled(2, 1), Action("S", 2)), sizes, 6, (0, 1, 2), commit=True, pinned=pinned)
    program = case.steady(1)
    case.validate(program)
    return case, program


def test_a_commit_before_what_shards_share_is_written():
    case, program = shared_and_pinned()
    write = number_of(program, "W2s")
    refuse(case, without(program, write), "C commits, but 2s, changed by compute[7] S2, is not written since")
    dataclasses.replace(case, pinned=case.pinned[:1]).validate(without(program, write))


def test_a_write_of_what_shards_share_that_may_be_torn():
    case, program = shared_and_pinned()
    write = number_of(program, "W2p")
    early = with_action(program, write, dataclasses.replace(program.actions[write], needs=()))
    refuse(case, early, "compute[7] S2 may change 2p while out[4] W2p writes it")


def test_what_is_pinned_stays():
    case, program = one_shard_after_another()
    pinned = (Object(2, "p"),)
    case = dataclasses.replace(case, pinned=pinned, sizes={**case.sizes, pinned[0]: 0})
    load = program.actions[8]
    dropping = dataclasses.replace(load, drops=(*load.drops, *pinned))
    refuse(
        case, with_action(program, 8, dropping), "in[2] L0p(1p,1s,2p) drops 2p, which is pinned; name what may leave"
    )


def test_a_commit_of_what_the_step_before_left_unwritten():
    case = spilled_case(shards=2, micros=1, room=6)
    before = case.place().after
    forward = tuple(Action("F", k, 0) for k in range(2))
    trial = Case(forward, case.sizes, 6, (), first=2, commit=True)
    refuse(trial, trial.place(before), "C commits, but 0p, changed by a step before, is not written since")


# the computation


@pytest.mark.parametrize(
    ("moved", "to", "why"),
    [
        ("F2.0", "F1.0", "compute[2] F2.0 comes before compute[3] F1.0, but it takes what that one gives"),
        ("B3.0", "F3.0+", "compute[6] B3.0 comes before compute[7] F3.0+, but that one makes the graph"),
        ("B2.0", "R2.0", "compute[11] B2.0 comes before compute[12] R2.0, but that one makes the graph"),
        ("R2.0", "F2.0", "compute[4] R2.0 comes before compute[5] F2.0, but that one gives the input"),
        ("F3.0+", "F3.1+", "comes before"),
        ("S3", "B3.1", "compute[9] S3 comes before compute[10] B3.1, but that one adds to the gradients"),
        ("B1.0", "B2.0", "comes before"),
    ],
)
def test_passes_in_another_order(moved, to, why):
    case = spilled_case(room=12)
    program = in_memory(case.place(), case)
    numbers = list(range(len(program.actions)))
    numbers.remove(number := number_of(program, moved))
    numbers.insert(number_of(program, to), number)
    refuse(case, listed(program, numbers), why)


def test_a_gradient_that_has_not_come():
    case = Case(checkpointed(2, 1), sizes_of(2), 6, (0, 1))
    program = in_memory(case.place(), case)
    assert [str(action) for action in program.actions] == ["F0.0", "F1.0+", "B1.0", "R0.0", "B0.0", "S0", "S1"]
    early = listed(program, [0, 1, 3, 4, 2, 5, 6])
    refuse(case, early, "compute[3] B0.0 comes before compute[4] B1.0, but that one gives the gradient")


def in_memory(program, case):
    """Leave only the computation: all is in memory."""
    passes = [dataclasses.replace(program.actions[n], needs=()) for n in program.lane("compute")]
    after = {item: item.shard in case.trained and size > 0 and not item.passing for item, size in case.sizes.items()}
    before = dict.fromkeys(case.sizes, False)
    return dataclasses.replace(program, actions=tuple(passes), before=before, after=after)


def test_reversed_micro_batches():
    case = spilled_case(room=12)
    program = in_memory(case.place(), case)
    case.validate(program)
    turned = [
        dataclasses.replace(a, micro=1 - a.micro) if a.kind in "RB" and a.shard < 3 else a for a in program.actions
    ]
    refuse(
        case,
        dataclasses.replace(program, actions=tuple(turned)),
        "compute[22] B0.1 comes before compute[24] B0.0, but a shard adds its gradients up in the order of "
        "micro-batches; swap them",
    )


def test_norm_after_a_step_and_before_a_gradient():
    case = spilled_case(together=True, room=12)
    program = in_memory(case.place(), case)
    norm, step, last = (number_of(program, text) for text in ("N", "S0", "B0.1"))
    refuse(
        case, swapped(program, norm, step), "compute[22] S0 comes before compute[23] N, but all gradients are clipped"
    )
    refuse(case, swapped(program, norm, last), "N comes before", "the norm is that of all gradients")


def test_a_recompute_of_a_graph_that_is_there():
    case = Case(resident(1, 1), sizes_of(1), 3, (0,))
    program = in_memory(case.place(), case)
    again = listed(program, [0, 1, 2])
    actions = (again.actions[0], Action("R", 0, 0), *again.actions[1:])
    refuse(case, dataclasses.replace(again, actions=actions), "compute[1] R0.0 makes a graph that is there")


def test_a_graph_that_no_backward_uses():
    forward = (Action("F", 0, 0, graph=True),)
    case = Case(forward, sizes_of(1), 3, (), first=1)
    refuse(case, case.place(), "compute[0] F0.0+ keeps a graph that no backward uses")


def test_a_backward_where_no_gradient_goes():
    case = spilled_case(first=2, trained=(2, 3))
    program = case.steady()
    case.validate(program)
    refuse(dataclasses.replace(case, first=3, trained=(3,)), program, "is none of its passes", "from shard 3 on")
    refuse(dataclasses.replace(case, first=1), program, "the program lacks B1.0")


def test_a_trained_shard_without_gradient():
    case = spilled_case(first=2, trained=(2, 3))
    refuse(dataclasses.replace(case, trained=(1, 2, 3)), case.steady(), "shard 1 is to be trained, but gradients go")


@pytest.mark.parametrize("trained", [(0, 1, 2), (0, 1, 2, 3, 4)])
def test_steps_are_those_of_the_trained_shards(trained):
    case, program = steady(room=7)
    refuse(dataclasses.replace(case, trained=trained), program, "S3" if len(trained) == 3 else "lacks S4")


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("order", [resident, checkpointed])
def test_programs_that_move_nothing_are_proved(order, clip):
    case = Case(order(1, 3, together=clip), sizes_of(1), 3, (0,))
    case.validate(case.steady())


def test_what_shards_share_is_stepped_after_all_gradients():
    order = (*spilled(2, 1), Action("S", 2))
    case = Case(order, {**sizes_of(3, 0, 0), **sizes_of(2)}, 6, (0, 1, 2))
    program = case.place()
    case.validate(program)
    last = swapped(program, number_of(program, "S2"), number_of(program, "S0"))
    case.validate(last)
    early = swapped(last, number_of(last, "S2"), number_of(last, "B0.0"))
    refuse(case, early, "compute[5] S2 comes before compute[6] B0.0, but that one adds to the gradients")


def test_the_time_is_linear():
    """Twice the actions take about twice the calls."""
    small, large = (_calls(shards) for shards in (20, 40))
    assert large < 2.5 * small


def _calls(shards):
    case = spilled_case(shards=shards, micros=4, room=7)
    program = case.steady(1)
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        case.validate(program)
    finally:
        sys.setprofile(None)
    return counted

"""A line stops at every unit, hands over what is there, goes on with what it is given, and ends when told to."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch
from shardwise import linear
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.spill.calls import taken_over
from lineshaft.train.spill.line import Answer, Backward, End, Forward, Line, Loss, current, pausing, visit
from training_threads import training_threads

X = torch.arange(6.0).reshape(2, 3).clone()
UNIT = SimpleNamespace(name="body.3", repeats=())


def answer(*tensors):
    """Answer with tensors of their own: one that came in and is returned itself is one that was changed in place."""
    tensors = tuple(tensor.clone() for tensor in tensors)
    return Answer(tensors if len(tensors) != 1 else tensors[0], tuple(True for _ in tensors))


def started(body):
    line = Line(body)
    return line, line.go()


def ended(line):
    line.close()
    return not line._thread.is_alive()


def test_a_line_waits_until_it_is_told_to_go():
    seen = []
    line = Line(lambda line: seen.append("ran"))
    assert not seen
    assert isinstance(line.go(), End)
    assert seen == ["ran"]
    assert ended(line)


def test_a_line_stops_at_units_at_the_loss_and_at_their_gradients():
    weight = torch.tensor(3.0, requires_grad=True)

    def body(line):
        h = visit(line, UNIT, (X * weight,), {})
        loss = (h * weight).sum()
        line.stop(Loss(loss.detach()))
        loss.backward()

    line, forward = started(body)
    assert (forward.number, forward.unit, forward.wanted) == (0, UNIT, (True,))
    assert torch.equal(forward.args[0], X * 3)
    loss = line.go(answer(X * 6))  # what the unit is: twice its input
    assert loss.value == (X * 18).sum()
    backward = line.go()
    assert isinstance(backward, Backward)
    assert torch.equal(backward.gradients[0], torch.full((2, 3), 3.0))
    assert isinstance(line.go((backward.gradients[0] * 2,)), End)
    assert weight.grad == (X * 6).sum() + 2 * (X * 3).sum()
    assert ended(line)


def test_calls_are_numbered_in_their_order_and_come_back_last_first():
    def body(line):
        h = X
        for name in "abc":
            h = visit(line, SimpleNamespace(name=name, repeats=()), (h,), {})
        line.stop(Loss(h.sum().detach()))
        h.sum().backward()

    line, stop = started(body)
    seen = []
    while not isinstance(stop, End):
        if isinstance(stop, Forward):
            seen.append((stop.number, stop.unit.name))
            stop = line.go(answer(X + 1))
        elif isinstance(stop, Backward):
            seen.append(stop.number)
            stop = line.go((torch.ones(2, 3),))
        else:
            stop = line.go()
    assert seen == [(0, "a"), (1, "b"), (2, "c"), 2, 1, 0]


def test_a_unit_whose_inputs_want_no_gradient_is_still_reached():
    """The parameters inside it do: only an embedding's tokens come in."""

    def body(line):
        h = visit(line, UNIT, (torch.tensor([1, 2]),), {})
        h.sum().backward()

    line, forward = started(body)
    assert forward.wanted == (False,)
    assert isinstance(line.go(answer(X)), Backward)
    assert isinstance(line.go((None,)), End)


def test_what_a_unit_returns_comes_back_in_its_form():
    seen = []
    line, _ = started(lambda line: seen.append(visit(line, UNIT, (X,), {})))
    line.go(Answer({"out": (X.clone(), 5), "extra": [None, X + 1]}, (True, False)))
    (value,) = seen
    assert torch.equal(value["out"][0], X)
    assert value["out"][1] == 5
    assert torch.equal(value["extra"][1], X + 1)
    assert (value["out"][0].requires_grad, value["extra"][1].requires_grad) == (True, False)


def test_an_output_that_nothing_reads_has_no_gradient():
    def body(line):
        first, _ = visit(line, UNIT, (X,), {})
        first.sum().backward()

    line, _ = started(body)
    stop = line.go(answer(X, X + 1))
    assert stop.gradients[1] is None
    line.close()


def test_a_call_under_no_grad_wants_nothing_and_joins_no_graph():
    seen = []

    def body(line):
        with torch.no_grad():
            seen.append(visit(line, UNIT, (X,), {}))

    line, forward = started(body)
    assert forward.wanted is None
    assert isinstance(line.go(answer(X + 1)), End)
    assert not seen[0].requires_grad


def test_the_autocast_state_of_a_call_is_handed_over():
    def body(line):
        visit(line, UNIT, (X,), {})
        with torch.autocast("cpu", dtype=torch.bfloat16):
            visit(line, UNIT, (X,), {})
            with torch.autocast("cpu", enabled=False):
                visit(line, UNIT, (X,), {})

    line, stop = started(body)
    seen = []
    while isinstance(stop, Forward):
        seen.append({device: (on, dtype) for device, on, dtype in stop.casts}["cpu"])
        stop = line.go(answer(X))
    assert [on for on, _ in seen] == [False, True, False]
    assert seen[1] == (True, torch.bfloat16)


def test_autocast_of_a_line_is_not_the_callers():
    def body(line):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            line.stop("inside")

    line, _ = started(body)
    assert not torch.is_autocast_enabled("cpu")
    line.close()


def test_an_opaque_argument_is_refused_by_the_names_of_unit_and_kind():
    class Cache:
        pass

    line = Line(lambda line: visit(line, UNIT, (X,), {"past": Cache()}))
    with pytest.raises(TrainingError, match=r"'body\.3' is called with a Cache;.*use_cache=False"):
        line.go()
    assert ended(line)


def test_an_error_of_the_users_code_is_raised_where_the_line_is_waited_for():
    def body(line):
        visit(line, UNIT, (X,), {})
        raise KeyError("mine")

    line, _ = started(body)
    with pytest.raises(KeyError, match="mine"):
        line.go(answer(X))
    assert ended(line)


def test_an_error_in_the_users_backward_is_raised_where_the_line_is_waited_for():
    def body(line):
        h = visit(line, UNIT, (X,), {})
        h.register_hook(lambda gradient: 1 / 0)
        line.stop(Loss(h.sum().detach()))
        h.sum().backward()

    line, _ = started(body)
    line.go(answer(X))
    with pytest.raises(ZeroDivisionError):
        line.go()
    assert ended(line)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_program_is_handed_over_too(error):
    def body(line):
        raise error

    line = Line(body)
    with pytest.raises(error):
        line.go()
    assert ended(line)


def body_of_two_units(line):
    h = visit(line, UNIT, (X,), {})
    h = visit(line, UNIT, (h * 2,), {})
    line.stop(Loss(h.sum().detach()))
    h.sum().backward()


@pytest.mark.parametrize("stops", range(7))
def test_a_line_ends_wherever_it_is_closed(stops):
    line = Line(body_of_two_units)
    answers = [None, answer(X), answer(X), None, (X,), (X,)]
    for given in answers[:stops]:
        line.go(given)
    assert ended(line)


def test_closing_runs_what_the_user_wants_to_run_at_the_end():
    seen = []

    def body(line):
        try:
            line.stop("here")
        finally:
            seen.append("tidied")

    line, _ = started(body)
    line.close()
    assert seen == ["tidied"]


def test_closing_twice_is_closing_once():
    line, _ = started(body_of_two_units)
    line.close()
    line.close()
    assert ended(line)


def test_one_line_runs_at_any_time():
    """Lines add to a list in turns; whoever waits decides whose turn it is."""
    seen = []

    def body(name):
        def run(line):
            for number in range(3):
                seen.append((name, number))
                line.stop(number)

        return run

    lines = {name: Line(body(name)) for name in "ab"}
    for name in "abbaab":
        lines[name].go()
    assert seen == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    for line in lines.values():
        line.close()


def test_a_line_knows_itself_in_its_thread_only():
    seen = []

    def body(line):
        seen.append(current() is line)
        line.stop("here")
        seen.append(current() is line)

    line, _ = started(body)
    assert current() is None
    line.go()
    assert seen == [True, True]


def test_a_module_that_pauses_runs_as_ever_outside_of_lines():
    module = linear(3)
    with taken_over([module], pausing(UNIT)):
        inside = module(X)
    assert torch.equal(inside, module(X))


def test_a_module_that_pauses_is_a_stop_within_a_line():
    module = linear(3)
    with taken_over([module], pausing(UNIT)):
        line, stop = started(lambda line: module(X))
        assert stop.unit is UNIT
        assert stop.given[0] is X
        assert torch.equal(stop.args[0], X)
        line.close()


def test_a_line_computes_with_the_callers_threads():
    seen, before = [], torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        line, _ = started(lambda line: seen.append(torch.get_num_threads()))
    finally:
        torch.set_num_threads(before)
    line.close()
    assert seen == [3]


def test_draws_of_lines_and_caller_are_of_one_generator():
    seen = []
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    line, _ = started(lambda line: seen.append(torch.rand(2)))
    assert torch.equal(torch.cat([*seen, torch.rand(1)]), wanted)
    line.close()


def test_an_input_that_a_unit_returns_itself_is_changed_in_place():
    seen = []

    def body(line):
        h = X * torch.ones(3, requires_grad=True)
        same = visit(line, UNIT, (h,), {})
        seen.append(same is h)
        (same + h).sum().backward()

    line, stop = started(body)
    backward = line.go(Answer(stop.given[0], (True,)))
    assert torch.equal(backward.gradients[0], torch.full((2, 3), 2.0))  # of both readers: they see one tensor
    line.close()
    assert seen == [True]


def test_later_readers_of_a_repeated_input_give_their_gradient_first():
    unit = SimpleNamespace(name="attention", repeats=(0,))
    weight = torch.ones(3, requires_grad=True)

    def body(line):
        h = X * weight
        out = visit(line, unit, (h,), {})
        (out + 5 * h).sum().backward()

    line, _ = started(body)
    backward = line.go(answer(X))
    assert set(backward.later) == {0}
    assert torch.equal(backward.later[0], torch.full((2, 3), 5.0))
    assert isinstance(line.go((torch.full((2, 3), 7.0),)), End)
    assert torch.equal(weight.grad, (7 * X).sum(0))


def test_no_thread_is_left_when_lines_are_closed():
    before = len(training_threads())
    lines = [Line(body_of_two_units) for _ in range(5)]
    for number, line in enumerate(lines):
        if number:
            line.go()
    assert len(training_threads()) == before + 5
    for line in lines:
        line.close()
    assert len(training_threads()) == before


def test_lines_keep_no_program_from_ending():
    line = Line(body_of_two_units)
    assert line._thread.daemon
    assert line._thread is not threading.main_thread()
    line.close()


def test_nested_modules_stop_at_the_outer_one_only():
    model = nn.Sequential(linear(3), linear(3))
    with taken_over([model], pausing(UNIT)):
        line, stop = started(lambda line: model(X))
        assert stop.unit is UNIT
        assert isinstance(line.go(answer(X)), End)

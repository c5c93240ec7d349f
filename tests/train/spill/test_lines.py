"""Unit by unit, with inputs kept and graphs made again, gradients, losses, buffers and draws are those of the plain way."""

from __future__ import annotations

import pytest
import torch
from shardwise import (
    COARSEST,
    FINEST,
    TRANSFORMERS,
    batches,
    both,
    cut,
    linear,
    lines_of,
    plain,
    require_same,
    same,
    shardwise,
    tokens,
    word_loss,
)
from torch import nn

from lineshaft.errors import TrainingError
from lineshaft.train.program.actions import Action
from lineshaft.train.spill.line import Line
from lineshaft.train.spill.lines import SAMPLE, _sample
from lineshaft.train.spill.units import Limit, paused_at
from training_threads import training_threads

XS = batches(3)
ONE = 4 * 6 * 7


class Made(nn.Module):
    """A module whose forward is the function given."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def attention(width=6):
    def forward(self, x):
        return torch.softmax(self.q(x) @ self.k(x).T, -1) @ self.v(x)

    return Made(forward, q=linear(width), k=linear(width), v=linear(width))


def residual(width=6):
    def forward(self, x):
        x = x + self.attention(x)
        return x + self.drop(torch.tanh(self.ff(self.norm(x))))

    return Made(forward, attention=attention(width), norm=nn.LayerNorm(width), ff=linear(width), drop=nn.Dropout(0.2))


def tied():
    model = nn.Sequential(linear(), nn.Tanh(), linear(), nn.Tanh(), linear())
    model[4].weight = model[0].weight
    return model


def frozen_first():
    model = nn.Sequential(linear(), nn.Tanh(), linear(), linear())
    model[0].requires_grad_(False)
    return model


def without_gradient():
    def forward(self, x):
        with torch.no_grad():
            h = self.tower(x)
        return self.head(h)

    return Made(forward, tower=nn.Sequential(linear(), nn.Tanh(), linear()), head=linear())


def skipping():
    def forward(self, x):
        first = self.a(x)
        return self.c(torch.cat([self.b(torch.tanh(first)), first], -1))

    return Made(forward, a=linear(), b=linear(), c=nn.Linear(12, 3))


def side_input():
    inner = Made(lambda self, x, mask=None: self.l(x) * mask, l=linear())
    return Made(lambda self, x: self.b(self.a(x, mask=(m := x.abs())), mask=m), a=inner, b=residual_with_mask())


def residual_with_mask():
    return Made(lambda self, x, mask: x + self.l(x * mask), l=linear())


def pairs():
    first = Made(lambda self, x: {"left": self.l(x), "right": [x, 3]}, l=linear())
    second = Made(lambda self, given: self.l(given["left"]) * given["right"][1] + given["right"][0], l=linear())
    return Made(lambda self, x: self.b(self.a(x)), a=first, b=second)


def unused_branch():
    return Made(lambda self, x: (self.a(x), self.b(x))[1], a=linear(), b=linear())


MODELS = {
    "sequence": lambda: nn.Sequential(linear(), nn.Tanh(), linear(), nn.Dropout(0.5), linear()),
    "residual": lambda: nn.Sequential(linear(), residual(), residual(), linear()),
    "tied": tied,
    "batch norm": lambda: nn.Sequential(linear(), nn.BatchNorm1d(6), nn.Tanh(), linear(), nn.BatchNorm1d(6)),
    "frozen first": frozen_first,
    "without gradient": without_gradient,
    "skip": skipping,
    "side input": side_input,
    "nested values": pairs,
    "unused branch": unused_branch,
    "spectral norm": lambda: nn.Sequential(*[nn.utils.parametrizations.spectral_norm(linear()) for _ in range(3)]),
    "relu in place": lambda: nn.Sequential(linear(), nn.ReLU(inplace=True), linear(), nn.ReLU(inplace=True)),
    "groups": lambda: nn.Sequential(nn.Sequential(*[residual() for _ in range(3)]), nn.Sequential(linear(), nn.Tanh())),
}


@pytest.mark.parametrize("graph", [False, True], ids=["made again", "kept"])
@pytest.mark.parametrize("limit", [FINEST, Limit(2 * ONE, 10**9), Limit(5 * ONE, 10**9), COARSEST], ids=str)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_unit_by_unit_is_the_plain_way(name, limit, graph):
    require_same(both(MODELS[name](), XS, limit=limit, graph=graph))


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"tied", "spectral norm"}))  # they add up casts of one weight
def test_unit_by_unit_is_the_plain_way_under_autocast(name):
    require_same(both(MODELS[name](), XS, limit=Limit(2 * ONE, 10**9), dtype=torch.bfloat16))


@pytest.mark.parametrize("width", [32, 48])
def test_an_input_read_several_times_inside_and_after_a_unit_adds_up_in_the_plain_order(width):
    model = nn.Sequential(linear(width), residual(width), residual(width), linear(width))
    whole_attention = Limit(3 * 4 * width * (width + 1), 10**9)
    results = both(model, batches(2, 16, width), limit=whole_attention)
    assert "1.attention" in results[1].units
    require_same(results)


@pytest.mark.parametrize(("graph", "unit"), [(1, "2.q"), (10**9, "2")])
def test_casts_of_an_input_read_several_times_add_up_as_in_the_plain_way(graph, unit):
    """Autocast would cast a leaf once for all its readers, and add their gradients up in half precision."""
    model = nn.Sequential(linear(32), Made(lambda self, x: x.float()), attention(32), linear(32))
    results = both(model, batches(2, 16, 32), limit=Limit(3 * 4 * 32 * 33, graph), dtype=torch.bfloat16)
    assert unit in results[1].units
    require_same(results)


def test_attention_of_torch_sees_that_query_key_and_value_are_one():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.attention, self.out = linear(16), nn.MultiheadAttention(16, 2), linear(16)

        def forward(self, x):
            x = self.into(x)
            return self.out(x + self.attention(x, x, x, need_weights=False)[0])

    results = both(Block(), batches(2, 8, 16), limit=Limit(4 * 4 * 16 * 17, 10**9))
    assert "attention" in results[1].units
    require_same(results)


@pytest.mark.parametrize("parts", [1, 4, 1000])
@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_models_of_transformers_are_the_plain_way(name, parts):
    model = TRANSFORMERS[name]().train()
    whole = sum(value.nbytes for value in model.parameters())
    require_same(both(model, tokens(2), limit=Limit(whole // parts, 10**9), loss=word_loss))


def test_an_encoder_and_decoder_of_transformers_are_the_plain_way():
    model = TRANSFORMERS["t5"]().train()
    whole = sum(value.nbytes for value in model.parameters())
    one, other = both(model, tokens(2), limit=Limit(whole // 4, 10**9), loss=word_loss)
    assert same(one.losses, other.losses)
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(other.gradients[name], gradient, rtol=1e-5, atol=1e-7)


def test_each_unit_is_a_stop_of_its_own():
    assert both(MODELS["residual"](), XS)[1].units == (
        "0",
        *(f"{k}.{part}" for k in (1, 2) for part in ("attention.q", "attention.k", "attention.v", "norm", "ff")),
        "3",
    )


def test_an_input_changed_in_place_and_returned_is_the_plain_way():
    adding = Made(lambda self, x: x.add_(self.l.weight.sum()), l=linear())
    require_same(both(nn.Sequential(linear(), adding, linear()), XS, limit=Limit(ONE, 10**9)))


def test_an_input_changed_in_place_and_not_returned_is_the_plain_way_where_it_can_be_opened():
    hiding = Made(lambda self, x: self.l(x.add_(1)), l=linear())
    require_same(both(Made(lambda self, x: self.b(self.a(x)), a=linear(), b=hiding), XS, limit=Limit(ONE, 10**9)))


def test_an_input_changed_in_place_and_not_returned_is_refused_by_name():
    hiding = Made(lambda self, x: nn.functional.linear(x.add_(1), self.w), w=nn.Parameter(torch.eye(6)))
    with pytest.raises(TrainingError, match="'b' changes its input in place and does not return it"):
        shardwise(Made(lambda self, x: self.b(self.a(x)), a=linear(), b=hiding), XS, limit=Limit(ONE, 10**9))
    assert not training_threads()


def test_an_input_changed_in_place_after_the_call_is_refused_by_name():
    def forward(self, x):
        h = self.a(x)
        out = self.b(h)
        with torch.no_grad():
            h.mul_(2)
        return out

    with pytest.raises(TrainingError, match="an input of 'b' was changed in place after the call"):
        shardwise(Made(forward, a=linear(), b=linear()), XS)
    assert not training_threads()


def test_calls_in_another_order_are_refused_by_both_names():
    order = ["a", "b"]

    def forward(self, x):
        for name in order:
            x = getattr(self, name)(x)
        return x

    model = Made(forward, a=linear(), b=linear())
    units = cut(model, XS[0])[1]
    order.reverse()
    lines = lines_of(model, units)
    with paused_at(units):
        lines.begin([lambda line: model(XS[0])], [torch.get_rng_state()])
        with pytest.raises(TrainingError, match="came to 'b' where the pilot run saw 'a'"):
            lines.forward(Action("F", 0, 0))
        lines.close()
    assert not training_threads()


def test_a_call_left_out_is_refused():
    calls = [2]
    model = Made(lambda self, x: self.b(self.a(x)) if calls[0] == 2 else self.a(x), a=linear(), b=linear())
    units = cut(model, XS[0])[1]
    calls[0] = 1
    lines = lines_of(model, units)
    with paused_at(units):
        lines.begin([lambda line: model(XS[0])], [torch.get_rng_state()])
        lines.forward(Action("F", 0, 0))
        with pytest.raises(TrainingError, match="came to 'its end' where the pilot run saw 'b'"):
            lines.forward(Action("F", 1, 0))
        lines.close()


def failing_at(number, **parts):
    """A model that fails in a unit when that has been called so often (the pilot's call is the first)."""
    calls = []

    def forward(self, x):
        calls.append(None)
        if len(calls) == number:
            raise KeyError("mine")
        return self.l(x)

    return nn.Sequential(linear(), Made(forward, l=linear()), linear())


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7])
def test_a_failure_inside_a_unit_surfaces_and_leaves_no_thread(number):
    """Calls 2 to 4 are F of three micro-batches, 5 to 7 their R."""
    with pytest.raises(KeyError, match="mine"):
        shardwise(failing_at(number), XS, limit=Limit(ONE, 10**9))
    assert not training_threads()


def test_a_failure_between_units_surfaces_and_leaves_no_thread():
    calls = []

    def forward(self, x):
        calls.append(None)
        h = self.a(x)
        if len(calls) == 3:
            raise KeyError("mine")
        return self.b(h)

    with pytest.raises(KeyError, match="mine"):
        shardwise(Made(forward, a=linear(), b=linear()), XS)
    assert not training_threads()


def test_a_failure_in_a_backward_inside_a_unit_surfaces_and_leaves_no_thread():
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            raise KeyError("mine")

    unit = Made(lambda self, x: Broken.apply(self.l(x)), l=linear())
    with pytest.raises(KeyError, match="mine"):
        shardwise(nn.Sequential(linear(), unit, linear()), XS, limit=Limit(ONE, 10**9))
    assert not training_threads()


@pytest.mark.parametrize("forwards", range(3))
def test_lines_may_be_closed_at_any_point_and_begun_again(forwards):
    model = nn.Sequential(linear(), linear())
    units = cut(model, XS[0], FINEST)[1]
    lines = lines_of(model, units)

    def body(line: Line):
        model(XS[0]).sum().backward()

    with paused_at(units):
        for _ in range(2):
            lines.begin([body, body], [torch.get_rng_state(), None])
            for k in range(forwards):
                lines.forward(Action("F", k, 0))
            lines.close()
            assert not training_threads()
    assert lines.paths == []


def test_recomputing_draws_what_was_drawn_and_writes_no_buffer():
    model = nn.Sequential(linear(), nn.BatchNorm1d(6), nn.Dropout(0.5), linear())
    one, other = both(model, XS)
    assert one.buffers["1.num_batches_tracked"] == other.buffers["1.num_batches_tracked"] == len(XS)
    require_same((one, other))


def test_a_buffer_is_the_same_object_after_it_all():
    model = nn.Sequential(linear(), nn.BatchNorm1d(6), linear())
    before = model[1].running_mean
    shardwise(model, XS)
    assert model[1].running_mean is before
    assert "1.running_mean" in model.state_dict()


def test_a_buffer_outside_of_checkpoints_stays_outside():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = linear()
            self.register_buffer("count", torch.zeros(()), persistent=False)

        def forward(self, x):
            self.count.add_(1)
            return self.l(x) * self.count

    model = nn.Sequential(Counting(), linear())
    results = both(model, XS, limit=Limit(ONE, 10**9))
    require_same(results)
    assert results[1].buffers["0.count"] == len(XS)
    shardwise(model, XS, limit=Limit(ONE, 10**9))
    assert "0.count" not in model.state_dict()


def test_a_unit_called_without_gradient_keeps_nothing():
    model = without_gradient()
    units = cut(model, XS[0])[1]
    lines = lines_of(model, units)
    with paused_at(units):
        lines.begin([lambda line: model(XS[0])], [torch.get_rng_state()])
        for k in range(len(units)):
            lines.forward(Action("F", k, 0))
        assert [units[number].name for number in lines.paths[0].kept] == ["head"]
        lines.close()


def test_an_autocast_region_of_a_part_is_a_part_of_it_again():
    def forward(self, x):
        h = self.a(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = self.b(h)
        return self.c(h.float())

    results = both(Made(forward, a=linear(), b=linear(), c=linear()), XS)
    require_same(results)


def test_gradients_that_users_change_by_hooks_are_changed_once():
    torch.manual_seed(2)
    model, other = nn.Sequential(linear(), linear()), nn.Sequential(linear(), linear())
    other.load_state_dict(model.state_dict())
    for one in (model, other):
        one[0].weight.register_hook(lambda gradient: gradient * 3)
    require_same((plain(model, XS), shardwise(other, XS)))


def test_a_checkpointed_module_inside_a_unit_is_the_plain_way():
    from torch.utils.checkpoint import checkpoint

    def forward(self, x):
        return checkpoint(lambda y: self.b(torch.tanh(self.a(y))), x, use_reentrant=False)

    inner = Made(forward, a=linear(), b=linear())
    require_same(both(nn.Sequential(linear(), inner, linear()), XS, limit=Limit(2 * ONE, 10**9)))


@pytest.mark.parametrize("turn", [lambda x: x, lambda x: x.mT, lambda x: x[:, ::2], lambda x: x[:, :1].expand(-1, 500)])
def test_of_outputs_of_any_layout_a_few_numbers_are_kept(turn):
    value = turn(torch.randn(300, 400))
    (kept,) = _sample([value])
    assert SAMPLE <= kept.numel() <= 2 * SAMPLE
    changed = value.clone()
    changed[0, 0] += 1
    assert not torch.equal(kept, _sample([changed])[0])


def test_a_random_state_is_kept_only_where_a_unit_draws():
    model = nn.Sequential(linear(), nn.Dropout(0.5), linear())
    units = cut(model, XS[0], Limit(ONE, 10**9))[1]
    lines = lines_of(model, units)
    with paused_at(units):
        lines.begin([lambda line: model(XS[0])], [torch.get_rng_state()])
        for k in range(len(units)):
            lines.forward(Action("F", k, 0))
        assert [kept.random is None for kept in lines.paths[0].kept.values()] == [False, True]
        lines.close()

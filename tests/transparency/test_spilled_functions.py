"""A module that uses its parameters in functions of torch, not in modules, is cut at these: the same bits."""

from __future__ import annotations

import pytest
import torch
from as_if_apart import AsIfApart
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from torch.nn import functional
from zoo import only, row_loss

import lineshaft as ls
from lineshaft.errors import TrainingError

WIDTH, LAYERS = 48, 4


def weights(*shape):
    return nn.ParameterList([nn.Parameter(torch.randn(*shape) * 0.1) for _ in range(LAYERS)])


class Huge(nn.Module):
    """A transformer in one forward, with no modules inside."""

    def __init__(self):
        super().__init__()
        self.words = nn.Parameter(torch.randn(50, WIDTH) * 0.1)
        self.place = nn.Parameter(torch.randn(12, WIDTH) * 0.1)
        self.mix, self.out = weights(3 * WIDTH, WIDTH), weights(WIDTH, WIDTH)
        self.gain, self.bias = weights(WIDTH), weights(WIDTH)
        self.up, self.down = weights(4 * WIDTH, WIDTH), weights(WIDTH, 4 * WIDTH)
        self.head = nn.Parameter(torch.randn(3, WIDTH) * 0.1)

    def forward(self, tokens):
        x = functional.embedding(tokens, self.words) + self.place[: tokens.shape[1]]
        for k in range(LAYERS):
            x = self.layer(x, k)
        return x.mean(1) @ self.head.t()

    def layer(self, x, k):
        normed = functional.layer_norm(x, x.shape[-1:], self.gain[k], self.bias[k])
        parts = functional.linear(normed, self.mix[k]).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts, dropout_p=0.1, is_causal=True)
        x = x + functional.dropout(functional.linear(seen.transpose(1, 2).flatten(2), self.out[k]), 0.1)
        wide = functional.gelu(functional.linear(x, self.up[k]))
        wide *= 1.5
        return x + functional.dropout(wide @ self.down[k].T, 0.1)


class Mixed(Huge):
    """The same, with modules between."""

    def __init__(self):
        super().__init__()
        self.drop, self.join = nn.Dropout(0.2), nn.Linear(WIDTH, WIDTH)

    def layer(self, x, k):
        return self.drop(super().layer(x, k)) if k != 1 else super().layer(self.join(x), k)


class Odd(nn.Module):
    """Uses parameters in all ways that cannot be cut, among some that can."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.1) for _ in range(5))
        self.scale, self.head = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.randn(WIDTH, 3) * 0.3)
        self.register_buffer("seen", torch.zeros(WIDTH))

    def forward(self, x):
        x = functional.pad(x, (0, WIDTH - 12))
        x = x @ self.a + functional.linear(x, self.a)  # read twice
        y = x + self.scale  # and of this the input is changed after the call
        x.add_(1)
        x = torch.relu(y @ self.b.T + x) @ self.b[:, torch.arange(WIDTH)]
        with torch.no_grad():
            self.seen += x.mean(0)
        x = torch.addmm(torch.sin(self.seen), x, self.c)
        x = torch.where(x > 0, x @ self.d, x)
        x = functional.dropout(torch.tanh(torch.einsum("ij,jk->ik", x, self.e)), 0.1)
        return torch.mm(x, self.head)


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=1e-3)


def sentences(rows=24, size=8):
    x = torch.randint(0, 50, (rows, 12), generator=torch.Generator().manual_seed(2))
    return [(x[i : i + size], x[i : i + size].sum(1) % 3) for i in range(0, rows, size)]


def numbers(rows=24, size=8):
    x = torch.randn(rows, 12, generator=torch.Generator().manual_seed(1))
    return [(x[i : i + size], (x[i : i + size].sum(1) > 0).long()) for i in range(0, rows, size)]


MODELS = {"huge": (Huge, sentences()), "mixed": (Mixed, sentences()), "odd": (Odd, numbers())}
OPTIONS = {
    "micro-batches": {"micro_batch": 3},
    "clipping": {"clip": 0.1, "micro_batch": 3},
    "bf16": {"precision": "bf16", "micro_batch": 3},
    "fp16": {"precision": "fp16", "micro_batch": 3},
}


def same(factory, data, memory, **options):
    model, made, losses = plain(factory, data, row_loss, adamw, epochs=3, **options)
    with only("spilled"):
        fit = ls.train.fit(factory, data, row_loss, adamw, epochs=3, memory=memory, progress=False, **options)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))
    return fit.plan.chosen.cut


def least(factory, data, **options):
    return ls.train.plan(factory, data[0], row_loss, memory="1GB", optimizer=adamw, **options).least


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_it_is_cut_at_functions_and_gives_the_same_bits(name, option):
    factory, data = MODELS[name]
    cut = same(factory, data, 2 * least(factory, data, **OPTIONS[option]), **OPTIONS[option])
    assert cut.way == "spilled"
    assert len(cut.shards) > 1
    assert any(" of " in unit.name for unit in cut.units)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.floats(1, 4))
def test_whatever_the_budget(name, times):
    factory, data = MODELS[name]
    same(factory, data, int(times * least(factory, data, micro_batch=4)) + 1, micro_batch=4)


@pytest.mark.parametrize("name", MODELS)
def test_on_a_device_apart(name):
    factory, data = MODELS[name]
    model, made, losses = plain(factory, data, row_loss, adamw, epochs=3, micro_batch=3)
    options = {"devices": AsIfApart(), "micro_batch": 3}
    memory = 2 * least(factory, data, **options)
    with only("spilled"):
        fit = ls.train.fit(factory, data, row_loss, adamw, epochs=3, memory=memory, progress=False, **options)
    assert any(" of " in unit.name for unit in fit.plan.chosen.cut.units)
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, made))


def test_what_is_read_in_other_ways_stays_in_memory():
    with only("spilled"):
        plan = ls.train.plan(Odd, numbers()[0], row_loss, memory=2 * least(Odd, numbers()))
    assert {"a", "b", "scale"} <= set(plan.chosen.cut.shared)
    assert {"c", "d", "e"} <= {name for names in plan.chosen.cut.owned for name in names}


def test_a_model_of_functions_takes_less_than_its_state():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ParameterList([nn.Parameter(torch.randn(64, 64) * 0.1) for _ in range(32)])

        def forward(self, x):
            x = functional.pad(x, (0, 52))
            for layer in self.layers:
                x = torch.tanh(x @ layer)
            return x[:, :3]

    state = 16 * 32 * 64 * 64
    cut = same(Deep, numbers(), state // 4)
    assert cut.way == "spilled"
    assert cut.shared == []


def test_another_function_than_the_pilot_saw_is_refused():
    class Turning(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.c, self.d = nn.Parameter(torch.randn(12, 12)), nn.Parameter(torch.randn(12, 12))

        def forward(self, x):
            type(self).calls += 1
            return torch.mm((torch.mm if type(self).calls < 4 else torch.matmul)(x, self.c), self.d)

    memory = least(Turning, numbers())
    Turning.calls = 0
    with pytest.raises(TrainingError, match=r"called 'matmul' where the pilot run saw 'mm of c'"), only("spilled"):
        ls.train.fit(Turning, numbers(), row_loss, adamw, memory=memory, progress=False)

"""The pilot tells which calls of functions could be units; what shares, aliases or changes something stays glue."""

from __future__ import annotations

import pytest
import torch
from shardwise import FINEST, cut, pilot
from torch import nn
from torch.nn import functional

from lineshaft.train.spill.functions import Function

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


class Own(nn.Module):
    """A module whose code is the function given, on three matrices and a vector of its own."""

    def __init__(self, forward):
        super().__init__()
        self.run = forward
        self.a, self.b, self.c = (nn.Parameter(torch.randn(6, 6)) for _ in range(3))
        self.v = nn.Parameter(torch.randn(6))
        self.inner = nn.Tanh()

    def forward(self, x):
        return self.run(self, x)


def plainly(self, x):
    return functional.linear(functional.linear(x, self.a, self.v).relu(), self.b)


def sparsely(self, x):
    with torch.no_grad():
        return x.to_sparse() @ self.a + x.to_sparse() @ self.b


def squares(model, batch):
    return model(batch).square().mean(1)


def functions(forward):
    root = pilot(Own(forward), X, squares).root
    assert {name for scope in root.all() for name in scope.reads} == root.all_reads()
    return [scope.name for scope in root.functions]


def test_each_call_with_parameters_is_seen_with_what_it_reads():
    assert functions(plainly) == ["linear of a, v", "linear of b"]


def test_calls_of_modules_and_functions_stand_in_their_order():
    root = pilot(Own(lambda self, x: self.inner(x @ self.a) @ self.b), X, squares).root
    assert [scope.name for scope in root.inner] == ["matmul of a", "inner", "matmul of b"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: x @ self.a @ self.a,  # one parameter, two readers
        lambda self, x: x @ self.a.t() @ self.b.T,  # by way of a view
        lambda self, x: x @ self.a,  # one alone is all that the module does
        lambda self, x: x.clone().add_(self.a[0]).mul_(self.v),  # in place
        lambda self, x: x + self.v + self.v.sum(),  # a small part of the model
        lambda self, x: torch.func.vmap(lambda row: (self.a @ row) @ self.b)(x),  # of tensors that are wrapped
        sparsely,
        lambda self, x: x[:, : self.a.shape[0]] * len(self.b),  # asked about, not read
    ],
)
def test_what_cannot_stand_alone_is_the_modules_own_code(forward):
    assert functions(forward) == []


def test_a_call_whose_input_is_changed_later_is_the_modules_own_code():
    def forward(self, x):
        held = x @ self.c
        out = (held + self.v) @ self.a
        held.mul_(2)
        return out + held

    assert functions(forward) == ["matmul of c", "matmul of a"]


def test_a_limit_that_holds_the_parameters_leaves_the_code_whole():
    assert [unit.name for unit in cut(Own(plainly), X, FINEST, squares)[1]] == ["linear of a, v", "linear of b"]
    wide = type(FINEST)(1 << 20, 1)
    assert [unit.name for unit in cut(Own(plainly), X, wide, squares)[1]] == ["model"]


def test_a_function_runs_with_its_parameters_and_other_arguments():
    weight = nn.Parameter(torch.randn(3, 6))
    own = Function.of(functional.linear, (X,), {"weight": weight}, {id(weight)})
    args, kwargs = own.rest((X,), {"weight": weight})
    assert kwargs == {"weight": None}
    assert torch.equal(own(*args, **kwargs), functional.linear(X, weight))
    assert own.same(Function.of(functional.linear, (X,), {"weight": weight}, {id(weight)}))
    assert not own.same(Function.of(functional.linear, (weight, X), {}, {id(weight)}))
    assert not own.same(Function.of(functional.bilinear, (X,), {"weight": weight}, {id(weight)}))

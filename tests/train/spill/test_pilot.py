"""The pilot run sees who calls, reads, keeps, writes and changes what, and leaves the model as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from shardwise import TRANSFORMERS, batches, linear, pilot, squares, tokens, word_loss
from torch import nn

from lineshaft.train.spill.draws import distance
from lineshaft.train.spill.pilot import observe

X = batches(1)[0]


def seen(model, batch=X, **options):
    return pilot(model, batch, **options).root


def named(root):
    return {scope.name: scope for scope in root.all()}


class Calls(nn.Module):
    """A module whose forward is the function given."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            if isinstance(part, (nn.Module, nn.Parameter)):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *args):
        return self.function(self, *args)


def test_calls_are_nested_as_they_were_made():
    model = nn.Sequential(linear(), nn.Sequential(nn.ReLU(), linear()))
    assert [scope.name for scope in seen(model).all()] == ["", "0", "1", "1.0", "1.1"]


def test_a_module_called_twice_is_seen_twice():
    model = Calls(lambda self, x: self.a(self.a(x)), a=linear())
    assert [part.name for part in seen(model).parts] == ["a", "a"]


def test_every_call_reads_its_own_parameters():
    root = seen(nn.Sequential(linear(), nn.Sequential(nn.LayerNorm(6), linear())))
    own = {name: scope.reads for name, scope in named(root).items() if scope.reads}
    assert own == {
        "0": {"0.weight", "0.bias"},
        "1.0": {"1.0.weight", "1.0.bias"},
        "1.1": {"1.1.weight", "1.1.bias"},
    }
    assert root.all_reads() == {name for names in own.values() for name in names}


def test_a_parameter_read_by_a_parents_own_code_is_the_parents():
    model = Calls(lambda self, x: self.a(x) * self.scale, a=linear(), scale=nn.Parameter(torch.ones(())))
    assert seen(model).reads == {"scale"}


def test_a_parameter_read_through_a_view_or_detached_is_read():
    model = Calls(lambda self, x: x @ self.w[1:].T.detach(), w=nn.Parameter(torch.ones(7, 6)))
    assert seen(model).reads == {"w"}


def test_tied_parameters_are_read_by_both_under_one_name():
    model = nn.Sequential(linear(), linear())
    model[1].weight = model[0].weight
    root = seen(model)
    assert root.parts[0].reads == {"0.weight", "0.bias"}
    assert root.parts[1].reads == {"0.weight", "1.bias"}


def test_a_parameter_that_nothing_uses_is_read_by_nobody():
    model = Calls(lambda self, x: self.a(x), a=linear(), idle=linear())
    assert seen(model).all_reads() == {"a.weight", "a.bias"}


def test_what_the_loss_reads_and_keeps_is_the_roots_own():
    model = nn.Sequential(linear())
    root = seen(model, loss=lambda m, x: (m(x).exp() * m[0].weight.sum()).mean())
    assert root.reads == {"0.weight"}
    assert sum(root.keeps.values()) >= X.nbytes


def test_a_call_keeps_what_autograd_saves_and_no_parameter():
    root = seen(nn.Sequential(linear(), nn.Tanh(), linear()))
    assert [part.all_keeps() for part in root.parts] == [X.nbytes, X.nbytes, X.nbytes]


def test_a_tensor_saved_twice_is_kept_once():
    root = seen(Calls(lambda self, x: (y := self.a(x)) * y + y.pow(3), a=linear()))
    assert sum(root.keeps.values()) == 2 * X.nbytes  # y, and y * y + y^3 for the loss


def test_what_parts_share_counts_once_in_the_whole():
    model = Calls(lambda self, x: self.a(x) + self.b(x), a=linear(), b=linear())
    root = seen(model, loss=lambda m, x: m(x).sum())
    assert [part.all_keeps() for part in root.parts] == [X.nbytes, X.nbytes]
    assert root.all_keeps() == X.nbytes


def test_nothing_is_kept_where_gradients_are_off():
    def forward(self, x):
        with torch.no_grad():
            x = self.a(x)
        return self.b(x)

    root = seen(Calls(forward, a=nn.Sequential(linear(), nn.Tanh()), b=linear()))
    off, on = root.parts
    assert off.all_keeps() == 0
    assert off.all_reads() == {"a.0.weight", "a.0.bias"}
    assert (off.differentiable, on.differentiable) == (False, True)


def test_a_pilot_under_no_grad_still_measures():
    with torch.no_grad():
        assert seen(nn.Sequential(linear())).parts[0].all_keeps() == X.nbytes


def test_a_call_takes_the_bytes_it_was_called_with():
    model = Calls(lambda self, x: self.a(x, x[:1].double())[0], a=Calls(lambda self, x, y: (self.b(x), y), b=linear()))
    assert seen(model).parts[0].takes == X.nbytes + X[:1].nbytes * 2


def test_a_frozen_call_on_data_is_not_differentiable():
    model = nn.Sequential(linear(), linear())
    model[0].requires_grad_(False)
    assert [part.differentiable for part in seen(model).parts] == [False, True]


def test_a_frozen_call_behind_a_trained_one_is_differentiable():
    model = nn.Sequential(linear(), linear())
    model[1].requires_grad_(False)
    assert [part.differentiable for part in seen(model).parts] == [True, True]


def test_batch_normalisation_writes_past_the_version_counter_and_is_seen():
    model = nn.Sequential(linear(), nn.BatchNorm1d(6))
    norm = seen(model).parts[1]
    assert norm.writes == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_batch_normalisation_that_only_evaluates_writes_nothing():
    assert seen(nn.Sequential(linear(), nn.BatchNorm1d(6)).eval()).all_writes() == set()


def test_a_buffer_written_by_a_parametrization_is_seen():
    root = seen(nn.Sequential(nn.utils.parametrizations.spectral_norm(linear())))
    assert root.all_writes() == {"0.parametrizations.weight.0._u", "0.parametrizations.weight.0._v"}


def test_buffers_are_put_back():
    model = nn.Sequential(linear(), nn.BatchNorm1d(6))
    before = {name: value.clone() for name, value in model.named_buffers()}
    seen(model)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_parameters_and_gradients_are_left_alone():
    model = nn.Sequential(linear(), nn.Tanh(), linear())
    places = [parameter.data_ptr() for parameter in model.parameters()]
    values = [parameter.detach().clone() for parameter in model.parameters()]
    seen(model)
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), values, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_generators_are_put_back():
    model = Calls(lambda self, x: self.a(x) * torch.rand(()) * random.random() * np.random.rand(), a=linear())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    seen(model)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_draws_are_the_way_between_before_and_after():
    found = pilot(nn.Sequential(linear(), nn.Dropout(0.5)), X)
    torch.set_rng_state(found.before)
    nn.functional.dropout(X, 0.5)
    assert torch.equal(found.after, torch.get_rng_state())
    assert distance(found.before, found.after) > 0
    assert not found.drew_elsewhere


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_draws_from_other_generators_are_noted(draw):
    assert pilot(Calls(lambda self, x: self.a(x) * draw(), a=linear()), X).drew_elsewhere


def test_an_input_changed_in_place_is_noted_by_its_number():
    def forward(self, x):
        h = self.a(x)
        return self.b(x, h)

    inner = Calls(lambda self, x, h: h.mul_(2) + x)
    assert [part.mutates for part in seen(Calls(forward, a=linear(), b=inner)).parts] == [(), (1,)]


def test_an_input_that_parts_change_in_place_is_noted_for_all_around():
    root = seen(nn.Sequential(linear(), nn.Sequential(nn.ReLU(inplace=True), linear())))
    assert {name for name, scope in named(root).items() if scope.mutates} == {"1", "1.0"}


def test_an_input_read_more_than_once_is_noted():
    once = Calls(lambda self, x, y: x + y)
    twice = Calls(lambda self, x, y: x.sin() + y + y.cos())
    root = seen(
        Calls(lambda self, x: self.d(h := self.a(x), self.c(h, self.b(x))), a=linear(), b=linear(), c=once, d=twice)
    )
    assert {name: scope.repeats for name, scope in named(root).items() if scope.repeats} == {"d": (1,)}


def test_an_input_that_wants_no_gradient_is_never_repeated():
    assert seen(nn.Sequential(Calls(lambda self, x: self.a(x) + self.a(x.sin()), a=linear()))).parts[0].repeats == ()


def test_a_failure_of_the_model_is_its_own_and_leaves_it_as_it_was():
    def forward(self, x):
        self.norm(x)
        torch.rand(5)
        raise KeyError("mine")

    model = Calls(forward, norm=nn.BatchNorm1d(6))
    states = torch.get_rng_state(), model.norm.running_mean.clone(), set(model.norm.__dict__)
    with pytest.raises(KeyError, match="mine"):
        seen(model)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(model.norm.running_mean, states[1])
    assert set(model.norm.__dict__) == states[2]


def test_a_pilot_keeps_nothing_for_a_backward_pass():
    model, kept = nn.Sequential(linear(), nn.Tanh()), []
    observe(model, lambda: kept.append(squares(model, X)))
    with pytest.raises(RuntimeError, match="keeps nothing for a backward pass"):
        kept[0].backward()


def test_a_call_takes_as_long_as_what_is_inside_it():
    root = seen(nn.Sequential(linear(), nn.Sequential(linear(), linear())))
    assert all(scope.seconds >= sum(part.seconds for part in scope.parts) > -1 for scope in root.all())
    assert root.seconds > 0


def test_autocast_hides_no_parameter_of_a_call():
    root = seen(nn.Sequential(linear(), nn.Tanh(), linear()), dtype=torch.bfloat16)
    assert root.all_reads() == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_autocast_hides_no_second_reader_of_a_tied_parameter():
    """The first reader's cast is kept for the second."""
    model = nn.Sequential(linear(), nn.Tanh(), linear())
    model[2].weight = model[0].weight
    assert seen(model, dtype=torch.bfloat16).parts[2].reads == {"0.weight", "2.bias"}


def test_weights_of_a_recurrent_layer_are_read_by_it():
    model = Calls(lambda self, x: self.rnn(x)[0], rnn=nn.LSTM(6, 5, num_layers=2))
    assert seen(model).parts[0].reads == {name for name, _ in model.named_parameters()}


def test_weights_given_to_a_function_with_its_own_backward_are_read():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        def backward(ctx, gradient):
            x, weight = ctx.saved_tensors
            return gradient @ weight.T, x.T @ gradient

    model = Calls(lambda self, x: Product.apply(x, self.w), w=nn.Parameter(torch.ones(6, 6)))
    assert seen(model).reads == {"w"}


def test_weights_of_attention_are_read_by_it():
    model = Calls(lambda self, x: self.a(x, x, x)[0], a=nn.MultiheadAttention(6, 2))
    assert seen(model).all_reads() == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_all_parameters_of_a_model_of_transformers_are_read_by_some_call(name):
    model = TRANSFORMERS[name]()
    root = seen(model, tokens(1)[0], loss=word_loss)
    assert root.all_reads() == {name for name, _ in model.named_parameters()}
    assert root.all_writes() == set()
    assert root.all_keeps() > 0


@pytest.mark.parametrize(("name", "tied"), [("gpt2", "transformer.wte.weight"), ("t5", "shared.weight")])
def test_tied_embeddings_are_read_by_embedding_and_head(name, tied):
    root = seen(TRANSFORMERS[name](), tokens(1)[0], loss=word_loss)
    assert sum(tied in scope.reads for scope in root.all()) >= 2
    assert tied in named(root)["lm_head"].reads


def test_blocks_of_transformers_are_seen_one_by_one_without_their_caches():
    root = seen(TRANSFORMERS["gpt2"](), tokens(1)[0], loss=word_loss)
    blocks = [scope for scope in root.all() if scope.name in {"transformer.h.0", "transformer.h.1"}]
    assert [block.name for block in blocks] == ["transformer.h.0", "transformer.h.1"]
    assert [len(block.all_reads()) for block in blocks] == [12, 12]
    assert all(block.mutates == () for block in blocks)


def test_asking_about_a_parameter_is_not_reading_it():
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            weight = next(self.parameters())
            x = x.to(weight.dtype).to(weight.device).reshape(-1, weight.shape[1] if weight.dim() else weight.size(0))
            return self.last(self.first(x))

    model = Asking()
    root = observe(model, lambda: model(torch.randn(2, 4))).root
    assert root.reads == set()
    assert root.all_reads() == {"first.weight", "first.bias", "last.weight", "last.bias"}

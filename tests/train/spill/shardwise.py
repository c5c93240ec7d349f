"""Running a model unit by unit, one shard per unit, beside the plain way: what both give is compared to the bit."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from lineshaft.train.program.actions import Action
from lineshaft.train.spill.calls import without_caches
from lineshaft.train.spill.line import Loss
from lineshaft.train.spill.lines import Lines
from lineshaft.train.spill.pilot import observe
from lineshaft.train.spill.units import Limit, paused_at, shared_parameters, units_of

FINEST = Limit(1, 1)
COARSEST = Limit(1 << 40, 1 << 40)


@dataclass
class Result:
    """Gradients and buffers by name, the loss of every micro-batch, the random state after it all, the units' names."""

    gradients: dict
    buffers: dict
    losses: list
    random: torch.Tensor
    units: tuple = ()


def squares(model, batch):
    return model(batch).pow(2).mean()


def autocast(dtype):
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def pilot(model, batch, loss=squares, dtype=None):
    def forward():
        with autocast(dtype):
            loss(model, batch)

    with without_caches(model):
        return observe(model, forward)


def cut(model, batch, limit=FINEST, loss=squares, dtype=None):
    root = pilot(model, batch, loss, dtype).root
    return root, units_of(root, {name: value.nbytes for name, value in model.named_parameters()}, limit)


def result(model, losses, units=()):
    return Result(
        {name: value.grad for name, value in model.named_parameters()},
        {name: value.clone() for name, value in model.named_buffers()},
        losses,
        torch.get_rng_state(),
        tuple(unit.name for unit in units),
    )


def plain(model, batches, loss=squares, dtype=None):
    losses = []
    with without_caches(model):
        for batch in batches:
            with autocast(dtype):
                value = loss(model, batch)
            losses.append(value.detach())
            value.backward()
    return result(model, losses)


def shardwise(model, batches, limit=FINEST, loss=squares, dtype=None, graph=False):
    """Every micro-batch forward through all units, then unit by unit back; the graph of F is kept or made again."""
    with without_caches(model):
        root, units = cut(model, batches[0], limit, loss, dtype)
        shared = sorted(shared_parameters(root, units))
        own, losses = {}, {}
        lines = lines_of(model, units, collecting([dict(model.named_parameters())[name] for name in shared], own))

        def body(number):
            def run(line):
                with autocast(dtype):
                    value = loss(model, batches[number])
                losses[number] = value.detach()
                line.stop(Loss(value.detach()))
                value.backward()

            return run

        count, depth = len(batches), len(units)
        with paused_at(units):
            lines.begin([body(i) for i in range(count)], [torch.get_rng_state()] + [None] * (count - 1))
            try:
                for i in range(count):
                    for k in range(depth):
                        lines.forward(Action("F", k, i, graph=graph))
                end = lines.paths[-1].random
                for k in reversed(range(depth)):
                    for i in range(count):
                        if not graph:
                            lines.recompute(Action("R", k, i))
                        lines.backward(Action("B", k, i))
            finally:
                lines.close()
        torch.set_rng_state(end)
    add_up(model, shared, own)
    return result(model, [losses[i] for i in range(count)], units)


def lines_of(model, units, after_backward=lambda micro: None):
    modules = dict(model.named_modules())
    written = [
        [(modules[path], last) for path, _, last in (name.rpartition(".") for name in sorted(unit.writes))]
        for unit in units
    ]
    return Lines(units, [range(k, k + 1) for k in range(len(units))], written, after_backward)


def collecting(shared, own):
    """Return what sets a micro-batch's gradients of shared parameters aside."""

    def collect(micro):
        kept = own.setdefault(micro, {})
        for place, parameter in enumerate(shared):
            if parameter.grad is not None:
                kept[place] = kept[place] + parameter.grad if place in kept else parameter.grad
                parameter.grad = None

    return collect


def add_up(model, shared, own):
    named = dict(model.named_parameters())
    for micro in sorted(own):
        for place, gradient in own[micro].items():
            parameter = named[shared[place]]
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def both(model, batches, **options):
    """Run it both ways from the same seed; returns the plain result and the spilled one."""
    other = copy.deepcopy(model)
    torch.manual_seed(7)
    with_all = plain(model, batches, **{key: options[key] for key in ("loss", "dtype") if key in options})
    torch.manual_seed(7)
    return with_all, shardwise(other, batches, **options)


def same(one, other):
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(x, y) for x, y in zip(one, other, strict=True))
    return one is None and other is None


def require_same(results):
    one, other = results
    wrong = [name for name in one.gradients if not same(one.gradients[name], other.gradients[name])]
    assert not wrong
    assert same(one.buffers, other.buffers)
    assert same(one.losses, other.losses)
    assert torch.equal(one.random, other.random)


def batches(count=2, rows=4, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator) for _ in range(count)]


def linear(width=6):
    return nn.Linear(width, width)


def tokens(count=2, rows=2, length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 20, (rows, length), generator=generator) for _ in range(count)]


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=2, n_head=2))


def bert():
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        )
    )


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=16,
        )
    )


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=20,
            d_model=8,
            d_kv=4,
            d_ff=16,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
            pad_token_id=0,
        )
    )


def word_loss(model, batch):
    """A loss of a model of transformers: the tokens are also the labels."""
    options = {"decoder_input_ids": batch} if model.config.is_encoder_decoder else {}
    logits = model(input_ids=batch, **options).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch.flatten())


TRANSFORMERS = {"gpt2": gpt2, "bert": bert, "llama": llama, "t5": t5}

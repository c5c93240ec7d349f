"""A disk that fills while a model is made, measured for, sent below or trained: one sentence, and nothing is left."""

from __future__ import annotations

import errno
import itertools
import random
import re

import pytest
from torch import nn
from zoo import Case, numbers, spilled

from lineshaft.core import durable
from lineshaft.errors import StorageError
from lineshaft.train.spill import rates
from training_threads import training_threads

SAYS = re.compile(r"no room (for the spill file [\w-]+: .* are wanted in .* are left; free some|to make the model: .*)")
BUDGETS = {"disk": 1_300_000, "two levels": {"device": 1_300_000, "dram": 600_000}}


def wide():
    """Parameters large enough to be made in a file."""
    layers = [nn.Sequential(nn.Linear(128, 128), nn.ReLU()) for _ in range(8)]
    return nn.Sequential(nn.Linear(12, 128), *layers, nn.Linear(128, 3))


def train(folder, memory):
    rates.disk_rate.cache_clear()  # as in a process of its own
    durable._operations = itertools.count(1)
    fit = spilled(Case(wide, numbers(), memory), steps=3, micro_batch=3, spill=folder)
    assert fit.plan.way == "spilled"
    return fit


def done():
    """Return how many operations there were."""
    return next(durable._operations) - 1


@pytest.fixture
def operations(monkeypatch):
    """Count disk operations from the start again for each training."""
    monkeypatch.setattr(durable, "_operations", itertools.count(1))


@pytest.mark.parametrize("tier", BUDGETS)
def test_at_any_operation_it_says_so_and_leaves_nothing(tmp_path, monkeypatch, operations, whole, tier):
    monkeypatch.setenv("LINESHAFT_FAULT", "ENOSPC:0")  # counts, and never comes
    straight = train(tmp_path, BUDGETS[tier])
    count = done()
    assert count > 20
    later = range(21, count + 1)
    for number in [*range(1, 21), *(later if whole else random.Random(0).sample(later, 8))]:
        monkeypatch.setenv("LINESHAFT_FAULT", f"ENOSPC:{number}")
        try:
            train(tmp_path, BUDGETS[tier])
        except StorageError as error:
            assert SAYS.match(str(error)), f"{number}: {error}"
        else:
            assert done() < number  # how much room the cut leaves hangs on what was measured: it needed fewer
            assert number > 0.9 * count
        assert list(tmp_path.iterdir()) == [], number
        assert training_threads() == [], number
    monkeypatch.delenv("LINESHAFT_FAULT")
    assert train(tmp_path, BUDGETS[tier]).losses == straight.losses


@pytest.mark.parametrize("code", ["EIO", "EDQUOT"])
def test_another_failure_of_the_disk_is_told_in_its_own_words(tmp_path, monkeypatch, operations, code):
    monkeypatch.setenv("LINESHAFT_FAULT", f"{code}:45")
    with pytest.raises(StorageError, match="no room" if code == "EDQUOT" else "Input/output error") as caught:
        train(tmp_path, BUDGETS["disk"])
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == getattr(errno, code)
    assert list(tmp_path.iterdir()) == []

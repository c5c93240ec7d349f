"""Rates are measured with what a budget and a disk have room for, and a disk that fails is no fast one."""

from __future__ import annotations

import os

import pytest

from lineshaft.errors import StorageError
from lineshaft.train.spill import rates
from lineshaft.train.spill.device import Device
from lineshaft.train.spill.rates import disk_rate, memory_rate, tried


def test_what_is_held_is_half_the_budget_at_most():
    assert tried(1 << 20) == 1 << 18
    assert tried(1 << 40) == rates.TRIED
    assert tried(1) == rates.LEAST


def test_rates_are_above_zero_and_leave_nothing(tmp_path):
    rate = disk_rate(tmp_path, 1 << 16)
    assert min(rate.read, rate.write, memory_rate(1 << 16, Device()).read) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_not_filled(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 0, 0, 512, 0, 0, 0, 0, 0)))
    monkeypatch.setattr(rates, "SpillFile", lambda path, size, mode: seen.append(size) or real(path, size, mode))
    disk_rate(tmp_path, 1 << 24)
    assert seen == [512 * 4096 // 4]


real = rates.SpillFile


@pytest.mark.parametrize("number", range(1, 14))
def test_every_failure_of_the_disk_is_told(tmp_path, monkeypatch, number):
    monkeypatch.setattr("lineshaft.core.durable._operations", iter(range(1, 100)))
    monkeypatch.setenv("LINESHAFT_FAULT", f"EIO:{number}")
    if number <= 9:  # room, two to begin with, three alone, three beside reading
        with pytest.raises(StorageError, match="Input/output error"):
            disk_rate(tmp_path, 1 << 16)
    else:
        disk_rate(tmp_path, 1 << 16)
    assert list(tmp_path.iterdir()) == []

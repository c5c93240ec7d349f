"""A spilled training goes on from its spill files: after a stop, in another budget, past damage and full disks."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import safetensors.torch
import torch
from plain_loop import all_state, assert_same_bits
from torch import nn
from zoo import ZOO, Case, mlp, numbers, row_loss, spilled

import lineshaft as ls
from lineshaft.core import durable
from lineshaft.core.events import listening
from lineshaft.errors import IntegrityError, StorageError, TrainingError
from lineshaft.train.checkpoint import Checkpoints

DECODER = ZOO["decoder with tied embedding"]


@pytest.fixture(scope="module", params=["mlp", "decoder with tied embedding", "resnet"])
def case(request):
    return ZOO[request.param]


@pytest.fixture(scope="module")
def straight(case):
    return spilled(case, epochs=3, micro_batch=3)


def same(one, other):
    assert one.losses == other.losses
    assert_same_bits(all_state(one.model, one.optimizer), all_state(other.model, other.optimizer))


@pytest.mark.parametrize("every", [1, 2, 5])
def test_stopped_and_resumed(tmp_path, case, straight, every):
    kept = Checkpoints(tmp_path, every=every)
    for steps in (1, 4, 5, 11):
        spilled(case, steps=steps, micro_batch=3, checkpoint=kept)
    same(spilled(case, epochs=3, micro_batch=3, checkpoint=kept), straight)


@pytest.mark.parametrize("tiers", [{"device": 2}, {"device": 1.2, "dram": 0.3}, {"device": 100}])
def test_resumed_in_another_budget(tmp_path, case, straight, tiers):
    budget = {name: int(share * case.memory) for name, share in tiers.items()}
    spilled(case, steps=3, micro_batch=3, checkpoint=tmp_path)
    spilled(case, steps=8, micro_batch=3, checkpoint=tmp_path, memory=budget)
    same(spilled(case, epochs=3, micro_batch=3, checkpoint=tmp_path), straight)
    assert len(list(tmp_path.glob("objects-*"))) == 1


def test_with_options_and_a_schedule(tmp_path):
    options = {
        "micro_batch": 3,
        "precision": "fp16",
        "clip": 0.1,
        "schedule": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=30),
        "memory": 2 * DECODER.memory,
    }
    straight = spilled(DECODER, steps=7, **options)
    for steps in (2, 3, 7):
        resumed = spilled(DECODER, steps=steps, checkpoint=tmp_path, **options)
    same(resumed, straight)


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def newest(folder):
    return max(folder.glob("commit-*"))


def heard(action):
    events = []
    with listening(events.append):
        result = action()
    return result, [event.facts for event in events if event.kind == "checkpoint.damaged"]


def test_a_damaged_commit_file_gives_way_to_the_one_before(tmp_path, case, straight):
    spilled(case, steps=6, micro_batch=3, checkpoint=tmp_path)
    damage(newest(tmp_path), -5)
    resumed, told = heard(lambda: spilled(case, epochs=3, micro_batch=3, checkpoint=tmp_path))
    assert "not those that its name says" in told[0]["reason"]
    same(resumed, straight)


@pytest.mark.parametrize("tiers", [None, {"device": 2, "dram": 1}])
def test_a_damaged_slot_gives_way_to_the_commit_before(tmp_path, case, straight, tiers):
    budget = tiers and {name: int(share * case.memory) for name, share in tiers.items()}
    options = {"micro_batch": 3, "checkpoint": Checkpoints(tmp_path, every=1), "memory": budget or case.memory}
    spilled(case, steps=5, **options)
    read = {path: path.read_bytes() for path in tmp_path.glob("objects-*/slot-*")}
    spilled(case, steps=6, **options)
    changed = next(path for path, content in sorted(read.items()) if path.read_bytes() != content)
    place = next(i for i, (a, b) in enumerate(zip(read[changed], changed.read_bytes(), strict=True)) if a != b)
    damage(changed, place)
    resumed, told = heard(lambda: spilled(case, epochs=3, **options))
    assert "holds other bytes than were written for" in told[0]["reason"]
    same(resumed, straight)


@pytest.mark.parametrize("memory", [False, True])
def test_with_every_state_damaged_it_is_refused_and_all_stays(tmp_path, memory):
    case = ZOO["mlp"]
    spilled(case, steps=5, checkpoint=tmp_path, memory=case.memory if memory else None)
    for path in (*tmp_path.glob("commit-*"), *tmp_path.glob("epoch-*.safetensors")):
        damage(path, 100)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for inside in (False, True):
        with pytest.raises(
            IntegrityError, match=r"no whole state in .*: .* bytes that are not .*; delete the folder, or"
        ):
            spilled(case, steps=9, checkpoint=tmp_path, memory=case.memory if inside else None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_commit_stays_until_the_next_one(tmp_path):
    spilled(ZOO["mlp"], steps=5, checkpoint=Checkpoints(tmp_path, every=1))
    damaged = newest(tmp_path)
    damage(damaged, -5)
    spilled(ZOO["mlp"], steps=4, checkpoint=Checkpoints(tmp_path, every=9))
    assert not damaged.exists()
    assert len(list(tmp_path.glob("commit-*"))) == 2


def test_a_finished_training_is_only_read(tmp_path):
    first = spilled(ZOO["mlp"], epochs=2, checkpoint=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    same(spilled(ZOO["mlp"], epochs=2, checkpoint=tmp_path), first)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("number", [1, 3, 9, 30, 31, 60])
def test_a_full_disk_stops_it_with_a_sentence_and_costs_a_step_at_most(tmp_path, monkeypatch, number):
    spilled(ZOO["mlp"], steps=2, checkpoint=tmp_path)
    monkeypatch.setattr(durable, "_operations", itertools.count(1))
    monkeypatch.setenv("LINESHAFT_FAULT", f"ENOSPC:{number}")
    with pytest.raises(StorageError, match=r"no room for the spill file|could not write commit"):
        spilled(ZOO["mlp"], epochs=3, checkpoint=tmp_path)
    monkeypatch.delenv("LINESHAFT_FAULT")
    same(spilled(ZOO["mlp"], epochs=3, checkpoint=tmp_path), spilled(ZOO["mlp"], epochs=3))


def test_another_model_is_refused_with_both_named(tmp_path):
    spilled(ZOO["mlp"], steps=2, checkpoint=tmp_path)

    def wider():
        return nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 3))

    with pytest.raises(
        TrainingError, match=r"its model is Sequential with 1571 parameters .*, this run's is Sequential"
    ):
        spilled(Case(wider, numbers(), 60_000), steps=4, checkpoint=tmp_path)
    same(spilled(ZOO["mlp"], steps=4, checkpoint=tmp_path), spilled(ZOO["mlp"], steps=4))


def test_another_optimizer_is_refused(tmp_path):
    spilled(ZOO["mlp"], steps=2, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="optimizer"):
        spilled(ZOO["mlp"], steps=4, checkpoint=tmp_path, optimizer=ls.sgd(lr=0.1))


def test_an_interrupt_leaves_the_last_step_committed(tmp_path):
    class Interrupting(list):
        def __iter__(self):
            for number, item in enumerate(super().__iter__()):
                if number == 3:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        spilled(Case(mlp, Interrupting(numbers()), 60_000), epochs=2, checkpoint=tmp_path)
    resumed = spilled(Case(mlp, numbers(), 60_000), epochs=2, checkpoint=tmp_path)
    same(resumed, spilled(ZOO["mlp"], epochs=2))


def test_an_interrupt_within_a_step_costs_that_step_and_no_other(tmp_path):
    calls = []

    def loss(outputs, target):
        calls.append(len(outputs))
        if len(calls) == stop:
            raise KeyboardInterrupt
        return row_loss(outputs, target)

    stop = 1 << 30
    whole = spilled(ZOO["mlp"], epochs=2, loss=loss)
    before, calls[:] = len(calls) - len(whole.losses), []  # the calls of pilot and rehearsal
    stop = before + 6
    with pytest.raises(KeyboardInterrupt):
        spilled(ZOO["mlp"], epochs=2, loss=loss, checkpoint=tmp_path)
    stop, calls[:] = 1 << 30, []
    resumed = spilled(ZOO["mlp"], epochs=2, loss=loss, checkpoint=tmp_path)
    same(resumed, whole)
    assert len(calls) == before + len(whole.losses) - 5


@pytest.mark.parametrize("within_memory", [(True, False, True), (False, True, False), (False, True, True, False)])
def test_goes_on_in_memory_and_below_by_turns(tmp_path, case, straight, within_memory):
    kept = Checkpoints(tmp_path, every=2)
    for steps, inside in zip((2, 5, 7, 8), within_memory, strict=False):
        spilled(case, steps=steps, micro_batch=3, checkpoint=kept, memory=None if inside else case.memory)
    same(spilled(case, epochs=3, micro_batch=3, checkpoint=kept), straight)
    same(spilled(case, epochs=3, micro_batch=3, checkpoint=kept, memory=None), straight)


@pytest.mark.parametrize("memory", [False, True])
def test_exported_at_any_time(tmp_path, case, memory):
    fit = spilled(case, steps=4, micro_batch=3, checkpoint=tmp_path / "run", memory=case.memory if memory else None)
    file = ls.train.export(tmp_path / "run", tmp_path / "model.safetensors")
    stored = safetensors.torch.load_file(file)
    expected = fit.model.state_dict()
    assert stored.keys() == expected.keys()
    assert_same_bits(stored, dict(expected))
    torch.manual_seed(5)
    case.factory().load_state_dict(stored)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_exported_while_it_goes_on(tmp_path):
    files = []

    class Exporting(list):
        def __iter__(self):
            for batch in super().__iter__():
                if list(tmp_path.glob("commit-*")):
                    files.append(ls.train.export(tmp_path, tmp_path / f"{len(files)}.safetensors"))
                yield batch

    case = ZOO["mlp"]
    spilled(dataclasses.replace(case, data=Exporting(case.data)), epochs=2, micro_batch=3, checkpoint=tmp_path)
    models = [safetensors.torch.load_file(file) for file in files]
    assert len(models) > 2
    assert any(not torch.equal(models[0][name], models[-1][name]) for name in models[0])


def test_nothing_to_export(tmp_path):
    with pytest.raises(StorageError, match="holds no state to export; give the folder that was checkpoint="):
        ls.train.export(tmp_path, tmp_path / "model.safetensors")


def test_damage_is_not_exported(tmp_path):
    case = ZOO["mlp"]
    spilled(case, steps=3, micro_batch=3, checkpoint=tmp_path)
    for slot in tmp_path.glob("objects-*/slot-*"):
        damage(slot, 100)
    with pytest.raises(StorageError, match="stayed whole"):
        ls.train.export(tmp_path, tmp_path / "model.safetensors")
    assert not list(tmp_path.glob("*model*"))

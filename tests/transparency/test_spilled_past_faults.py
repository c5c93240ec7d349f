"""A spilled training leaves nothing behind, loses nothing to a loss of power, and gives back what it was given."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from plain_loop import all_state, assert_same_bits
from torch import nn
from zoo import ZOO, Case, mlp, numbers, spilled

from lineshaft.core import durable
from lineshaft.core.events import listening
from lineshaft.errors import StorageError, TrainingError, UsageError
from lineshaft.train.checkpoint import Checkpoints
from lineshaft.train.handover import Checkpoint, furthest
from lineshaft.train.spill import commits
from lineshaft.train.spill.commits import Commit, commit_files, read_commit

CASE = ZOO["mlp"]


def same(one, other):
    assert one.losses == other.losses
    assert_same_bits(all_state(one.model, one.optimizer), all_state(other.model, other.optimizer))


def handles():
    gc.collect()
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()]


def overwritten(folder):
    """Lose all that was written to slots since the older of two commits: it was synced, they were not."""
    commit = read_commit(commit_files(folder)[-1])
    offset = 0
    for item in sorted(commit.sizes):
        for path in (folder / commit.layout).iterdir():
            if path.name != f"slot-{commit.objects[item].slot}":
                with path.open("r+b") as stream:
                    stream.seek(offset)
                    stream.write(bytes(commit.sizes[item]))
        offset += commit.sizes[item]


def test_a_returned_model_stays_when_training_goes_on(tmp_path):
    early = spilled(CASE, steps=3, checkpoint=tmp_path)
    spilled(CASE, steps=12, epochs=9, checkpoint=tmp_path)
    same(early, spilled(CASE, steps=3))
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("kept", [False, True])
def test_many_shards_take_few_handles(tmp_path, kept):
    case = Case(lambda: nn.Sequential(*[nn.Linear(64, 64) for _ in range(60)]), numbers(), 160_000)
    case.data[:] = [(torch.randn(4, 64), torch.zeros(4, dtype=torch.int64))]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(handles()) + 24, hard))
    try:
        fit = spilled(case, steps=2, epochs=2, checkpoint=tmp_path if kept else None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(fit.plan.chosen.cut.shards) > 30


@pytest.mark.parametrize("loss", ["slots", "commits", "both"])
def test_a_loss_of_power_costs_what_was_not_synced(tmp_path, loss):
    spilled(CASE, steps=6, epochs=2, checkpoint=Checkpoints(tmp_path, every=1, seconds=3600))
    newest, synced = commit_files(tmp_path)
    assert synced.name.startswith("commit-000000000001")
    if loss != "commits":
        overwritten(tmp_path)
    if loss != "slots":
        newest.write_bytes(b"")
    assert furthest(tmp_path).stored.cursor == (0, 1)
    same(spilled(CASE, epochs=2, checkpoint=tmp_path), spilled(CASE, epochs=2))


def test_what_is_never_synced_keeps_the_last_two(tmp_path):
    spilled(CASE, steps=6, epochs=2, checkpoint=Checkpoints(tmp_path, every=1, seconds=None))
    assert [path.name[:19] for path in commit_files(tmp_path)] == ["commit-000000000006", "commit-000000000005"]


@pytest.mark.parametrize(
    ("form", "told"), [(3, "a newer lineshaft: its format is 3"), (1, "another lineshaft: its format is 1")]
)
@pytest.mark.parametrize("memory", [None, CASE.memory])
def test_a_commit_of_another_format_is_refused_and_stays(tmp_path, monkeypatch, form, told, memory):
    with monkeypatch.context() as patch:
        patch.setattr(commits, "FORMAT", form)
        spilled(CASE, steps=2, checkpoint=tmp_path)
    before = commit_files(tmp_path)
    with pytest.raises(StorageError, match=rf"was written by {told}, this one's is 2; .* or use another folder"):
        spilled(CASE, steps=4, checkpoint=tmp_path, memory=memory)
    assert commit_files(tmp_path) == before


def test_a_slot_that_cannot_be_read_gives_way_to_the_commit_before(tmp_path):
    spilled(CASE, steps=6, epochs=2, checkpoint=Checkpoints(tmp_path, every=1))
    newest, synced = (read_commit(path) for path in commit_files(tmp_path))
    bad = {copy.slot for copy in newest.objects.values()} - {copy.slot for copy in synced.objects.values()}
    path = tmp_path / newest.layout / f"slot-{bad.pop()}"
    path.unlink()
    path.mkdir()
    events = []
    with listening(events.append):
        assert furthest(tmp_path).stored.cursor == synced.cursor
    assert "could not read slot-" in events[0].facts["reason"]


def test_what_killed_runs_left_goes_with_the_next_commit(tmp_path):
    spilled(CASE, steps=2, checkpoint=tmp_path)
    (tmp_path / ".commit-000000000009-0123456789abcdef.safetensors.tmp").touch()
    (tmp_path / ".commit-000000000009-0123456789abcdef.safetensors.a.1.2.b.tmp").touch()
    (tmp_path / "notes.txt").touch()
    spilled(CASE, steps=4, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert (tmp_path / "notes.txt").exists()


def test_a_refused_resume_makes_no_file_and_holds_none(tmp_path):
    spilled(CASE, steps=2, checkpoint=tmp_path)
    files, held = sorted(tmp_path.rglob("*")), handles()

    def wider():
        return nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 3))

    with pytest.raises(TrainingError, match="of another training"):
        spilled(Case(wider, numbers(), 60_000), steps=4, checkpoint=tmp_path)
    assert sorted(tmp_path.rglob("*")) == files
    assert sorted(handles()) == sorted(held)


KILLED = """
import sys
import torch
from lineshaft.train.loop import fit
model = lambda: torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(8)])
data = [(torch.randn(4, 64), torch.zeros(4, dtype=torch.int64))]
fit(model, data, steps=9, memory="300KB", spill=sys.argv[1], progress=False)
"""


def test_a_killed_training_leaves_no_file(tmp_path):
    environment = os.environ | {"LINESHAFT_CRASH": "spill.write:40", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment, check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory", [None, CASE.memory])
def test_what_was_gone_on_from_is_not_held_while_training_goes_on(tmp_path, memory):
    seen = []

    class Looking(list):
        def __iter__(self):
            seen.clear()  # the pilot looks too, before training has gone on
            for number, batch in enumerate(super().__iter__()):
                if number:
                    gc.collect()
                    seen.append([one for one in gc.get_objects() if type(one) in {Checkpoint, Commit}])
                yield batch

    spilled(CASE, steps=2, checkpoint=tmp_path, memory=memory)
    spilled(dataclasses.replace(CASE, data=Looking(CASE.data)), steps=4, checkpoint=tmp_path)
    assert seen == [[], [], []]


class Started(list):
    """Data that is looked at before training, and ends it when it begins."""

    def __init__(self):
        self.looks = iter([numbers()])

    def __iter__(self):
        for batches in self.looks:
            return iter(batches)
        raise ZeroDivisionError


@pytest.mark.parametrize("where", ["spill", "checkpoint"])
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_whatever_fails_at_the_start_leaves_the_model_whole_and_nothing_else(tmp_path, monkeypatch, where, code):
    def starts(folder, number):
        torch.manual_seed(1)
        model = mlp()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        monkeypatch.setattr(durable, "_operations", itertools.count(1))
        monkeypatch.setenv("LINESHAFT_FAULT", f"{code}:{number}")
        try:
            spilled(Case(lambda: model, Started(), 60_000), **{where: folder})
        except StorageError:
            assert_same_bits(dict(model.state_dict()), before)
            return False
        except ZeroDivisionError:
            return True

    held, threads = sorted(handles()), threading.active_count()
    number = 1
    while not starts(tmp_path / str(number), number):
        assert (sorted(handles()), threading.active_count()) == (held, threads)
        assert where == "checkpoint" or not list((tmp_path / str(number)).iterdir())
        number += 1
    assert number > 12


def test_a_folder_for_spilling_beside_one_for_checkpoints_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"spill='.*' beside checkpoint='.*': .* leave spill= out"):
        spilled(CASE, spill=tmp_path / "a", checkpoint=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []

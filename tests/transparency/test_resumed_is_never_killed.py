"""Resumed after SIGKILL == never killed: parameters, optimizer, losses, schedule and random generators, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from plain_loop import all_state, assert_same_bits, batches, dropout_net

import lineshaft as ls
from lineshaft.errors import TrainingError
from lineshaft.train.checkpoint import Checkpoints


def killed(folder, *arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, script, folder, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.crash
def test_killed_at_every_crash_point(tmp_path):
    found = killed(tmp_path, "points")
    assert {what.split(":")[0] for what, *_ in found["runs"]} == {
        "checkpoint.begun", "checkpoint.state_written", "checkpoint.written",
        "write.begun", "write.synced", "write.renamed",
    }  # fmt: skip
    assert len(found["runs"]) >= 30
    assert all(died for _, died, _ in found["runs"])
    assert [what for what, _, digest in found["runs"] if digest != found["reference"]] == []


@pytest.mark.crash
def test_killed_at_any_moment(tmp_path, whole):
    found = killed(tmp_path, "moments", "60" if whole else "6")
    assert any(died for _, died, _ in found["runs"])
    assert [what for what, _, digest in found["runs"] if digest != found["reference"]] == []


@pytest.mark.crash
def test_a_spilled_training_killed_at_every_crash_point(tmp_path, whole):
    found = killed(tmp_path, "points" if whole else "some", "spilled")
    assert {what.split(":")[0] for what, *_ in found["runs"]} >= {
        "commit.begun", "commit.written", "commit.renamed", "spill.write",
    }  # fmt: skip
    assert all(died for _, died, _ in found["runs"])
    assert [what for what, _, digest in found["runs"] if digest != found["reference"]] == []


@pytest.mark.crash
def test_a_spilled_training_killed_at_any_moment(tmp_path, whole):
    """200 kills, 200 resumes to the bit."""
    found = killed(tmp_path, "moments", "200" if whole else "16", "spilled")
    assert sum(died for _, died, _ in found["runs"]) >= (200 if whole else 16)
    assert [what for what, _, digest in found["runs"] if digest != found["reference"]] == []


@pytest.mark.parametrize("precision", [None, "bf16", "fp16"])
@pytest.mark.parametrize("stop", [1, 3, 5, 6, 13])
def test_stopped_and_resumed(tmp_path, precision, stop):
    options = {"micro_batch": 6, "accumulate": 2, "precision": precision, "clip": 0.3}
    straight = ls.train.fit(dropout_net, batches(), steps=15, **options)
    ls.train.fit(dropout_net, batches(), steps=stop, checkpoint=tmp_path, **options)
    torch.manual_seed(12345)
    resumed = ls.train.fit(dropout_net, batches(), steps=15, checkpoint=tmp_path, **options)
    assert resumed.losses == straight.losses
    assert_same_bits(all_state(resumed.model, resumed.optimizer), all_state(straight.model, straight.optimizer))


@pytest.mark.parametrize(
    "name", ["OneCycleLR", "MultiStepLR", "SequentialLR", "LambdaLR", "CosineAnnealingWarmRestarts"]
)
def test_schedules_resume(tmp_path, name):
    from torch.optim import lr_scheduler as torch_schedules

    schedule = {
        "OneCycleLR": lambda o: torch_schedules.OneCycleLR(o, max_lr=0.1, total_steps=40),
        "MultiStepLR": lambda o: torch_schedules.MultiStepLR(o, milestones=[2, 7, 7, 9]),
        "SequentialLR": lambda o: torch_schedules.SequentialLR(
            o, [torch_schedules.LinearLR(o), torch_schedules.ExponentialLR(o, 0.8)], milestones=[4]
        ),
        "LambdaLR": lambda o: torch_schedules.LambdaLR(o, lambda step: 0.9**step),
        "CosineAnnealingWarmRestarts": lambda o: torch_schedules.CosineAnnealingWarmRestarts(o, 3),
    }[name]
    straight = ls.train.fit(dropout_net, batches(), epochs=3, schedule=schedule)
    ls.train.fit(dropout_net, batches(), steps=6, schedule=schedule, checkpoint=tmp_path)
    resumed = ls.train.fit(dropout_net, batches(), epochs=3, schedule=schedule, checkpoint=tmp_path)
    assert resumed.losses == straight.losses
    assert resumed.schedule.get_last_lr() == straight.schedule.get_last_lr()
    assert_same_bits(dict(resumed.model.state_dict()), dict(straight.model.state_dict()))


def loader(generator):
    x, y = (torch.cat(part) for part in zip(*batches(), strict=False))
    dataset = torch.utils.data.TensorDataset(x, y)
    return torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, generator=generator)


@pytest.mark.parametrize("own", [False, True], ids=["global generator", "own generator"])
@pytest.mark.parametrize("stop", [4, 6, 8])
def test_a_shuffled_epoch_goes_on_in_its_order(tmp_path, stop, own):
    def make():
        return loader(torch.Generator().manual_seed(8) if own else None)

    straight = ls.train.fit(dropout_net, make(), epochs=3)
    ls.train.fit(dropout_net, make(), steps=stop, checkpoint=tmp_path)
    resumed = ls.train.fit(dropout_net, make(), epochs=3, checkpoint=tmp_path)
    assert resumed.losses == straight.losses


@pytest.mark.parametrize(
    "where", [{"every": 1}, {"every": 3}, {"seconds": 0.0}, {"every": 2, "seconds": 0.0, "keep": 1}]
)
def test_when_checkpoints_are_written_changes_no_bit(tmp_path, where):
    without = ls.train.fit(dropout_net, loader(None), epochs=2)
    written = ls.train.fit(dropout_net, loader(None), epochs=2, checkpoint=Checkpoints(tmp_path, **where))
    assert written.losses == without.losses
    assert_same_bits(all_state(written.model, written.optimizer), all_state(without.model, without.optimizer))


def test_a_finished_training_is_only_read(tmp_path):
    first = ls.train.fit(dropout_net, batches(), epochs=2, checkpoint=tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = ls.train.fit(dropout_net, batches(), epochs=2, checkpoint=tmp_path)
    assert again.losses == first.losses
    assert_same_bits(all_state(again.model, again.optimizer), all_state(first.model, first.optimizer))
    assert {path.name for path in tmp_path.iterdir()} == set(before)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    straight = ls.train.fit(dropout_net, batches(), epochs=4)
    ls.train.fit(dropout_net, batches(), epochs=2, checkpoint=tmp_path)
    newest = max(tmp_path.glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = ls.train.fit(dropout_net, batches(), epochs=4, checkpoint=tmp_path)
    assert resumed.losses == straight.losses


def test_fewer_batches_than_the_checkpoint_has_done(tmp_path):
    ls.train.fit(dropout_net, batches(), steps=4, checkpoint=tmp_path)
    with pytest.raises(TrainingError, match="has done 4 batches of epoch 1, but the data gives only 2"):
        ls.train.fit(dropout_net, batches()[:2], steps=6, checkpoint=tmp_path)

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from lineshaft.core import durable
from lineshaft.core.codec import Tensors
from lineshaft.errors import StorageError, UsageError
from lineshaft.train.checkpoint import Checkpoints, Writer, newest, save


def state(number):
    return Tensors({"t": torch.full((50,), float(number))}, {"state": number})


def found(folder):
    return newest(folder)[0]


def three(folder, keep=2):
    where = Checkpoints(folder, keep=keep)
    for number in range(3):
        save(where, state(number), (number, 0))
    return where


def test_the_newest_comes_back(tmp_path):
    three(tmp_path)
    state = found(tmp_path)
    assert state.header["state"] == 2
    assert torch.equal(state.values["t"], torch.full((50,), 2.0))


def test_order_is_by_epoch_then_batch(tmp_path):
    where = Checkpoints(tmp_path, keep=9)
    for cursor in [(2, 0), (10, 3), (10, 20), (9, 500), (1, 70000)]:
        save(where, state(0), cursor)
    save(where, Tensors({}, {"state": "last"}), (10, 21))
    assert found(tmp_path).header["state"] == "last"


def test_no_folder_is_no_checkpoint(tmp_path):
    assert newest(tmp_path / "none") == newest(tmp_path) == (None, [])


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_only_the_newest_are_kept(tmp_path, keep):
    three(tmp_path, keep)
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.safetensors"))) == min(keep, 3)


def test_what_killed_runs_left_is_tidied_and_the_users_files_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".epoch-000001-batch-000000000.json.77.0.tmp").write_bytes(b"half")
    (tmp_path / "epoch-000000-batch-000000009.safetensors").write_bytes(b"a state without a manifest")
    three(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.txt",
        *(f"epoch-00000{n}-batch-000000000.{form}" for n in (1, 2) for form in ("json", "safetensors")),
    }


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit in the state": lambda state, manifest: flip(state),
    "a short state": lambda state, manifest: state.write_bytes(state.read_bytes()[:-1]),
    "an empty state": lambda state, manifest: state.write_bytes(b""),
    "a missing state": lambda state, manifest: state.unlink(),
    "a flipped bit in the manifest": lambda state, manifest: flip(manifest),
    "a short manifest": lambda state, manifest: manifest.write_bytes(manifest.read_bytes()[:30]),
    "an empty manifest": lambda state, manifest: manifest.write_bytes(b""),
    "a manifest that is not text": lambda state, manifest: manifest.write_bytes(b"\xff\xfe\x00"),
    "a manifest of another kind": lambda state, manifest: manifest.write_text('["sha256"]'),
    "a manifest that names a path": lambda s, m: m.write_text(json.dumps(json.loads(m.read_text()) | {"file": "../x"})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, damage):
    three(tmp_path)
    manifest = max(tmp_path.glob("*.json"))
    DAMAGES[damage](manifest.with_suffix(".safetensors"), manifest)
    before = sorted(tmp_path.iterdir())
    state, damaged = newest(tmp_path)
    assert state.header["state"] == 1
    assert [one.path for one in damaged] == [manifest]
    assert sorted(tmp_path.iterdir()) == before


def test_with_all_damaged_there_is_none_and_all_stay(tmp_path):
    three(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        flip(path)
    state, damaged = newest(tmp_path)
    assert state is None
    assert len(damaged) == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_one_is_healed_by_writing_it_again(tmp_path):
    where = three(tmp_path)
    flip(max(tmp_path.glob("*.safetensors")))
    save(where, state(2), (2, 0), [one.path for one in newest(tmp_path)[1]])
    assert found(tmp_path).header["state"] == 2


def test_the_next_one_takes_the_place_of_the_damaged_and_not_of_the_whole(tmp_path):
    where = three(tmp_path)
    flip(max(tmp_path.glob("*.safetensors")))
    save(where, state(1.5), (1, 500), [one.path for one in newest(tmp_path)[1]])
    assert [path.stem for path in sorted(tmp_path.glob("*.json"))] == [
        "epoch-000001-batch-000000000",
        "epoch-000001-batch-000000500",
    ]


def test_one_of_a_newer_format_is_refused_and_stays(tmp_path):
    three(tmp_path)
    manifest = max(tmp_path.glob("*.json"))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with pytest.raises(StorageError, match=r"written by a newer lineshaft: its format is 99, this one's is 1; upgrade"):
        newest(tmp_path)
    assert manifest.exists()


def test_the_same_state_gives_the_same_bytes(tmp_path):
    three(tmp_path / "a")
    three(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_a_failing_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, code):
    where = three(tmp_path)
    failures = 0
    for operation in range(1, 40):
        monkeypatch.setattr(durable, "_operations", iter(range(1, 100)))
        monkeypatch.setenv("LINESHAFT_FAULT", f"{code}:{operation}")
        try:
            save(where, state(3), (3, 0))
        except StorageError as error:
            failures += 1
            assert os.strerror(getattr(errno, code)) in str(error)
            monkeypatch.delenv("LINESHAFT_FAULT")
            assert found(tmp_path).header["state"] in {2, 3}
        else:
            break
    assert failures >= 8
    assert found(tmp_path).header["state"] == 3


def test_a_folder_that_cannot_be_read_is_an_error_not_a_fresh_start(tmp_path):
    three(tmp_path)
    manifest = max(tmp_path.glob("*.json"))
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(StorageError, match="could not read the checkpoints"):
        newest(tmp_path)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"keep": 0}, {"every": -3}])
def test_numbers_out_of_range(tmp_path, wrong):
    with pytest.raises(UsageError, match="must be 1 or more"):
        Checkpoints(tmp_path, **wrong)


class Taken:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return state(self.count)


def test_each_moment_is_written_once(tmp_path):
    writer, take = Writer(Checkpoints(tmp_path, seconds=None)), Taken()
    for step in range(1, 4):
        writer.after_step(step, (0, step), take)
    assert take.count == 0
    writer.after_epoch((1, 0), take)
    writer.finish((1, 0), take)
    assert take.count == 1
    writer.finish((1, 1), take)
    assert take.count == 2


def test_by_steps_epochs_do_not_count(tmp_path):
    writer, take = Writer(Checkpoints(tmp_path, every=2, seconds=None)), Taken()
    for step in range(1, 6):
        writer.after_step(step, (0, step), take)
    writer.after_epoch((1, 0), take)
    assert take.count == 2


def test_by_time(tmp_path):
    take = Taken()
    Writer(Checkpoints(tmp_path, seconds=0.0)).after_step(1, (0, 1), take)
    Writer(Checkpoints(tmp_path, seconds=3600.0)).after_step(1, (0, 1), take)
    assert take.count == 1


def test_without_a_place_nothing_is_taken():
    writer, take = Writer(None), Taken()
    writer.after_step(1, (0, 1), take)
    writer.after_epoch((1, 0), take)
    writer.finish((1, 0), take)
    assert take.count == 0

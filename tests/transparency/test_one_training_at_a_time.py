"""One training at a time uses a checkpoint folder; the second is told who is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from zoo import ZOO, spilled

from lineshaft.errors import StorageError, TrainingError
from lineshaft.train.lock import alone

HOLD = """
import sys
from pathlib import Path
from lineshaft.train.lock import alone
with alone(Path(sys.argv[1])):
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        assert one.stdout.readline() == b"there\n"
        yield one
        one.stdin.close()


@pytest.mark.parametrize("memory", [None, ZOO["mlp"].memory])
def test_a_second_training_is_refused_with_the_process_of_the_first(tmp_path, holder, memory):
    with pytest.raises(TrainingError, match=rf"is in use: process {holder.pid} is training there; wait for it"):
        spilled(ZOO["mlp"], steps=2, checkpoint=tmp_path, memory=memory)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_who_is_killed_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with alone(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory", [None, ZOO["mlp"].memory])
def test_a_training_within_another_is_refused_too(tmp_path, memory):
    case = ZOO["mlp"]

    class Nested(list):
        def __iter__(self):
            spilled(case, steps=1, checkpoint=tmp_path)
            return super().__iter__()

    data = Nested(case.data)
    with pytest.raises(TrainingError, match=rf"process {os.getpid()} is training there"):
        spilled(type(case)(case.factory, data, case.memory), steps=2, checkpoint=tmp_path, memory=memory)


@pytest.mark.parametrize("where", ["/proc/nowhere", "file", "file/below"])
def test_a_folder_that_cannot_be_used_is_refused_with_what_to_do(tmp_path, where):
    (tmp_path / "file").touch()
    for memory in (None, ZOO["mlp"].memory):
        with pytest.raises(StorageError, match=r"could not use .* for checkpoints: .*name a folder .* checkpoint="):
            spilled(ZOO["mlp"], steps=2, checkpoint=tmp_path / where, memory=memory)


def test_where_a_lease_has_run_out_a_training_keeps_clear_of_who_is_still_there(tmp_path, holder):
    with alone(tmp_path, leased=True) as beside:
        assert beside.parent == tmp_path
        assert beside != tmp_path
        with alone(tmp_path, leased=True) as another:
            assert another not in {beside, tmp_path}


def test_where_nobody_is_a_leased_folder_is_used_itself(tmp_path):
    with alone(tmp_path, leased=True) as own:
        assert own == tmp_path

"""A home keeps payloads by digest, remembers what was just read, and knows the scripts it has run."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlalchemy as sa
import torch

from lineshaft.core import script
from lineshaft.core.catalog import scripts
from lineshaft.core.codec import Tensors
from lineshaft.core.home import Home
from lineshaft.core.task import Task
from lineshaft.errors import DataError, StorageError, UsageError


def test_payloads_come_back_from_memory_and_from_disk(home):
    table = pa.table({"a": [1]})
    artifact = home.put("Table", table)
    assert home.get(artifact).equals(table)
    assert home.get(artifact) is home.get(artifact)
    assert Home(home.folder).get(artifact).equals(table)


def test_tensors_that_are_written_to_are_whole_for_the_next_reader(home):
    artifact = home.put("Tensors", Tensors({"a": torch.zeros(2)}, {"list": []}))
    first = home.get(artifact)
    first.values["a"].add_(1)
    first.header["list"].append(1)
    second = home.get(artifact)
    assert torch.equal(second.values["a"], torch.zeros(2))
    assert second.header == {"list": []}


def test_what_was_read_is_kept_within_bounds(home, monkeypatch):
    monkeypatch.setattr("lineshaft.core.home._KEPT_BYTES", 10)
    artifacts = [home.put("Text", f"text {number}") for number in range(3)]
    for artifact in artifacts:
        home.get(artifact)
    home.store.delete(artifacts[2].digest)
    assert home.get(artifacts[2]) == "text 2"
    home.store.delete(artifacts[0].digest)
    with pytest.raises(StorageError, match="is missing"):
        home.get(artifacts[0])


def test_the_same_bytes_of_two_kinds_are_told_apart(home):
    value, text = home.put("Value", 12), home.put("Text", "12")
    assert value.digest == text.digest
    assert (home.get(value), home.get(text)) == (12, "12")


def test_the_scripts_of_a_home_may_be_named_by_its_models(home, monkeypatch):
    monkeypatch.setattr(script, "_allowed", {})
    with home.catalog.write() as connection:
        connection.execute(sa.insert(scripts).values(module="lineshaft_script_x", path="/somewhere/x.py"))
    Home(home.folder).catalog
    assert script.allowed() == {"lineshaft_script_x": "/somewhere/x.py"}


def test_the_folder_comes_from_the_argument_the_environment_or_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINESHAFT_HOME", raising=False)
    assert Home().folder == tmp_path / ".lineshaft"
    monkeypatch.setenv("LINESHAFT_HOME", str(tmp_path / "there"))
    assert Home().folder == tmp_path / "there"
    assert Home(tmp_path / "given").folder == tmp_path / "given"


def test_a_home_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot make home: .*LINESHAFT_HOME"):
        Home(tmp_path / "file" / "home")


def test_a_task_numbers_its_classes():
    task = Task("verdict", ["rotten", "fresh"], gold="expert")
    assert task.encode(["fresh", None, "rotten"]) == [1, -1, 0]
    with pytest.raises(DataError, match="'stale' is not a class of task 'verdict': 'rotten', 'fresh'"):
        task.index("stale")


@pytest.mark.parametrize("classes", ["ab", ["one"], ["a", "a"], []])
def test_a_task_wants_two_different_classes(classes):
    with pytest.raises(UsageError, match="two or more different class names"):
        Task("verdict", classes)


def test_a_table_that_compresses_well_counts_as_much_as_it_takes_in_memory(home, monkeypatch):
    monkeypatch.setattr("lineshaft.core.home._KEPT_BYTES", 1_500_000)
    tables = [home.put("Table", pa.table({"a": [f"{number}" * 1_000_000]})) for number in range(2)]
    assert max(artifact.size for artifact in tables) < 100_000
    first = home.get(tables[0])
    home.get(tables[1])
    assert home.get(tables[0]) is not first

"""The catalog: made once, shared by many writers, and plain about what is wrong with it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from lineshaft.core.catalog import VERSION, Catalog, names, now, outputs, runs, schema_version, uses
from lineshaft.errors import StorageError

WRITER = """
import sys
from pathlib import Path
import sqlalchemy as sa
from lineshaft.core.catalog import Catalog, runs, now
catalog = Catalog(Path(sys.argv[1]))
for n in range(12):
    with catalog.write() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar()
        connection.execute(sa.insert(runs).values(
            id=f"{sys.argv[2]}-{n}", script=str(before), started=now(), status="done", holder="x y 1 z"))
"""


@pytest.fixture
def catalog(tmp_path):
    return Catalog(tmp_path / "catalog.db")


def add_run(connection, name):
    values = {"id": name, "script": "s", "started": now(), "status": "done", "holder": "a b 1 c"}
    connection.execute(sa.insert(runs).values(**values))


def count(catalog):
    with catalog.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(runs)).scalar()


def test_an_empty_file_is_brought_to_the_present_version(catalog, tmp_path):
    file = sqlite3.connect(tmp_path / "catalog.db")
    assert file.execute("SELECT version FROM schema_version").fetchall() == [(VERSION,)]
    assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert catalog.check() == []
    file.close()
    Catalog(tmp_path / "catalog.db").close()


def test_a_newer_version_is_refused(catalog, tmp_path):
    with catalog.write() as connection:
        connection.execute(sa.update(schema_version).values(version=VERSION + 1))
    with pytest.raises(StorageError, match=f"version {VERSION + 1}, this lineshaft knows {VERSION}"):
        Catalog(tmp_path / "catalog.db")


def test_eight_processes_open_and_write_at_once(tmp_path):
    path = tmp_path / "catalog.db"
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(8)
    ]
    for process in started:
        said = process.communicate()[1]
        assert process.returncode == 0, said
    catalog = Catalog(path)
    with catalog.read() as connection:
        seen = sorted(int(before) for before in connection.execute(sa.select(runs.c.script)).scalars())
    assert seen == list(range(96))  # each saw what all before it had written
    assert catalog.check() == []


def test_an_exception_takes_everything_back(catalog):
    with pytest.raises(KeyError), catalog.write() as connection:
        add_run(connection, "a")
        raise KeyError
    assert count(catalog) == 0


def test_a_failing_disk_takes_everything_back(catalog, monkeypatch):
    import itertools

    from lineshaft.core import durable

    monkeypatch.setattr(durable, "_operations", itertools.count(1))
    monkeypatch.setenv("LINESHAFT_FAULT", "ENOSPC:1")
    with pytest.raises(StorageError, match="No space left"), catalog.write() as connection:
        add_run(connection, "a")
    assert count(catalog) == 0


def test_a_full_disk_is_a_storage_error_and_harms_nothing(catalog):
    with pytest.raises(StorageError, match="full"), catalog.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        for number in range(1000):
            add_run(connection, f"{number}" * 100)
    assert count(catalog) == 0
    assert catalog.check() == []


def test_a_row_that_refers_to_nothing_is_refused(catalog):
    with pytest.raises(StorageError, match="FOREIGN KEY"), catalog.write() as connection:
        connection.execute(sa.insert(uses).values(run="none", position=0, execution=1, reused=False))


def test_a_reader_sees_one_moment(catalog):
    with catalog.read() as reader:
        assert reader.execute(sa.select(sa.func.count()).select_from(runs)).scalar() == 0
        with catalog.write() as writer:
            add_run(writer, "a")
        assert reader.execute(sa.select(sa.func.count()).select_from(runs)).scalar() == 0
    assert count(catalog) == 1


def test_damage_is_found(catalog, tmp_path):
    with catalog.write() as connection:
        for number in range(500):
            add_run(connection, f"run {number}")
    with catalog.read() as connection:
        page = connection.exec_driver_sql(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_runs_1'"
        ).scalar()
    connection = sqlite3.connect(tmp_path / "catalog.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    catalog.close()
    with (tmp_path / "catalog.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    try:
        found = Catalog(tmp_path / "catalog.db").check()
    except StorageError as error:
        found = [str(error)]
    assert found


def test_a_file_that_is_no_catalog_is_refused(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StorageError, match="not a database"):
        Catalog(tmp_path / "catalog.db")


def test_names_are_unique(catalog):
    with pytest.raises(StorageError, match="UNIQUE"), catalog.write() as connection:
        for _ in range(2):
            connection.execute(sa.insert(names).values(name="a", kind="Model", digest="d"))


def test_a_wrong_statement_is_not_called_a_fault_of_the_disk(catalog):
    with pytest.raises(StorageError, match="FOREIGN KEY") as refused, catalog.write() as connection:
        connection.execute(sa.insert(uses).values(run="nobody", position=0, execution=1, reused=False))
    assert "disk" not in str(refused.value)


def test_a_file_that_is_no_database_is_a_storage_error_with_advice(tmp_path):
    (tmp_path / "catalog.db").write_bytes(b"no database " * 1000)
    with pytest.raises(StorageError, match="check the disk"):
        Catalog(tmp_path / "catalog.db")


def test_objects_of_more_than_two_gigabytes_fit_in_every_database():
    from sqlalchemy.dialects import postgresql

    assert outputs.c.size.type.compile(postgresql.dialect()) == "BIGINT"

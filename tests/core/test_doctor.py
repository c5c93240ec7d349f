"""The doctor finds what is damaged or missing, and nothing in a home that is well."""

from __future__ import annotations

import sqlite3

import jobs
import pytest
import sqlalchemy as sa

from lineshaft.core import names
from lineshaft.core.catalog import names as names_table
from lineshaft.core.doctor import examine
from lineshaft.core.gc import sweep
from lineshaft.core.home import Home
from lineshaft.core.step import make


def chain(home, value=1, name="script.py"):
    """Two steps, one made of the other; the first's output and the second's."""
    with jobs.session(home, name) as session:
        first = session.one(make("start", jobs.start, {}, {"x": "Value"}, {"value": value}))["x"]
        second = session.one(make("double", jobs.double, {"x": first}, {"y": "Value"}))["y"]
    return first, second


def path_of(home, artifact):
    return home.folder / "objects" / artifact.digest[:2] / artifact.digest[2:]


def damage(home, artifact):
    path_of(home, artifact).write_bytes(b"other")


def test_an_empty_home_is_well(home):
    assert examine(home) == []


def test_a_home_with_work_in_it_is_well(home):
    chain(home)
    assert examine(home) == []
    assert examine(Home(home.folder)) == []


def test_a_flipped_byte_is_found_with_the_step_that_made_it_and_set_aside(home):
    _, second = chain(home)
    damage(home, second)
    (fault,) = examine(home)
    assert second.digest in fault
    assert "is damaged" in fault
    assert "(made by step double)" in fault
    assert [path.name for path in (home.folder / "damaged").iterdir()] == [second.digest]


def test_what_was_set_aside_is_missing_until_a_run_makes_it_again(home):
    _, second = chain(home)
    damage(home, second)
    examine(home)
    (fault,) = examine(home)
    assert "is missing from the store" in fault
    chain(home)
    assert examine(home) == []


def test_damage_keeps_no_date_of_its_own(home):
    """Bytes that changed without moving the modification time: only reading finds them."""
    import os

    first, _ = chain(home, value=5)
    seal = path_of(home, first).stat().st_mtime_ns
    path_of(home, first).write_bytes(b"6")
    os.utime(path_of(home, first), ns=(seal, seal))
    assert home.store.has(first)
    assert len(examine(home)) == 1


def test_every_fault_is_told_once(home):
    first, second = chain(home)
    chain(home, name="other.py")  # uses both again
    damage(home, first)
    path_of(home, second).unlink()
    faults = examine(home)
    assert len(faults) == 2
    assert faults == sorted(faults)


def test_a_name_that_points_at_nothing(home):
    first, _ = chain(home)
    names.publish(home.catalog, "m@live", first, None, {})
    with home.catalog.write() as connection:
        connection.execute(sa.update(names_table).values(digest="ab" * 32))
    (fault,) = examine(home)
    assert "abababababab is missing" in fault
    assert "(published as m@live)" in fault


def test_objects_that_nothing_refers_to_are_verified_too(home):
    left = home.put("Value", [1, 2])
    assert examine(home) == []
    damage(home, left)
    (fault,) = examine(home)
    assert "(nothing refers to it)" in fault


def test_what_gc_took_away_is_no_fault(home):
    """Of the steps behind a published artifact gc keeps the record, not the bytes in between."""
    _, second = chain(home)
    names.publish(home.catalog, "m@live", second, None, {})
    for value in range(2, 5):
        chain(home, value)
    assert sweep(home, keep_runs=1).objects > 0
    assert home.store.has(second)
    assert examine(home) == []
    damage(home, second)
    assert len(examine(home)) == 1


def test_an_object_that_cannot_be_read_is_a_fault(home):
    first, _ = chain(home)
    path_of(home, first).unlink()
    path_of(home, first).mkdir()  # root may read any file, but no folder as one
    (fault,) = examine(home)
    assert "cannot be read" in fault


def test_the_catalogs_own_faults_come_along(home):
    chain(home)
    home.catalog.close()
    with sqlite3.connect(home.folder / "catalog.db") as connection:
        connection.execute("DELETE FROM executions WHERE step = 'double'")
    faults = examine(Home(home.folder))
    assert faults
    assert all("refers to a missing" in fault for fault in faults if "object" not in fault)
    assert any("refers to a missing executions" in fault for fault in faults)


@pytest.mark.parametrize("name", [".3fa1.tmp", "readme", "zz"])
def test_files_that_are_no_objects_are_left_alone(home, name):
    first, _ = chain(home)
    (path_of(home, first).parent / name).write_bytes(b"whatever")
    assert examine(home) == []

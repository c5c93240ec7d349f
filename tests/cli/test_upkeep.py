"""gc, doctor."""

from __future__ import annotations

import pytest

from small_project import written

SCRIPT = "def value(n):\n    return [n] * 50\n\n\ndef main(run):\n    run.step(value, n={n})\n"


@pytest.fixture
def used(tmp_path, lineshaft):
    """A home with three runs of one script, each with an object of its own."""
    for n in range(3):
        assert lineshaft("run", written(tmp_path, "values.py", SCRIPT.format(n=n))).code == 0
    return tmp_path / "empty home"


def objects(home):
    return sorted(path for path in home.glob("objects/??/*"))


def test_gc_counts_and_then_removes(used, lineshaft):
    dry = lineshaft("gc", "--keep-runs", "1", "--dry-run", "--json").json
    assert {name: dry[name] for name in ("runs", "objects", "kept")} == {"runs": 2, "objects": 2, "kept": 1}
    assert len(objects(used)) == 3
    assert lineshaft("gc", "--keep-runs", "1", "--dry-run").out.startswith("would remove 2 runs and 2 objects (0.0 MB)")
    done = lineshaft("gc", "--keep-runs", "1")
    assert (done.code, done.out) == (0, "removed 2 runs and 2 objects (0.0 MB); 1 objects stay\n")
    assert len(objects(used)) == 1
    assert len(lineshaft("runs", "--json").json["runs"]) == 1
    assert lineshaft("doctor").code == 0


def test_gc_keeps_all_there_is_to_keep(used, lineshaft):
    assert lineshaft("gc", "--json").json["objects"] == 0
    assert len(objects(used)) == 3
    assert lineshaft("gc", "--keep-runs", "0").code == 2


def test_what_gc_removed_is_made_again(used, tmp_path, lineshaft):
    lineshaft("gc", "--keep-runs", "1")
    script = written(tmp_path, "values.py", SCRIPT.format(n=0))
    assert lineshaft("run", script, "--json").json["executed"] == 1


def test_a_home_that_is_well(used, lineshaft):
    done = lineshaft("doctor")
    assert (done.code, done.out) == (0, "all is well: the catalog is sound and every object matches its name\n")
    assert lineshaft("doctor", "--json").json == {"faults": []}


def test_a_flipped_byte_is_a_no_and_a_run_heals_it(used, tmp_path, lineshaft):
    path = objects(used)[0]
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    done = lineshaft("doctor")
    assert done.code == 1
    assert path.parent.name + path.name in done.out and "made by step step value" in done.out
    assert done.err == ""
    found = lineshaft("doctor", "--json")
    assert (found.code, len(found.json["faults"])) == (1, 1)
    for n in range(3):
        lineshaft("run", written(tmp_path, "values.py", SCRIPT.format(n=n)))
    assert lineshaft("doctor").code == 0


def test_a_catalog_that_is_none_is_3(used, lineshaft):
    for path in used.glob("catalog.db*"):
        path.unlink()
    (used / "catalog.db").write_bytes(b"not a database at all" * 100)
    for command in ("runs", "doctor", "gc"):
        lineshaft(command).refused(3, "StorageError: the catalog could not be used: ")


def test_an_empty_home_is_well(lineshaft):
    assert lineshaft("doctor").code == 0
    assert lineshaft("gc", "--json").json == {"runs": 0, "objects": 0, "bytes": 0, "kept": 0}

"""Objects are put once, verified on every read, and healed by the next run when damaged."""

from __future__ import annotations

import itertools
import os

import pytest

from lineshaft.core import durable
from lineshaft.core.artifact import Artifact, digest_of
from lineshaft.core.store import SEAL, LocalStore
from lineshaft.errors import IntegrityError, StorageError


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


def artifact_of(content):
    return Artifact("Text", digest_of(content), len(content))


def put(store, content):
    artifact = artifact_of(content)
    store.put(artifact, content)
    return artifact, store.folder / "objects" / artifact.digest[:2] / artifact.digest[2:]


def flip(path, *, keep_time):
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(SEAL, SEAL))


def test_what_was_put_comes_back(store):
    artifact, path = put(store, b"hello")
    assert store.has(artifact)
    assert store.get(artifact) == b"hello"
    assert path.stat().st_mtime_ns == SEAL
    assert list(store.digests()) == [(artifact.digest, 5)]


def test_putting_again_writes_nothing(store, monkeypatch):
    artifact, _ = put(store, b"hello")
    monkeypatch.setattr(durable, "_operations", itertools.count(1))
    monkeypatch.setenv("LINESHAFT_FAULT", "EIO:1")
    store.put(artifact, b"hello")


@pytest.mark.parametrize("keep_time", [True, False], ids=["time restored", "time moved"])
def test_a_flipped_byte_is_caught_on_read_and_the_object_set_aside(store, keep_time):
    artifact, path = put(store, b"hello")
    flip(path, keep_time=keep_time)
    with pytest.raises(IntegrityError, match=f"Text {artifact.digest} is damaged"):
        store.get(artifact)
    assert (store.folder / "damaged" / artifact.digest).read_bytes() == b"iello"
    assert not store.has(artifact)
    put(store, b"hello")
    assert store.get(artifact) == b"hello"


def test_a_changed_object_is_not_trusted_to_be_there(store):
    artifact, path = put(store, b"hello")
    flip(path, keep_time=False)
    assert not store.has(artifact)
    assert not path.exists()


def test_a_cut_object_is_not_trusted_even_under_its_seal(store):
    artifact, path = put(store, b"hello")
    path.write_bytes(b"hel")
    os.utime(path, ns=(SEAL, SEAL))
    assert not store.has(artifact)


def test_a_whole_object_with_a_broken_seal_is_read_once_and_sealed_again(store):
    artifact, path = put(store, b"hello")
    path.touch()
    assert store.has(artifact)
    assert path.stat().st_mtime_ns == SEAL


def test_a_missing_object_is_named(store):
    with pytest.raises(IntegrityError, match=r"Text [0-9a-f]{12} is missing"):
        store.get(artifact_of(b"never"))


def test_a_digest_is_never_joined_to_a_path_unchecked(store):
    with pytest.raises(IntegrityError, match="is not a digest"):
        store.get(Artifact("Text", "../../etc/passwd", 1))


def test_a_disk_that_fails_while_damage_is_set_aside_is_a_storage_error(store, monkeypatch):
    artifact, path = put(store, b"hello")
    flip(path, keep_time=True)
    monkeypatch.setattr(durable, "_operations", itertools.count(1))
    monkeypatch.setenv("LINESHAFT_FAULT", "EIO:1")
    with pytest.raises(StorageError, match="cannot be set aside"):
        store.get(artifact)


def test_deleting_forgets_one_object(store):
    first, _ = put(store, b"one")
    second, _ = put(store, b"two")
    store.delete(first.digest)
    store.delete(first.digest)
    assert [digest for digest, _ in store.digests()] == [second.digest]


def test_only_dead_writers_files_are_swept(store):
    _, path = put(store, b"hello")
    here, number, started = durable._writer().split(".")
    dead = path.with_name(f".{path.name}.{here}.4194305.1.0.tmp")  # past the greatest process number
    alive = path.with_name(f".{path.name}.{here}.{number}.{started}.0.tmp")
    dead.write_bytes(b"")
    alive.write_bytes(b"")
    assert store.sweep_temporary() == 1
    assert not dead.exists()
    assert alive.exists()
    assert len(list(store.digests())) == 1

"""Fixtures: the prepared process, a clean run of the job to compare with, and fresh or finished copies of the job."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from crash import grain
from crash.job import Job, State
from crash.prepared import Prepared
from lineshaft.core.catalog import scripts


@dataclass(frozen=True)
class Clean:
    """A run that nothing disturbed: the state that it left, the crash points that it passed and how long it took."""

    job: Job
    document: dict
    state: State
    points: dict[str, int]
    seconds: float


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    server = Prepared(tmp_path_factory.mktemp("prepared"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def clean(prepared, tmp_path_factory):
    job = Job(prepared, grain.fill(tmp_path_factory.mktemp("clean")))
    log = job.folder / "points"
    started = time.monotonic()
    document = job.run(LINESHAFT_CRASH_LOG=log)
    seconds = time.monotonic() - started
    points = Counter(log.read_text().split())
    log.unlink()
    return Clean(job, document, job.state(), dict(points), seconds)


@pytest.fixture
def fresh(prepared, clean, tmp_path):
    """Return a function that makes a copy of the job that never ran."""
    made = []

    def make(*edits):
        made.append(tmp_path / f"fresh-{len(made)}")
        return Job(prepared, grain.fill(made[-1], *edits, raw=clean.job.folder / "raw.parquet"))

    return make


@pytest.fixture
def done(prepared, clean, tmp_path):
    """Return a copy of the job that ran to its end."""
    job = Job(prepared, shutil.copytree(clean.job.folder, tmp_path / "done"))
    with job.home() as home, home.catalog.write() as connection:  # a home says where its scripts lie
        connection.execute(sa.update(scripts).values(path=str(job.folder / "mill.py")))
    return job

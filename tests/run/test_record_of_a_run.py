"""A run has a beginning, an end and a record of its own, whatever it says and whoever runs beside it."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import sqlalchemy as sa

from lineshaft.core.catalog import events, runs
from lineshaft.core.events import emit
from lineshaft.core.gc import sweep
from lineshaft.core.home import Home
from lineshaft.core.session import Session
from lineshaft.errors import UsageError
from lineshaft.run import Run

ROWS = [{"id": "a", "size": 1}, {"id": "b", "size": 2}]


def said(home, run, kind):
    with home.catalog.read() as connection:
        found = connection.execute(sa.select(events.c.facts).where(events.c.run == run.id, events.c.kind == kind))
        return [json.loads(facts) for facts in found.scalars()]


def status(home, run):
    with home.catalog.read() as connection:
        return connection.execute(sa.select(runs.c.status).where(runs.c.id == run.id)).scalar_one()


def test_a_run_without_a_with_block_says_so(home):
    with pytest.raises(UsageError, match=r"with ls\.Run"):
        Run("notebook").read(ROWS, key="id")


def test_a_run_that_is_over_takes_no_more_steps(home):
    with Run("notebook") as run:
        rows = run.read(ROWS, key="id")
    with pytest.raises(UsageError, match="is over"):
        run.read(ROWS, key="id")
    assert len(rows) == 2


def test_facts_that_json_has_no_words_for_are_kept_as_text(home):
    with Run("odd") as run:
        emit("anomaly", rows=np.int64(7), where=home.folder)
    assert status(home, run) == "done"
    assert said(home, run, "anomaly") == [{"rows": "7", "where": str(home.folder)}]


def test_facts_that_cannot_be_written_at_all_cost_the_run_nothing(home):
    circle = []
    circle.append(circle)
    with Run("odd") as run:
        emit("anomaly", circle=circle)
        emit("anomaly", rows=1)
    assert status(home, run) == "done"
    assert said(home, run, "anomaly") == [{"unwritable": "circle"}, {"rows": 1}]


def test_a_run_inside_another_keeps_its_events_to_itself(home):
    with Run("outer") as outer:
        emit("anomaly", of="outer")
        with Run("inner") as inner:
            emit("anomaly", of="inner")
        emit("anomaly", of="outer again")
    assert said(home, outer, "anomaly") == [{"of": "outer"}, {"of": "outer again"}]
    assert said(home, inner, "anomaly") == [{"of": "inner"}]


def test_runs_in_threads_keep_their_events_apart_and_lose_none_of_a_helper_thread(home):
    gate = threading.Barrier(2, timeout=20)
    made = {}

    def work(name):
        with Run(name) as made[name]:
            gate.wait()
            emit("anomaly", of=name)
            gate.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        assert said(home, made[name], "anomaly") == [{"of": name}]
    with Run("c") as run:
        helper = threading.Thread(target=emit, args=("anomaly",), kwargs={"of": "helper"})
        helper.start()
        helper.join()
    assert said(home, run, "anomaly") == [{"of": "helper"}]


def test_a_sweep_before_rows_from_memory_are_named_does_the_run_no_harm(home, monkeypatch):
    one = Session.one

    def sweep_first(self, step):
        sweep(Home(home.folder))
        return one(self, step)

    monkeypatch.setattr(Session, "one", sweep_first)
    with Run("notebook") as run:
        assert len(run.read(ROWS, key="id")) == 2


def test_rows_from_memory_are_the_same_input_every_time(home):
    for counts in [(1, 0), (0, 1)]:
        with Run("notebook") as run:
            run.read(ROWS, key="id")
        assert (run.session.executed, run.session.reused) == counts


def test_a_dry_run_where_there_is_no_home_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("LINESHAFT_HOME", str(tmp_path / "none"))
    with Run("notebook", dry=True) as run:
        run.read(ROWS, key="id")
    assert [reason.verdict for reason in run.session.reasons] == ["runs"]
    assert not (tmp_path / "none").exists()
    assert not run.home.folder.exists()


def test_a_dry_run_makes_no_catalog_in_a_home_that_is_given(tmp_path):
    home = Home(tmp_path / "home")
    with Run("notebook", home, dry=True) as run:
        run.read(ROWS, key="id")
    assert list(home.folder.iterdir()) == []

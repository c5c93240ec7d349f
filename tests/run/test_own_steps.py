"""Steps of the user's own: values, tables and tensors; named by code, by version, or run every time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import lineshaft as ls
from lineshaft.core.events import listening
from lineshaft.core.table import Table
from lineshaft.errors import DataError, FingerprintError, StepFailed, UsageError
from lineshaft.run import Run

ROWS = [{"id": f"r{number}", "size": number} for number in range(6)]


@pytest.fixture(autouse=True)
def calls(tmp_path, monkeypatch):
    """What the steps noted; a list of the module would be part of what they mean."""
    monkeypatch.setenv("OWN_STEPS_LOG", str(tmp_path / "log"))
    return lambda: (tmp_path / "log").read_text().split()


def note(word):
    with Path(os.environ["OWN_STEPS_LOG"]).open("a") as stream:
        stream.write(f"{word}\n")


def total(table, factor=1):
    note("total")
    return {"total": factor * sum(table.column("size").to_pylist())}


def doubled(table):
    return table.arrow.set_column(2, "size", pa.array([2 * size for size in table.column("size").to_pylist()]))


def as_tensors(table):
    return {"size": torch.tensor(table.column("size").to_pylist()), "ones": np.ones(len(table), np.float32)}


def summed(values):
    note("summed")
    return {name: float(value.sum()) for name, value in values.items()}


def parity(value):
    note("parity")
    return value % 2


@ls.features(reads=["size"])
def halves(batch):
    """Half precision, which numpy does not know: bfloat16 [rows, 1]."""
    return torch.tensor(batch["size"].to_pylist(), dtype=torch.bfloat16)[:, None]


@ls.model_source(inputs=halves, threshold=0.5)
def leaning(x):
    yes = 1 / (1 + np.exp(-x[:, 0]))
    return np.stack([1 - yes, yes], axis=1)


def reading(run):
    return run.read(ROWS, key="id")


def test_a_step_gives_a_value_and_is_reused(home, calls):
    with Run("x", home) as run:
        assert run.step(total, reading(run), factor=2).load() == {"total": 30}
    with Run("x", home) as run:
        assert run.step(total, reading(run), factor=2).load() == {"total": 30}
        assert run.session.executed == 0
    assert calls() == ["total"]


def test_another_parameter_is_another_step(home, calls):
    with Run("x", home) as run:
        rows = reading(run)
        assert [run.step(total, rows, factor=factor).load()["total"] for factor in (1, 2, 1)] == [15, 30, 15]
    assert len(calls()) == 2


def test_a_step_gives_a_table_that_other_calls_take(home):
    with Run("x", home) as run:
        table = run.step(doubled, reading(run), returns="Table")
        assert len(table) == 6
        assert isinstance(table.load(), Table)
        assert run.step(total, table).load() == {"total": 30}
        assert table.load().row_ids == [f"r{number}" for number in range(6)]


def test_a_step_gives_tensors_and_the_next_takes_them_as_a_dict(home):
    with Run("x", home) as run:
        tensors = run.step(as_tensors, reading(run), returns="Tensors")
        assert set(tensors.load()) == {"size", "ones"}
        assert run.step(summed, tensors).load() == {"size": 15.0, "ones": 6.0}


def test_a_step_without_inputs_and_one_with_several(home):
    with Run("x", home) as run:
        one, two = run.step(lambda: 1), run.step(lambda: 2)
        assert run.step(lambda first, second: [first, second], one, two).load() == [1, 2]
        assert run.step(lambda first, second: [first, second], two, one).load() == [2, 1]


class Unnameable:
    """Holds what has no value: an open generator."""

    def __init__(self, answer):
        self.answer = answer
        self.running = (number for number in range(3))

    def __call__(self):
        note("unnameable")
        return self.answer


def test_what_cannot_be_named_asks_for_a_version_and_runs_with_one(home, calls):
    with Run("x", home) as run:
        with pytest.raises(FingerprintError, match="version="):
            run.step(Unnameable(1))
        assert run.step(Unnameable(1), version="1").load() == 1
        assert run.step(Unnameable(2), version="1").load() == 1  # the version speaks for the code
        assert run.step(Unnameable(2), version="2").load() == 2
    assert len(calls()) == 2


def test_an_impure_step_runs_every_time_and_what_follows_sees_its_bytes(home, calls):
    answers = iter([1, 3, 4])

    def weather():
        return next(answers)

    seen = []
    for _ in range(3):
        with Run("x", home) as run:
            odd = run.step(parity, run.step(weather, impure=True, version="1"))
            seen.append((run.session.executed, odd.load()))
    assert seen == [(2, 1), (2, 1), (2, 0)]  # 1, 3 and 4: each a new value, so parity is asked each time
    assert calls() == ["parity"] * 3


def test_an_impure_step_that_gives_the_same_bytes_runs_alone(home, calls):
    def weather():
        note("weather")
        return 5

    for _ in range(3):
        with Run("x", home) as run:
            run.step(parity, run.step(weather, impure=True))
    assert calls() == ["weather", "parity", "weather", "weather"]


@pytest.mark.parametrize(
    ("function", "returns", "says"),
    [
        (lambda: {1, 2}, "Value", "returned a set that is no JSON value"),
        (lambda: float("nan"), "Value", "returned a float that is no JSON value"),
        (lambda: {"a": object()}, "Value", "no JSON value"),
        (lambda: {1: 2, "a": 3}, "Value", "no JSON value"),
        (lambda: "\ud800", "Value", "no JSON value"),
        (lambda: [1.0], "Tensors", "declares Tensors and returned a list"),
        (lambda: {"a": [1.0]}, "Tensors", "declares Tensors and returned a dict with a list"),
        (lambda: 7, "Table", "cannot read rows from a int"),
    ],
)
def test_what_a_step_cannot_give_is_refused_by_name(home, function, returns, says):
    with Run("x", home) as run, pytest.raises(DataError, match=says):
        run.step(function, returns=returns)


def test_an_unknown_kind_names_the_known_ones(home):
    with Run("x", home) as run, pytest.raises(UsageError, match="Value, Table, Tensors"):
        run.step(total, returns="Model")


def test_a_step_that_raises_is_named_with_its_line(home):
    def failing():
        return 1 / 0

    line = failing.__code__.co_firstlineno + 1
    with (
        Run("x", home) as run,
        pytest.raises(StepFailed, match=rf"step failing failed in test_own_steps\.py:{line}: Zero"),
    ):
        run.step(failing)


def test_what_a_step_does_to_its_input_stays_its_own(home):
    def greedy(values):
        values.append(4)
        return len(values)

    with Run("x", home) as run:
        kept = run.step(lambda: [1, 2, 3])
        assert run.step(greedy, kept).load() == 4
        assert kept.load() == [1, 2, 3]


# rows from memory


def test_rows_from_memory_are_named_by_their_key_and_dealt(home):
    with Run("x", home) as run:
        parts = run.read(ROWS, key="id", split={"a": 0.5, "b": 0.5})
        ids = sorted(parts["a"].load().row_ids + parts["b"].load().row_ids)
        assert ids == [f"r{number}" for number in range(6)]
        assert set(parts) == {"a", "b"}
        with pytest.raises(UsageError, match="no part 'c'; the split has a, b"):
            parts["c"]
    with Run("x", home) as run:
        run.read(pa.Table.from_pylist(ROWS), key="id", split={"a": 0.5, "b": 0.5})
        assert run.session.executed == 0  # equal rows are one table, however they came


def test_rows_from_memory_without_a_key_are_named_by_their_content(home):
    with Run("x", home) as run:
        first, again = run.read(ROWS), run.read([dict(row) for row in ROWS])
        assert first.artifact == again.artifact
        assert len(set(first.load().row_ids)) == 6


def test_two_key_columns_name_a_row_together(home):
    rows = [{"a": "x", "b": number % 2, "c": number} for number in range(2)]
    with Run("x", home) as run:
        assert run.read(rows, key=["a", "b"]).load().row_ids == ['["x", "0"]', '["x", "1"]']


def test_a_dry_run_over_rows_from_memory_writes_no_object(home):
    with Run("x", home, dry=True) as run:
        run.read(ROWS, key="id")
        assert [reason.verdict for reason in run.session.reasons] == ["runs"]
    assert list(home.store.digests()) == []


def test_a_file_that_is_not_there_and_one_that_changes_meanwhile_are_refused(home, tmp_path, monkeypatch):
    from lineshaft.run import jobs

    path = tmp_path / "rows.csv"
    with Run("x", home) as run:
        with pytest.raises(DataError, match="no file"):
            run.read(path)
        path.write_text("id,size\na,1\n")
        digest = jobs.file_digest(path)
        path.write_text("id,size\na,2\n")
        with pytest.raises(DataError, match=r"rows\.csv changed while it was being read"):
            jobs.read(path, digest, (), None, None, 0)
        schema = tmp_path / "rows.toml"
        schema.write_text("format = 1\n")
        with pytest.raises(DataError, match=r"rows\.toml changed while it was being read"):
            jobs.read_schema(schema, digest)


# sources that fail


def test_a_source_that_fails_on_every_row_is_an_error_and_on_some_an_event(home):
    @ls.labeling_function()
    def broken(x):
        return "yes" if x.nothing else "no"

    @ls.labeling_function()
    def shaky(x):
        return "yes" if 1 / x.size > 0.4 else "no"

    task = ls.Task("t", classes=["no", "yes"])
    heard = []
    with Run("x", home) as run, listening(heard.append):
        rows = reading(run)
        with pytest.raises(StepFailed, match="source broken failed on 6 of 6 rows, first on r0: AttributeError"):
            run.label(rows, [broken], task)
        run.label(rows, [shaky], task)
    (failed,) = [event for event in heard if event.kind == "source.failed"]
    assert failed.facts["rows"] == 1
    assert "ZeroDivisionError" in failed.facts["reason"]


def test_what_is_no_source_and_two_of_one_name_are_refused(home):
    task = ls.Task("t", classes=["no", "yes"])
    twice = [ls.expression(f"size > {least}", label="yes", name="big") for least in (1, 2)]
    with Run("x", home) as run:
        rows = reading(run)
        with pytest.raises(UsageError, match="'total' is not a source; decorate it"):
            run.label(rows, [total], task)
        with pytest.raises(UsageError, match="two sources are called 'big'"):
            run.label(rows, twice, task)
        with pytest.raises(UsageError, match="no column 'sizes'; the table has id, size"):
            run.label(rows, [ls.expression("sizes > 1", label="yes")], task)


def test_sources_share_the_features_of_a_model_source_whatever_their_type(home):
    task = ls.Task("t", classes=["no", "yes"])
    with Run("x", home) as run:
        labels = run.label(reading(run), [leaning], task).load()
    assert len(labels.row_ids) == 6


# the record


def test_a_run_that_fails_is_on_record_as_failed_and_one_that_cannot_begin_too(home, monkeypatch):
    from lineshaft.errors import StorageError
    from lineshaft.run import record

    with pytest.raises(ZeroDivisionError), Run("x", home):
        1 / 0
    monkeypatch.setattr(record, "_remember_scripts", lambda home: (_ for _ in ()).throw(StorageError("full")))
    with pytest.raises(StorageError), Run("y", home):
        raise AssertionError("not reached")
    assert [(row["script"], row["status"]) for row in record.latest(home, 9)] == [("y", "failed"), ("x", "failed")]


def test_nobody_listens_any_more_after_a_run(home):
    from lineshaft.core import events

    with Run("x", home) as run:
        run.step(lambda: 1)
    assert events._listeners == []

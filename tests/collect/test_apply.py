"""Applying sources to data: any source of rows, any engine, names that clash."""

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lineshaft.collect.apply import apply
from lineshaft.collect.sources import expression, keywords, labeling_function, regex
from lineshaft.core.engine import InProcess, LocalProcesses
from lineshaft.core.table import Table, read_table
from lineshaft.errors import DataError, UsageError

ROWS = [
    {"id": f"r{i}", "text": text, "n": i}
    for i, text in enumerate(["a good film", "bad", "good and bad", None, "so so"])
]
CLASSES = ["rotten", "fresh"]
SOURCES = [keywords("text", ["good"], "fresh"), regex("text", "^bad|bad$", "rotten"), expression("n >= 3", "rotten")]
EXPECTED = [[1, -1, -1], [-1, 0, -1], [1, 0, -1], [-1, -1, 0], [-1, -1, 0]]


@pytest.mark.parametrize(
    "form", [list, pa.Table.from_pylist, pd.DataFrame, pl.DataFrame, lambda rows: read_table(rows, key="id")]
)
def test_any_table_gives_the_same_votes(form):
    votes = apply(SOURCES, form(ROWS), CLASSES)
    assert votes.to_dense().tolist() == EXPECTED
    assert votes.classes == ("rotten", "fresh") and votes.kinds == ["rule"] * 3


def test_a_file_is_read(tmp_path):
    pl.DataFrame(ROWS).write_csv(tmp_path / "rows.csv")
    assert apply(SOURCES, tmp_path / "rows.csv", CLASSES).to_dense().tolist() == EXPECTED


@pytest.mark.parametrize("cuts", [[5], [1, 4], [2, 2, 1], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("engine", [None, InProcess()])
def test_chunks_and_engines_do_not_matter(cuts, engine):
    table, start, batches = read_table(ROWS, key="id"), 0, []
    for length in cuts:
        batches += table.arrow.slice(start, length).combine_chunks().to_batches()
        start += length
    votes = apply(SOURCES, Table(pa.Table.from_batches(batches)), CLASSES, engine)
    assert votes.to_dense().tolist() == EXPECTED
    assert votes.row_ids == tuple(f"r{i}" for i in range(5))
    whole = apply(SOURCES, table, CLASSES)
    assert votes.payload().equals(whole.payload(), check_metadata=True)


def test_other_processes_give_the_same_votes():
    table = read_table(ROWS, key="id")
    votes = apply(SOURCES, table, CLASSES, LocalProcesses(1))
    assert votes.payload().equals(apply(SOURCES, table, CLASSES).payload(), check_metadata=True)


def test_the_order_of_rows_follows_the_data_and_ids_stay_with_votes():
    backwards = read_table(ROWS[::-1], key="id")
    votes = apply(SOURCES, backwards, CLASSES)
    by_id = dict(zip(votes.row_ids, votes.to_dense().tolist(), strict=True))
    assert by_id == {f"r{i}": row for i, row in enumerate(EXPECTED)}


def test_integer_labels_need_no_classes():
    votes = apply([expression("n > 2", 1), expression("n < 1", 0)], ROWS)
    assert votes.classes is None and votes.k == 2
    assert votes.to_dense()[:, 0].tolist() == [-1, -1, -1, 1, 1]


def test_clashing_names_are_shown_with_both_places():
    twice = [keywords("text", ["good"], "fresh"), keywords("text", ["good"], "fresh", case=True)]
    with pytest.raises(UsageError, match=r"'keywords_fresh_good' \(test_apply.py:\d+ and test_apply.py:\d+\)"):
        apply(twice, ROWS, CLASSES)


def test_what_is_no_source_is_refused():
    with pytest.raises(UsageError, match="no sources"):
        apply([], ROWS)
    with pytest.raises(UsageError, match=r"'plain' is not a source; decorate it with @ls.labeling_function\(\)"):

        def plain(x): ...

        apply([plain], ROWS)
    with pytest.raises(UsageError, match="'good' is not a source"):
        apply(["good"], ROWS)


def test_no_rows_and_no_columns():
    empty = read_table(ROWS, key="id").filter([False] * 5)
    assert apply(SOURCES, empty, CLASSES).to_dense().shape == (0, 3)
    with pytest.raises(DataError, match="reads 'text', which is not a column"):
        apply(SOURCES, [{"body": "x"}], CLASSES)


def test_a_source_is_named_by_its_code_where_that_can_be():
    @labeling_function()
    def reads_a_file(x, handle=Path(__file__).open("rb")):
        return None

    votes = apply([*SOURCES, reads_a_file], ROWS, CLASSES)
    reads_a_file.function.__defaults__[0].close()
    digests = [source.digest for source in votes.sources]
    assert digests[-1] is None and len(set(digests)) == 4
    changed = apply([keywords("text", ["fine"], "fresh", name=SOURCES[0].name)], ROWS, CLASSES)
    assert changed.sources[0].digest != digests[0]

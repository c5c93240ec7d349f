"""Offline scoring: every row once, in order, with the server's answers and refusals, through any number of kills."""

import bz2
import gzip
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import GOOD, TOKEN, TYPES, Client, Linear, check, served

from lineshaft.core import durable
from lineshaft.core.table import file_digest, read_table
from lineshaft.errors import DataError, Refused, StepFailed, StorageError, UsageError
from lineshaft.serve.app import App
from lineshaft.serve.model import Served
from lineshaft.serve.score import prediction_table, score
from lineshaft.serve.server import run_in_background
from lineshaft.serve.stream import Source, in_parts, open_source


def table(rows, bad=()):
    """``rows`` rows; those whose number is in ``bad`` have stars that the schema does not allow."""
    return pa.table(
        {
            "id": [f"r{n}" for n in range(rows)],
            "text": pa.array([f'text {n}, "quoted"\nnew line' if n % 7 else "plain" for n in range(rows)]),
            "unused": [None] * rows,
            "stars": pa.array([99 if n in bad else n % 6 for n in range(rows)], pa.int64()),
            "score": pa.array([n / 8 if n % 3 else None for n in range(rows)], pa.float64()),
        }
    )


def predictions(done):
    return pa.concat_tables([pq.read_table(path) for path in done.predictions])


def rejections(done):
    return [row for path in done.rejections for row in pq.read_table(path).to_pylist()]


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def write(path, content):
    """Write a table in the format that the path's name asks for."""
    if path.name.endswith(".parquet"):
        pq.write_table(content, path, row_group_size=30)
    elif ".csv" in path.name:
        sink = pa.BufferOutputStream()
        arrow_csv.write_csv(content, sink)
        pack(path, sink.getvalue().to_pybytes())
    elif path.name.endswith(".arrow"):
        with pa.ipc.new_file(path, content.schema) as file:
            file.write_table(content, 40)
    else:
        pack(path, b"\n\n".join(json.dumps(row).encode() for row in content.to_pylist()))
    return path


def pack(path, content):
    packers = {".gz": gzip.compress, ".bz2": bz2.compress}
    path.write_bytes(packers.get(path.suffix, bytes)(content))


def test_every_row_once_in_order_with_the_models_answer(tmp_path):
    rows = table(100)
    done = score(served(), rows, tmp_path / "out", key="id", part_rows=30)
    assert (done.parts, done.reused, done.rows, done.rejected) == (4, 0, 100, 0)
    found = predictions(done)
    assert found.schema == pa.schema(
        [("row_id", pa.string()), ("label", pa.string()), ("p_rotten", pa.float32()), ("p_fresh", pa.float32())]
    )
    assert found.column("row_id").to_pylist() == rows.column("id").to_pylist()
    wanted = [1 / (1 + np.exp(-Linear.logit(r["text"], r["stars"], r["score"]))) for r in rows.to_pylist()]
    assert np.abs(found.column("p_fresh").to_numpy() - wanted).max() < 1e-6
    assert [label == "fresh" for label in found.column("label").to_pylist()] == [p > 0.5 for p in wanted]


@pytest.mark.parametrize(
    "name", ["a.parquet", "a.csv", "a.csv.gz", "a.csv.bz2", "a.jsonl", "a.jsonl.gz", "a.ndjson.bz2", "a.arrow"]
)
@pytest.mark.parametrize("key", [None, "id", ["id", "stars"]])
def test_all_formats_give_the_same_predictions_and_the_names_that_tables_have(tmp_path, name, key):
    path = write(tmp_path / name, table(100, bad={3, 40}))
    done = score(served(), path, tmp_path / "out", key=key, part_rows=32)
    memory = score(served(), table(100, bad={3, 40}), tmp_path / "memory", key=key, part_rows=32)
    assert (done.rows, done.rejected) == (memory.rows, memory.rejected) == (100, 2)
    assert predictions(done).drop_columns("row_id") == predictions(memory).drop_columns("row_id")
    kept = set(range(100)) - {3, 40}
    names = read_table(path, key).row_ids
    assert predictions(done).column("row_id").to_pylist() == [names[n] for n in sorted(kept)]


def test_a_prediction_table_holds_label_and_probabilities():
    made = prediction_table(["a", "b"], np.array([[0.25, 0.75], [0.5, 0.5]], np.float32), ("x", "y"))
    assert made.to_pylist() == [
        {"row_id": "a", "label": "y", "p_x": 0.25, "p_y": 0.75},
        {"row_id": "b", "label": "x", "p_x": 0.5, "p_y": 0.5},
    ]


def test_offline_and_online_agree(tmp_path):
    rows = table(60)
    offline = predictions(score(served(), rows, tmp_path / "out", key="id", part_rows=25, batch_rows=7))
    with run_in_background(App({"m": served()}, TOKEN)) as url:
        asked = [{name: row[name] for name in TYPES} for row in rows.to_pylist()]
        online = Client(url).predict(asked, "m").json["predictions"]
    p = np.array([[a["probabilities"]["rotten"], a["probabilities"]["fresh"]] for a in online])
    assert np.abs(p - np.stack([offline.column("p_rotten"), offline.column("p_fresh")], axis=1)).max() <= 1e-5
    assert [a["label"] for a in online] == offline.column("label").to_pylist()


HARD = [
    {"text": None}, {"stars": 9}, {"stars": -1}, {"score": math.nan}, {"score": None}, {"text": "odd"}, {"stars": None}, {},
]  # fmt: skip


def test_a_row_is_rejected_offline_exactly_when_the_server_refuses_it(tmp_path):
    rows = [{**GOOD, **change} for change in HARD]
    done = score(served(), pa.Table.from_pylist(rows), tmp_path / "out")
    rejected = {row["row_id"].split(":")[1]: row["reason"] for row in rejections(done)}
    with run_in_background(App({"m": served()}, TOKEN)) as url:
        for number, row in enumerate(rows):
            if row["score"] is not None and math.isnan(row["score"]):
                assert rejected[str(number)] == "not_finite"  # JSON cannot carry it
                continue
            reply = Client(url).predict([row], "m")
            assert (reply.status == 422) == (str(number) in rejected)
            if reply.status == 422:
                assert reply.error["reasons"][0]["reason"] == rejected[str(number)]
    assert set(rejected) == {"0", "1", "2", "3"}


def test_the_schema_itself_judges_alike_offline_and_online(tmp_path):
    from lineshaft.verify.infer import infer_schema

    schema = infer_schema(table(200).select(list(TYPES)))
    guarded = Served(Linear(), TYPES, schema.row_checker("serving", list(TYPES)))
    hard = [*HARD, {"stars": 2**40}, {"text": ""}, {"score": 1e300}]
    done = score(guarded, pa.Table.from_pylist([{**GOOD, **change} for change in hard]), tmp_path / "out")
    rejected = {int(row["row_id"].split(":")[1]) for row in rejections(done)}
    assert 0 < len(rejected) < len(hard)
    with run_in_background(App({"m": guarded}, TOKEN)) as url:
        for number, change in enumerate(hard):
            if change.get("score") is None or not math.isnan(change["score"]):
                assert (Client(url).predict([{**GOOD, **change}], "m").status == 422) == (number in rejected), change


def test_bad_rows_are_rejected_with_reasons_and_the_counts_add_up(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(GOOD), "{broken", "[1]", json.dumps({**GOOD, "stars": "four"}), json.dumps({**GOOD, "stars": 1.5}), "NaN",
             json.dumps({**GOOD, "stars": "x", "score": "y"}), json.dumps({"text": "a"})]  # fmt: skip
    path.write_text("\n".join(lines))
    done = score(served(), path, tmp_path / "out", part_rows=3)
    assert (done.rows, done.rejected) == (8, 6)
    digest = file_digest(path)[:16]
    assert predictions(done).column("row_id").to_pylist() == [f"{digest}:0", f"{digest}:7"]
    found = [(row["row_id"].split(":")[1], row["column"], row["reason"], row["seen"]) for row in rejections(done)]
    assert found == [
        ("1", None, "malformed", "{broken"), ("2", None, "malformed", "[1]"), ("3", "stars", "type", "four"),
        ("4", "stars", "type", "1.5"), ("5", None, "malformed", "NaN"), ("6", "stars", "type", "x"), ("6", "score", "type", "y"),
    ]  # fmt: skip


def test_csv_cells_that_do_not_parse_cost_their_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text,stars,score\n1,a,3,0.5\n2,b,three,0.5\n3,"",2,\n4,,2,1\n')
    done = score(served(), path, tmp_path / "out", key="id")
    assert predictions(done).column("row_id").to_pylist() == ["1", "3"]
    assert [(r["row_id"], r["column"], r["reason"]) for r in rejections(done)] == [
        ("2", "stars", "type"),
        ("4", "text", "missing_value"),
    ]


def test_columns_of_another_kind_are_not_converted(tmp_path):
    rows = pa.table({"text": [1, 2], "stars": [1.0, 2.0], "score": pa.array([1, 2], pa.int8())})
    done = score(served(), rows, tmp_path / "out")
    assert (done.rows, done.rejected) == (2, 2)
    assert {row["column"] for row in rejections(done)} == {"text", "stars"}


def test_several_inputs_keep_their_order(tmp_path):
    paths = [write(tmp_path / f"{n}.parquet", table(10 + n)) for n in range(3)]
    done = score(served(), paths, tmp_path / "out", part_rows=8)
    assert (done.parts, done.rows) == (6, 33)
    names = [name for path in paths for name in read_table(path).row_ids]
    assert predictions(done).column("row_id").to_pylist() == names


def test_the_row_id_column_of_a_table_names_rows(tmp_path):
    source = read_table(table(5), "id")
    pq.write_table(source.arrow, tmp_path / "t.parquet")
    for number, data in enumerate([source, tmp_path / "t.parquet"]):
        done = score(served(), data, tmp_path / f"out{number}")
        assert predictions(done).column("row_id").to_pylist() == ["r0", "r1", "r2", "r3", "r4"]


def test_running_again_calls_no_model_and_changes_nothing(tmp_path):
    path = write(tmp_path / "a.parquet", table(100, bad={5}))
    score(served(), path, tmp_path / "out", part_rows=30)
    before = contents(tmp_path / "out")
    again = score(served(model := Linear()), path, tmp_path / "out", part_rows=30)
    assert (again.parts, again.reused, again.rows, again.rejected) == (4, 4, 100, 1)
    assert model.batches == []
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_part_is_made_again_alone(tmp_path, damage):
    path = write(tmp_path / "a.parquet", table(100))
    done = score(served(), path, tmp_path / "out", part_rows=30)
    before = contents(tmp_path / "out")
    part = done.predictions[1]
    content = part.read_bytes()
    {
        "flip": lambda: part.write_bytes(bytes([content[0] ^ 1]) + content[1:]),
        "cut": lambda: part.write_bytes(content[:50]),
        "delete": part.unlink,
    }[damage]()
    again = score(served(model := Linear()), path, tmp_path / "out", part_rows=30)
    assert again.reused == 3
    assert model.batches == [30]
    assert contents(tmp_path / "out") == before


def test_batches_never_exceed_what_features_are_called_with(tmp_path):
    score(served(model := Linear()), table(1000), tmp_path / "a")
    assert model.batches == [256, 256, 256, 232]
    score(served(model := Linear()), table(1000), tmp_path / "b", part_rows=300, batch_rows=200)
    assert model.batches == [200, 100, 200, 100, 200, 100, 100]
    with pytest.raises(UsageError, match="at most 256"):
        score(served(), table(1), tmp_path / "c", batch_rows=257)


def test_an_input_without_rows(tmp_path):
    done = score(served(), write(tmp_path / "a.parquet", table(0)), tmp_path / "out")
    assert (done.parts, done.rows, done.predictions) == (0, 0, [])


def test_a_part_whose_rows_are_all_rejected_has_no_predictions(tmp_path):
    done = score(served(model := Linear()), table(4, bad={0, 1, 2, 3}), tmp_path / "out", part_rows=2)
    assert (done.rows, done.rejected, done.predictions, model.batches) == (4, 4, [], [])
    assert len(rejections(done)) == 4


def test_too_many_rejections_stop_the_job_and_stay_stopped(tmp_path):
    path = write(tmp_path / "a.parquet", table(100, bad=set(range(20, 60))))
    for _ in range(2):
        with pytest.raises(Refused, match=r"20 rows rejected, max_rejected is 10"):
            score(served(), path, tmp_path / "out", part_rows=40, max_rejected=10)
    assert score(served(), path, tmp_path / "out", part_rows=40).rejected == 40


def test_a_folder_of_another_job_is_refused_with_both_named(tmp_path):
    path = write(tmp_path / "a.parquet", table(10))
    score(served(), path, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match=f'model: there "{"d" * 64}", here "{"e" * 64}"'):
        score(served(Linear(digest="e" * 64)), path, tmp_path / "out")
    with pytest.raises(DataError, match="part_rows: there 8192, here 5"):
        score(served(), path, tmp_path / "out", part_rows=5)
    with pytest.raises(DataError, match="inputs: there"):
        score(served(), write(tmp_path / "b.parquet", table(11)), tmp_path / "out")
    with pytest.raises(DataError, match="schema: there"):
        score(Served(Linear(), TYPES, check, "other"), path, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_folder_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"holds 'thesis\.tex' and is no scoring job"):
        score(served(), table(1), tmp_path)
    (tmp_path / "out").mkdir()
    for content in ("not json", "{}", "[]", '{"job": {}, "complete": true, "parts": [{"x": 1}]}'):
        (tmp_path / "out" / "manifest.json").write_text(content)
        with pytest.raises(DataError, match=r"not one of ours"):
            score(served(), table(1), tmp_path / "out")


def test_a_failing_model_stops_the_job_and_keeps_what_was_done(tmp_path):
    rows = [{**GOOD, "text": "nan" if n == 25 else "fine"} for n in range(40)]
    with pytest.raises(StepFailed, match="not all are finite"):
        score(served(), pa.Table.from_pylist(rows), tmp_path / "out", part_rows=10)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (len(manifest["parts"]), manifest["complete"]) == (2, False)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 not really", "not a readable Parquet"),
        ("a.csv", b"text,stars,score\na,1\n", "not a readable CSV|stops being readable"),
        ("a.csv", b"", "not a readable CSV"),
        ("a.csv", b"text,stars\na,1\n", "has no column 'score'"),
        ("a.csv.gz", b"not gzip", "not a readable CSV"),
        ("a.jsonl.gz", b"not gzip", "stops being readable"),
        ("a.txt", b"", "cannot tell its format"),
        ("absent.parquet", None, "no file"),
    ],
)
def test_unreadable_inputs_are_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        score(served(), tmp_path / name, tmp_path / "out")


def test_a_null_key_is_refused(tmp_path):
    for name, content in (("a.jsonl", b'{"text":"a"}\n'), ("a.csv", b"id,text,stars,score\n1,a,1,1\n,b,1,1\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="the key id is null in row"):
            score(served(), tmp_path / name, tmp_path / f"out-{name}", key="id")


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    import fcntl

    score(served(), table(1), tmp_path / "out")
    with (tmp_path / "out" / ".lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="another process is scoring"):
            score(served(), table(1), tmp_path / "out")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_an_input_that_changes_while_it_is_read_leaves_no_part_behind(tmp_path, name):
    path = write(tmp_path / name, table(100))
    before = path.read_bytes()

    class Meddling(Linear):
        def predict(self, batch):
            path.write_bytes(before + b" ")
            return super().predict(batch)

    with pytest.raises(DataError, match=f"{name} changed while it was read"):
        score(served(Meddling()), path, tmp_path / "out", part_rows=30)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["parts"], manifest["complete"]) == ([], False)
    assert list((tmp_path / "out").rglob("*.parquet")) == []
    path.write_bytes(before)
    assert score(served(), path, tmp_path / "out", part_rows=30).reused == 0


def test_rows_of_other_bytes_never_stand_under_the_digest_of_the_input(tmp_path):
    """Opened, then rewritten before the first row is read."""
    path = write(tmp_path / "a.csv", table(40))
    source = open_source(path, tuple(TYPES), ())
    source.require_unchanged()
    write(path, table(40, bad={1}))
    with pytest.raises(DataError, match=f"it was {source.digest[:12]}, it is {file_digest(path)[:12]}"):
        source.require_unchanged()
    path.unlink()
    with pytest.raises(DataError, match="it is gone"):
        source.require_unchanged()


def test_what_was_scored_before_outlives_a_later_change(tmp_path):
    """Parts of a reading that was checked whole stay; those of one that was not go."""
    first, second = write(tmp_path / "1.csv", table(40)), write(tmp_path / "2.csv", table(41))
    content = second.read_bytes()

    class Meddling(Linear):
        def predict(self, batch):
            if len(self.batches) >= 2:
                second.write_bytes(content + b"x")
            return super().predict(batch)

    with pytest.raises(DataError, match=r"2\.csv changed while it was read"):
        score(served(Meddling()), [first, second], tmp_path / "out", part_rows=20)
    second.write_bytes(content)
    assert score(served(), [first, second], tmp_path / "out", part_rows=20).reused == 2


def test_a_file_that_was_cut_short_meanwhile_is_said_to_have_changed(tmp_path):
    path = write(tmp_path / "a.parquet", table(3000))

    class Cutting(Linear):
        def predict(self, batch):
            with path.open("r+b") as stream:
                stream.truncate(100)
            return super().predict(batch)

    with pytest.raises(DataError, match="changed while it was read"):
        score(served(Cutting()), path, tmp_path / "out", part_rows=30)


def test_only_files_that_a_killed_job_left_are_deleted(tmp_path):
    path = write(tmp_path / "a.parquet", table(40))
    done = score(served(), path, tmp_path / "out", part_rows=20)
    made = done.predictions
    place = made[0].parent
    (place / ".ipynb_checkpoints").mkdir()
    mine = [place / "notes.txt", place / "merged.parquet", place / ".hidden"]
    left = [place / "0000-000002.parquet", place / ".0000-000000.parquet.17.0.tmp"]
    for file in [*mine, *left]:
        file.write_bytes(b"x")
    again = score(served(), path, tmp_path / "out", part_rows=20)
    assert (again.reused, again.predictions) == (2, made)
    assert all(file.exists() for file in mine)
    assert not any(file.exists() for file in left)
    assert (place / ".ipynb_checkpoints").is_dir()


def test_a_model_that_would_block_is_not_taken_for_another_process(tmp_path):
    class Blocking(Linear):
        def predict(self, batch):
            raise BlockingIOError("the model's own pipe is full")

    with pytest.raises(BlockingIOError, match="the model's own pipe"):
        score(served(Blocking()), table(1), tmp_path / "out")


def test_a_file_whose_own_name_is_no_text_is_refused(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    write(path, table(3))
    with pytest.raises(DataError, match="is not UTF-8; rename the file"):
        score(served(), path, tmp_path / "out")


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 12), st.sets(st.integers(0, 12)))
def test_parts_are_cut_the_same_whatever_the_blocks_and_whatever_is_done(blocks, size, done):
    total = sum(blocks)
    numbers = pa.table({"n": pa.array(range(total), pa.int64())})

    def read(skip):
        position = 0
        for rows in blocks:
            skipped = rows > 0 and skip(position, position + rows)
            yield rows, None if skipped else numbers.slice(position, rows)
            position += rows

    found = list(in_parts(Source("s", "d", (), False, read), size, done))
    assert [(part, rows) for part, rows, _ in found] == [
        (part, min(size, total - start)) for part, start in enumerate(range(0, total, size))
    ]
    for part, rows, raw in found:
        if part in done:
            assert raw is None
        else:
            assert raw.column("n").to_pylist() == list(range(part * size, part * size + rows))


def test_row_groups_of_finished_parts_are_not_read(tmp_path):
    path = write(tmp_path / "a.parquet", table(90))
    source = open_source(path, ("text",), ())
    assert [raw is None for _, raw in source.blocks(lambda start, stop: stop <= 60)] == [True, True, False]


DRIVER = textwrap.dedent(
    """
    import json, os, sys
    sys.path.insert(0, sys.argv[1])
    from pathlib import Path
    import pyarrow as pa
    from serving import served
    from lineshaft.serve.score import score

    pa.array([1])  # imports what Arrow imports late, once for all attempts

    def attempt(out, **environment):
        # A fork of a process that has not started any Arrow thread: each attempt is a process of its own.
        if (child := os.fork()) == 0:
            os.environ.update(environment)
            done = score(served(), [Path(p) for p in sys.argv[3:]], out, part_rows=30)
            os._exit(0 if done.rows == 65 else 9)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    base = Path(sys.argv[2])
    log = base / "points"
    assert attempt(base / "whole", LINESHAFT_CRASH_LOG=str(log)) == 0
    passed, seen = [], {}
    for name in log.read_text().split():
        seen[name] = seen.get(name, 0) + 1
        passed.append(f"{name}:{seen[name]}")
    for point in passed:
        out = base / point.replace(":", "-")
        assert attempt(out, LINESHAFT_CRASH=point) == -9, point
        assert attempt(out) == 0, point
    # And one that is killed over and over, at a later point of each new life.
    lives = 0
    while (code := attempt(base / "unlucky", LINESHAFT_CRASH=f"write.synced:{2 + lives % 3}")) == -9:
        lives += 1
    assert (code, lives > 3) == (0, True), (code, lives)
    print(json.dumps(passed))
    """
)


@pytest.mark.crash
def test_killed_at_every_point_it_resumes_to_the_same_bytes(tmp_path):
    inputs = [write(tmp_path / "a.parquet", table(45, bad={3})), write(tmp_path / "b.jsonl", table(20))]
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(tmp_path), *map(str, inputs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)
    assert {p.split(":")[0] for p in points} >= {"write.begun", "write.synced", "write.renamed", "score.predictions",
                                                "score.rejected", "score.committed"}  # fmt: skip
    wanted = contents(tmp_path / "whole")
    for out in [*(point.replace(":", "-") for point in points), "unlucky"]:
        assert contents(tmp_path / out) == wanted, out


@pytest.mark.crash
def test_killed_at_any_moment_it_resumes_to_the_same_bytes(tmp_path):
    path = write(tmp_path / "a.parquet", table(400))
    score(served(), path, tmp_path / "whole", part_rows=10)
    program = textwrap.dedent(
        """
        import sys; sys.path.insert(0, sys.argv[1])
        from serving import Linear, served
        from lineshaft.serve.score import score
        print("go", flush=True)
        score(served(Linear(seconds=0.01)), sys.argv[2], sys.argv[3], part_rows=10)
        """
    )
    for delay in (0.02, 0.1, 0.25):
        command = [sys.executable, "-c", program, str(Path(__file__).parent), str(path), str(tmp_path / "out")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    done = score(served(), path, tmp_path / "out", part_rows=10)
    assert done.rows == 400
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_a_disk_that_fails_at_any_operation_is_said_and_the_job_goes_on_from_there(tmp_path, monkeypatch, code):
    path = write(tmp_path / "a.parquet", table(40, bad={3}))
    score(served(), path, tmp_path / "whole", part_rows=20)
    wanted, failed = contents(tmp_path / "whole"), 0
    for number in itertools.count(1):
        out = tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setenv("LINESHAFT_FAULT", f"{code}:{number}")
            patched.setattr(durable, "_operations", itertools.count(1))
            try:
                score(served(), path, out, part_rows=20)
            except StorageError as error:
                assert "could not write" in str(error)
                failed += 1
            else:
                break
        score(served(), path, out, part_rows=20)
        assert contents(out) == wanted
    assert failed > 20

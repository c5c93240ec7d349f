"""stats, check, schema infer, label apply: what they find, in words and as JSON, and what they refuse."""

from __future__ import annotations

import datetime as dt
import gzip
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from small_project import EVIL, written

ROWS = {
    "day": [dt.date(2024, 1, 1), None, dt.date(2024, 3, 1)],
    "at": [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 2), None],
    "score": [0.5, float("nan"), float("inf")],
    "raw": [b"\xff\x00", b"", None],
    EVIL: ["a", "\x1b[2J", "a"],
}


@pytest.fixture
def odd(tmp_path):
    """A Parquet file with all that JSON has no word for."""
    pq.write_table(pa.table(ROWS), tmp_path / "odd.parquet")
    return tmp_path / "odd.parquet"


@pytest.fixture
def numbers(tmp_path):
    return written(tmp_path, "numbers.csv", "id,n\na,1\nb,2\nc,3\n")


# ---- stats


def test_stats_describes_every_column(odd, lineshaft):
    done = lineshaft("stats", odd)
    assert done.code == 0
    assert done.out.startswith("3 rows\n")
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) == 2 + len(ROWS)


def test_stats_as_json(odd, lineshaft):
    found = lineshaft("stats", odd, "--json").json
    assert found["rows"] == 3
    columns = {column["name"]: column for column in found["columns"]}
    assert list(columns) == list(ROWS)
    assert set(columns["day"]) == {
        "name", "type", "count", "missing", "distinct", "mean", "std", "min", "max", "median", "top"
    }  # fmt: skip
    assert (columns["day"]["min"], columns["day"]["max"], columns["day"]["missing"]) == ("2024-01-01", "2024-03-01", 1)
    assert columns["at"]["max"].startswith("2024-01-02T00:00:00")
    assert columns["score"]["min"] == columns["score"]["max"] == 0.5
    assert columns[EVIL]["top"][0] == {"value": "a", "count": 2}


@pytest.mark.parametrize("form", ["csv", "csv.gz", "tsv", "jsonl", "arrow", "parquet"])
def test_the_same_rows_in_any_form(form, tmp_path, lineshaft):
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path)
    elif form == "arrow":
        feather.write_feather(pa.table({"a": [1, 2], "b": ["x", "y"]}), path, compression="uncompressed")
    elif form == "jsonl":
        path.write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')
    else:
        text = "a,b\n1,x\n2,y\n".replace(",", "\t" if form == "tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    found = lineshaft("stats", path, "--json").json
    assert found["rows"] == 2
    assert [(c["name"], c["type"], c["distinct"]) for c in found["columns"]] == [("a", "int", 2), ("b", "string", 2)]


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really", b"\x00\x01"])
def test_data_that_are_not_there_or_not_data_are_2(content, tmp_path, lineshaft):
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    for arguments in (["stats", path], ["check", path, "--schema", path], ["schema", "infer", path]):
        done = lineshaft(*arguments)
        assert (done.code, done.out) == (2, ""), done
        assert "Error: " in done.err and "Traceback" not in done.err


# ---- schema infer, check


def test_a_schema_is_inferred_written_once_and_holds(numbers, tmp_path, lineshaft):
    out = tmp_path / "n.toml"
    shown = lineshaft("schema", "infer", numbers, "--key", "id")
    assert shown.code == 0
    done = lineshaft("schema", "infer", numbers, "--key", "id", "--out", out)
    assert (done.code, done.out) == (0, f"written to {out}\n")
    assert tomllib.loads(out.read_text())["columns"].keys() == {"id", "n"}
    assert tomllib.loads(shown.out)["dataset"]["key"] == ["id"]
    assert lineshaft("check", numbers, "--schema", out).code == 0
    before = out.read_bytes()
    refused = lineshaft("schema", "infer", numbers, "--out", out).refused(2, "UsageError: ")
    assert "exists: a schema belongs to people" in refused
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("id,n\na,1\na,2\n", ["id"], "the key 'id' has 1 different values in 2 rows"),
        ("id,n\na,1\n,2\n", ["id"], "the key 'id' is null in 1 of 2 rows"),
        ("id,n\na,1\na,1\n", ["id", "n"], "the key id, n is not unique"),
        ("id,n\n", [], "there are no rows"),
    ],
)
def test_a_schema_that_its_own_data_break_is_not_written(text, keys, said, tmp_path, lineshaft):
    out, options = tmp_path / "s.toml", [option for name in keys for option in ("--key", name)]
    err = lineshaft("schema", "infer", written(tmp_path, "d.csv", text), *options, "--out", out).refused(
        2, "DataError: "
    )
    assert said in err
    assert not out.exists()


def test_a_check_names_rows_by_the_key_of_the_schema(numbers, tmp_path, lineshaft):
    text = '[dataset]\nkey = ["id"]\n[columns.id]\ntype = "string"\n[columns.n]\ntype = "int"\nrange = {max = 2}\n'
    assert "e.g. row c;" in lineshaft("check", numbers, "--schema", written(tmp_path, "s.toml", text)).out


def test_options_of_infer_count(numbers, odd, lineshaft):
    plain = lineshaft("schema", "infer", numbers, "--json", "--gold", "n", "--no-ranges").json
    assert plain["dataset"]["gold"] == ["n"]
    assert "range" not in plain["columns"]["n"]
    with_dates = lineshaft("schema", "infer", odd, "--json").json  # bounds are dates: still JSON
    assert set(with_dates["columns"]) == set(ROWS)
    assert lineshaft("schema", "infer", numbers, "--key", "nope").code == 2


def test_a_check_that_finds_nothing_is_0_and_one_that_does_is_1(numbers, tmp_path, lineshaft):
    schema = written(
        tmp_path, "s.toml", '[columns.id]\ntype = "string"\n[columns.n]\ntype = "int"\nrange = {max = 2}\n'
    )
    done = lineshaft("check", numbers, "--schema", schema)
    assert done.code == 1
    assert "error: n: " in done.out
    assert done.err == ""
    found = lineshaft("check", numbers, "--schema", schema, "--json")
    assert found.code == 1
    (anomaly,) = found.json["anomalies"]
    assert (anomaly["column"], anomaly["severity"], found.json["rows"]) == ("n", "error", 3)
    schema.write_text(schema.read_text().replace("max = 2", "max = 3"))
    assert lineshaft("check", numbers, "--schema", schema).code == 0
    assert lineshaft("check", numbers, "--schema", schema, "--json").json["anomalies"] == []


def test_a_warning_is_no_no(numbers, tmp_path, lineshaft):
    text = '[columns.id]\ntype = "string"\n[columns.n]\ntype = "int"\nrange = {max = 2}\nseverity = "warning"\n'
    done = lineshaft("check", numbers, "--schema", written(tmp_path, "s.toml", text), "--json")
    assert done.code == 0
    assert [anomaly["severity"] for anomaly in done.json["anomalies"]] == ["warning"]


def test_the_environment_of_a_check(numbers, tmp_path, lineshaft):
    text = '[dataset]\ngold = ["truth"]\n[columns.id]\ntype = "string"\n[columns.n]\ntype = "int"\n[columns.truth]\ntype = "int"\n'
    schema = written(tmp_path, "s.toml", text)
    assert lineshaft("check", numbers, "--schema", schema).code == 1
    assert lineshaft("check", numbers, "--schema", schema, "--environment", "serving").code == 0
    lineshaft("check", numbers, "--schema", schema, "--environment", "nope").refused(2, "")


def test_odd_values_in_anomalies_are_json(odd, tmp_path, lineshaft):
    text = "".join(f'[columns.{name}]\ntype = "int"\n' for name in ("day", "at", "score", "raw", "absent"))
    done = lineshaft("check", odd, "--schema", written(tmp_path, "s.toml", text), "--json")
    assert done.code == 1
    assert len(done.json["anomalies"]) >= 5


@pytest.mark.parametrize("text", ["not toml [", "[columns.a]\n", '[columns.a]\ntype = "colour"\n', None])
def test_a_schema_that_is_none_is_2(text, numbers, tmp_path, lineshaft):
    path = tmp_path / "s.toml"
    if text is not None:
        path.write_text(text)
    done = lineshaft("check", numbers, "--schema", path)
    assert done.code == 2
    assert "Traceback" not in done.err


# ---- label apply


def test_labeling_functions_are_applied_and_analysed(project, lineshaft):
    done = lineshaft("label", "apply", project.script, project.data)
    assert done.code == 0
    assert "big_orders" in done.out and "of 240 rows covered" in done.out
    found = lineshaft("label", "apply", project.script, project.data, "--json").json
    assert [source["source"] for source in found["sources"]] == ["big_orders", EVIL, "small <b>orders</b>"]
    assert found["rows"] == 240
    assert 0 < found["covered"] < 240
    assert all(source["accuracy"] is None for source in found["sources"])


def test_gold_judges_the_sources(project, lineshaft):
    found = lineshaft("label", "apply", project.script, project.data, "--gold", "truth", "--json").json
    assert all(0.5 < source["accuracy"] <= 1 for source in found["sources"])
    lineshaft("label", "apply", project.script, project.data, "--gold", "nope").refused(
        2, "DataError: no column 'nope'"
    )


FAILING = """
import lineshaft as ls
task = ls.Task("t", classes=["no", "yes"])
@ls.labeling_function(reads=["n"])
def raises(x):
    return "yes" if 1 / (x.n - 2) else None
@ls.labeling_function(reads=["n"])
def says_nonsense(x):
    return 0.5
@ls.labeling_function(reads=["n"])
def works(x):
    return "yes"
"""


def test_sources_that_fail_are_shown_in_words(tmp_path, lineshaft):
    data = written(tmp_path, "d.csv", "row_id,n\na,1\nb,2\nc,3\n")
    done = lineshaft("label", "apply", written(tmp_path, "failing.py", FAILING), data)
    assert done.code == 0
    *_, covered, raises, nonsense = done.out.splitlines()
    assert covered == "3 of 3 rows covered"
    place = "(failing.py:6)"
    assert raises == f"source raises failed on 1 of 3 rows, first on b: ZeroDivisionError: division by zero {place}"
    assert nonsense.startswith("source says_nonsense failed on 3 of 3 rows, first on a: ValueError: 0.5 is no vote")


def test_sources_that_fail_are_in_the_document(tmp_path, lineshaft):
    data = written(tmp_path, "d.csv", "row_id,n\na,1\nb,2\nc,3\n")
    found = lineshaft("label", "apply", written(tmp_path, "failing.py", FAILING), data, "--json").json
    assert [(one["source"], one["rows"], one["first"]) for one in found["faults"]] == [
        ("raises", 1, "b"), ("says_nonsense", 3, "a")
    ]  # fmt: skip
    assert found["faults"][0]["error"].startswith("ZeroDivisionError: ")


def test_the_task_is_that_of_the_gold_column(tmp_path, lineshaft):
    text = """
import lineshaft as ls
first = ls.Task("a", classes=["x", "y"], gold="other")
second = ls.Task("b", classes=["no", "yes"], gold="truth")
rule = ls.expression("n > 1", label="yes", name="rule")
"""
    data = written(tmp_path, "d.csv", "n,truth\n1,no\n2,yes\n3,no\n")
    found = lineshaft("label", "apply", written(tmp_path, "two_tasks.py", text), data, "--gold", "truth", "--json").json
    assert [(s["votes"], s["correct"]) for s in found["sources"]] == [(2, 1)]


def test_what_a_script_prints_does_not_touch_the_document(tmp_path, lineshaft):
    text = """
import lineshaft as ls
print("loading", end="")
@ls.labeling_function(reads=["n"])
def rule(x):
    print("voting", end="")
    return 1
"""
    done = lineshaft(
        "label", "apply", written(tmp_path, "talks.py", text), written(tmp_path, "d.csv", "n\n1\n"), "--json"
    )
    assert done.out.count("\n") == 1
    assert done.json["sources"][0]["coverage"] == 1
    assert "loadingvoting" in done.err


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("x = 1\n", [], "empty.py defines no labeling functions"),
        (
            "import lineshaft as ls\nr = ls.expression('n > 1', label=1, name='r')\n",
            ["--gold", "n"],
            "defines no ls.Task",
        ),
    ],
)
def test_a_script_that_lacks_what_is_asked_for(text, options, said, tmp_path, lineshaft):
    data = written(tmp_path, "d.csv", "n\n1\n")
    err = lineshaft("label", "apply", written(tmp_path, "empty.py", text), data, *options).refused(2, "UsageError: ")
    assert said in err


def test_no_script_at_all(tmp_path, lineshaft):
    lineshaft("label", "apply", tmp_path / "no.py", tmp_path / "d.csv").refused(2, "UsageError: there is no script")


def test_commands_about_data_leave_no_home_behind(numbers, tmp_path, lineshaft):
    lineshaft("stats", numbers)
    lineshaft("schema", "infer", numbers)
    assert not (tmp_path / "empty home").exists()
    assert list((tmp_path / "here").iterdir()) == []

"""Reports: what they say, what they refuse, and how they are stored."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from lineshaft.verify.anomalies import Anomalies, Anomaly
from lineshaft.verify.reasons import COLUMN, DATASET, REASONS, ROWS
from lineshaft.verify.schema import Schema

SOURCE = Path(__file__).resolve().parents[2] / "src" / "lineshaft" / "verify"


def report():
    schema = Schema.from_plain(
        {"columns": {"<x>": {"type": "float", "range": {"max": 1}, "severity": "warning"}, "y": "int"}}
    )
    return schema.check(pa.table({"row_id": ["r<1>"], "<x>": [2.0], "z": ["new"]}))


def test_the_verdict_counts_errors_alone():
    warned = Anomalies((Anomaly("x", "has_nan", "warning"),), 3)
    assert warned.ok
    assert warned.errors == []
    assert not report().ok
    assert [anomaly.reason for anomaly in report().errors] == ["missing_column", "new_column"]
    assert len(report()) == len(list(report())) == 3


def test_errors_about_whole_columns_stand_apart():
    found = Anomalies(
        (Anomaly("x", "missing_value"), Anomaly("x", "type_changed"), Anomaly(None, "too_few_rows", "warning"))
    )
    assert [anomaly.reason for anomaly in found.beyond_rows] == ["type_changed"]


def test_a_report_has_no_truth_of_its_own():
    with pytest.raises(TypeError, match=r"ask \.ok"):
        bool(Anomalies())


def test_a_report_comes_back_from_json():
    text = json.dumps(report().payload(), allow_nan=False)
    back = Anomalies.from_payload(json.loads(text))
    assert back == report()
    assert json.dumps(back.payload()) == text


def test_a_report_on_the_terminal_names_row_value_and_fix():
    text = str(report())
    assert text.splitlines()[0] == "1 rows: 2 errors, 1 warnings"
    for part in (
        "warning: <x>: out_of_range_high",
        "max 2.0",
        "e.g. row r<1>",
        'fix: range = {"max": 2.0}',
        "y: missing_column",
    ):
        assert part in text
    assert str(Anomalies((), 5)) == "5 rows: no anomalies"


def test_a_rule_is_named():
    schema = Schema.from_plain({"columns": {"x": "int"}, "rules": [{"name": "positive", "expect": "x > 0"}]})
    assert "rule 'positive': rule_broken" in str(schema.check([{"x": -1}]))


def test_a_report_in_a_notebook_is_escaped():
    page = report()._repr_html_()
    assert "&lt;x&gt;" in page
    assert "r&lt;1&gt;" in page
    assert "<x>" not in page


def test_a_fix_that_drops_a_key_says_so():
    assert "drop pattern" in str(Anomaly("x", "pattern_mismatch", fix={"pattern": None}))


def test_a_long_list_of_values_is_cut_on_the_terminal():
    assert len(str(Anomaly("x", "unexpected_value", seen={"values": ["v" * 50] * 50}))) < 300


def test_every_reason_has_a_meaning_and_something_it_is_about():
    for name, reason in REASONS.items():
        assert name == reason.name
        assert reason.meaning
        assert reason.about in {ROWS, COLUMN, DATASET}
        assert Anomaly(None, name).about_rows == (reason.about == ROWS)


def test_every_reason_is_emitted_somewhere():
    code = "".join(path.read_text() for path in SOURCE.glob("*.py") if path.name != "reasons.py")
    for name in REASONS:
        assert f'"{name}"' in code, f"{name} is a dead code"

"""Editing a schema file in place: what people wrote stays theirs, whatever changes around it."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_row_check import schemas

from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema
from lineshaft.verify.toml import HEAD, edit_toml, write_toml

FILE = """\
# Rides, as agreed in March.
format = 1

[dataset]      # who is who
key = ["id"]   # never reused
min_rows = 10

[columns]
id = "string"

# Finance owns this one.
[columns.fare]
type = "float"
range = { min = 0, max = 1_000 }   # dollars
nan = true     # meters fail

[columns.kind]
type = "string"
values = [
  "card",  # most
  "cash",  # fewer every year
]
severity = { unexpected_value = "warning" }

[columns.zone]
type = 'string'
pattern = '[A-Z]{2}'
"""


def edited(change, text=FILE):
    plain = Schema.parse(text).plain()
    change(plain)
    schema = Schema.from_plain(plain)
    result = edit_toml(text, schema.plain())
    assert Schema.parse(result) == schema
    return result


def lines_lost(result, text=FILE):
    return [line for line in text.splitlines() if line and line not in result.splitlines()]


def change_of(*path, value):
    def change(plain):
        for key in path[:-1]:
            plain = plain[key]
        if value is None:
            del plain[path[-1]]
        else:
            plain[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "lost"),
    [
        (("columns", "fare", "nan"), None, ["nan = true     # meters fail"]),
        (("columns", "fare", "inf"), True, []),
        (("columns", "fare", "range"), {"min": 0.0, "max": 2000.0}, ["range = { min = 0, max = 1_000 }   # dollars"]),
        (("columns", "zone", "presence"), "optional", []),
        (("columns", "zone", "pattern"), "[A-Z]{3}", ["pattern = '[A-Z]{2}'"]),
        (("columns", "kind", "severity"), "warning", ['severity = { unexpected_value = "warning" }']),
        (("dataset", "max_rows"), 50, []),
        (("dataset", "min_rows"), None, ["min_rows = 10"]),
        (("dataset", "key"), None, ['key = ["id"]   # never reused']),
        (("rules",), [{"name": "cheap", "expect": "fare < 100"}], []),
        (("columns", "new"), {"type": "int", "values": [1, 2]}, []),
        (("columns", "id"), {"type": "string", "unique": True}, ['id = "string"']),
    ],
    ids=str,
)
def test_one_change_loses_only_its_own_line(path, value, lost):
    assert lines_lost(edited(change_of(*path, value=value))) == lost


def test_a_column_that_goes_takes_only_itself_along():
    result = edited(change_of("columns", "zone", value=None))
    assert lines_lost(result) == ["[columns.zone]", "type = 'string'", "pattern = '[A-Z]{2}'"]


def test_the_part_about_the_data_set_can_go_and_come():
    result = edited(change_of("dataset", value=None))
    assert "never reused" not in result
    assert "Finance owns this one." in result
    assert tomllib.loads(edited(change_of("dataset", value={"min_rows": 3}), result))["dataset"] == {"min_rows": 3}


def test_rules_can_change_and_go():
    with_rules = edited(change_of("rules", value=[{"expect": "fare > 1"}, {"expect": "fare < 9"}]))
    fewer = edited(change_of("rules", value=[{"name": "fare > 1", "expect": "fare > 1"}]), with_rules)
    assert fewer.count("[[rules]]") == 1
    assert "rules" not in edited(change_of("rules", value=None), fewer)
    assert lines_lost(fewer) == []


def test_a_column_written_on_one_line_stays_there():
    text = 'columns.x = { type = "int", range = { min = 1 } } # short\ncolumns.y = "int"\n'
    result = edited(change_of("columns", "x", "range", value={"min": 2}), text)
    assert "min = 2" in result
    assert "columns.x = {" in result


def test_the_order_of_columns_is_that_of_the_file_and_new_ones_follow():
    def shuffle(plain):
        columns = plain["columns"]
        plain["columns"] = {"new": {"type": "int"}, **{name: columns[name] for name in reversed(columns)}}

    plain = Schema.parse(FILE).plain()
    shuffle(plain)
    assert list(Schema.parse(edit_toml(FILE, plain)).names) == ["id", "fare", "kind", "zone", "new"]


def test_an_empty_file_becomes_the_whole_schema():
    plain = Schema.parse(FILE).plain()
    assert tomllib.loads(edit_toml("", plain)) == plain
    assert edit_toml("", plain) == write_toml(plain)


def test_saving_twice_changes_nothing_more(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(FILE)
    plain = Schema.load(path).plain()
    plain["columns"]["fare"]["range"] = {"min": 1.0}
    Schema.from_plain(plain).save(path)
    once = path.read_text()
    Schema.load(path).save(path)
    assert path.read_text() == once


@settings(max_examples=60, deadline=None)
@given(schemas(), schemas())
def test_any_schema_can_be_edited_into_any_other(first, second):
    text = edit_toml(first.text(), second.plain())
    again = Schema.parse(text)
    assert again.plain() == second.plain()
    assert edit_toml(text, second.plain()) == text


@settings(max_examples=40, deadline=None)
@given(schemas(), schemas(), st.data())
def test_comments_of_columns_that_stay_stay(first, second, data):
    shared = [name for name in first.names if name in second.names]
    text = "# the head\n" + first.text()
    for name in shared:
        text = text.replace(f"[columns.{name}]\n", f"# about {name}\n[columns.{name}] # here is {name}\n")
    result = edit_toml(text, second.plain())
    assert "# the head" in result
    for name in shared:
        assert f"# here is {name}" in result


def test_a_first_file_says_whose_it_is_and_why(tmp_path):
    rows = [{"x": at % 9, "s": "ab"[at % 2], "f": None if at % 3 else float("nan")} for at in range(300)]
    schema = infer_schema(rows)
    schema.save(tmp_path / "s.toml")
    text = (tmp_path / "s.toml").read_text()
    assert [line[2:] for line in text.splitlines()[:2]] == list(HEAD)
    assert "nan = true # 100 seen" in text
    assert "# 2 different in 300; none of them just once" in text
    assert "# seen 0 to 8 in 300 values" in text
    assert "# 100 of 300 rows have a value" in text
    assert Schema.load(tmp_path / "s.toml") == schema


@pytest.mark.parametrize("notes", [None, {}, {"x": {"type": "why"}}, {"z": {"type": "nobody"}}])
def test_notes_are_comments_and_no_part_of_the_meaning(notes):
    plain = {"format": 1, "columns": {"x": {"type": "int", "unique": True}}}
    text = write_toml(plain, notes)
    assert tomllib.loads(text) == plain
    assert ("# why" in text) == bool(notes and "x" in notes)
    assert text.startswith("#") == (notes is not None)

"""Schema files: people's comments survive, the canonical text is canonical, and mistakes are named."""

import datetime as dt

import pytest
from hypothesis import given, settings
from test_row_check import schemas

from lineshaft.core.codec import decode, encode
from lineshaft.errors import SchemaError
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.model import Bounds, Column, Rule, Words
from lineshaft.verify.schema import Schema

FULL = """\
# ours
format = 1

[dataset]
key = ["id"]
gold = ["verdict"]  # experts
environments = ["training"]
min_rows = 10
severity = { new_column = "warning" }

[[rules]]
name = "tips below fare"
expect = "tips <= fare"
severity = "warning"

[columns]
id = "string"

[columns.fare]
type = "float"
# agreed with finance
range = { min = 0, max = 1_000 }   # dollars
severity = "warning"

[columns.tips]
type = "float"
presence = "optional"
nan = true

[columns.kind]
type = "string"
values = [
  "card",  # most
  "cash",
]
min_mass = 0.99

[columns."odd name"]
type = "list<string>"
valency = { min = 1 }
null_elements = true
length = { max = 20 }
pattern = '[a-z]+'

[columns.day]
type = "date"
range = { min = 2020-01-01 }

[columns.verdict]
type = "string"
bool = { true = "yes", false = "no" }
presence = { min_fraction = 0.5, min_count = 3 }
"""


def test_every_key_is_read():
    schema = Schema.parse(FULL)
    assert schema.names == ["id", "fare", "tips", "kind", "odd name", "day", "verdict"]
    assert schema["fare"] == Column("fare", "float", range=Bounds(0.0, 1000.0), severity={"*": "warning"})
    assert schema["tips"].required is False
    assert schema["tips"].must_be_there is False
    assert (schema["kind"].values, schema["kind"].min_mass) == (("card", "cash"), 0.99)
    assert schema["odd name"].valency == Bounds(1)
    assert schema["day"].range == Bounds(dt.date(2020, 1, 1))
    assert schema["verdict"].words == Words("yes", "no")
    assert (schema["verdict"].min_fraction, schema["verdict"].min_count) == (0.5, 3)
    assert schema.rules == (Rule("tips below fare", "tips <= fare", "warning"),)
    assert schema.environments == ("serving", "training")
    assert (schema.dataset.key, schema.dataset.gold, schema.dataset.min_rows) == (("id",), ("verdict",), 10)


def test_the_canonical_text_says_the_same_and_is_stable():
    schema = Schema.parse(FULL)
    again = Schema.parse(schema.text())
    assert again == schema
    assert again.text() == schema.text() == str(schema)
    assert "#" not in schema.text()


@settings(max_examples=60, deadline=None)
@given(schemas())
def test_any_schema_comes_back_from_its_text(schema):
    again = Schema.parse(schema.text())
    assert again == schema
    assert again.text() == schema.text()


def test_equal_schemas_have_equal_bytes_in_the_store():
    one = Schema.parse('[columns.x]\ntype = "float"\nrange = { min = 0 }')
    other = Schema.parse('format = 1\ncolumns.x = { type = "float", range = { min = 0.0 }, presence = "required" }')
    assert one == other
    artifact, content = encode("Schema", one.payload())
    assert artifact == encode("Schema", other.payload())[0]
    assert Schema.from_payload(decode("Schema", content)) == one


def test_saving_what_was_loaded_changes_nothing(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(FULL)
    Schema.load(path).save(path)
    assert path.read_text() == FULL


def test_an_edit_keeps_comments_order_and_spelling(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(FULL)
    plain = Schema.load(path).plain()
    plain["columns"]["tips"]["presence"] = {"min_fraction": 0.9}
    plain["columns"]["kind"]["values"].append("cheque")
    del plain["columns"]["day"]
    plain["columns"]["new"] = {"type": "int", "range": {"min": 1}}
    plain["dataset"]["min_rows"] = 20
    changed = Schema.from_plain(plain)
    changed.save(path)
    text = path.read_text()
    assert Schema.load(path) == changed
    for kept in (
        "# ours",
        "# agreed with finance",
        "max = 1_000 }   # dollars",
        "# experts",
        'id = "string"',
        "'[a-z]+'",
    ):
        assert kept in text
    assert text.index("[columns.fare]") < text.index("[columns.tips]") < text.index("[columns.new]")
    assert "2020-01-01" not in text


def test_a_column_declared_by_its_type_alone_can_get_more(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[columns]\nid = "string"\n')
    plain = Schema.load(path).plain()
    plain["columns"]["id"]["unique"] = True
    Schema.from_plain(plain).save(path)
    assert Schema.load(path)["id"].unique


def test_columns_and_rules_can_be_added_to_an_empty_file(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("# nothing yet\n")
    schema = Schema.from_plain({"columns": {"x": "int"}, "rules": [{"expect": "x > 0"}]})
    schema.save(path)
    assert Schema.load(path) == schema
    assert path.read_text().startswith("# nothing yet")


def test_a_new_file_explains_itself_and_its_evidence(tmp_path):
    path = tmp_path / "s.toml"
    infer_schema([{"x": float(at % 50)} for at in range(200)]).save(path)
    text = path.read_text()
    assert text.startswith("# What the data must look like.")
    assert "# seen 0 to 49 in 200 values" in text
    assert Schema.load(path).text() == infer_schema([{"x": float(at % 50)} for at in range(200)]).text()


def test_the_text_for_people_means_the_same_as_the_canonical_one():
    schema = infer_schema([{"x": float(at % 50), "s": "ab"[at % 2]} for at in range(200)])
    assert "# seen" in schema.annotated()
    assert Schema.parse(schema.annotated()) == schema


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SchemaError, match=r"no schema file .*infer_schema"):
        Schema.load(tmp_path / "none.toml")


def test_the_file_is_named_in_its_errors(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"[columns\n")
    with pytest.raises(SchemaError, match=r"mine.toml: the schema is not TOML"):
        Schema.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SchemaError, match=r"mine.toml"):
        Schema.load(path)


def test_a_column_that_is_not_there():
    with pytest.raises(SchemaError, match="no column 'fair'; did you mean 'fare'"):
        Schema.parse(FULL)["fair"]


def test_some_columns_make_a_schema_of_their_own():
    part = Schema.parse(FULL).select(["fare", "id"])
    assert part.names == ["fare", "id"]
    assert part.rules == ()
    assert (part.dataset.key, part.dataset.gold) == (("id",), ())
    assert Schema.parse(FULL).select(["fare", "tips"]).rules


def test_a_schema_in_a_notebook_is_escaped():
    assert "list&lt;string&gt;" in Schema.parse(FULL)._repr_html_()
    assert repr(Schema.parse(FULL)) == "Schema(7 columns, 1 rules)"


def test_a_file_with_a_mistake_is_mended_by_saving(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('# mine\n[columns.x]\ntype = "int"\nrange = { min = 3, max = 1 }\n')
    schema = Schema.from_plain({"columns": {"x": {"type": "int", "range": {"min": 1, "max": 3}}}})
    schema.save(path)
    assert Schema.load(path) == schema
    assert path.read_text().startswith("# mine")
    path.write_text("[columns")
    with pytest.raises(SchemaError, match="cannot be edited"):
        schema.save(path)


def test_severity_for_everything_in_one_word():
    schema = Schema.parse('[dataset]\nseverity = "warning"\n[columns.x]\ntype = "int"\nseverity = "warning"\n')
    assert schema.text().count('severity = "warning"') == 2
    assert schema.check([{"z": 1}]).ok

"""A schema that contradicts itself is refused when it is made, by column and with what disagrees."""

import pytest

from lineshaft.errors import SchemaError
from lineshaft.verify.model import Bounds, Column
from lineshaft.verify.schema import Schema

COLUMN_MISTAKES = [
    ('type = "integer"', "type 'integer' is unknown; use int, float"),
    ('type = "list<number>"', "type 'list<number>' is unknown"),
    ('type = "list<int"', "is unknown"),
    ("presence = 1", "no type"),
    ('type = "int"\nrang = { min = 1 }', "unknown key 'rang'; did you mean 'range'?"),
    ('type = "int"\nrange = { mni = 1 }', "range: unknown key 'mni'; did you mean 'min'?"),
    ('type = "int"\nrange = {}', "range has neither min nor max"),
    ('type = "int"\nrange = 3', "range = 3 is not a table"),
    ('type = "int"\nrange = { min = 3, max = 2 }', "range is inverted: min = 3 is above max = 2"),
    ('type = "float"\nrange = { min = 1.0, max = 0.9999999999 }', "range is inverted"),
    ('type = "int"\nrange = { min = 0.5 }', "range.min = 0.5 is not a whole number"),
    ('type = "int"\nrange = { min = true }', "range.min = True is not a whole number"),
    ('type = "float"\nrange = { max = nan }', "range.max = nan is not a finite number"),
    ('type = "float"\nrange = { max = inf }', "not a finite number"),
    ('type = "date"\nrange = { min = 3 }', "not a date"),
    ('type = "date"\nrange = { min = "soon" }', "a bound of range is not of type date"),
    ('type = "date"\nrange = { min = 2020-01-02, max = 2020-01-01 }', "range is inverted"),
    ('type = "datetime"\nrange = { min = 2020-01-01 }', "not a date and time"),
    (
        'type = "datetime"\nrange = { min = 2020-01-01T02:00:00Z, max = 2020-01-01T03:00:00+02:00 }',
        "range is inverted",
    ),
    ('type = "string"\nrange = { min = 1 }', "range does not fit type string"),
    ('type = "bool"\nvalues = ["a"]', "values does not fit type bool; it is for int, string"),
    ('type = "float"\nvalues = ["a"]', "values does not fit type float"),
    ('type = "int"\nvalues = ["3", "4"]', "value '3' is not of type int"),
    ('type = "string"\nvalues = ["a", 1]', "value 1 is not of type string"),
    ('type = "string"\nvalues = ["a", "b", "a"]', "value 'a' is listed twice"),
    ('type = "string"\nvalues = []', "values is empty"),
    ('type = "string"\nvalues = "a"', "values = 'a' is not a list"),
    ('type = "string"\nmin_mass = 0.5', "min_mass without values"),
    ('type = "string"\nvalues = ["a"]\nmin_mass = 0', "min_mass = 0.0 is not a share"),
    ('type = "string"\nvalues = ["a"]\nmin_mass = "most"', "'most' is not a number"),
    ('type = "string"\nbool = { true = "y", false = "y" }', "the word 'y' means both true and false"),
    ('type = "string"\nbool = {}', "bool names neither"),
    ('type = "string"\nbool = true', "bool does not fit type string; it is for int, float"),
    ('type = "int"\nbool = { true = "1" }', "bool does not fit type int; it is for string"),
    ('type = "string"\nbool = { yes = "1" }', "unknown key 'yes'"),
    ('type = "int"\nbool = true\nvalues = [0, 1]', "values and bool both say"),
    ('type = "int"\nbool = true\nrange = { min = 0 }', "range stands beside a list of values"),
    ('type = "string"\nparses = "number"', "parses = 'number' is neither"),
    ('type = "int"\nparses = "int"', "parses does not fit type int"),
    ('type = "string"\nparses = "int"\nvalues = ["1"]', "values and parses both say"),
    ('type = "string"\nparses = "int"\nrange = { min = 0.5 }', "not a whole number"),
    ('type = "string"\nlength = { min = 3, max = 2 }', "length is inverted"),
    ('type = "string"\nlength = { min = -1 }', "length.min = -1 is not a count"),
    ('type = "string"\nlength = { max = 1.5 }', "length.max = 1.5 is not a count"),
    ('type = "int"\nlength = { max = 1 }', "length does not fit type int"),
    ('type = "string"\npattern = "(a"', r"pattern '\(a' is not an RE2 expression: missing \)"),
    ('type = "string"\npattern = "(?=a)"', "is not an RE2 expression"),
    ('type = "string"\npattern = 3', "pattern = 3 is not a text"),
    ('type = "int"\npattern = "a"', "pattern does not fit type int"),
    ('type = "int"\nvalency = { min = 1 }', "valency and null_elements are about lists"),
    ('type = "int"\nnull_elements = true', "about lists"),
    ('type = "list<int>"\nunique = true', "unique and distinct are about single values"),
    ('type = "struct"\nunique = true', "unique and distinct are about single values"),
    ('type = "int"\nunique = "yes"', "'yes' is neither true nor false"),
    ('type = "int"\nnan = true', "nan does not fit type int"),
    ('type = "int"\npresence = "sometimes"', "presence = 'sometimes': use"),
    ('type = "int"\npresence = { min_fraction = 1.5 }', "min_fraction = 1.5 is not a share"),
    ('type = "int"\npresence = { min_fraction = "all" }', "'all' is not a number"),
    ('type = "int"\npresence = { min_count = -1 }', "min_count = -1 is negative"),
    ('type = "int"\npresence = { min_count = 1.5 }', "1.5 is not a whole number"),
    ('type = "int"\nenvironments = ["traning"]', "environment 'traning' is not declared"),
    ('type = "int"\nnot_in = "serving"', "not_in = 'serving' is not a list"),
    ('type = "int"\nseverity = { type_change = "warning" }', "did you mean 'type_changed'"),
    ('type = "int"\nseverity = "fatal"', "severity of .* is 'fatal'; use error or warning"),
    ('type = "int"\nseverity = 3', "is not a table"),
    ('type = "float"\nrange = { max = 1' + "0" * 400 + " }", "a bound of range is not of type float"),
]


@pytest.mark.parametrize(("text", "message"), COLUMN_MISTAKES, ids=[text[:50] for text, _ in COLUMN_MISTAKES])
def test_a_column_that_contradicts_itself(text, message):
    with pytest.raises(SchemaError, match=message) as caught:
        Schema.parse(f"[columns.fare]\n{text}\n")
    assert "column 'fare'" in str(caught.value)


SCHEMA_MISTAKES = [
    ('column = "x"', "the schema: unknown key 'column'; did you mean 'columns'?"),
    ("format = 2", "format 2; this version reads 1"),
    ("columns = 3", "columns = 3 is not a table"),
    ("rules = 3", r"write \[\[rules\]\]"),
    ("[dataset]\nkeys = []", "dataset: unknown key 'keys'; did you mean 'key'?"),
    ('[dataset]\ngold = ["y"]\n[columns]\nyy = "int"', "dataset.gold names column 'y', which is not declared"),
    ('[dataset]\nkey = ["x"]\ngold = ["x"]\n[columns]\nx = "int"', "'x' is both key and gold"),
    ("[dataset]\nmin_rows = 3\nmax_rows = 2", "min_rows = 3 is above max_rows = 2"),
    ("[dataset]\nmin_rows = -1", "min_rows = -1 is negative"),
    ("[dataset]\nmin_rows = 1.5", "1.5 is not a whole number"),
    ('[dataset]\nseverity = { gone = "warning" }', "severity names the reason 'gone'"),
    ('[[rules]]\nname = "r"', "rule 'r': no condition"),
    ('[[rules]]\nexpect = "x > 1"\n[columns]\ny = "int"', "reads column 'x', which is not declared"),
    ('[[rules]]\nexpect = "x >"\n[columns]\nx = "int"', "rule 'x >':"),
    ('[[rules]]\nexpect = "x + 1"\n[columns]\nx = "int"', "gives int64, not true or false"),
    ('[[rules]]\nexpect = "x > 1"\n[columns]\nx = "string"', "rule 'x > 1':"),
    ('[[rules]]\nexpect = "x > 1"\nseverity = "bad"\n[columns]\nx = "int"', "severity is 'bad'"),
    (
        '[[rules]]\nexpect = "x > 1"\n[[rules]]\nexpect = "x > 1"\n[columns]\nx = "int"',
        "rule 'x > 1' is declared twice",
    ),
    ('[[rules]]\nwhen = "x"', "unknown key 'when'"),
    ("x = ", "the schema is not TOML"),
]


@pytest.mark.parametrize(("text", "message"), SCHEMA_MISTAKES, ids=[text[:40] for text, _ in SCHEMA_MISTAKES])
def test_a_schema_that_contradicts_itself(text, message):
    with pytest.raises(SchemaError, match=message):
        Schema.parse(text)


def test_schemas_made_in_code_are_checked_too():
    with pytest.raises(SchemaError, match="column 'x' is declared twice"):
        Schema((Column("x", "int"), Column("x", "int")))
    with pytest.raises(SchemaError, match="inverted"):
        Schema((Column("x", "int", range=Bounds(2, 1)),))


def test_a_bad_pattern_writes_nothing_to_the_terminal(capfd):
    with pytest.raises(SchemaError):
        Schema.parse('[columns.x]\ntype = "string"\npattern = "(a"')
    assert "re2.cc" not in capfd.readouterr().err

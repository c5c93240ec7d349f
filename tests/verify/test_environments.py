"""Which columns belong where: every way to say it, in every environment, with the column there and not."""

import itertools

import pyarrow as pa
import pytest

from lineshaft.errors import SchemaError, UsageError
from lineshaft.verify.model import EXCLUDED, EXPECTED, OPTIONAL, Column, Dataset, standing
from lineshaft.verify.schema import Schema

# what is said of the column: its keys, its part in the data set, and its standing in (None, serving, training)
SAID = {
    "nothing": ({}, {}, (EXPECTED, EXPECTED, EXPECTED)),
    "only in training": ({"environments": ["training"]}, {}, (EXPECTED, EXCLUDED, EXPECTED)),
    "only in serving": ({"environments": ["serving"]}, {}, (EXPECTED, EXPECTED, EXCLUDED)),
    "in both": ({"environments": ["serving", "training"]}, {}, (EXPECTED, EXPECTED, EXPECTED)),
    "nowhere": ({"environments": []}, {}, (EXPECTED, EXCLUDED, EXCLUDED)),
    "not in training": ({"not_in": ["training"]}, {}, (EXPECTED, EXPECTED, EXCLUDED)),
    "not in serving": ({"not_in": ["serving"]}, {}, (EXPECTED, EXCLUDED, EXPECTED)),
    "in serving and not in serving": (
        {"environments": ["serving"], "not_in": ["serving"]},
        {},
        (EXPECTED, EXCLUDED, EXCLUDED),
    ),
    "the key": ({}, {"key": ["x"]}, (EXPECTED, OPTIONAL, EXPECTED)),
    "the key, wanted in serving": ({"environments": ["serving"]}, {"key": ["x"]}, (EXPECTED, EXPECTED, EXCLUDED)),
    "gold": ({}, {"gold": ["x"]}, (EXPECTED, EXCLUDED, EXPECTED)),
    "gold, wanted in serving": ({"environments": ["serving"]}, {"gold": ["x"]}, (EXPECTED, EXPECTED, EXCLUDED)),
}
ENVIRONMENTS = (None, "serving", "training")
CASES = list(itertools.product(SAID, ENVIRONMENTS))


def schema_of(said, presence):
    keys, part, _ = SAID[said]
    columns = {"x": {"type": "int", "presence": presence, **keys}, "y": "int"}
    return Schema.from_plain({"dataset": {"environments": ["training"], **part}, "columns": columns})


def expected(said, environment, presence, there):
    place = SAID[said][2][ENVIRONMENTS.index(environment)]
    if there == "absent":
        return ["missing_column"] if place == EXPECTED and presence == "required" else []
    if place == EXCLUDED:
        return ["not_in_environment"]
    if there == "null":
        return ["missing_value"] if place == EXPECTED and presence == "required" else []
    return []


@pytest.mark.parametrize(("said", "environment"), CASES)
def test_the_standing_of_a_column(said, environment):
    keys, part, standings = SAID[said]
    environments = tuple(keys["environments"]) if "environments" in keys else None
    column = Column("x", "int", environments=environments, not_in=tuple(keys.get("not_in", ())))
    dataset = Dataset(**{name: tuple(names) for name, names in part.items()})
    assert standing(column, dataset, environment) == standings[ENVIRONMENTS.index(environment)]


@pytest.mark.parametrize("presence", ["required", "optional"])
@pytest.mark.parametrize("there", ["there", "null", "absent"])
@pytest.mark.parametrize(("said", "environment"), CASES)
def test_both_checks_in_every_environment(said, environment, presence, there):
    schema = schema_of(said, presence)
    row = {"there": {"x": 1, "y": 1}, "null": {"x": None, "y": 1}, "absent": {"y": 1}}[there]
    table = pa.table({name: pa.array([value], pa.int64()) for name, value in row.items()})
    wanted = expected(said, environment, presence, there)
    assert [anomaly.reason for anomaly in schema.check(table, environment)] == wanted
    assert [anomaly.reason for anomaly in schema.row_checker(environment)(row)] == wanted


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rules_hold_where_all_their_columns_are(environment):
    columns = {"x": {"type": "int", "environments": ["training"]}, "y": "int"}
    rules = [{"name": "both", "expect": "x > y"}, {"name": "one", "expect": "y < 5"}]
    plain = {"dataset": {"environments": ["training"]}, "columns": columns, "rules": rules}
    row = {"x": 1, "y": 9} if environment != "serving" else {"y": 9}
    schema = Schema.from_plain(plain)
    broken = ["one"] if environment == "serving" else ["both", "one"]
    assert [anomaly.seen["rule"] for anomaly in schema.check(pa.Table.from_pylist([row]), environment)] == broken
    assert [anomaly.seen["rule"] for anomaly in schema.row_checker(environment)(row)] == broken


def test_serving_is_always_there_and_declared_twice_is_once():
    assert Schema().environments == ("serving",)
    schema = Schema.from_plain({"dataset": {"environments": ["serving", "nightly"]}})
    assert schema.environments == ("serving", "nightly")


@pytest.mark.parametrize("environment", ["nightly", "Serving", ""])
def test_an_environment_that_nobody_declared(environment):
    schema = schema_of("nothing", "required")
    for ask in (lambda: schema.check([{"x": 1}], environment), lambda: schema.row_checker(environment)):
        with pytest.raises(UsageError, match=f"the schema has no environment '{environment}'.*declare it in dataset"):
            ask()


@pytest.mark.parametrize("key", ["environments", "not_in"])
def test_a_column_in_an_environment_that_nobody_declared(key):
    with pytest.raises(SchemaError, match="column 'x': environment 'trainin' is not declared; did you mean 'training'"):
        Schema.from_plain(
            {"dataset": {"environments": ["training"]}, "columns": {"x": {"type": "int", key: ["trainin"]}}}
        )


def test_severity_of_a_column_out_of_place():
    schema = Schema.from_plain(
        {"dataset": {"gold": ["x", "z"]}, "columns": {"x": {"type": "int", "severity": "warning"}, "z": "int"}}
    )
    report = schema.check(pa.table({"x": [1], "z": [1]}), "serving")
    assert [(anomaly.column, anomaly.severity) for anomaly in report] == [("x", "warning"), ("z", "error")]
    assert report.payload()["anomalies"][0]["seen"] == {"type": "int"}

"""Rows that come in groups: what one group shows says little about the groups of another part."""

import numpy as np
import pyarrow as pa
import pytest

from lineshaft.core.table import read_table, split
from lineshaft.errors import UsageError
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema

FILMS, REVIEWS = 40, 30


def reviews(films=FILMS, each=REVIEWS, seed=0):
    """Make reviews of films; title and year come with the film, mood and stars with the review."""
    rng = np.random.default_rng(seed)
    rows = films * each
    film = np.repeat(np.arange(films), each)
    year = 1950 + rng.integers(0, 60, films)
    return pa.table(
        {
            "id": np.char.mod("r%d", np.arange(rows)),
            "film": np.char.mod("f%d", film),
            "number": 1000 + film,
            "title": np.char.mod("title %d", film),
            "year": year[film],
            "budget": rng.lognormal(3, 0.5, films)[film],
            "mood": rng.choice(["good", "bad", "mixed"], rows),
            "stars": rng.integers(1, 6, rows),
            "score": rng.normal(size=rows),
        }
    )


def parts(table, seed=0):
    return split(read_table(table, key="id"), {"train": 0.8, "test": 0.2}, by="film", seed=seed)


def inferred(table, **options):
    return infer_schema(table, key="id", **options)


def broken(schema, table):
    return {(anomaly.column, anomaly.reason) for anomaly in schema.check(table)}


def test_without_the_group_a_schema_refuses_every_other_film():
    part = parts(reviews())
    found = broken(inferred(part["train"]), part["test"])
    assert {("film", "unexpected_value"), ("title", "unexpected_value")} <= found


@pytest.mark.parametrize("seed", range(6))
def test_with_the_group_the_other_part_passes(seed):
    part = parts(reviews(seed=seed), seed)
    assert broken(inferred(part["train"], group="film"), part["test"]) == set()
    assert broken(inferred(part["train"], group="film"), part["train"]) == set()


def test_of_the_group_only_type_and_presence_are_inferred():
    schema = inferred(reviews(), group="film")
    assert schema.plain()["columns"]["film"] == {"type": "string"}
    by_number = inferred(reviews(), group="number")
    assert by_number.plain()["columns"]["number"] == {"type": "int"}
    two = infer_schema(pa.table({"g": pa.array([0, 1] * 50), "x": [1.5] * 100}), group="g")
    assert two.plain()["columns"]["g"] == {"type": "int"}


def test_a_group_that_some_rows_lack_says_how_many():
    table = pa.table({"g": pa.array(["a", "b", None] * 100), "x": range(300)})
    schema = infer_schema(table, group="g")
    assert schema["g"].values is None
    assert 0 < schema["g"].min_fraction < 0.67


def test_values_that_come_with_their_group_are_not_listed():
    schema = inferred(reviews(), group="film")
    assert schema["title"].values is None
    assert schema["mood"].values == ("bad", "good", "mixed")
    assert "pairs of a value and a group" in schema["mood"].notes["values"]


def test_integers_that_come_with_their_group_are_names_of_it():
    schema = inferred(reviews(), group="film")
    assert schema["number"].range is None
    assert inferred(reviews())["number"].range is not None


def test_a_range_rests_on_the_number_of_groups():
    plain, grouped = inferred(reviews()), inferred(reviews(), group="film")
    assert grouped["budget"].range != plain["budget"].range
    assert f"in {FILMS} values" in grouped["budget"].notes["range"]
    assert "in 1,200 values" in plain["budget"].notes["range"]


def test_a_few_groups_support_no_range_and_no_list_however_many_rows_there_are():
    schema = inferred(reviews(films=5, each=2000), group="film")
    assert (schema["budget"].range, schema["year"].range, schema["mood"].values) == (None, None, None)
    assert schema["stars"].range is None
    assert schema["score"].range is not None


def test_what_varies_within_groups_is_inferred_as_ever():
    schema = inferred(reviews(), group="film")
    assert (schema["stars"].range.min, schema["stars"].range.max) == (1, 5)
    assert schema["score"].range.min < -3


def test_of_several_groups_the_coarsest_counts():
    table = reviews().append_column("decade", pa.array(np.char.mod("d%d", np.arange(FILMS * REVIEWS) // 300)))
    both, coarse = inferred(table, group=["film", "decade"]), inferred(table, group="decade")
    assert both["budget"].range == coarse["budget"].range
    assert both["decade"].values is both["film"].values is None


def test_without_evidence_the_lists_are_as_without_a_group():
    plain = infer_schema(reviews(), evidence=False, ranges=False)
    grouped = infer_schema(reviews(), evidence=False, ranges=False, group="film")
    assert {column.name for column in plain.columns if column != grouped[column.name]} == {"film"}


def test_a_list_column_is_judged_by_rows():
    tags = pa.table({"g": np.char.mod("g%d", np.arange(300) // 10), "tags": [["a", "b"], ["b"], []] * 100})
    assert infer_schema(tags, group="g")["tags"].values == ("a", "b")


def test_missing_and_infinite_values_do_not_count():
    values = np.where(np.arange(900) % 3 == 0, np.inf, np.random.default_rng(0).normal(size=900))
    table = pa.table({"g": np.arange(900) // 5, "x": pa.array(values, mask=np.arange(900) % 7 == 0)})
    x = infer_schema(table, group="g")["x"]
    assert x.inf
    assert -10 < x.range.min < -2.5
    assert 2.5 < x.range.max < 10


def test_a_group_that_is_not_there():
    with pytest.raises(UsageError, match="column 'flim' is not in the data; did you mean 'film'"):
        infer_schema(reviews(), group="flim")


def test_gold_with_a_rare_class_is_not_listed():
    """Of five answers in a part one rare class is a fifth: a share of them would refuse the part."""
    answers = ["yes"] * 150 + ["no"] * 40 + ["unsure"]
    rows = [{"n": at, "y": answers[at] if at < len(answers) else None} for at in range(2000)]
    assert infer_schema(rows, gold="y")["y"].values is None
    assert infer_schema(rows)["y"].values == ("no", "unsure", "yes")
    closed = infer_schema([{"n": row["n"], "y": None if row["y"] == "unsure" else row["y"]} for row in rows], gold="y")
    assert (closed["y"].values, closed["y"].min_mass) == (("no", "yes"), 1.0)


@pytest.mark.parametrize("gold", ["verdict", ["verdict"]])
def test_gold_never_stops_a_part_that_lacks_it(gold):
    rows = [{"n": float(at), "verdict": ["good", "bad"][at % 2] if at < 200 else None} for at in range(3000)]
    schema = infer_schema(rows[:2500], gold=gold)
    for other in (rows[2500:], [{"n": row["n"]} for row in rows[2500:]], rows[:200]):
        checked = schema.quarantine(read_table(other))
        assert checked.anomalies.beyond_rows == []
        assert len(checked.good) == len(other)
    assert schema.row_checker()({"n": 1.0}) == []
    assert [a.reason for a in schema.row_checker()({"n": 1.0, "verdict": "good"})] == ["not_in_environment"]


def test_gold_that_is_wrong_still_names_its_rows():
    rows = [{"n": float(at), "verdict": ["good", "bad"][at % 2]} for at in range(300)]
    schema = Schema.parse(infer_schema(rows, gold="verdict").annotated())
    checked = schema.quarantine(read_table([{"n": 1.0, "verdict": "god"}, {"n": 1.0, "verdict": "good"}]))
    assert checked.rejected.column("reasons").to_pylist() == [["verdict: unexpected_value"]]
    assert checked.anomalies.beyond_rows == []

"""Real tables with known oddities: what is found, and what is left alone."""

import numpy as np
import pyarrow as pa
import pytest

from lineshaft.core.table import read_table
from lineshaft.verify.infer import infer_schema
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.onepass import statistics

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data" / "verify"


def test_taxi_statistics_agree_with_plain_computation(folder):
    stats = statistics(folder / "chicago_taxi.csv")
    table = read_table(folder / "chicago_taxi.csv").arrow
    assert (stats.rows, len(stats)) == (15_002, 18)
    for column in stats:
        values = table.column(column.name)
        assert column.count == len(values) - values.null_count
        if column.type in {"int", "float"} and column.count:
            plain = np.array([value for value in values.to_pylist() if value is not None])
            assert column.mean == pytest.approx(plain.mean(), rel=1e-12)
            assert column.std == pytest.approx(plain.std(), rel=1e-9)
            assert (column.min, column.max) == (plain.min(), plain.max())
            assert column.distinct == pytest.approx(len(set(plain.tolist())), rel=0.07)
            assert column.quantile(0.5) == sorted(plain.tolist())[(len(plain) - 1) // 2]


def test_taxi_oddities_are_in_the_statistics(folder):
    stats = statistics(folder / "chicago_taxi.csv")
    assert (stats["trip_miles"].zeros, stats["trip_seconds"].zeros, stats["trip_seconds"].max) == (4091, 484, 72120)
    assert stats["fare"].max == pytest.approx(700.07)
    assert stats["pickup_census_tract"].count == 1
    assert dict(stats["payment_type"].top())["Prcard"] == 1
    assert stats["company"].missing / stats.rows == pytest.approx(0.34, abs=0.01)


def test_taxi_data_pass_their_own_schema_and_its_file(folder, tmp_path):
    schema = infer_schema(folder / "chicago_taxi.csv")
    schema.save(tmp_path / "taxi.toml")
    assert Schema.load(tmp_path / "taxi.toml") == schema
    assert list(Schema.load(tmp_path / "taxi.toml").check(folder / "chicago_taxi.csv")) == []


def test_a_taxi_row_with_rubbish_is_refused_as_a_request(folder):
    check = infer_schema(folder / "chicago_taxi.csv", gold="tips").row_checker()
    good = read_table(folder / "chicago_taxi.csv").arrow.slice(2, 1).to_pylist()[0]
    good = {name: value for name, value in good.items() if name not in {"row_id", "tips"}}
    assert check(good) == []
    bad = {**good, "trip_start_hour": 24, "fare": "free", "surprise": 1}
    assert {(a.column, a.reason) for a in check(bad)} == {
        ("trip_start_hour", "out_of_range_high"),
        ("fare", "type_changed"),
        ("surprise", "new_column"),
    }


def test_the_penguin_with_a_negative_culmen_is_found_and_nothing_else(folder):
    schema = infer_schema(folder / "penguins_train.csv")
    assert list(schema.check(folder / "penguins_train.csv")) == []
    [anomaly] = schema.check(folder / "penguins_skewed.csv")
    assert (anomaly.column, anomaly.reason, anomaly.seen["rows"]) == ("culmen_length_mm", "out_of_range_low", 1)
    assert anomaly.seen["min"] == -1
    table = read_table(folder / "penguins_skewed.csv")
    checked = schema.quarantine(table)
    assert checked.rejected.row_ids == list(anomaly.examples)
    assert checked.rejected.column("culmen_length_mm").to_pylist() == [-1]


@pytest.fixture(scope="module")
def hospital(folder):
    return read_table(folder / "hospital_clean.csv"), read_table(folder / "hospital_dirty.csv")


def wrong_columns(clean, dirty):
    as_text = [
        {name: table.column(name).cast(pa.string()).to_pylist() for name in clean.columns} for table in (clean, dirty)
    ]
    return {name for name in clean.columns if as_text[0][name] != as_text[1][name]}


def test_hospital_errors_are_mostly_found_and_clean_rows_mostly_left_alone(hospital):
    clean, dirty = hospital
    wrong, hits, false = wrong_columns(clean, dirty), 0, 0
    assert len(wrong) == 17
    for seed in range(5):
        half = np.random.default_rng(seed).random(len(clean)) < 0.5
        schema = infer_schema(clean.filter(half))
        false += len({anomaly.column for anomaly in schema.check(clean.filter(~half))})
        hits += len({anomaly.column for anomaly in schema.check(dirty)} & wrong)
    assert hits / 5 >= 13
    assert false / 5 <= 2


def test_hospital_rows_add_up_in_quarantine(hospital):
    clean, dirty = hospital
    checked = infer_schema(clean).quarantine(dirty)
    assert len(checked.good) + len(checked.rejected) == len(dirty) == 1000
    assert 0 < len(checked.rejected) < 500

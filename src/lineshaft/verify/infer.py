"""A first schema from data: what TensorFlow Data Validation would infer, and only as much more as the data support.

==================  ===================================================================================================
type                as seen
presence            required if no row is missing, else a share with room for noise; gold is optional, for experts look
                    at few rows and at none of some parts
valency of lists    fixed if it is constant, at least 1 if it varies from there, else free
bool                ints 0 and 1 with a 1 among them; one or two texts of which at most one is a word for true and one a
                    word for false; like the next two, not from a few rows
parses = "int"      texts that all read as integers
values              few texts, and by Good-Turing hardly any others to come; ``min_mass`` leaves them room
range               numbers, with slack from the tail of what was seen (`evidence`); not for integers that never repeat,
                    for they name things, and not for dates, which move on
unique              a key of one column
==================  ===================================================================================================

Of columns that name things, the key and the group of a split, only type and presence are inferred: the next ones are
new. Where there is a group, rows of one group are not independent, so that values and ranges rest on how many groups
showed them: a title that comes with its film says no more about other films than the film does.

What an inferred constraint rests on is kept in ``notes`` and written into the file as a comment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lineshaft.errors import DataError, SchemaError, UsageError
from lineshaft.verify.evidence import ENOUGH, least_share, lower_bound, unseen_share, upper_bound
from lineshaft.verify.model import Bounds, Column, Dataset, Words
from lineshaft.verify.plainform import suggestion
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.heavy import is_short
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.types import NULL, NUMERIC, is_declarable, leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.arrays import Ints, Numbers
    from lineshaft.verify.statistics.summary import ColumnStatistics, Statistics

TRUE_WORDS = frozenset({"TRUE", "true", "SET", "set", "1", ""})
FALSE_WORDS = frozenset({"FALSE", "false", "CLEAR", "clear", "0"})
MOST_UNSEEN = 0.05  # above this share of values to come a list of values would be mostly in the way

Fields = dict[str, Any]


def infer_schema(
    data: Any,
    ranges: bool = True,
    gold: str | Sequence[str] = (),
    key: str | Sequence[str] = (),
    max_values: int = 100,
    evidence: bool = True,
    group: str | Sequence[str] = (),
) -> Schema:
    """Infer a schema.

    Parameters
    ----------
    data
        Data or `Statistics`.
    ranges
        Infer bounds of numbers.
    gold
        Columns with the truth; any row may lack it, and the environment ``serving`` does not expect it.
    key
        Columns that name a row.
    max_values
        The most values that a list of values may have.
    evidence
        Infer lists of values and shares of presence only as far as the data support them. Without it any column of at
        most ``max_values`` different texts gets the exact list, and presence is all or at least one row, whatever the
        number of rows.
    group
        Columns by which rows were dealt to the parts of a split: another part has other groups.

    Raises
    ------
    SchemaError
        A column has a type that no schema can declare.
    DataError
        There are no rows, or the key is null or repeats a value.
    UsageError
        ``gold``, ``key`` or ``group`` name a column that is not there.

    """
    stats = statistics(data)
    how = _How(_names(key), _names(gold), _names(group), ranges, max_values, evidence)
    for name in (*how.key, *how.gold, *how.group):
        if name not in stats:
            raise UsageError(f"column {name!r} is not in the data{suggestion(name, stats.columns)}")
    if not stats.rows:
        raise DataError("there are no rows, and a schema is inferred from values; give data with rows")
    for name in how.key:
        _refuse_no_key(stats[name], alone=len(how.key) == 1)
    columns = tuple(_column(column, stats, how) for column in stats)
    return Schema(columns, Dataset(key=how.key, gold=how.gold))


@dataclass(frozen=True)
class _How:
    """The arguments of `infer_schema`."""

    key: tuple[str, ...]
    gold: tuple[str, ...]
    group: tuple[str, ...]
    ranges: bool
    max_values: int
    evidence: bool


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _refuse_no_key(column: ColumnStatistics, *, alone: bool) -> None:
    """Raise if a column cannot name rows: it would break the schema at once."""
    if column.missing:
        raise DataError(
            f"the key {column.name!r} is null in {column.missing:,} of {column.rows:,} rows; a key names every row"
        )
    surely = column.count * (1 - 5 * column.distinct_error)  # beyond some size distinct values are estimated
    if alone and column.distinct < surely:
        about = "" if column.distinct_error == 0 else "about "
        often = next((f", {value!r} the most often" for value, count in column.top(1) if count > 1), "")
        raise DataError(
            f"the key {column.name!r} has {about}{column.distinct:,} different values in {column.rows:,} rows{often}; "
            f"a key names one row: drop the copies or name more key columns"
        )


def _column(column: ColumnStatistics, stats: Statistics, how: _How) -> Column:
    declared, notes = _type(column), dict[str, str]()
    if not column.count:
        notes["type"] = f"no value in {column.rows:,} rows: the type is a guess"
        return Column(column.name, declared, min_fraction=0.0, notes=notes)
    fields = _presence(column, notes, evidence=how.evidence) | _lists(column)
    if column.name in how.gold:
        fields |= {"min_fraction": 0.0, "min_count": 0}
    if column.name in how.key:
        return Column(column.name, declared, **fields, unique=len(how.key) == 1, notes=notes)
    if column.name in how.group:
        return Column(column.name, declared, **fields, notes=notes)
    fields |= _specials(column, notes)
    domain = _domain(column, stats, notes, how)
    if how.ranges and not domain:
        domain = _range(column, _spread(stats, column, how), notes)
    return Column(column.name, declared, **fields, **domain, notes=notes)


def _type(column: ColumnStatistics) -> str:
    kind = leaf_type(column.type)
    declared = column.type.replace(NULL, "string") if kind == NULL else column.type
    if not is_declarable(declared):
        raise SchemaError(
            f"column {column.name!r} is {column.type}, which no schema can declare; cast it to another type or drop it"
        )
    return declared


def _presence(column: ColumnStatistics, notes: dict[str, str], *, evidence: bool) -> Fields:
    if not column.missing:
        return {}
    notes["presence"] = f"{column.count:,} of {column.rows:,} rows have a value"
    if not evidence or column.rows < ENOUGH:
        return {"min_fraction": 0.0, "min_count": 1}
    share = math.floor(least_share(column.count, column.rows) * 100) / 100
    return {"min_fraction": share, "min_count": 1 if share else 0}


def _lists(column: ColumnStatistics) -> Fields:
    fields: Fields = {"null_elements": True} if column.null_elements else {}
    low, high = column.valency.min, column.valency.max
    if not low:
        return fields
    return {**fields, "valency": Bounds(low, high) if high == low else Bounds(1)}


def _specials(column: ColumnStatistics, notes: dict[str, str]) -> Fields:
    fields: Fields = {}
    for key, count in (("nan", column.nan), ("inf", column.posinf + column.neginf)):
        if count:
            fields[key] = True
            notes[key] = f"{count:,} seen"
    return fields


def _domain(column: ColumnStatistics, stats: Statistics, notes: dict[str, str], how: _How) -> Fields:
    """Choose what values there are; the first that fits, in the order of the table above."""
    if how.evidence and column.count < ENOUGH:
        return {}
    if column.kind == "int" and column.low is not None and column.low >= 0 and column.high == 1:
        return {"zero_one": True}
    if column.kind != "string" or column.invalid_utf8 or not column.values:
        return {}
    words = _bool_words([value for value, _ in column.top(3)]) if column.heavy.exact else None
    if words:
        return {"words": words}
    if column.ints == column.values:
        notes["parses"] = f"all {column.values:,} texts read as integers"
        return {"parses": "int"}
    return _values(column, stats, notes, how)


def _bool_words(values: list[str]) -> Words | None:
    true = [value for value in values if value in TRUE_WORDS]
    false = [value for value in values if value in FALSE_WORDS]
    if len(values) > 2 or len(true) > 1 or len(false) > 1 or len(true) + len(false) != len(values):
        return None
    return Words(true[0] if true else None, false[0] if false else None)


def _values(column: ColumnStatistics, stats: Statistics, notes: dict[str, str], how: _How) -> Fields:
    listed = sorted(value for value, _ in column.heavy.top(how.max_values + 1))
    if not column.heavy.exact or len(listed) > how.max_values or not all(is_short(value) for value in listed):
        return {}
    if not how.evidence:
        return {"values": tuple(listed)}
    seen = _spread(stats, column, how)
    counts = list(column.heavy.counts.values()) if seen is None else seen.times.tolist()
    total = sum(counts)
    unseen = unseen_share(counts, total)
    if total < ENOUGH or unseen > MOST_UNSEEN:
        return {}
    mass = math.floor((1 - unseen) * 1000) / 1000
    if column.name in how.gold and mass < 1:  # in the few answers of another part one rare class is a large share
        return {}
    among = f"{total:,}" if seen is None else f"{total:,} pairs of a value and a group"
    rest = f"at most {1 - mass:.1%} of fresh ones would be others" if mass < 1 else "none of them just once"
    notes["values"] = f"{len(listed)} different in {among}; {rest}"
    return {"values": tuple(listed), "min_mass": mass}


@dataclass(frozen=True)
class _Spread:
    """The different values of a column in the row sample, and in how many groups each was seen."""

    values: Numbers
    times: Ints


def _spread(stats: Statistics, column: ColumnStatistics, how: _How) -> _Spread | None:
    """Count groups instead of rows; None where rows are not grouped, or cells hold no values but lengths of lists."""
    if not how.group or column.levels:
        return None
    cells = column.cells
    group = stats[min(how.group, key=lambda name: stats[name].distinct)].cells
    both = ~cells.missing & ~group.missing
    pairs = np.unique(np.stack([cells.bits[both], group.bits[both]]), axis=1)
    values, times = np.unique(pairs[0], return_counts=True)
    return _Spread(values.view(np.float64 if cells.kind == "float" else np.int64), times)


def _range(column: ColumnStatistics, seen: _Spread | None, notes: dict[str, str]) -> Fields:
    sample, finite = column.finite_sample(), column.finite
    if column.type not in NUMERIC or column.low is None or column.high is None or not len(sample):
        return {}
    names_things = column.distinct >= finite * (1 - 3 * column.distinct_error)
    if seen is not None:
        draws = np.repeat(seen.values, seen.times)
        draws = draws[np.isfinite(draws)]
        finite = round(finite * len(draws) / len(sample))
        names_things, sample = names_things or seen.times.max() == 1, draws
    if len(sample) < ENOUGH or (column.kind == "int" and names_things):
        return {}  # integers that never repeat name things; the next ones will be new
    low = lower_bound(sample, column.low, finite)
    high = upper_bound(sample, column.high, finite)
    if low is not None and column.low >= 0:
        low = max(low, 0.0)  # no sign was ever seen, so a sign is news
    if high is not None and column.high <= 0:
        high = min(high, 0.0)
    if low is None and high is None:
        return {}
    notes["range"] = f"seen {column.low:g} to {column.high:g} in {finite:,} values; the rest is room for fresh ones"
    round_off = _outward if column.kind == "int" else _rounded
    return {"range": Bounds(round_off(low, column.low, math.floor), round_off(high, column.high, math.ceil))}


def _outward(bound: float | None, seen: float, away: Any) -> int | None:
    """Round an integer's bound outward; a bound at what was seen stays exact beyond 2**53."""
    if bound is None:
        return None
    return int(seen) if bound == seen else away(bound)


def _rounded(bound: float | None, seen: float, away: Any) -> float | None:
    """Round a float's bound outward to two digits of the room it leaves: more would only look exact."""
    if bound is None or bound in {0.0, seen}:
        return bound
    unit = 10.0 ** (math.floor(math.log10(abs(bound - seen))) - 1)
    rounded = float(f"{away(bound / unit) * unit:.12g}")
    return rounded if math.isfinite(rounded) else bound

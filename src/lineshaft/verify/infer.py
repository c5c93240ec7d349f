"""A first schema from data: what TensorFlow Data Validation would infer, and only as much more as the data support.

==================  ===================================================================================================
type                as seen
presence            required if no row is missing, else a share with room for noise
valency of lists    fixed if it is constant, at least 1 if it varies from there, else free
bool                ints 0 and 1 with a 1 among them; one or two texts of which at most one is a word for true and one a
                    word for false
parses = "int"      texts that all read as integers
values              few texts, and by Good-Turing hardly any others to come; ``min_mass`` leaves them room
range               numbers, with slack from the tail of what was seen (`evidence`); not for names of things, such as a
                    key or integers that never repeat, and not for dates, which move on
unique              a key of one column
==================  ===================================================================================================

What an inferred constraint rests on is kept in ``notes`` and written into the file as a comment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.errors import SchemaError, UsageError
from lineshaft.verify.evidence import ENOUGH, least_share, lower_bound, unseen_share, upper_bound
from lineshaft.verify.model import Bounds, Column, Dataset, Words
from lineshaft.verify.schema import Schema
from lineshaft.verify.statistics.heavy import is_short
from lineshaft.verify.statistics.onepass import statistics
from lineshaft.verify.suggest import suggestion
from lineshaft.verify.types import NULL, NUMERIC, is_declarable, leaf_type

if TYPE_CHECKING:
    from lineshaft.verify.statistics.summary import ColumnStatistics

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
        Columns with the truth; they will not be expected in the environment ``serving``, and where some rows lack it
        no share of rows is asked for: how many rows experts looked at says nothing about the next data.
    key
        Columns that name a row.
    max_values
        The most values that a list of values may have.
    evidence
        Infer lists of values and shares of presence only as far as the data support them. Without it any column of at
        most ``max_values`` different texts gets the exact list, and presence is all or at least one row, whatever the
        number of rows.
    group
        Columns whose values were dealt to the parts of a split: those of another part are others, so neither a list nor
        a range is inferred for them.

    Raises
    ------
    SchemaError
        A column has a type that no schema can declare.
    UsageError
        ``gold``, ``key`` or ``group`` name a column that is not there.

    """
    stats = statistics(data)
    keys, golds, groups = _names(key), _names(gold), _names(group)
    for name in (*keys, *golds, *groups):
        if name not in stats:
            raise UsageError(f"column {name!r} is not in the data{suggestion(name, stats.columns)}")
    columns = tuple(
        _column(
            column,
            is_key=column.name in keys,
            alone=len(keys) == 1,
            is_group=column.name in groups,
            is_gold=column.name in golds,
            ranges=ranges,
            most=max_values,
            evidence=evidence,
        )
        for column in stats
    )
    return Schema(columns, Dataset(key=keys, gold=golds))


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _column(
    stats: ColumnStatistics,
    *,
    is_key: bool,
    alone: bool,
    is_group: bool,
    is_gold: bool,
    ranges: bool,
    most: int,
    evidence: bool,
) -> Column:
    declared, notes = _type(stats), dict[str, str]()
    if not stats.count:
        notes["type"] = f"no value in {stats.rows:,} rows: the type is a guess"
        return Column(stats.name, declared, min_fraction=0.0, notes=notes)
    fields = _presence(stats, notes, evidence=evidence) | _lists(stats)
    if is_gold and stats.missing:
        fields |= {"min_fraction": 0.0, "min_count": 0}
    if is_key:
        return Column(stats.name, declared, **fields, unique=alone, notes=notes)
    if is_group:
        return Column(stats.name, declared, **fields, notes=notes)
    fields |= _specials(stats, notes)
    domain = _domain(stats, notes, most, evidence=evidence)
    if ranges and not domain:
        domain = _range(stats, notes)
    return Column(stats.name, declared, **fields, **domain, notes=notes)


def _type(stats: ColumnStatistics) -> str:
    kind = leaf_type(stats.type)
    declared = stats.type.replace(NULL, "string") if kind == NULL else stats.type
    if not is_declarable(declared):
        raise SchemaError(
            f"column {stats.name!r} is {stats.type}, which no schema can declare; cast it to another type or drop it"
        )
    return declared


def _presence(stats: ColumnStatistics, notes: dict[str, str], *, evidence: bool) -> Fields:
    if not stats.missing:
        return {}
    notes["presence"] = f"{stats.count:,} of {stats.rows:,} rows have a value"
    if not evidence or stats.rows < ENOUGH:
        return {"min_fraction": 0.0, "min_count": 1}
    share = math.floor(least_share(stats.count, stats.rows) * 100) / 100
    return {"min_fraction": share, "min_count": 1 if share else 0}


def _lists(stats: ColumnStatistics) -> Fields:
    fields: Fields = {"null_elements": True} if stats.state.null_elements else {}
    low, high = stats.valency.min, stats.valency.max
    if not low:
        return fields
    return {**fields, "valency": Bounds(low, high if high == low else None) if high == low else Bounds(1)}


def _specials(stats: ColumnStatistics, notes: dict[str, str]) -> Fields:
    fields: Fields = {}
    for key, count in (("nan", stats.nan), ("inf", stats.posinf + stats.neginf)):
        if count:
            fields[key] = True
            notes[key] = f"{count:,} seen"
    return fields


def _domain(stats: ColumnStatistics, notes: dict[str, str], most: int, *, evidence: bool) -> Fields:
    """Choose what values there are; the first that fits, in the order of the table above."""
    leaf = stats.state.leaf
    if leaf.kind == "int" and leaf.low is not None and leaf.low >= 0 and leaf.high == 1:
        return {"zero_one": True}
    if leaf.kind != "string" or leaf.invalid_utf8 or not leaf.values:
        return {}
    words = _bool_words([value for value, _ in stats.top(3)]) if leaf.heavy.exact else None
    if words:
        return {"words": words}
    if leaf.ints == leaf.values:
        notes["parses"] = f"all {leaf.values:,} texts read as integers"
        return {"parses": "int"}
    return _values(stats, notes, most, evidence=evidence)


def _bool_words(values: list[str]) -> Words | None:
    true = [value for value in values if value in TRUE_WORDS]
    false = [value for value in values if value in FALSE_WORDS]
    if len(values) > 2 or len(true) > 1 or len(false) > 1 or len(true) + len(false) != len(values):
        return None
    return Words(true[0] if true else None, false[0] if false else None)


def _values(stats: ColumnStatistics, notes: dict[str, str], most: int, *, evidence: bool) -> Fields:
    heavy, total = stats.heavy, stats.state.leaf.values
    listed = sorted(value for value, _ in heavy.top(most + 1))
    if not heavy.exact or len(listed) > most or not all(is_short(value) for value in listed):
        return {}
    if not evidence:
        return {"values": tuple(listed)}
    unseen = unseen_share(list(heavy.counts.values()), total)
    if total < ENOUGH or unseen > MOST_UNSEEN:
        return {}
    mass = math.floor((1 - unseen) * 1000) / 1000
    notes["values"] = f"{len(listed)} different in {total:,}; at most {1 - mass:.1%} of fresh ones would be others"
    return {"values": tuple(listed), "min_mass": mass}


def _range(stats: ColumnStatistics, notes: dict[str, str]) -> Fields:
    leaf, values = stats.state.leaf, stats.finite_sample()
    if stats.type not in NUMERIC or leaf.low is None or leaf.high is None or len(values) < ENOUGH:
        return {}
    if leaf.kind == "int" and stats.distinct >= leaf.finite * (1 - 3 * stats.distinct_error):
        return {}  # integers that never repeat name things; the next ones will be new
    low = lower_bound(values, leaf.low, leaf.finite)
    high = upper_bound(values, leaf.high, leaf.finite)
    if low is not None and leaf.low >= 0:
        low = max(low, 0.0)  # no sign was ever seen, so a sign is news
    if high is not None and leaf.high <= 0:
        high = min(high, 0.0)
    if low is None and high is None:
        return {}
    notes["range"] = f"seen {leaf.low:g} to {leaf.high:g} in {leaf.finite:,} values; the rest is room for fresh ones"
    if leaf.kind == "int":
        return {"range": Bounds(_outward(low, leaf.low, math.floor), _outward(high, leaf.high, math.ceil))}
    return {"range": Bounds(_rounded(low, leaf.low, math.floor), _rounded(high, leaf.high, math.ceil))}


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

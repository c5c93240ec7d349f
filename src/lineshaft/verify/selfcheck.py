"""Contradictions inside a schema, found when it is made: errors name the column and the two things that disagree."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import re2

from lineshaft.core.expression import parse
from lineshaft.errors import ExpressionError, SchemaError
from lineshaft.verify.anomalies import SEVERITIES
from lineshaft.verify.model import SERVING, Bounds, Column, Dataset, Rule, Words
from lineshaft.verify.plainform import suggestion
from lineshaft.verify.reasons import REASONS
from lineshaft.verify.types import NUMERIC, PARSERS, SCALARS, arrow_of, is_declarable, leaf_type

# Which constraints make sense for which type of values.
_FITS: dict[str, tuple[str, ...]] = {
    "range": ("int", "float", "date", "datetime"),
    "values": ("int", "string"),
    "nan": ("float",),
    "inf": ("float",),
    "zero_one": NUMERIC,
    "words": ("string",),
    "parses": ("string",),
    "length": ("string", "bytes"),
    "pattern": ("string",),
}
_KEYS = {"zero_one": "bool", "words": "bool"}


def check_schema(columns: Sequence[Column], dataset: Dataset, rules: Sequence[Rule]) -> None:
    """Raise SchemaError at the first contradiction."""
    names = [column.name for column in columns]
    _refuse_repeats("column", names)
    known = {SERVING, *dataset.environments}
    for column in columns:
        _check_column(column)
        for environment in (*(column.environments or ()), *column.not_in):
            if environment not in known:
                _fail(column, f"environment {environment!r} is not declared{suggestion(environment, known)}")
    _check_dataset(dataset, names)
    _refuse_repeats("rule", [rule.name for rule in rules])
    empty = pa.table({column.name: pa.array([], arrow_of(column.type)) for column in columns})
    for rule in rules:
        _check_rule(rule, empty)


def _check_column(column: Column) -> None:
    if not is_declarable(column.type):
        _fail(column, f"type {column.type!r} is unknown; use {', '.join(SCALARS)} or list<...>")
    for check in _CHECKS:
        check(column)


def _fail(column: Column, text: str) -> None:
    raise SchemaError(f"column {column.name!r}: {text}")


def _constraints_fit_the_type(column: Column) -> None:
    kind = leaf_type(column.type)
    for name, kinds in _FITS.items():
        fits = kind in kinds or (name == "range" and column.parses is not None)
        if getattr(column, name) and not fits:
            key = _KEYS.get(name, name)
            _fail(column, f"{key} does not fit type {column.type}; it is for {', '.join(kinds)}")
    if column.type == leaf_type(column.type) and (column.valency or column.null_elements):
        _fail(column, f"valency and null_elements are about lists, and the type is {column.type}")
    if (column.unique or column.distinct) and (column.type != kind or kind == "struct"):
        _fail(column, f"unique and distinct are about single values, and the type is {column.type}")


def _one_domain(column: Column) -> None:
    domains = {"values": column.values, "bool": column.words or column.zero_one, "parses": column.parses}
    given = [name for name, value in domains.items() if value]
    if len(given) > 1:
        _fail(column, f"{given[0]} and {given[1]} both say which values there are; keep one")
    if column.range and given and given != ["parses"]:
        _fail(column, "range stands beside a list of values; keep one")


def _presence_is_a_share(column: Column) -> None:
    if not 0 <= column.min_fraction <= 1:
        _fail(column, f"min_fraction = {column.min_fraction} is not a share from 0 to 1")
    if column.min_count < 0:
        _fail(column, f"min_count = {column.min_count} is negative")


def _values_differ(column: Column) -> None:
    if column.values is None:
        if column.min_mass != 1.0:
            _fail(column, "min_mass without values says nothing; list the values or drop it")
        return
    if not column.values:
        _fail(column, "values is empty, so no row could ever pass; drop it or list the values")
    kind: type = int if leaf_type(column.type) == "int" else str
    for value in column.values:
        if not isinstance(value, kind) or isinstance(value, bool):
            _fail(column, f"value {value!r} is not of type {leaf_type(column.type)}")
    repeated = [value for value, times in Counter(column.values).items() if times > 1]
    if repeated:
        _fail(column, f"value {repeated[0]!r} is listed twice")
    if not 0 < column.min_mass <= 1:
        _fail(column, f"min_mass = {column.min_mass} is not a share above 0 and up to 1")


def _range_is_ordered(column: Column) -> None:
    if not column.range:
        return
    kind = column.parses or leaf_type(column.type)
    for name, bound in (("min", column.range.min), ("max", column.range.max)):
        if bound is not None and not _is_bound(bound, kind):
            _fail(column, f"range.{name} = {bound!r} is not {_BOUND_WORDS[kind]}")
    _ordered(column, "range", column.range)


_BOUND_WORDS = {"int": "a whole number", "float": "a finite number", "date": "a date", "datetime": "a date and time"}


def _is_bound(bound: object, kind: str) -> bool:
    if kind == "datetime":
        return isinstance(bound, dt.datetime)
    if kind == "date":
        return isinstance(bound, dt.date) and not isinstance(bound, dt.datetime)
    if isinstance(bound, bool):
        return False
    return isinstance(bound, int) or (kind == "float" and isinstance(bound, float) and math.isfinite(bound))


def _counts_are_ordered(column: Column) -> None:
    for key in ("valency", "length", "distinct"):
        bounds: Bounds | None = getattr(column, key)
        if bounds is None:
            continue
        for name, bound in (("min", bounds.min), ("max", bounds.max)):
            if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 0):
                _fail(column, f"{key}.{name} = {bound!r} is not a count from 0 up")
        _ordered(column, key, bounds)


def _ordered(column: Column, key: str, bounds: Bounds) -> None:
    if bounds.min is not None and bounds.max is not None and _later(bounds.min, bounds.max):
        _fail(column, f"{key} is inverted: min = {bounds.min} is above max = {bounds.max}")


def _later(a: Any, b: Any) -> bool:
    if isinstance(a, dt.datetime) and isinstance(b, dt.datetime):
        a, b = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC) for moment in (a, b))
    return bool(a > b)


def _words_differ(column: Column) -> None:
    words: Words | None = column.words
    if words and words.true is not None and words.true == words.false:
        _fail(column, f"the word {words.true!r} means both true and false")
    if words and words.true is None and words.false is None:
        _fail(column, "bool names neither a true nor a false word")


def _texts_are_known(column: Column) -> None:
    if column.parses is not None and column.parses not in PARSERS:
        _fail(column, f'parses = {column.parses!r} is neither "int" nor "float"')
    if column.pattern is not None:
        compile_pattern(column.name, column.pattern)
    _check_severity(f"column {column.name!r}", column.severity)


def compile_pattern(name: str, pattern: str) -> Any:
    """Compile a pattern for whole texts; the message of RE2 says what is wrong with it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise SchemaError(f"column {name!r}: pattern {pattern!r} is not an RE2 expression: {told}") from error


_CHECKS: tuple[Callable[[Column], None], ...] = (
    _presence_is_a_share,
    _texts_are_known,
    _constraints_fit_the_type,
    _one_domain,
    _values_differ,
    _range_is_ordered,
    _counts_are_ordered,
    _words_differ,
)


def _check_severity(where: str, severity: Mapping[str, str]) -> None:
    known = {*REASONS, "*"}
    for reason, word in severity.items():
        if reason not in known:
            raise SchemaError(
                f"{where}: severity names the reason {reason!r}, which is unknown{suggestion(reason, known)}"
            )
        if word not in SEVERITIES:
            raise SchemaError(f"{where}: severity of {reason} is {word!r}; use {' or '.join(SEVERITIES)}")


def _check_dataset(dataset: Dataset, names: Sequence[str]) -> None:
    for kind, listed in (("key", dataset.key), ("gold", dataset.gold)):
        for name in listed:
            if name not in names:
                raise SchemaError(
                    f"dataset.{kind} names column {name!r}, which is not declared{suggestion(name, names)}"
                )
    both = sorted(set(dataset.key) & set(dataset.gold))
    if both:
        raise SchemaError(f"column {both[0]!r} is both key and gold; the truth cannot name a row")
    for name, bound in (("min_rows", dataset.min_rows), ("max_rows", dataset.max_rows)):
        if bound is not None and bound < 0:
            raise SchemaError(f"dataset.{name} = {bound} is negative")
    if dataset.min_rows is not None and dataset.max_rows is not None and dataset.min_rows > dataset.max_rows:
        raise SchemaError(f"dataset: min_rows = {dataset.min_rows} is above max_rows = {dataset.max_rows}")
    _check_severity("dataset", dataset.severity)


def _check_rule(rule: Rule, empty: pa.Table) -> None:
    """Run the rule over no rows of the declared types: it must read declared columns and answer true or false."""
    if rule.severity not in SEVERITIES:
        raise SchemaError(f"rule {rule.name!r}: severity is {rule.severity!r}; use {' or '.join(SEVERITIES)}")
    names = empty.column_names
    try:
        expression = parse(rule.expect)
        for name in expression.columns:
            if name not in names:
                hint = suggestion(name, names)
                raise SchemaError(f"rule {rule.name!r} reads column {name!r}, which is not declared{hint}")
        answer = expression.evaluate(empty).type
    except ExpressionError as error:
        raise SchemaError(f"rule {rule.name!r}: {error}") from error
    if not pa.types.is_boolean(answer):
        raise SchemaError(f"rule {rule.name!r} gives {answer}, not true or false: {rule.expect}")


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise SchemaError(f"{what} {repeated[0]!r} is declared twice")

"""A schema as nested dicts with the keys of its file, and back: the one place that knows which keys there are.

Reading refuses unknown keys and values of the wrong kind, with the column and the nearest known key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from lineshaft.errors import SchemaError
from lineshaft.verify.model import Bounds, Column, Dataset, Rule, Words
from lineshaft.verify.suggest import suggestion
from lineshaft.verify.types import leaf_type

FORMAT = 1

Plain = dict[str, Any]


def to_plain(columns: Iterable[Column], dataset: Dataset, rules: Iterable[Rule]) -> Plain:
    """Write a schema as nested dicts; what is at its default is left out."""
    plain: Plain = {"format": FORMAT}
    head = {
        "key": list(dataset.key),
        "gold": list(dataset.gold),
        "environments": list(dataset.environments),
        "min_rows": dataset.min_rows,
        "max_rows": dataset.max_rows,
        "severity": _severity_to_plain(dataset.severity),
    }
    kept = {key: value for key, value in head.items() if value not in ([], {}, None)}
    if kept:
        plain["dataset"] = kept
    listed = [_rule_to_plain(rule) for rule in rules]
    if listed:
        plain["rules"] = listed
    plain["columns"] = {column.name: column_to_plain(column) for column in columns}
    return plain


def from_plain(plain: Mapping[str, Any]) -> tuple[tuple[Column, ...], Dataset, tuple[Rule, ...]]:
    """Read a schema from nested dicts; contradictions are `selfcheck`'s business."""
    _known_keys("the schema", plain, {"format", "dataset", "rules", "columns"})
    if plain.get("format", FORMAT) != FORMAT:
        raise SchemaError(f"the schema has format {plain['format']!r}; this version reads {FORMAT}")
    columns = _table("columns", plain.get("columns", {}))
    rules = plain.get("rules", [])
    if not isinstance(rules, list):
        raise SchemaError("rules must be a list of tables: write [[rules]]")
    return (
        tuple(column_from_plain(name, column) for name, column in columns.items()),
        _dataset_from_plain(_table("dataset", plain.get("dataset", {}))),
        tuple(_rule_from_plain(number, rule) for number, rule in enumerate(rules, start=1)),
    )


def column_to_plain(column: Column) -> Plain:
    """Write one column; keys in the order in which people read them."""
    plain: Plain = {"type": column.type}
    values = {
        "presence": _presence_to_plain(column),
        "environments": None if column.environments is None else list(column.environments),
        "not_in": list(column.not_in) or None,
        "valency": _bounds_to_plain(column.valency),
        "null_elements": column.null_elements or None,
        "values": None if column.values is None else list(column.values),
        "min_mass": None if column.min_mass == 1 else column.min_mass,
        "range": _bounds_to_plain(column.range),
        "nan": column.nan or None,
        "inf": column.inf or None,
        "bool": _bool_to_plain(column),
        "parses": column.parses,
        "length": _bounds_to_plain(column.length),
        "pattern": column.pattern,
        "unique": column.unique or None,
        "distinct": _bounds_to_plain(column.distinct),
        "severity": _severity_to_plain(column.severity),
    }
    plain.update({key: value for key, value in values.items() if value is not None})
    return plain


def column_from_plain(name: str, plain: object) -> Column:
    """Read one column; a bare text is its type."""
    where = f"column {name!r}"
    table = {"type": plain} if isinstance(plain, str) else _table(where, plain)
    _known_keys(where, table, {"type", *_READERS})
    if not isinstance(table.get("type"), str):
        raise SchemaError(f'{where}: no type; write type = "int" or another')
    fields: dict[str, Any] = {}
    for key, value in table.items():
        if key != "type":
            fields.update(_READERS[key](f"{where}: {key}", value))
    return _with_typed_bounds(Column(name, table["type"], **fields))


def _with_typed_bounds(column: Column) -> Column:
    """Read bounds as what they bound: floats (``min = 0`` and ``min = 0.0`` are one schema) and dates in ISO text."""
    if column.range is None:
        return column
    read = _BOUNDS.get(column.parses or leaf_type(column.type), lambda bound: bound)
    try:
        return replace(column, range=Bounds(read(column.range.min), read(column.range.max)))
    except (ValueError, OverflowError) as error:
        raise SchemaError(f"column {column.name!r}: a bound of range is not of type {column.type}: {error}") from error


def _float(bound: Any) -> Any:
    return float(bound) if isinstance(bound, int) and not isinstance(bound, bool) else bound


_BOUNDS: dict[str, Callable[[Any], Any]] = {
    "float": _float,
    "date": lambda bound: dt.date.fromisoformat(bound) if isinstance(bound, str) else bound,
    "datetime": lambda bound: dt.datetime.fromisoformat(bound) if isinstance(bound, str) else bound,
}


def _presence_to_plain(column: Column) -> Any:
    if column.min_fraction == 1 and column.min_count == 0:
        return None
    if not column.must_be_there:
        return "optional"
    shares = {"min_fraction": column.min_fraction} if column.min_fraction else {}
    return {**shares, **({"min_count": column.min_count} if column.min_count else {})}


def _read_presence(where: str, value: Any) -> dict[str, Any]:
    if value == "required":
        return {}
    if value == "optional":
        return {"min_fraction": 0.0}
    if isinstance(value, str):
        raise SchemaError(f'{where} = {value!r}: use "required", "optional" or a table with min_fraction and min_count')
    table = _table(where, value)
    _known_keys(where, table, {"min_fraction", "min_count"})
    share = _number(f"{where}.min_fraction", table.get("min_fraction", 0.0))
    return {"min_fraction": float(share), "min_count": _whole(f"{where}.min_count", table.get("min_count", 0))}


def _bounds_to_plain(bounds: Bounds | None) -> Any:
    if bounds is None:
        return None
    return {key: value for key, value in (("min", bounds.min), ("max", bounds.max)) if value is not None}


def _bounds(field: str) -> Callable[[str, Any], dict[str, Any]]:
    def read(where: str, value: Any) -> dict[str, Any]:
        table = _table(where, value)
        _known_keys(where, table, {"min", "max"})
        if not table:
            raise SchemaError(f"{where} has neither min nor max")
        return {field: Bounds(table.get("min"), table.get("max"))}

    return read


def _bool_to_plain(column: Column) -> Any:
    if column.zero_one:
        return True
    if column.words is None:
        return None
    return {key: word for key, word in (("true", column.words.true), ("false", column.words.false)) if word is not None}


def _read_bool(where: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"zero_one": value}
    table = _table(where, value)
    _known_keys(where, table, {"true", "false"})
    words = {key: _text(f"{where}.{key}", word) for key, word in table.items()}
    return {"words": Words(words.get("true"), words.get("false"))}


def _one(field: str, read: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    return lambda where, value: {field: read(where, value)}


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SchemaError(f"{where} = {value!r} is neither true nor false")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{where} = {value!r} is not a text")
    return value


def _number(where: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SchemaError(f"{where} = {value!r} is not a number")
    return value


def _whole(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SchemaError(f"{where} = {value!r} is not a whole number")
    return value


def _list(where: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SchemaError(f"{where} = {value!r} is not a list")
    return tuple(value)


def _texts(where: str, value: Any) -> tuple[str, ...]:
    return tuple(_text(where, item) for item in _list(where, value))


def _severity_to_plain(severity: Mapping[str, str]) -> Any:
    if set(severity) == {"*"}:
        return severity["*"]
    return dict(sorted(severity.items())) or None


def _severities(where: str, value: Any) -> dict[str, str]:
    """Read a severity: one word for all reasons, or a table by reason."""
    table = {"*": value} if isinstance(value, str) else _table(where, value)
    return {reason: _text(where, word) for reason, word in table.items()}


_READERS: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "presence": _read_presence,
    "environments": _one("environments", _texts),
    "not_in": _one("not_in", _texts),
    "valency": _bounds("valency"),
    "null_elements": _one("null_elements", _flag),
    "values": _one("values", _list),
    "min_mass": _one("min_mass", lambda where, value: float(_number(where, value))),
    "range": _bounds("range"),
    "nan": _one("nan", _flag),
    "inf": _one("inf", _flag),
    "bool": _read_bool,
    "parses": _one("parses", _text),
    "length": _bounds("length"),
    "pattern": _one("pattern", _text),
    "unique": _one("unique", _flag),
    "distinct": _bounds("distinct"),
    "severity": _one("severity", _severities),
}


def _dataset_from_plain(plain: Mapping[str, Any]) -> Dataset:
    readers: dict[str, Callable[[str, Any], Any]] = {
        "key": _texts,
        "gold": _texts,
        "environments": _texts,
        "min_rows": _whole,
        "max_rows": _whole,
        "severity": _severities,
    }
    _known_keys("dataset", plain, readers)
    return Dataset(**{key: readers[key](f"dataset: {key}", value) for key, value in plain.items()})


def _rule_to_plain(rule: Rule) -> Plain:
    plain = {"name": rule.name, "expect": rule.expect}
    return plain if rule.severity == "error" else {**plain, "severity": rule.severity}


def _rule_from_plain(number: int, plain: object) -> Rule:
    table = _table(f"rule {number}", plain)
    where = f"rule {table.get('name', number)!r}"
    _known_keys(where, table, {"name", "expect", "severity"})
    if "expect" not in table:
        raise SchemaError(f'{where}: no condition; write expect = "..."')
    texts = {key: _text(f"{where}: {key}", value) for key, value in table.items()}
    return Rule(texts.get("name", texts["expect"]), texts["expect"], texts.get("severity", "error"))


def _table(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where} = {value!r} is not a table")
    return value


def _known_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in set(known):
            raise SchemaError(f"{where}: unknown key {key!r}{suggestion(key, known)}")

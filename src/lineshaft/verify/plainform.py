"""A schema as nested dicts with the keys of its file, and back: the one place that knows which keys there are.

Reading refuses unknown keys and values of the wrong kind, with the column and the nearest known key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from lineshaft.errors import SchemaError
from lineshaft.verify.model import Bounds, Column, Dataset, Rule, Words
from lineshaft.verify.types import leaf_type

FORMAT = 1

Plain = dict[str, Any]
Reader = Callable[[str, Any], Any]  # where a value stands, and the value; raises SchemaError


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the closest known one, or all of them if they are few."""
    words = sorted(known)
    close = get_close_matches(word, words, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if 0 < len(words) <= 20 else ""


def to_plain(columns: Iterable[Column], dataset: Dataset, rules: Iterable[Rule]) -> Plain:
    """Write a schema as nested dicts; what is at its default is left out."""
    plain: Plain = {"format": FORMAT}
    if head := _written(_DATASET, dataset):
        plain["dataset"] = head
    if listed := [_written(_RULE, rule) for rule in rules]:
        plain["rules"] = listed
    return {
        **plain,
        "columns": {column.name: {"type": column.type, **_written(COLUMN_KEYS, column)} for column in columns},
    }


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
        tuple(_read_column(name, column) for name, column in columns.items()),
        Dataset(**_read(_DATASET, "dataset", _table("dataset", plain.get("dataset", {})))),
        tuple(_read_rule(number, rule) for number, rule in enumerate(rules, start=1)),
    )


def _read_column(name: str, plain: object) -> Column:
    """Read one column; a bare text is its type."""
    where = f"column {name!r}"
    table = {"type": plain} if isinstance(plain, str) else _table(where, plain)
    if not isinstance(table.get("type"), str):
        raise SchemaError(f'{where}: no type; write type = "int" or another')
    column = Column(name, **_read({**_fields(type=_text), **COLUMN_KEYS}, where, table))
    return column if column.range is None else replace(column, range=_typed_bounds(column, column.range))


def _typed_bounds(column: Column, bounds: Bounds) -> Bounds:
    """Read bounds as what they bound: floats (``min = 0`` and ``min = 0.0`` are one schema) and dates in ISO text."""
    read = _BOUNDS.get(column.parses or leaf_type(column.type), lambda bound: bound)
    try:
        return Bounds(read(bounds.min), read(bounds.max))
    except (ValueError, OverflowError) as error:
        raise SchemaError(f"column {column.name!r}: a bound of range is not of type {column.type}: {error}") from error


_BOUNDS: dict[str, Callable[[Any], Any]] = {
    "float": lambda bound: float(bound) if isinstance(bound, int) and not isinstance(bound, bool) else bound,
    "date": lambda bound: dt.date.fromisoformat(bound) if isinstance(bound, str) else bound,
    "datetime": lambda bound: dt.datetime.fromisoformat(bound) if isinstance(bound, str) else bound,
}


def _read_rule(number: int, plain: object) -> Rule:
    table = _table(f"rule {number}", plain)
    where = f"rule {table.get('name', number)!r}"
    texts = _read(_RULE, where, table)
    if "expect" not in texts:
        raise SchemaError(f'{where}: no condition; write expect = "..."')
    return Rule(**{"name": texts["expect"], **texts})


def _table(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where} = {value!r} is not a table")
    return value


def _known_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in set(known):
            raise SchemaError(f"{where}: unknown key {key!r}{suggestion(key, known)}")


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SchemaError(f"{where} = {value!r} is neither true nor false")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{where} = {value!r} is not a text")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SchemaError(f"{where} = {value!r} is not a number")
    return float(value)


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


def _bounds(where: str, value: Any) -> Bounds:
    table = _table(where, value)
    _known_keys(where, table, {"min", "max"})
    if not table:
        raise SchemaError(f"{where} has neither min nor max")
    return Bounds(table.get("min"), table.get("max"))


def _severities(where: str, value: Any) -> dict[str, str]:
    """Read a severity: one word for all reasons, or a table by reason."""
    table = {"*": value} if isinstance(value, str) else _table(where, value)
    return {reason: _text(where, word) for reason, word in table.items()}


def _presence(where: str, value: Any) -> Plain:
    if value == "required":
        return {}
    if value == "optional":
        return {"min_fraction": 0.0}
    if isinstance(value, str):
        raise SchemaError(f'{where} = {value!r}: use "required", "optional" or a table with min_fraction and min_count')
    table = _table(where, value)
    _known_keys(where, table, {"min_fraction", "min_count"})
    share = _number(f"{where}.min_fraction", table.get("min_fraction", 0.0))
    return {"min_fraction": share, "min_count": _whole(f"{where}.min_count", table.get("min_count", 0))}


def _written_presence(column: Column) -> Any:
    if not column.must_be_there:
        return "optional"
    if (column.min_fraction, column.min_count) == (1, 0):
        return None
    given = {"min_fraction": column.min_fraction, "min_count": column.min_count}
    return {key: least for key, least in given.items() if least}


def _bool(where: str, value: Any) -> Plain:
    if isinstance(value, bool):
        return {"zero_one": value}
    table = _table(where, value)
    _known_keys(where, table, {"true", "false"})
    return {"words": Words(**{key: _text(f"{where}.{key}", word) for key, word in table.items()})}


def _written_bool(column: Column) -> Any:
    return column.zero_one or (column.words and _value(column.words)) or None


@dataclass(frozen=True)
class _Key:
    """One key of the file: reads its value into fields, and writes it from them (None: left out)."""

    read: Callable[[str, Any], Plain]
    write: Callable[[Any], Any]


def _fields(**readers: Reader) -> dict[str, _Key]:
    """Make the keys that each hold the field of the same name."""
    return {name: _field(name, read) for name, read in readers.items()}


def _field(name: str, read: Reader) -> _Key:
    return _Key(lambda where, value: {name: read(where, value)}, lambda owner: _unless_default(owner, name))


def _unless_default(owner: Any, name: str) -> Any:
    [field] = (field for field in fields(owner) if field.name == name)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    value = getattr(owner, name)
    return None if value == default else _value(value)


def _value(value: Any) -> Any:
    """Write the value of a field: bounds and words as tables, one severity for all reasons as a word."""
    if isinstance(value, (Bounds, Words)):
        return {key: part for key, part in vars(value).items() if part is not None}
    if isinstance(value, Mapping):
        return value["*"] if set(value) == {"*"} else dict(sorted(value.items()))
    return list(value) if isinstance(value, tuple) else value


# In the order in which people read them, behind the type.
COLUMN_KEYS: dict[str, _Key] = {
    "presence": _Key(_presence, _written_presence),
    **_fields(environments=_texts, not_in=_texts, valency=_bounds, null_elements=_flag, values=_list, min_mass=_number),
    **_fields(range=_bounds, nan=_flag, inf=_flag),
    "bool": _Key(_bool, _written_bool),
    **_fields(parses=_text, length=_bounds, pattern=_text, unique=_flag, distinct=_bounds, severity=_severities),
}
_DATASET = _fields(key=_texts, gold=_texts, environments=_texts, min_rows=_whole, max_rows=_whole, severity=_severities)
_RULE = _fields(name=_text, expect=_text, severity=_text)


def _read(keys: Mapping[str, _Key], where: str, table: Mapping[str, Any]) -> Plain:
    _known_keys(where, table, keys)
    found: Plain = {}
    for key, value in table.items():
        found |= keys[key].read(f"{where}: {key}", value)
    return found


def _written(keys: Mapping[str, _Key], owner: Any) -> Plain:
    plain = {name: key.write(owner) for name, key in keys.items()}
    return {name: value for name, value in plain.items() if value is not None}

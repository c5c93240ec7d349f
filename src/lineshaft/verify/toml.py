"""Schemas as TOML that people read and edit: canonical text, first writing with evidence, and edits in place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable, Table

from lineshaft.errors import SchemaError

if TYPE_CHECKING:
    from lineshaft.verify.plainform import Plain

Notes = Mapping[str, Mapping[str, str]]  # column to key to text

HEAD = (
    "What the data must look like. Yours to edit: lineshaft writes it once and from then on only proposes changes.",
    "Columns are required in every row unless presence says otherwise.",
)


def read_toml(text: str) -> Plain:
    """Read TOML into nested dicts."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(f"the schema is not TOML: {error}") from error


def write_toml(plain: Plain, notes: Notes | None = None) -> str:
    """Write nested dicts as TOML; with notes they stand behind their keys as comments, below a head for people."""
    document = tomlkit.document()
    for line in HEAD if notes is not None else ():
        document.add(tomlkit.comment(line))
    _say(document, plain, notes or {})
    return tomlkit.dumps(document)


def edit_toml(text: str, plain: Plain) -> str:
    """Change TOML text so that it says ``plain``, keeping comments, order and spelling of all that stays equal."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise SchemaError(f"the schema file cannot be edited, for it is not TOML: {error}") from error
    _say(document, plain, {})
    return tomlkit.dumps(document)


def _say(document: tomlkit.TOMLDocument, plain: Plain, notes: Notes) -> None:
    for key in [key for key in document if key not in plain]:
        del document[key]
    for key, value in plain.items():
        if key == "columns":
            _say_columns(document, value, notes)
        elif key == "dataset" and isinstance(document.get(key), Table):
            _say_keys(document[key], value)
        elif key not in document or _unwrapped(document[key]) != value:
            document[key] = _item(value, inline=False)


def _say_columns(document: tomlkit.TOMLDocument, columns: Plain, notes: Notes) -> None:
    old: Any = document["columns"] if "columns" in document else tomlkit.table(is_super_table=True)
    for name in [name for name in old if name not in columns]:
        del old[name]
    for name, column in columns.items():
        if name not in old:
            old[name] = _column(column, notes.get(name, {}))
        elif isinstance(old[name], (Table, InlineTable)):
            _say_keys(old[name], column)
        elif column != {"type": _unwrapped(old[name])}:
            old[name] = _item(column, inline=True)
    if "columns" not in document:
        document.add("columns", old)


def _say_keys(old: Any, new: Plain) -> None:
    for key in [key for key in old if key not in new]:
        del old[key]
    for key, value in new.items():
        if key not in old or _unwrapped(old[key]) != value:
            old[key] = _item(value, inline=True)


def _unwrapped(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _column(column: Plain, notes: Mapping[str, str]) -> Table:
    table = tomlkit.table()
    for key, value in column.items():
        item = _item(value, inline=True)
        table.add(key, item.comment(notes[key]) if key in notes else item)
    return table


def _item(value: Any, *, inline: bool) -> Any:
    """Turn a plain value into a TOML item; tables inside columns stay on their line."""
    if isinstance(value, dict):
        table: Any = tomlkit.inline_table() if inline else tomlkit.table()
        for key, entry in value.items():
            table.append(key, _item(entry, inline=True))
        return table
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        tables = tomlkit.aot()
        for entry in value:
            tables.append(_item(entry, inline=False))
        return tables
    if isinstance(value, list):
        return _array(value)
    return tomlkit.item(value)


def _array(values: list[Any]) -> Any:
    array = tomlkit.array()
    array.extend(values)
    return array.multiline(len(tomlkit.dumps({"a": values})) > 100)

"""What a schema says: frozen values without behaviour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SERVING = "serving"

Bound = int | float | dt.date | dt.datetime


@dataclass(frozen=True)
class Bounds:
    """A least and a greatest value, both allowed; None is no bound."""

    min: Any = None
    max: Any = None


@dataclass(frozen=True)
class Words:
    """The two texts of a bool column written as text; None is a word not in use."""

    true: str | None = None
    false: str | None = None


@dataclass(frozen=True)
class Column:
    """What a schema says about one column.

    Attributes
    ----------
    name, type
        The column and its type, as in `lineshaft.verify.types`.
    min_fraction, min_count
        How much of it must be present. 1.0 (``presence = "required"``, the default) wants a value in every row.
    environments, not_in
        The environments it belongs to (None: all), and those it does not.
    valency
        How long its lists may be.
    null_elements
        Whether nulls inside lists are fine.
    values, min_mass
        The values it may have; the share of values that must be among them.
    range
        Bounds of its finite values, in 64 bits.
    nan, inf
        Whether these are fine.
    zero_one, words
        A bool column held as numbers 0 and 1, or as two texts.
    parses
        ``"int"`` or ``"float"``: text that must read as that, and whose range is checked.
    length, pattern
        Bounds of the number of characters (bytes: of bytes); an RE2 regular expression for the whole text.
    unique
        Whether no value may stand in two rows.
    distinct
        Bounds of the number of different values.
    severity
        Reason to ``"error"`` or ``"warning"``; the key ``"*"`` is for all others.
    notes
        TOML key to the evidence an inferred constraint rests on; written as comments, no part of the meaning.

    """

    name: str
    type: str
    min_fraction: float = 1.0
    min_count: int = 0
    environments: tuple[str, ...] | None = None
    not_in: tuple[str, ...] = ()
    valency: Bounds | None = None
    null_elements: bool = False
    values: tuple[Any, ...] | None = None
    min_mass: float = 1.0
    range: Bounds | None = None
    nan: bool = False
    inf: bool = False
    zero_one: bool = False
    words: Words | None = None
    parses: str | None = None
    length: Bounds | None = None
    pattern: str | None = None
    unique: bool = False
    distinct: Bounds | None = None
    severity: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def must_be_there(self) -> bool:
        """Whether data without this column are an anomaly."""
        return self.min_fraction > 0 or self.min_count > 0

    @property
    def required(self) -> bool:
        """Whether every row must have a value."""
        return self.min_fraction >= 1


@dataclass(frozen=True)
class Rule:
    """A condition over the columns of a row; null passes.

    Attributes
    ----------
    name
        How reports call it.
    expect
        The condition, in the expression language.
    severity
        ``"error"`` or ``"warning"``.

    """

    name: str
    expect: str
    severity: str = "error"


@dataclass(frozen=True)
class Dataset:
    """What a schema says about all rows together.

    Attributes
    ----------
    key
        The columns that name a row; in the environment ``serving`` they may be absent.
    gold
        Columns with the truth; they do not belong to ``serving`` unless they say so themselves.
    environments
        Names of environments besides ``serving``, which always exists.
    min_rows, max_rows
        Bounds of the number of rows, each alone if need be.
    severity
        Reason to severity, for reasons about the data set and for columns that should not be there; ``"*"`` as above.

    """

    key: tuple[str, ...] = ()
    gold: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    min_rows: int | None = None
    max_rows: int | None = None
    severity: Mapping[str, str] = field(default_factory=dict)


EXPECTED, OPTIONAL, EXCLUDED = "expected", "optional", "excluded"


def standing(column: Column, dataset: Dataset, environment: str | None) -> str:
    """Say whether a column is expected, optional or excluded in an environment (None: everything is expected)."""
    if environment is None:
        return EXPECTED
    if environment in column.not_in:
        return EXCLUDED
    if column.environments is not None:
        return EXPECTED if environment in column.environments else EXCLUDED
    if environment == SERVING and column.name in dataset.gold:
        return EXCLUDED
    if environment == SERVING and column.name in dataset.key:
        return OPTIONAL
    return EXPECTED

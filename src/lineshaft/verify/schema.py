"""A schema: what data must look like, in a file that belongs to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.expression import parse
from lineshaft.errors import SchemaError, UsageError
from lineshaft.verify.model import SERVING, Column, Dataset, Rule
from lineshaft.verify.plainform import Plain, from_plain, suggestion, to_plain
from lineshaft.verify.selfcheck import check_schema
from lineshaft.verify.toml import edit_toml, read_toml, write_toml

if TYPE_CHECKING:
    from lineshaft.core.table import Table
    from lineshaft.verify.anomalies import Anomalies, Anomaly
    from lineshaft.verify.quarantine import Checked


@dataclass(frozen=True)
class Schema:
    """Columns, rules over columns, and what holds for the data set.

    Making one checks it against itself.

    Attributes
    ----------
    columns
        What is said about each column, in the order of the file.
    dataset
        Key, gold columns, environments and bounds of the number of rows.
    rules
        Conditions over several columns.

    Raises
    ------
    SchemaError
        It contradicts itself; the message names the column and the two things that disagree.

    """

    columns: tuple[Column, ...] = ()
    dataset: Dataset = field(default_factory=Dataset)
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        check_schema(self.columns, self.dataset, self.rules)

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a schema file."""
        file = Path(path)
        if not file.is_file():
            raise SchemaError(f"no schema file {str(path)!r}; write one with infer_schema(data).save({str(path)!r})")
        try:
            return cls.parse(file.read_text(encoding="utf-8"))
        except (SchemaError, UnicodeDecodeError) as error:
            raise SchemaError(f"{file.name}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Schema:
        """Read a schema from TOML."""
        return cls.from_plain(read_toml(text))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Schema:
        """Read a schema from nested dicts with the keys of the file."""
        return cls(*from_plain(plain))

    def plain(self) -> Plain:
        """Return the schema as nested dicts with the keys of the file."""
        return to_plain(self.columns, self.dataset, self.rules)

    def text(self) -> str:
        """Return the canonical TOML: equal schemas give equal text, without comments."""
        return write_toml(self.plain())

    def annotated(self) -> str:
        """Return TOML for people: as `text`, with the evidence of inferred constraints as comments."""
        return write_toml(self.plain(), {column.name: column.notes for column in self.columns})

    def save(self, path: str | Path) -> None:
        """Write the schema file.

        A file that is there already is edited in place: comments, order and layout of what stays equal are kept. A new
        file carries the evidence of inferred constraints as comments.
        """
        file = Path(path)
        if not file.exists():
            text = self.annotated()
        else:
            old = file.read_text(encoding="utf-8")
            text = old if self._says(old) else edit_toml(old, self.plain())
        file.write_text(text, encoding="utf-8")

    def _says(self, text: str) -> bool:
        try:
            return Schema.parse(text) == self
        except SchemaError:
            return False

    def payload(self) -> str:
        """Return what the codec stores: the canonical text."""
        return self.text()

    @classmethod
    def from_payload(cls, payload: str) -> Schema:
        """Make a schema of what the codec read."""
        return cls.parse(payload)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise SchemaError(f"the schema has no column {name!r}{suggestion(name, self.names)}")

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def select(self, names: Sequence[str]) -> Schema:
        """Return the schema of some of the columns; rules that read others are left out."""
        kept = [self[name] for name in names]
        key, gold = (
            tuple(name for name in listed if name in names) for listed in (self.dataset.key, self.dataset.gold)
        )
        rules = tuple(rule for rule in self.rules if set(parse(rule.expect).columns) <= set(names))
        return Schema(tuple(kept), replace(self.dataset, key=key, gold=gold), rules)

    @property
    def environments(self) -> tuple[str, ...]:
        """All environments; ``serving`` is always one."""
        return (SERVING, *(name for name in self.dataset.environments if name != SERVING))

    def know_environment(self, environment: str | None) -> None:
        """Raise if an environment is not declared; None, all columns expected, always is."""
        if environment is not None and environment not in self.environments:
            hint = suggestion(environment, self.environments)
            raise UsageError(f"the schema has no environment {environment!r}{hint}; declare it in dataset.environments")

    def check(
        self,
        data: Any,
        environment: str | None = None,
        previous: Any = None,
        previous_version: Any = None,
        serving: Any = None,
    ) -> Anomalies:
        """Check data in one pass.

        Parameters
        ----------
        data
            Anything that `lineshaft.core.table.read_table` reads; Parquet is streamed row group by row group.
        environment
            A declared environment, ``"serving"``, or None: every column is expected.
        previous, previous_version, serving
            Comparisons with other data are not part of this version.

        Raises
        ------
        UsageError
            The environment is not declared, or other data were given to compare with.
        DataError
            The data cannot be read, or two columns share a name.

        """
        from lineshaft.verify.check import check

        given = {"previous": previous, "previous_version": previous_version, "serving": serving}
        for name, other in given.items():
            if other is not None:
                raise UsageError(
                    f"{name}= was given, but limits on drift, skew and growth are not part of this version; "
                    "leave it out, so that no comparison is thought to have been made"
                )
        return check(self, data, environment)

    def quarantine(self, table: Table, environment: str | None = None) -> Checked:
        """Split rows into good and rejected ones, each rejected row with its reasons.

        Anomalies about a column or the data set reject no rows; see ``anomalies.beyond_rows``. Warnings reject none
        either. ``len(good) + len(rejected) == len(table)``.
        """
        from lineshaft.verify.quarantine import quarantine

        return quarantine(self, table, environment)

    def row_checker(
        self, environment: str | None = SERVING, columns: Sequence[str] | None = None
    ) -> Callable[[Mapping[str, Any]], list[Anomaly]]:
        """Compile a check of single rows that finds what `check` would find in a table of that one row.

        What needs many rows is left out: numbers of rows, shares, counts of values, uniqueness.

        Parameters
        ----------
        environment
            As in `check`.
        columns
            Look at these columns only, and take any other for unknown; a rule over a column outside is left out.
            Default: all columns of the schema.

        """
        from lineshaft.verify.rowcheck import row_checker

        return row_checker(self, environment, columns)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"Schema({len(self.columns)} columns, {len(self.rules)} rules)"

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(self.text())}</pre>"

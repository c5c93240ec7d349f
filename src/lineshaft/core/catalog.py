"""What happened: runs, the executions they used, what these ate and gave, names with their history, leases.

One SQLite file through SQLAlchemy Core, in portable SQL. Writers queue on ``BEGIN IMMEDIATE``; readers never wait
(WAL). The tables are made, and later changed, by numbered versions.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lineshaft.core.durable import disk_operation
from lineshaft.errors import StorageError

BUSY_SECONDS = 30.0
VERSION = 1

metadata = sa.MetaData()

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("script", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("status", sa.Text, nullable=False),  # running, done, failed, interrupted
    sa.Column("holder", sa.Text, nullable=False),
)
executions = sa.Table(
    "executions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("step", sa.Text, nullable=False, index=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("ingredients", sa.Text, nullable=False),  # JSON: [[name, digest, where, text], ...]
)
inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("execution", sa.ForeignKey("executions.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
)
outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("execution", sa.ForeignKey("executions.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("meta", sa.Text, nullable=False),
)
uses = sa.Table(
    "uses",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("execution", sa.ForeignKey("executions.id"), nullable=False, index=True),
    sa.Column("reused", sa.Boolean, nullable=False),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
)
names = sa.Table(
    "names",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)
history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("previous", sa.Text),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("note", sa.Text, nullable=False),  # JSON
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
)
scripts = sa.Table(
    "scripts",
    metadata,
    sa.Column("module", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
)


class Catalog:
    """The catalog of one home."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(
            f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS, "isolation_level": None}
        )
        sa.event.listen(self._engine, "connect", _prepare)
        self._migrate()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection to look things up."""
        with _said_plainly(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")  # one moment for all that is looked up; closing rolls back
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that holds the write lock from its first moment: what it read cannot have changed."""
        with _said_plainly(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                disk_operation()
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                if connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                    connection.exec_driver_sql("ROLLBACK")
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def check(self) -> list[str]:
        """Return what SQLite's own check finds wrong with the file, and rows that refer to nothing."""
        with self.read() as connection:
            found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
            found += [
                f"{row[0]} row {row[1]} refers to a missing {row[2]}"
                for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
            ]
        return found

    def _migrate(self) -> None:
        """Bring the tables to VERSION; refuse a file that a newer lineshaft has written."""
        with self.read() as connection:
            if _version(connection) == VERSION:
                return
        with self.write() as connection:
            version = _version(connection)
            if version > VERSION:
                raise StorageError(
                    f"the catalog has schema version {version}, this lineshaft knows {VERSION}; use a newer one"
                )
            for step in _MIGRATIONS[version:]:
                step(connection)
            connection.execute(sa.delete(schema_version))
            connection.execute(sa.insert(schema_version).values(version=VERSION))


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection, checkfirst=True)


_MIGRATIONS = [_create]


def _version(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table("schema_version"):
        return 0
    return int(connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar() or 0)


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    mode = _write_ahead(cursor)
    if mode != "wal":
        raise StorageError(
            f"the catalog's folder cannot hold a write-ahead log (mode {mode}): use a local disk, not a network one"
        )
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")


def _write_ahead(cursor: sqlite3.Cursor) -> str:
    """Switch to a write-ahead log, which SQLite does not wait for when several processes open a new file at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode: str = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return mode


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Turn the database's and the disk's refusals into one error that says what to do."""
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError) as error:
        # The disk is well: neither space nor another try mends this.
        raise StorageError(f"the catalog refused what it was given: {error.orig}; nothing was changed") from error
    except sa.exc.DatabaseError as error:
        raise StorageError(
            f"the catalog could not be used: {error.orig}; free space or check the disk, then run again"
        ) from error
    except (sqlite3.Error, sa.exc.TimeoutError, OSError) as error:
        raise StorageError(
            f"the catalog could not be used: {error}; free space or check the disk, then run again"
        ) from error


def now() -> float:
    """Return seconds since the epoch."""
    return time.time()


def as_json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Write facts for a column of the catalog; ``default`` stands in for what JSON has no words for."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=default)

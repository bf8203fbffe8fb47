"""What takes part in an exploration: participants, each with the database that its handlers write to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from sagaflow.adapters.sqlite.connection import SqliteConnection
from sagaflow.definitions.participant import Participant
from sagaflow.testing.simulation.database import Business

Tx = TypeVar("Tx")
T = TypeVar("T")


@dataclass(frozen=True)
class Service(Generic[Tx]):
    """A participant, and its own tables.

    Args:
        participant: what is served.
        schema: SQL that makes the tables, as text or as the path of a file, or several of them; the handlers are given
            a `SqliteConnection`, as in an embedded saga.
        rows: SQL statements that fill them before each history.
        tables: for handlers that take something else: makes the tables anew for each history.

    Example:
        Service(inventory, schema=Path("inventory/schema.sql"), rows=["INSERT INTO stock VALUES ('mug', 9, 9, 0)"])
    """

    participant: Participant[Tx]
    schema: str | Path | Sequence[str | Path] = ()
    rows: Sequence[str] = ()
    tables: Callable[[], Business[Tx]] | None = None
    _template: list[sqlite3.Connection] = field(default_factory=list, init=False, repr=False, compare=False)

    def make_tables(self) -> Business[Any]:
        """Tables for one history."""
        if self.tables is not None:
            return self.tables()
        if not self._template:
            self._template.append(self._make_template())
        return SqliteTables(self._template[0])

    def _make_template(self) -> sqlite3.Connection:
        template = sqlite3.connect(":memory:", check_same_thread=False)
        parts = [self.schema] if isinstance(self.schema, str | Path) else self.schema
        for part in parts:
            template.executescript(part.read_text() if isinstance(part, Path) else part)
        for statement in self.rows:
            template.execute(statement)
        template.commit()
        return template


class SqliteTables:
    """The tables of a service in memory: a copy of a template. One transaction at a time, as SQLite has it."""

    serial = True

    def __init__(self, template: sqlite3.Connection) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        template.backup(self._db)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA foreign_keys = ON")

    def begin(self) -> SqliteConnection:
        """A transaction, as the connection that handlers take."""
        self._db.execute("BEGIN IMMEDIATE")
        return _InThisThread(self._db)

    def commit(self, tx: SqliteConnection) -> None:
        """Its writes are there."""
        tx._end()
        self._db.execute("COMMIT")

    def roll_back(self, tx: SqliteConnection) -> None:
        """Its writes are not."""
        tx._end()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def guard(self, tx: SqliteConnection) -> None:
        """What is written from here on may be taken back."""
        self._db.execute("SAVEPOINT sagaflow")

    def take_back(self, tx: SqliteConnection) -> None:
        """It never was."""
        self._db.execute("ROLLBACK TO SAVEPOINT sagaflow")

    def query(self, sql: str, *args: Any) -> list[sqlite3.Row]:
        """All rows of a query, of what is committed."""
        return self._db.execute(sql, args).fetchall()

    def close(self) -> None:
        """Forget them."""
        self._db.close()


class _InThisThread(SqliteConnection):
    """A connection whose calls are made at once: a simulation has one thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._ended = False

    @property
    def path(self) -> Path:
        """There is no file."""
        return Path(":memory:")

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection."""
        if self._ended:
            raise RuntimeError("the transaction of this connection has ended")
        return function(self._db)

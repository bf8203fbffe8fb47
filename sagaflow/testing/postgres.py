"""Exploring handlers on a PostgreSQL database of the user's own: their SQL, their schema, their driver.

    with PostgresTables("postgresql://localhost/shop_test", rows=["INSERT INTO stock VALUES ('mug', 9, 9, 0)"]) as shop:
        explore(checkout, ORDER, services=[Service(inventory, tables=shop.begin_history), ...])

A history is one transaction that is rolled back at its end, and the transactions in it are savepoints. So nothing is
left behind, nothing has to be truncated, and a history costs no write to disk: two statements, and two for each
transaction in it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import asyncpg

T = TypeVar("T")

_BEGIN: Final = "SAVEPOINT simulated"
_COMMIT: Final = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; RELEASE SAVEPOINT simulated"
_GUARD: Final = "SAVEPOINT guarded"
_TAKE_BACK: Final = "ROLLBACK TO SAVEPOINT guarded"
_ROLL_BACK: Final = "ROLLBACK TO SAVEPOINT simulated; RELEASE SAVEPOINT simulated"


class PostgresTables:
    """A connection to a test database, whose tables are there already. A context manager.

    Its histories differ from what a server does in three ways. One transaction is open at a time, so none waits for a
    lock of another. `now()` is the same for all transactions of a history. Constraints that can be deferred are, until
    the commit, whether or not they are so from the beginning. Sequences are not reset: numbers that are drawn from them
    differ from history to history.

    Args:
        dsn: of the database. It is not the one that anybody works with: its rows are locked for as long as a history
            lasts.
        rows: SQL statements that fill the tables before each history; what is there already is there in each too.
        prepare: called with the new connection, to set codecs, say.

    Raises:
        OSError, asyncpg.PostgresError: (on entering) there is no such database.
    """

    def __init__(
        self,
        dsn: str,
        *,
        rows: Sequence[str] = (),
        prepare: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._dsn = dsn
        self._rows = rows
        self._prepare = prepare
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sagaflow test database", daemon=True)
        self._connection: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._connection = self.wait_for(asyncpg.connect(self._dsn))
            if self._prepare is not None:
                self.wait_for(self._prepare(self._connection))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.wait_for(self._connection.close())
        self._end()

    def begin_history(self) -> PostgresHistory:
        """The tables for one history: what `Service(tables=...)` takes."""
        self.execute("BEGIN")
        for statement in self._rows:
            self.execute(statement)
        return PostgresHistory(self)

    def begin(self) -> PostgresHandlerConnection:
        """What a handler is given: the connection."""
        return PostgresHandlerConnection(self, self._connection)

    def execute(self, sql: str) -> None:
        """Execute statements."""
        self.wait_for(self._connection.execute(sql))

    def fetch(self, sql: str, *args: Any) -> list[Any]:
        """All rows of a query."""
        rows: list[Any] = self.wait_for(self._connection.fetch(sql, *args))
        return rows

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done by the thread of the connection. Meanwhile time stands still in the world of the history."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class PostgresHistory:
    """The tables in one history."""

    serial = True

    def __init__(self, tables: PostgresTables) -> None:
        self._tables = tables

    def begin(self) -> PostgresHandlerConnection:
        """A transaction, as the connection that handlers take."""
        self._tables.execute(_BEGIN)
        return self._tables.begin()

    def commit(self, tx: PostgresHandlerConnection) -> None:
        """Its writes are there."""
        tx.end()
        self._tables.execute(_COMMIT)

    def roll_back(self, tx: PostgresHandlerConnection) -> None:
        """Its writes are not."""
        tx.end()
        self._tables.execute(_ROLL_BACK)

    def guard(self, tx: PostgresHandlerConnection) -> None:
        """What is written from here on may be taken back."""
        self._tables.execute(_GUARD)

    def take_back(self, tx: PostgresHandlerConnection) -> None:
        """It never was."""
        self._tables.execute(_TAKE_BACK)

    def query(self, sql: str, *args: Any) -> list[Any]:
        """All rows of a query, of what is committed."""
        return self._tables.fetch(sql, *args)

    def close(self) -> None:
        """Forget all of it."""
        self._tables.execute("ROLLBACK")


class PostgresHandlerConnection:
    """An asyncpg connection as handlers know it. Each of its methods that is awaited is carried out by the thread of
    the connection, while the world of the history waits; so the same handlers do the same in each run."""

    def __init__(self, tables: PostgresTables, connection: Any) -> None:
        self._tables = tables
        self._connection = connection
        self._ended = False

    def end(self) -> None:
        """The transaction is over; who still holds the connection can do nothing with it."""
        self._ended = True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if not inspect.iscoroutinefunction(found):
            raise AttributeError(
                f"{name} of a connection has no place in an explored handler; use execute, executemany, fetch, "
                "fetchrow or fetchval"
            )

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._ended:
                raise RuntimeError("the transaction of this connection has ended")
            return self._tables.wait_for(found(*args, **kwargs))

        return call

"""A SQLite file for asyncio: the database, and the connection that is handed out inside a transaction."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from sagaflow.adapters.sqlite import schema
from sagaflow.adapters.sqlite.schema import Part
from sagaflow.adapters.sqlite.thread import ConnectionThread, FileIdentity, GuardedConnection, expect_same_file
from sagaflow.errors import Unavailable

T = TypeVar("T")

Row = sqlite3.Row
"""A row of a result: values by position and by column name."""

Value = None | int | float | str | bytes
"""What SQLite stores."""

BUSY_SECONDS: Final = 5.0
"""How long to wait for a lock that another process has, unless said otherwise."""

_SQLITE_MIN: Final = (3, 37)
"""The first with STRICT tables."""


class SqliteConnection:
    """A connection with a transaction open, which is not this object's to end: what handlers get as `ctx.tx`.

    SQL parameters are positional: `?`, or `$1`, `$2` as PostgreSQL has them, so that SQL may suit both. What is
    wrong with the SQL or the data is raised as sqlite3's own errors; `Unavailable` says that the file cannot be
    used now. After the transaction every method raises RuntimeError, so that nothing slips into another one.
    """

    def __init__(self, thread: ConnectionThread) -> None:
        self._thread = thread
        self._ended = False

    @property
    def path(self) -> Path:
        """The file."""
        return self._thread.path

    @property
    def identity(self) -> FileIdentity:
        """Which file it is, by whatever path it was opened."""
        return self._thread.identity

    async def execute(self, sql: str, *args: Value) -> int:
        """Execute a statement; returns how many rows it inserted, updated or deleted."""
        return await self.call(lambda db: _execute(db, sql, args))

    async def executemany(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Execute a statement once for each row of parameters; returns how many rows changed in all."""
        return await self.call(lambda db: _execute_many(db, sql, rows))

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """All rows of a query."""
        return await self.call(lambda db: db.execute(sql, _bound(sql, args)).fetchall())

    async def fetchrow(self, sql: str, *args: Value) -> Row | None:
        """The first row of a query; None if there is none."""
        return await self.call(lambda db: _first(db, sql, args))

    async def fetchval(self, sql: str, *args: Value) -> Any:
        """The first value of the first row of a query; None if there is none."""
        row = await self.fetchrow(sql, *args)
        return None if row is None else row[0]

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function on the thread of the connection, to use sqlite3 directly for many statements."""
        if self._ended:
            raise RuntimeError(f"{self.path}: the transaction of this connection has ended")
        return await self._thread.call(lambda db: _inside(db, self.path, function))

    def _end(self) -> None:
        self._ended = True


class SqliteDatabase:
    """A SQLite file, opened by this process: an async context manager.

    Durable: what is committed survives the death of the process and the loss of power (WAL, `synchronous =
    FULL`). All transactions of one event loop on one file, whoever opened it, take turns in the order in
    which they asked; between processes the file is waited for `busy_seconds`, and then `Unavailable` raised.

    Args:
        path: the file.
        busy_seconds: how long to wait for a lock that another process has.
        create: whether the file is made if it is missing; it is then readable for this user alone.

    Example:
        >>> async def count_orders(path: str) -> int:
        ...     async with SqliteDatabase(path) as database, database.transaction() as connection:
        ...         await connection.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY)")
        ...         await connection.execute("INSERT INTO orders DEFAULT VALUES")
        ...         return await connection.fetchval("SELECT count(*) FROM orders")
    """

    def __init__(
        self, path: str | os.PathLike[str], *, busy_seconds: float = BUSY_SECONDS, create: bool = True
    ) -> None:
        if str(path) in ("", ":memory:"):
            raise ValueError("give the path of a file: a SQLite database in memory is gone with its connection")
        self.path = Path(path)
        self._busy_seconds = busy_seconds
        self._create = create
        self._exit: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        _expect_sqlite()
        async with AsyncExitStack() as stack:
            self._writer = await self._open(stack, query_only=False)
            self._reader = await self._open(stack, query_only=True)
            self._write_queue = _write_queue(self._writer.identity)
            self._read_queue = asyncio.Lock()
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._exit is not None:
            stack, self._exit = self._exit, None
            await stack.aclose()

    async def open_with(self, part: Part) -> None:
        """Enter, and see to it that the tables of a part of sagaflow are there; closed again if they are not."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self)
            async with self.snapshot() as connection:
                is_current = await connection.call(lambda db: schema.is_current(db, part))
            if self._create and not is_current:
                async with self.transaction() as connection:
                    await connection.call(lambda db: schema.create(db, part))
            await self.check(part)
            stack.pop_all()

    async def check(self, part: Part) -> None:
        """Raises `SchemaError` unless the tables of a part of sagaflow are there and of this version."""
        async with self.snapshot() as connection:
            await connection.call(lambda db: schema.check(db, part, self.path))

    def has(self, connection: SqliteConnection) -> bool:
        """Whether a connection is one of this file, by whatever path and whoever opened it."""
        return self._exit is not None and connection.identity == self._writer.identity

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteConnection]:
        """A transaction that may write: committed when left, rolled back when left by an exception.

        Raises:
            Unavailable: the file cannot be used. If leaving raised it, the transaction may have been
                committed or not.
            RuntimeError: this task has a transaction open on the file already.
        """
        self._expect_open()
        async with self._write_queue.turn(self.path), _transaction(self._writer, "BEGIN IMMEDIATE") as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteConnection]:
        """A transaction that only reads. It sees the file as it was at its first query, and waits for no writer."""
        self._expect_open()
        async with self._read_queue, _transaction(self._reader, "BEGIN") as connection:
            yield connection

    async def _open(self, stack: AsyncExitStack, *, query_only: bool) -> ConnectionThread:
        thread = ConnectionThread(self.path)
        await thread.open(busy_seconds=self._busy_seconds, create=self._create, query_only=query_only)
        stack.push_async_callback(thread.close)
        return thread

    def _expect_open(self) -> None:
        if self._exit is None:
            raise RuntimeError(f"{self.path}: it is not open; enter it with `async with`")


@asynccontextmanager
async def _transaction(thread: ConnectionThread, begin: str) -> AsyncIterator[SqliteConnection]:
    connection = SqliteConnection(thread)
    try:
        await thread.call(partial(_begin, begin, thread))
        yield connection
        connection._end()
        await thread.call(partial(_commit, thread.path))
    except BaseException:
        connection._end()
        await thread.finish(_roll_back)
        raise


def _begin(statement: str, thread: ConnectionThread, db: GuardedConnection) -> None:
    expect_same_file(thread.path, thread.identity)
    db.control(statement)


def _commit(path: Path, db: GuardedConnection) -> None:
    _expect_transaction(db, path)
    db.control("COMMIT")


def _roll_back(db: GuardedConnection) -> None:
    if db.in_transaction:
        db.control("ROLLBACK")


def _inside(db: GuardedConnection, path: Path, function: Callable[[sqlite3.Connection], T]) -> T:
    _expect_transaction(db, path)
    return function(db)


def _expect_transaction(db: GuardedConnection, path: Path) -> None:
    """Some errors (a full disk, say) make SQLite roll back by itself; what came after would be half of it."""
    if not db.in_transaction:
        raise Unavailable(f"{path}: SQLite rolled the transaction back after an error; try it again")


_NUMBERED: Final = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$([0-9]+)""", re.DOTALL)
"""A numbered parameter; or what may look like one inside: a literal, a name, a comment."""


@lru_cache(maxsize=512)
def _highest_number(sql: str) -> int:
    """The n of the last `$n`; 0 if the parameters are not numbered."""
    return max((int(number) for number in _NUMBERED.findall(sql) if number), default=0)


def _bound(sql: str, args: Sequence[Value]) -> Sequence[Value] | Mapping[str, Value]:
    """The parameters as sqlite3 wants them, which takes the 1 of `$1` for a name."""
    highest = _highest_number(sql)
    if not highest:
        return args
    if highest != len(args):
        raise sqlite3.ProgrammingError(f"the statement has parameters up to ${highest}, and {len(args)} are given")
    return {str(place): value for place, value in enumerate(args, start=1)}


def _execute(db: sqlite3.Connection, sql: str, args: Sequence[Value]) -> int:
    cursor = db.execute(sql, _bound(sql, args))
    cursor.fetchall()  # a statement that returns rows is done when the last one is fetched
    return max(cursor.rowcount, 0)


def _execute_many(db: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Value]]) -> int:
    return max(db.executemany(sql, (_bound(sql, row) for row in rows)).rowcount, 0)


def _first(db: sqlite3.Connection, sql: str, args: Sequence[Value]) -> Row | None:
    cursor = db.execute(sql, _bound(sql, args))
    row: Row | None = cursor.fetchone()
    cursor.close()
    return row


class _WriteQueue:
    """Lets one transaction at a time write to a file, in the order in which they asked."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None

    @asynccontextmanager
    async def turn(self, path: Path) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if task is not None and task is self._holder:
            raise RuntimeError(
                f"{path}: this task has a transaction open on it already, for which a second would wait for ever; "
                "work in the open one (a store does with `enlist`)"
            )
        async with self._lock:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[FileIdentity, _WriteQueue]]
_queues = WeakKeyDictionary()


def _write_queue(identity: FileIdentity) -> _WriteQueue:
    """The queue of a file. Store, participant and the service itself may each have opened the same one."""
    of_loop = _queues.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    queue = of_loop.get(identity)
    if queue is None:
        queue = of_loop[identity] = _WriteQueue()
    return queue


def _expect_sqlite() -> None:
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        needed = ".".join(map(str, _SQLITE_MIN))
        raise Unavailable(f"the SQLite of this Python is {sqlite3.sqlite_version}; sagaflow needs {needed} or newer")

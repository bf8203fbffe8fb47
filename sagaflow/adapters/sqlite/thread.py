"""sqlite3 blocks, so a connection lives on a thread of its own and is called from the event loop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sagaflow.adapters.sqlite.failures import explain, why_not
from sagaflow.errors import Unavailable

T = TypeVar("T")

_WAL_RETRY_SECONDS: Final = 0.005
_TRANSACTION_CONTROL: Final = 22
"""SQLITE_TRANSACTION, an action that an authorizer is asked about; the sqlite3 module has no name for it."""

_STEPS_BETWEEN_LOOKS: Final = 100_000
"""How often a statement that runs looks whether it is still wanted: after about 5 ms, so that most never do.
(`interrupt` does not reach one that is about to begin.)"""

FileIdentity = tuple[int, int]
"""The device and the inode of a file: which file it is, by whatever path."""


class GuardedConnection(sqlite3.Connection):
    """A connection whose transactions begin and end only by `control`: no SQL that somebody else wrote can
    commit half of one."""

    _in_control = False

    def guard(self) -> None:
        """Refuse BEGIN, COMMIT and ROLLBACK from now on (SAVEPOINT is allowed)."""
        self.set_authorizer(self._authorize)

    def control(self, statement: str) -> None:
        """Execute a BEGIN, COMMIT or ROLLBACK."""
        self._in_control = True
        try:
            # The comment keeps it apart, in the cache of prepared statements, from the same without permission.
            self.execute(f"{statement} -- sagaflow")
        finally:
            self._in_control = False

    def close(self) -> None:
        """Close it; what is not committed is rolled back."""
        self.set_authorizer(None)  # this and the other hold objects that hold this one
        self.set_progress_handler(None, 0)
        super().close()

    def _authorize(self, action: int, *_: str | None) -> int:
        refused = action == _TRANSACTION_CONTROL and not self._in_control
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


class _Call:
    """A call on the thread of a connection, which may be given up while it runs."""

    given_up = False


class ConnectionThread:
    """A connection on its own thread. Calls run one at a time, in the order in which they were made.

    `path` names the file in error messages; `identity` is the file that was opened.
    """

    identity: FileIdentity

    def __init__(self, path: Path) -> None:
        self.path = path
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite {path.name}")
        self._db: GuardedConnection | None = None
        self._closed = False
        self._running = _Call()

    async def open(self, *, busy_seconds: float, create: bool, query_only: bool) -> None:
        """Open the file; a connection that is `query_only` refuses to write.

        Raises:
            Unavailable: it cannot be opened. The thread is closed then.
            SchemaError: it is not a SQLite database. Likewise.
        """

        def connect() -> None:
            self._db = _connect(self.path, busy_seconds, create=create, query_only=query_only)
            self._db.set_progress_handler(lambda: self._running.given_up, _STEPS_BETWEEN_LOOKS)
            self.identity = _identity(self.path)

        try:
            await asyncio.wrap_future(self._submit(_Call(), connect))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection and end the thread, after the calls that were made before."""
        if self._closed:
            return
        closing = self._submit(_Call(), self._close)
        self._closed = True
        self._executor.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))
        self._executor.shutdown(wait=True)  # its last call is over, so this takes no time

    async def call(self, function: Callable[[GuardedConnection], T]) -> T:
        """Call a function with the connection. If the waiting is cancelled, a call that has not begun never
        does, and one that runs is interrupted.

        Raises:
            Unavailable: the file cannot be used now, or the connection is closed.
        """
        call = _Call()
        future = self._submit(call, lambda: function(self._connection))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            call.given_up = True
            raise

    async def finish(self, function: Callable[[GuardedConnection], T]) -> T:
        """Like `call`, but the call runs to its end even if the waiting is cancelled."""
        future = self._submit(_Call(), lambda: function(self._connection))
        return await asyncio.shield(asyncio.wrap_future(future))

    def _submit(self, call: _Call, function: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise Unavailable(f"{self.path}: it is closed in this process")
        return self._executor.submit(self._run, call, function)

    def _run(self, call: _Call, function: Callable[[], T]) -> T:
        self._running = call
        try:
            return function()
        except sqlite3.Error as error:
            explained = explain(error, self.path)
            if explained is error:
                raise
            raise explained from error

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def _connection(self) -> GuardedConnection:
        assert self._db is not None, "`open` comes first"
        return self._db


def expect_same_file(path: Path, identity: FileIdentity) -> None:
    """What is written to a file that was removed while it is open is lost without any error of SQLite."""
    try:
        same = _identity(path) == identity
    except FileNotFoundError:
        same = False
    if not same:
        raise Unavailable(f"{path}: it was removed or replaced while it was open; restart this process")


def _identity(path: Path) -> FileIdentity:
    status = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, and done for each transaction
    return status.st_dev, status.st_ino


def _connect(path: Path, busy_seconds: float, *, create: bool, query_only: bool) -> GuardedConnection:
    if not path.exists():
        _make_file(path, allowed=create)
    db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, factory=GuardedConnection)
    try:
        db.row_factory = sqlite3.Row
        _switch_to_wal(db, busy_seconds)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, a sync alone does not reach the disk
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA query_only = {int(query_only)}")
        db.guard()
    except BaseException:
        db.close()
        raise
    return db


def _make_file(path: Path, *, allowed: bool) -> None:
    """A new file is for its user alone: it will hold payloads, and the secrets of sagas."""
    if not allowed:
        raise Unavailable(f"{path}: there is no such file; give the path of one that is there")
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise Unavailable(f"{path}: it cannot be made: {why_not(path)}") from error


def _switch_to_wal(db: sqlite3.Connection, busy_seconds: float) -> None:
    """Readers do not wait for the writer then. Two processes that open a new file at the same time meet here,
    where SQLite does not wait by itself."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_SECONDS)
        else:
            return

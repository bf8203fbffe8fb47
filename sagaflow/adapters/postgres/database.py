"""A pool whose connections are lent out, with whatever goes wrong explained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sagaflow.adapters.postgres.failures import DRIVER_ERRORS, NO_SESSION, READ_ONLY, Mend, explain
from sagaflow.adapters.postgres.pool import COMMAND_SECONDS
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.records import PurgePage, PutAside
from sagaflow.errors import Unavailable

AnyConnection: TypeAlias = asyncpg.Connection | PoolConnectionProxy

ACQUIRE_SECONDS: Final = 10.0
"""How long to wait for a connection of the pool."""

BEFORE_ALL: Final = UUID(int=0)
"""No saga has this id; all others come after it."""


class Database:
    """Lends the connections of a pool. `mend` says what to do if the tables are not as they should be, or may not
    be used."""

    def __init__(self, pool: asyncpg.Pool, mend: Mend) -> None:
        self.pool = pool
        self.mend = mend

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection, until it is left."""
        try:
            async with in_time():
                connection = await self.pool.acquire()
        except DRIVER_ERRORS as error:
            await self._explain(error, None)
        try:
            yield connection
        finally:
            try:
                await self.pool.release(connection, timeout=COMMAND_SECONDS)
            except DRIVER_ERRORS as error:
                await self._explain(error, None)

    async def fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """The rows of one statement, which is a transaction by itself."""
        async with self.lend() as connection:
            return await self.fetch_by(connection, query, *arguments)

    async def fetch_by(self, connection: AnyConnection, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """The rows of one statement on a connection."""
        try:
            return await connection.fetch(query, *arguments, timeout=COMMAND_SECONDS)
        except DRIVER_ERRORS as error:
            await self._explain(error, connection)

    async def execute_by(self, connection: AnyConnection, statement: str) -> str:
        """What the server says of a statement that has no arguments and gives no rows."""
        try:
            return await connection.execute(statement, timeout=COMMAND_SECONDS)
        except DRIVER_ERRORS as error:
            await self._explain(error, connection)

    async def give_up(
        self, connection: AnyConnection, error: BaseException, rollback: Callable[[], Awaitable[object]]
    ) -> None:
        """End a transaction in which an error was raised. That goes on as it is, unless the connection was lost.

        Raises:
            Unavailable: it was lost; but a cancellation stays one.
        """
        try:
            if is_lost(connection):
                raise Unavailable("PostgreSQL: the connection was lost during a transaction")
            async with self.explaining(connection):
                await rollback()
        except Unavailable as lost:
            if isinstance(error, Exception):
                raise lost from error

    @asynccontextmanager
    async def explaining(self, connection: AnyConnection | None = None) -> AsyncIterator[None]:
        """Around calls of the driver."""
        try:
            yield
        except DRIVER_ERRORS as error:
            await self._explain(error, connection)

    async def _explain(self, error: Exception, connection: AnyConnection | None) -> NoReturn:
        """Raise what went wrong in the words of sagaflow. A server that has become read-only, or does not keep a
        session together, is left: connections are made anew."""
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate in (READ_ONLY, *NO_SESSION):
            await self.pool.expire_connections()
        raise_explained(error, self.mend, connection)

    async def put_aside(self, query: str, messages: Sequence[PutAside]) -> None:
        """Keep messages, cut to the bound."""
        await self.fetch(
            query,
            [text(message.source) for message in messages],
            [text(message.reason) for message in messages],
            [message.body[:PUT_ASIDE_BYTES_MAX] for message in messages],
        )

    async def list_put_aside(self, query: str, limit: int) -> Sequence[PutAside]:
        """The latest messages, the last one first."""
        return [PutAside(**row) for row in await self.fetch(query, limit)]

    async def purge(self, query: str, *which: object, after: UUID | None, limit: int) -> PurgePage:
        """One page of a purge."""
        (row,) = await self.fetch(query, *which, after or BEFORE_ALL, limit)
        goes_on = row["goes_on"] and row["looked_at"] == limit
        return PurgePage(row["looked_at"], json.loads(row["expired"] or "{}"), row["last"] if goes_on else None)


@asynccontextmanager
async def explaining(mend: Mend, connection: AnyConnection | None = None) -> AsyncIterator[None]:
    """Around calls of the driver: what goes wrong is raised as an error of sagaflow, if it is the fault of
    the server or of its tables.

    Raises:
        Unavailable: the server or the connection is gone, or could not do it now.
        UnsupportedPooling: what a statement has left behind is not there for the next.
        NotPermitted: the role may not do it; `mend` says what to grant.
        SchemaError: the tables are not as they should be; `mend` says what to do.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        raise_explained(error, mend, connection)


def raise_explained(error: Exception, mend: Mend, connection: AnyConnection | None) -> NoReturn:
    """Raise what the driver has raised in the words of sagaflow; as it is, if it is nobody's fault but ours."""
    explained = explain(error, lost=connection is not None and is_lost(connection), mend=mend)
    if explained is None:
        raise error
    raise explained from error


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Around waiting for a connection.

    Raises:
        Unavailable: none was to be had in time.
    """
    try:
        async with asyncio.timeout(ACQUIRE_SECONDS):
            yield
    except TimeoutError as error:
        wait = f"no connection within {ACQUIRE_SECONDS} s"
        raise Unavailable(f"PostgreSQL: {wait}; all are in use, or none can be made") from error


def is_lost(connection: AnyConnection) -> bool:
    """Whether nothing can be asked by this connection any more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True  # the pool has taken it back because it broke


def text(value: str) -> str:
    """Text as PostgreSQL can keep it, which is without NUL."""
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def optional_text(value: str | None) -> str | None:
    """The same, if there is any."""
    return None if value is None else text(value)


def columns(rows: Sequence[Sequence[Any]], width: int) -> Sequence[Sequence[Any] | None]:
    """Rows as columns, for `unnest` of several arrays, one of which has a value in each row at least. A column without
    any value is none: `unnest` fills it up with nulls, and the driver takes its time for each array and each value."""
    if not rows:
        return (None,) * width
    return [None if column.count(None) == len(column) else column for column in zip(*rows, strict=True)]

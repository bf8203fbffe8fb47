"""Connections, and the settings that they need to be relied upon."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from sagaflow.adapters.postgres.failures import DRIVER_ERRORS, POOL_SESSIONS, explain
from sagaflow.definitions.named_queries import load
from sagaflow.errors import Unavailable, UnsupportedPooling

CONNECT_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 30.0
"""When a statement is given up by this side. The server gives it up sooner (`SERVER_SETTINGS`), unless it is
no longer there."""
CLOSE_SECONDS: Final = 5.0
POOL_SIZE_MAX: Final = 10

SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "sagaflow",
    "jit": "off",  # it costs more than any statement here
    "statement_timeout": "25s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "45s",
}

CONNECTION_SETTINGS: Final[Mapping[str, Any]] = {
    "timeout": CONNECT_SECONDS,
    "command_timeout": COMMAND_SECONDS,
    "target_session_attrs": "read-write",
    "max_cached_statement_lifetime": 0,  # statements are few, and stay prepared
}


_SQL: Final = load(__package__, "pool_queries.sql")

_TOKEN: Final = secrets.token_hex(4)

LOOKS_AT_BACKENDS: Final = 5
"""How often each of two connections is asked which process of the server serves it."""


class OwnStatements(asyncpg.Connection):
    """A connection whose prepared statements have names that no other process has.

    The driver counts: in each process "statement 18" is another. Behind a pooler that mixes their connections, one
    would have done what another had prepared. So it is not found there, which is an error.
    """

    __slots__ = ()

    def _get_unique_id(self, prefix: str) -> str:
        counted = super()._get_unique_id(prefix)  # type: ignore[misc]  # it is the driver's own affair; a test looks
        return f"__sagaflow_{_TOKEN}_{os.getpid():x}{counted}"


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection, closed when left.

    Raises:
        Unavailable: the server cannot be reached, or does not let us in; one line without the password.
    """
    try:
        try:
            connection = await asyncpg.connect(url, server_settings=dict(SERVER_SETTINGS), **CONNECTION_SETTINGS)
        except asyncpg.ProtocolViolationError as error:
            _expect_pooler(error)
            connection = await asyncpg.connect(url, **CONNECTION_SETTINGS)
            await _apply(connection, SERVER_SETTINGS)
    except (*DRIVER_ERRORS, ValueError) as error:
        raise _unreachable(url, error) from error
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=CLOSE_SECONDS)
        except DRIVER_ERRORS:
            connection.terminate()  # the server finds out by itself


@asynccontextmanager
async def open_pool(url: str, **options: Any) -> AsyncIterator[asyncpg.Pool]:
    """A pool, closed when left. `options` are those of `asyncpg.create_pool` and win over the settings here;
    `server_settings` are added to them.

    Raises:
        Unavailable: the server cannot be reached, or does not let us in; one line without the password.
        UnsupportedPooling: a pooler stands before it that does not keep a session together.
    """
    server_settings = {**SERVER_SETTINGS, **options.pop("server_settings", {})}
    settings = {
        **CONNECTION_SETTINGS,
        "connection_class": OwnStatements,
        "min_size": 1,
        "max_size": POOL_SIZE_MAX,
        "max_queries": sys.maxsize,  # a connection is as good after many as after few
        **options,
    }
    pool = asyncpg.create_pool(url, server_settings=server_settings, **settings)
    try:
        if await _has_pooler_before_it(pool):
            pool = await _pool_behind_pooler(url, server_settings, settings)
    except (*DRIVER_ERRORS, ValueError) as error:
        raise _unreachable(url, error) from error
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except DRIVER_ERRORS:
            pool.terminate()  # somebody has not given a connection back, or the server does not answer


async def _has_pooler_before_it(pool: asyncpg.Pool) -> bool:
    """Connect; then, whether it was not let in with its settings, or who lets it in is not who does its statements."""
    try:
        await pool
    except asyncpg.ProtocolViolationError as error:
        _expect_pooler(error)
        return True
    async with _terminated_on_error(pool), pool.acquire() as connection:
        if await connection.fetchval(_SQL["backend"]) == connection.get_server_pid():
            return False
    pool.terminate()
    return True


async def _pool_behind_pooler(
    url: str, server_settings: Mapping[str, str], settings: Mapping[str, Any]
) -> asyncpg.Pool:
    """Each connection is told the settings by a statement, since the pooler would not pass them on.

    Raises:
        UnsupportedPooling: the pooler does not keep a session together.
    """
    pool = await asyncpg.create_pool(url, **_told_by_statement(server_settings, settings))
    async with _terminated_on_error(pool):
        await _expect_sessions(pool, place_of(url))
    return pool


@asynccontextmanager
async def _terminated_on_error(pool: asyncpg.Pool) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        pool.terminate()
        raise


def _expect_pooler(error: asyncpg.ProtocolViolationError) -> None:
    """Raises it again unless it is a pooler's, who lets nobody set what it would have to set for the next one too."""
    if "unsupported startup parameter" not in str(error):
        raise error


async def _expect_sessions(pool: asyncpg.Pool, where: str) -> None:
    """Two connections that are open have a process of the server each, and keep it.

    Raises:
        UnsupportedPooling: they do not. With a pool of one connection nothing can be seen.
    """
    if pool.get_max_size() < 2:
        return
    async with pool.acquire() as one, pool.acquire() as other:
        first = await one.fetchval(_SQL["backend"]), await other.fetchval(_SQL["backend"])
        for _ in range(LOOKS_AT_BACKENDS):
            seen = await one.fetchval(_SQL["backend"]), await other.fetchval(_SQL["backend"])
            if seen != first or len(set(seen)) == 1:
                raise UnsupportedPooling(f"{where}: {POOL_SESSIONS}")


def _told_by_statement(server_settings: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, Any]:
    begin, clear = settings.get("init"), settings.get("reset")

    async def init(connection: asyncpg.Connection) -> None:
        await _apply(connection, server_settings)
        if begin is not None:
            await begin(connection)

    async def reset(connection: asyncpg.Connection) -> None:
        if clear is None:
            await connection.execute(connection.get_reset_query())
        else:
            await clear(connection)
        await _apply(connection, server_settings)  # what is reset is what it was when the pooler connected

    return {**settings, "init": init, "reset": keep_as_it_is if clear is keep_as_it_is else reset}


async def _apply(connection: asyncpg.Connection, server_settings: Mapping[str, str]) -> None:
    await connection.fetch(_SQL["apply_settings"], list(server_settings), list(server_settings.values()))


async def keep_as_it_is(connection: object) -> None:
    """Replaces the reset of a connection that goes back to its pool, a round trip, for those who leave
    nothing behind: no SET, no LISTEN, no advisory lock, no cursor."""


def place_of(url: str) -> str:
    """The servers and the database of a URL as they may be shown: no user, no password, no options."""
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        return "PostgreSQL"  # the password was not quoted, and reaches into what would be shown
    return f"PostgreSQL at {parts.netloc.rpartition('@')[2]}{parts.path}"


def _unreachable(url: str, error: Exception) -> Exception:
    if isinstance(error, ValueError):  # it may quote a part of the password
        return Unavailable(
            "the URL of the database is not understood; write it as postgresql://user:password@host:5432/database, "
            "with %40 for @, %2F for / and %23 for # in the password"
        )
    return explain(error, lost=True, where=place_of(url)) or error

"""Connections, and the settings that they need to be relied upon."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from sagaflow.adapters.postgres.failures import DRIVER_ERRORS, explain
from sagaflow.errors import Unavailable

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


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection, closed when left.

    Raises:
        Unavailable: the server cannot be reached, or does not let us in; one line without the password.
    """
    try:
        connection = await asyncpg.connect(url, server_settings=dict(SERVER_SETTINGS), **CONNECTION_SETTINGS)
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
    """
    server_settings = {**SERVER_SETTINGS, **options.pop("server_settings", {})}
    settings = {
        **CONNECTION_SETTINGS,
        "min_size": 1,
        "max_size": POOL_SIZE_MAX,
        "max_queries": sys.maxsize,  # a connection is as good after many as after few
        **options,
    }
    pool = asyncpg.create_pool(url, server_settings=server_settings, **settings)
    try:
        await pool
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

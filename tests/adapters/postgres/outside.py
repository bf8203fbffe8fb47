"""A look from outside at what happens in a database, and a hand in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from sagaflow.errors import Unavailable

DEADLINE_SECONDS = 30.0
PAUSE_SECONDS = 0.01


class Undo(Exception):
    """Raised to have a transaction rolled back."""


def as_user(url: str, user: str, password: str) -> str:
    """The URL for another user."""
    place = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{user}:{password}@{place}").geturl()


def name_of(statement: str) -> str:
    """The name of a statement; those of the driver have none."""
    match = re.match(r"-- name: (\w+)\n", statement)
    return match[1] if match else statement


async def raised(use: Awaitable[Any]) -> Exception | None:
    """The error of a call, if it has one."""
    try:
        await use
    except Exception as error:  # noqa: BLE001  # it is looked at by who asked
        return error
    return None


async def sooner_or_later(call: Callable[[], Awaitable[Any]]) -> None:
    """Call until the server answers: a connection that was killed may be taken for alive once."""
    async with polling() as again:
        while (error := await raised(call())) is not None:
            if not isinstance(error, Unavailable):
                raise error
            await again()


async def kill_others(side: asyncpg.Connection, *, but: asyncpg.Connection | None = None) -> None:
    """Kill all other connections that this database has now, and wait until they are gone."""
    spared = [one.get_server_pid() for one in (side, but) if one is not None]
    killed = await side.fetch(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> ALL($1::integer[])",
        spared,
    )
    alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::integer[])"
    async with polling() as again:
        while await side.fetchval(alive, [row["pid"] for row in killed]):
            await again()


async def until_waiting(side: asyncpg.Connection) -> None:
    """Return when a statement in this database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with polling() as again:
        while not await side.fetchval(waiting):
            await again()


@asynccontextmanager
async def polling() -> AsyncIterator[Callable[[], Any]]:
    """Look again and again, until a deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        yield lambda: asyncio.sleep(PAUSE_SECONDS)

"""A look from outside at what happens in a database, and a hand in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

DEADLINE_SECONDS = 30.0
PAUSE_SECONDS = 0.01


class Undo(Exception):
    """Raised to have a transaction rolled back."""


def as_user(url: str, user: str, password: str) -> str:
    """The URL for another user."""
    place = urlsplit(url).netloc.rpartition("@")[2]
    return urlsplit(url)._replace(netloc=f"{user}:{password}@{place}").geturl()


async def raised(use: Awaitable[Any]) -> Exception | None:
    """The error of a call, if it has one."""
    try:
        await use
    except Exception as error:  # noqa: BLE001  # it is looked at by who asked
        return error
    return None


async def kill_others(side: asyncpg.Connection, *, but: asyncpg.Connection | None = None) -> None:
    """Kill all other connections to this database, and wait until they are gone."""
    spared = but.get_server_pid() if but is not None else 0
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), $1)"
    await side.fetch(f"SELECT pg_terminate_backend(pid) {others}", spared)
    async with polling() as again:
        while await side.fetchval(f"SELECT count(*) {others}", spared):
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

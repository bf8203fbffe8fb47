"""Speaks to a server as a client does: only a completed handshake shows that it serves."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiormq
import asyncpg

T = TypeVar("T")

Ask = Callable[[str], str]
"""Connects to the server of a URL and returns its version. Raises one of NO_ANSWER."""

NO_ANSWER = (OSError, TimeoutError, EOFError, asyncpg.PostgresError, asyncpg.InterfaceError, aiormq.AMQPError)

ANSWER_SECONDS = 5.0
START_SECONDS = 90.0
PAUSE_SECONDS = 0.05

AMQP_PORT = 5672


class StartFailed(Exception):
    """A server was started and did not come to serve."""


def ask_postgres(url: str) -> str:
    """Connect to PostgreSQL and return its version, such as 15.6."""
    return run_apart(_postgres_version(url))


def ask_rabbitmq(url: str) -> str:
    """Connect to RabbitMQ and return its version, such as 4.1.0."""
    _knock(url)
    return run_apart(_rabbitmq_version(url))


def wait_until_it_serves(ask: Callable[[], object], name: str, *, check_alive: Callable[[], None]) -> None:
    """Ask until there is an answer; `check_alive` raises when there is no more hope of one."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        check_alive()
        try:
            ask()
        except NO_ANSWER as error:
            if time.monotonic() > deadline:
                message = f"{name} does not answer after {START_SECONDS:.0f} s: {error!r}"
                raise StartFailed(message) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own, whether or not the caller is inside a loop."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def without_password(url: str) -> str:
    """Return the URL as it may be shown."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _knock(url: str) -> None:
    """Fail quietly while nothing listens; aiormq itself logs an error for each attempt."""
    address = urlsplit(url)
    socket.create_connection((address.hostname, address.port or AMQP_PORT), timeout=ANSWER_SECONDS).close()


async def _postgres_version(url: str) -> str:
    connection = await asyncpg.connect(url, timeout=ANSWER_SECONDS)
    try:
        version: str = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return version.split()[0]


async def _rabbitmq_version(url: str) -> str:
    async with asyncio.timeout(ANSWER_SECONDS):
        connection = await aiormq.connect(url)
        try:
            return str(connection.server_properties["version"])
        finally:
            await connection.close()

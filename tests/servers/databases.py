"""Fresh databases in a running PostgreSQL."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

import asyncpg

from tests.servers.handshake import run_apart


def create_database(server_url: str) -> str:
    """Create an empty database and return its URL."""
    name = f"test_{secrets.token_hex(4)}"
    run_apart(_execute(server_url, f"CREATE DATABASE {name}"))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, database_url: str) -> None:
    """Drop the database, whoever is still connected to it."""
    name = urlsplit(database_url).path.removeprefix("/")
    run_apart(_execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()

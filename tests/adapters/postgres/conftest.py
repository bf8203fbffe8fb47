"""A database with empty tables of both lines, and a look at it from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from sagaflow.adapters.postgres import Line, PostgresStore, connect, upgrade
from tests.servers import Server
from tests.servers.databases import create_database, drop_database

EMPTY = """
    TRUNCATE sagaflow.saga, sagaflow.agenda, sagaflow.journal, sagaflow.payload, sagaflow.plan, sagaflow.process,
        sagaflow.announcement, sagaflow.put_aside, sagaflow_participant.barrier, sagaflow_participant.put_aside
"""


@pytest.fixture(scope="session")
def url(postgres: Server) -> Iterator[str]:
    """One database for all tests that need nothing but empty tables: making one takes longer than a test."""
    url = create_database(postgres.url)
    yield url
    drop_database(postgres.url, url)


@pytest.fixture
async def side(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside those of the test. The tables are there, and empty."""
    async with connect(url) as connection:
        for line in Line:
            await upgrade(connection, line)
        await connection.execute(EMPTY)
        yield connection


@pytest.fixture
async def store(url: str, side: asyncpg.Connection) -> AsyncIterator[PostgresStore]:
    """A store with its tables empty."""
    async with PostgresStore.connect(url) as store:
        yield store

"""The contract of stores, over PostgreSQL and over SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagaflow.adapters.postgres import Line, PostgresStore, connect, upgrade
from sagaflow.adapters.sqlite import SqliteStore
from sagaflow.testing.store_contract import StoreContract
from tests.servers import Server
from tests.servers.databases import create_database, drop_database

EMPTY = (
    "TRUNCATE sagaflow.saga, sagaflow.agenda, sagaflow.journal, sagaflow.payload, sagaflow.plan, sagaflow.process, "
    "sagaflow.put_aside, sagaflow.announcement"
)


@pytest.fixture(scope="module")
def url(postgres: Server) -> Iterator[str]:
    """One database for all tests: making one takes longer than a test."""
    url = create_database(postgres.url)
    yield url
    drop_database(postgres.url, url)


class TestPostgresStore(StoreContract):
    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[PostgresStore]:
        async with connect(url) as connection:
            await upgrade(connection, Line.COORDINATOR)
            await connection.execute(EMPTY)
        async with PostgresStore.connect(url) as store:
            yield store


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        async with SqliteStore(tmp_path / "sagas.db") as store:
            yield store

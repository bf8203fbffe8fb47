"""The contract of participant transactions, over PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import asyncpg
import pytest

from sagaflow.adapters.postgres import AsyncpgTransactions, Line, connect, upgrade
from sagaflow.testing.transactions_contract import TransactionsContract
from tests.servers import Server
from tests.servers.databases import create_database, drop_database

EMPTY = """
    TRUNCATE sagaflow_participant.barrier, sagaflow_participant.put_aside;
    CREATE TABLE IF NOT EXISTS business (number bigint GENERATED ALWAYS AS IDENTITY, row text NOT NULL);
    TRUNCATE business;
"""


@pytest.fixture(scope="module")
def url(postgres: Server) -> Iterator[str]:
    """One database for all tests: making one takes longer than a test."""
    url = create_database(postgres.url)
    yield url
    drop_database(postgres.url, url)


class TestAsyncpgTransactions(TransactionsContract[asyncpg.Connection]):
    @pytest.fixture
    async def transactions(self, url: str) -> AsyncIterator[AsyncpgTransactions]:
        async with connect(url) as connection:
            await upgrade(connection, Line.PARTICIPANT)
            await connection.execute(EMPTY)
        async with AsyncpgTransactions.connect(url) as transactions:
            yield transactions

    async def add_row(self, tx: asyncpg.Connection, row: str) -> None:
        await tx.execute("INSERT INTO business (row) VALUES ($1)", row)

    async def rows(self, tx: asyncpg.Connection) -> Sequence[str]:
        return [row["row"] for row in await tx.fetch("SELECT row FROM business ORDER BY number")]

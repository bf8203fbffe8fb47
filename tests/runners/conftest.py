"""The world that the tests of the runners take place in, embedded and distributed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from tests.runners.world import World


@pytest.fixture(params=["embedded", "distributed"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Servers of this test's own; all that runs on them is stopped at its end, last started first."""
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            yield _embedded(stack, tmp_path)
        else:
            url = request.getfixturevalue("database_url")
            await _migrate(url)
            yield _distributed(
                stack, url, request.getfixturevalue("rabbitmq").url, request.getfixturevalue("broker_namespace")
            )


def _embedded(stack: AsyncExitStack, folder: Path) -> World:
    transport = InProcessTransport()

    @asynccontextmanager
    async def own_transaction() -> AsyncIterator[Any]:
        async with SqliteStore(folder / "sagas.db") as store, store.begin() as connection:
            yield connection

    return World(
        stack,
        make_store=lambda: SqliteStore(folder / "sagas.db"),
        make_transport=lambda: transport,
        make_transactions=lambda: SqliteTransactions(folder / "agency.db"),
        own_transaction=own_transaction,
    )


def _distributed(stack: AsyncExitStack, url: str, broker: str, namespace: str) -> World:
    @asynccontextmanager
    async def own_transaction() -> AsyncIterator[Any]:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    return World(
        stack,
        make_store=lambda: PostgresStore.connect(url),
        make_transport=lambda: RabbitTransport(broker, namespace=namespace),
        make_transactions=lambda: AsyncpgTransactions.connect(url),
        own_transaction=own_transaction,
    )


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    for line in Line:
        await upgrade(connection, line)
    await connection.close()

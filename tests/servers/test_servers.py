"""The real servers, started from whatever source this machine has: they answer, survive, and are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import aiormq
import asyncpg
import pytest

from tests.servers import Server, rabbitmq_lookup
from tests.servers.databases import create_database, drop_database
from tests.servers.handshake import NO_ANSWER, ask_postgres, ask_rabbitmq
from tests.servers.process import PrivateServer

QUEUE = "survivors"


@pytest.fixture
def own_rabbitmq() -> Iterator[Server]:
    """A RabbitMQ that this test may kill."""
    server = rabbitmq_lookup(ours=True).start()
    yield server
    server.close()


def left_behind(server: Server) -> list[str]:
    """The directories of a private server that are still there; a container has none."""
    directories = server.control.directories if isinstance(server.control, PrivateServer) else []
    return [str(directory) for directory in directories if directory.exists()]


async def test_a_postgres_of_ours_keeps_what_was_committed_and_leaves_nothing(own_postgres: Server) -> None:
    assert ask_postgres(own_postgres.url) == own_postgres.version
    await execute(own_postgres.url, "CREATE TABLE survivor AS SELECT 42 AS answer")

    await asyncio.to_thread(own_postgres.kill)
    with pytest.raises(NO_ANSWER):
        ask_postgres(own_postgres.url)
    await asyncio.to_thread(own_postgres.start)
    await asyncio.to_thread(own_postgres.restart)

    assert await fetch_value(own_postgres.url, "SELECT answer FROM survivor") == 42
    own_postgres.close()
    with pytest.raises(NO_ANSWER):
        ask_postgres(own_postgres.url)
    assert left_behind(own_postgres) == []


async def test_a_rabbitmq_of_ours_keeps_what_was_confirmed_and_leaves_nothing(own_rabbitmq: Server) -> None:
    assert ask_rabbitmq(own_rabbitmq.url) == own_rabbitmq.version
    await publish(own_rabbitmq.url, b"42")

    await asyncio.to_thread(own_rabbitmq.kill)
    with pytest.raises(NO_ANSWER):
        ask_rabbitmq(own_rabbitmq.url)
    await asyncio.to_thread(own_rabbitmq.start)

    assert await take(own_rabbitmq.url) == b"42"
    own_rabbitmq.close()
    with pytest.raises(NO_ANSWER):
        ask_rabbitmq(own_rabbitmq.url)
    assert left_behind(own_rabbitmq) == []


async def test_commits_are_synced_to_disk(postgres: Server) -> None:
    assert await fetch_value(postgres.url, "SHOW fsync") == "on"
    assert await fetch_value(postgres.url, "SHOW synchronous_commit") == "on"


async def test_a_database_is_dropped_whoever_is_connected(postgres: Server) -> None:
    url = create_database(postgres.url)
    guest = await asyncpg.connect(url)

    drop_database(postgres.url, url)

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url)
    guest.terminate()


async def test_each_database_is_empty_and_another(database_url: str, make_database: Callable[[], str]) -> None:
    urls = {database_url, make_database(), make_database()}

    assert len(urls) == 3
    for url in urls:
        assert await fetch_value(url, "SELECT count(*) FROM pg_stat_user_tables") == 0


def test_a_broker_namespace_is_short_and_without_surprises(broker_namespace: str) -> None:
    assert len(broker_namespace) == 7
    assert broker_namespace.isalnum()


async def execute(url: str, statement: str) -> None:
    """Execute a statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def fetch_value(url: str, query: str) -> object:
    """Fetch one value on a connection of its own."""
    connection = await asyncpg.connect(url)
    value: object = await connection.fetchval(query)
    await connection.close()
    return value


async def publish(url: str, body: bytes) -> None:
    """Publish a persistent message to a durable queue and wait for the broker's confirmation."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.queue_declare(QUEUE, durable=True)
    properties = aiormq.spec.Basic.Properties(delivery_mode=2)
    await channel.basic_publish(body, routing_key=QUEUE, properties=properties)
    await connection.close()


async def take(url: str) -> bytes:
    """Take the next message from the queue."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    message = await channel.basic_get(QUEUE, no_ack=True)
    await connection.close()
    return message.body

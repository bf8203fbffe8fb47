"""The demo as four processes over real servers."""

from __future__ import annotations

import os
import re
import signal

import aio_pika
import asyncpg
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from tests.demo.promises import expect_promises
from tests.demo.running import Ended, Start
from tests.servers import Server


@pytest.fixture
def servers(postgres: Server, rabbitmq: Server) -> list[str]:
    """The arguments that name the servers."""
    return ["--postgres", postgres.url, "--rabbitmq", rabbitmq.url]


async def test_every_saga_ends_as_it_should(
    start: Start, servers: list[str], postgres: Server, rabbitmq: Server
) -> None:
    ended = start("demo", "--json", *servers).end()
    expect_promises(ended, orders=12)
    await expect_no_trace(ended, postgres, rabbitmq)


@pytest.mark.parametrize("orders", [12, 100])
async def test_every_saga_ends_although_the_coordinator_is_killed(
    start: Start, servers: list[str], postgres: Server, rabbitmq: Server, orders: int
) -> None:
    ended = start("demo", "--kill", "--json", "--orders", str(orders), *servers).end()
    expect_promises(ended, orders=orders, killed=True)
    assert "The coordinator was killed (SIGKILL)" in ended.errors
    await expect_no_trace(ended, postgres, rabbitmq)


@pytest.mark.parametrize("service", ["payment.inventory", "sagaflow.cli coordinator"])
async def test_a_process_that_dies_is_told_of(start: Start, servers: list[str], postgres: Server, service: str) -> None:
    demo = start("demo", "--json", *servers)
    demo.until(lambda: any(service in line for line in demo.relatives()))
    os.kill(demo.relative(service), signal.SIGKILL)
    ended = demo.end()
    assert ended.code == 1
    assert re.search(r"the process '(inventory|coordinator)' of the demo ended by itself, by SIGKILL", ended.errors)
    assert ended.left_over == []
    assert await databases(postgres) == []


async def test_nothing_is_left_when_it_is_stopped(start: Start, servers: list[str], postgres: Server) -> None:
    demo = start("demo", "--json", *servers)
    demo.until(lambda: len(demo.relatives()) == 4)
    demo.process.terminate()
    ended = demo.end()
    assert ended.code == 128 + signal.SIGTERM
    assert ended.left_over == []
    assert await databases(postgres) == []


async def expect_no_trace(ended: Ended, postgres: Server, rabbitmq: Server) -> None:
    """No database and no queue is left, and no password was told."""
    assert await databases(postgres) == []
    match = re.search(r"sagaflow_demo_[0-9a-f]{8}", ended.errors)
    assert match is not None, "the command that repairs the stuck saga names the database"
    for queue in ("commands.payments", "compensations.payments", "replies.checkout", "requests.checkout", "dead"):
        assert not await has_queue(rabbitmq, f"{match[0]}.{queue}")
    assert postgres.url.split("@")[0].split(":")[2] not in ended.errors


async def databases(postgres: Server) -> list[str]:
    """The databases of demos."""
    connection = await asyncpg.connect(postgres.url)
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'sagaflow_demo_%'")
        return [row["datname"] for row in rows]
    finally:
        await connection.close()


async def has_queue(rabbitmq: Server, name: str) -> bool:
    """Whether the broker has a queue of this name."""
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        try:
            await channel.get_queue(name)
        except ChannelNotFoundEntity:
            return False
        return True

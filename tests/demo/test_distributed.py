"""The demo as four processes over real servers."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from tests.demo.promises import expect_promises
from tests.demo.running import Ended, Sagaflow, run
from tests.servers import Server

STEPS_AND_DATABASES = re.compile(r"sagaflow_demo_[0-9a-f]{8}")


async def test_every_saga_ends_as_it_should(postgres: Server, rabbitmq: Server, tmp_path: Path) -> None:
    ended = run(tmp_path, "demo", "--json", "--postgres", postgres.url, "--rabbitmq", rabbitmq.url)
    expect_promises(ended, orders=12)
    await expect_no_trace(ended, postgres, rabbitmq)


async def test_every_saga_ends_although_the_coordinator_is_killed(
    postgres: Server, rabbitmq: Server, tmp_path: Path
) -> None:
    ended = run(tmp_path, "demo", "--kill", "--json", "--postgres", postgres.url, "--rabbitmq", rabbitmq.url)
    expect_promises(ended, orders=12)
    assert "The coordinator was killed (SIGKILL)" in ended.errors
    await expect_no_trace(ended, postgres, rabbitmq)


async def test_many_orders(postgres: Server, rabbitmq: Server, tmp_path: Path) -> None:
    ended = run(
        tmp_path, "demo", "--kill", "--json", "--orders", "200", "--postgres", postgres.url, "--rabbitmq", rabbitmq.url
    )
    expect_promises(ended, orders=200)
    await expect_no_trace(ended, postgres, rabbitmq)


@pytest.mark.parametrize("service", ["payment.inventory", "sagaflow.cli coordinator"])
async def test_a_process_that_dies_is_told_of(postgres: Server, rabbitmq: Server, tmp_path: Path, service: str) -> None:
    demo = Sagaflow(tmp_path, "demo", "--json", "--postgres", postgres.url, "--rabbitmq", rabbitmq.url)
    demo.until(lambda: any(service in line for line in demo.relatives()))
    os.kill(demo.relative(service), signal.SIGKILL)
    ended = demo.end()
    assert ended.code == 1
    assert re.search(r"the process '(inventory|coordinator)' of the demo ended by itself, by SIGKILL", ended.errors)
    assert ended.left_over == []
    assert await databases(postgres) == []


async def test_nothing_is_left_when_it_is_stopped(postgres: Server, rabbitmq: Server, tmp_path: Path) -> None:
    demo = Sagaflow(tmp_path, "demo", "--json", "--postgres", postgres.url, "--rabbitmq", rabbitmq.url)
    demo.until(lambda: len(demo.relatives()) == 4)
    demo.process.terminate()
    ended = demo.end()
    assert ended.code == 128 + signal.SIGTERM
    assert ended.left_over == []
    assert await databases(postgres) == []


async def expect_no_trace(ended: Ended, postgres: Server, rabbitmq: Server) -> None:
    """No database and no queue is left, and no password was told."""
    assert await databases(postgres) == []
    match = STEPS_AND_DATABASES.search(ended.errors)
    assert match is not None, "the command that repairs the stuck saga names the database"
    for queue in ("commands.payments", "compensations.payments", "replies.checkout", "requests.checkout", "dead"):
        assert not await has_queue(rabbitmq, f"{match[0]}.{queue}")
    assert postgres.url.split(":")[2].split("@")[0] not in ended.errors


async def databases(postgres: Server) -> list[str]:
    connection = await asyncpg.connect(postgres.url)
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'sagaflow_demo_%'")
        return [row["datname"] for row in rows]
    finally:
        await connection.close()


async def has_queue(rabbitmq: Server, name: str) -> bool:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        try:
            await channel.get_queue(name)
        except ChannelNotFoundEntity:
            return False
        return True

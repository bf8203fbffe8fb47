"""The floor's services, and how they and the coordinator speak. What it is: floor.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from benchmarks.place import Place
from benchmarks.processes import until_told_to_end
from benchmarks.workloads import WORKLOADS, Act, Workload

PREFETCH = 100
PAY = """
WITH paid AS (SELECT id, count(*) AS n FROM unnest($1::integer[]) AS id GROUP BY id),
    locked AS (SELECT id FROM account WHERE id IN (SELECT id FROM paid) ORDER BY id FOR UPDATE)
UPDATE account SET balance = balance + n FROM paid JOIN locked USING (id) WHERE account.id = paid.id"""

Order = tuple[str, int]
"""The key of a saga, and the account."""


async def connect(stack: AsyncExitStack, place: Place) -> AbstractChannel:
    connection = await stack.enter_async_context(await aio_pika.connect(place.broker))
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(prefetch_count=PREFETCH)
    return channel


async def publish(channel: AbstractChannel, queue: str, workload: str, move: int, orders: list[Order]) -> None:
    body = json.dumps([workload, move, orders]).encode()
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue, mandatory=True)


async def consume(channel: AbstractChannel, queue: str, take: Callable[[AbstractIncomingMessage], object]) -> None:
    declared = await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    await declared.consume(take)  # type: ignore[arg-type]


async def serve_one(ready: Callable[[], None], place: Place, service: str) -> None:
    """The main of a service's process."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(asyncpg.create_pool(place.services[service]))
        channel = await connect(stack, place)

        async def take(message: AbstractIncomingMessage) -> None:
            name, move, orders = json.loads(message.body)
            if moves(WORKLOADS[name])[move][1] is Act.PAY:
                await pool.execute(PAY, [account for _, account in orders])
            await publish(channel, f"{place.namespace}.replies", name, move, orders)
            await message.ack()

        await consume(channel, f"{place.namespace}.{service}", take)
        ready()
        await until_told_to_end()


def moves(workload: Workload) -> tuple[tuple[str, Act], ...]:
    return workload.steps + workload.undoing

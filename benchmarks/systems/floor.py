"""The floor: a hand-written loop that does the least that is still durable.

The coordinator commits one row per saga at every transition and publishes with confirms to quorum queues; services
commit where the workload says so, reply with confirms, and acknowledge after that. In batches of n, one AMQP body
has up to n commands and one transaction takes the whole body.

What it leaves out: it knows the workload beforehand, keeps no history, no results and no errors, does not notice
duplicates (an effect would count twice), has no timers, no retries, and nobody takes over when a process dies.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.place import Place
from benchmarks.processes import beside
from benchmarks.systems.floor_service import Order, connect, consume, moves, publish, serve_one
from benchmarks.systems.system import RunOne
from benchmarks.workloads import SERVICES, WORKLOADS, Workload

MOVE = """
WITH locked AS (SELECT id FROM saga WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE)
UPDATE saga SET done = done + 1 FROM locked WHERE saga.id = locked.id RETURNING saga.id, saga.done"""


@asynccontextmanager
async def open_floor(place: Place, *, batch: int) -> AsyncIterator[RunOne]:
    """Services beside, and the coordinator here."""
    async with AsyncExitStack() as stack:
        for service in SERVICES:
            await stack.enter_async_context(beside(serve_one, place, service))
        pool = await stack.enter_async_context(asyncpg.create_pool(place.coordinator))
        channel = await connect(stack, place)
        await pool.execute("CREATE TABLE saga (id text PRIMARY KEY, done integer NOT NULL) WITH (fillfactor = 50)")
        ended: dict[str, asyncio.Future[None]] = {}
        starts: asyncio.Queue[tuple[Workload, Order]] = asyncio.Queue()
        group = await stack.enter_async_context(asyncio.TaskGroup())

        async def send(workload: Workload, move: int, orders: list[Order]) -> None:
            queue = f"{place.namespace}.{moves(workload)[move][0]}"
            await publish(channel, queue, workload.name, move, orders)

        async def begin(workload: Workload, orders: list[Order]) -> None:
            await pool.execute("INSERT INTO saga SELECT unnest($1::text[]), 0", [key for key, _ in orders])
            first = range(len(workload.steps) if workload.side_by_side else 1)
            await asyncio.gather(*(send(workload, move, orders) for move in first))

        async def take(message: AbstractIncomingMessage) -> None:
            name, move, orders = json.loads(message.body)
            workload = WORKLOADS[name]
            done = await pool.fetch(MOVE, [key for key, _ in orders])
            if not workload.side_by_side and move + 1 < len(moves(workload)):
                await send(workload, move + 1, orders)
            await message.ack()
            for key, count in done:
                if count == len(moves(workload)):
                    ended.pop(key).set_result(None)

        async def start() -> None:
            while True:
                together = [await starts.get()]
                while len(together) < batch and not starts.empty():
                    together.append(starts.get_nowait())
                group.create_task(begin(together[0][0], [order for _, order in together]))

        async def run(workload: Workload, key: str, account: int) -> None:
            ended[key] = asyncio.get_running_loop().create_future()
            starts.put_nowait((workload, (key, account)))
            await ended[key]

        await consume(channel, f"{place.namespace}.replies", take)
        starting = group.create_task(start())
        yield run
        starting.cancel()

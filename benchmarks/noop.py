"""Three steps on three participants, whose handlers return at once: what the framework itself costs."""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import statistics
import time
from contextlib import AsyncExitStack

import asyncpg
import uvloop

from sagaflow import Coordinator, Participant, Replies, Saga, serve, until_stopped
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from tests.servers import postgres_lookup, rabbitmq_lookup
from tests.servers.databases import create_database

PARTICIPANTS = ("first", "second", "third")
SINGLE_SAGAS = 100


def noop_saga() -> Saga[str]:
    """Three steps, one after another."""
    saga = Saga("noop", str)
    for participant in PARTICIPANTS:

        @saga.step(f"{participant}.do")
        def do(word: str, replies: Replies) -> str:
            return word

    return saga


def participant_that_does_nothing(name: str) -> Participant[asyncpg.Connection]:
    """A participant whose one step returns at once."""
    participant: Participant[asyncpg.Connection] = Participant(name)

    @participant.step("do", no_compensation="it does nothing")
    async def do(word: str) -> None: ...

    return participant


def run(*, sagas: int, rounds: int) -> None:
    """Start servers and processes, print the figures, and take all of it down."""
    postgres, rabbitmq = postgres_lookup().start(), rabbitmq_lookup().start()
    try:
        _run(create_database(postgres.url), rabbitmq.url, sagas, rounds)
    finally:
        rabbitmq.close()
        postgres.close()


def _run(database: str, broker: str, sagas: int, rounds: int) -> None:
    asyncio.run(_migrate(database))
    namespace = f"bench{secrets.token_hex(3)}"
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=_serve, args=(database, broker, namespace))
    worker.start()
    try:
        uvloop.run(_measure(database, broker, namespace, sagas, rounds))
    finally:
        worker.terminate()
        worker.join()


async def _migrate(database: str) -> None:
    connection = await asyncpg.connect(database)
    for line in Line:
        await upgrade(connection, line)
    await connection.close()


def _serve(database: str, broker: str, namespace: str) -> None:
    async def serve_all() -> None:
        async with AsyncExitStack() as stack:
            transport = RabbitTransport(broker, namespace=namespace)
            transactions = await stack.enter_async_context(AsyncpgTransactions.connect(database))
            for name in PARTICIPANTS:
                participant = participant_that_does_nothing(name)
                await stack.enter_async_context(serve(participant, transport=transport, transactions=transactions))
            await until_stopped()

    uvloop.run(serve_all())


async def _measure(database: str, broker: str, namespace: str, sagas: int, rounds: int) -> None:
    noop = noop_saga()
    async with (
        PostgresStore.connect(database) as store,
        Coordinator([noop], store=store, transport=RabbitTransport(broker, namespace=namespace)) as coordinator,
    ):
        await (await coordinator.start(noop, "warm", key="warm")).outcome()
        for round_ in range(rounds):
            await _round(coordinator, noop, round_, sagas)
        await _singles(coordinator, noop)


async def _round(coordinator: Coordinator, noop: Saga[str], round_: int, sagas: int) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    runs = await coordinator.start_many(noop, {f"{round_}-{number}": "go" for number in range(sagas)})
    await asyncio.gather(*(run.outcome() for run in runs))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"round {round_ + 1}: {sagas / wall:6.0f} sagas/s, {1000 * cpu / sagas:.2f} ms CPU of the coordinator a saga")


async def _singles(coordinator: Coordinator, noop: Saga[str]) -> None:
    seconds = []
    for number in range(SINGLE_SAGAS):
        began = time.perf_counter()
        await (await coordinator.start(noop, "go", key=f"single-{number}")).outcome()
        seconds.append(time.perf_counter() - began)
    p50, p99 = statistics.median(seconds), sorted(seconds)[int(0.99 * SINGLE_SAGAS)]
    print(f"one at a time: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")

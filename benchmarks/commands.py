"""One worker by itself: commands are published, and the replies to all of them waited for. No coordinator is there."""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import msgspec
import psutil
import uvloop

from sagaflow import Operation, Participant, StepContext, serve, until_stopped
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.definitions.messages import Command, Reader, Reply, ReplyOutcome, write
from sagaflow.definitions.ports import Address, Delivery, Letter, QueueKind
from tests.servers import postgres_lookup, rabbitmq_lookup
from tests.servers.databases import create_database

WARM_UP = 200
ACCOUNTS = 1_000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COORDINATOR = "bench"


def participant() -> Participant[asyncpg.Connection]:
    """One step that returns at once, and one that writes one row of the business."""
    bank: Participant[asyncpg.Connection] = Participant("bank")

    @bank.step("noop", no_compensation="it does nothing")
    async def noop(word: str) -> None: ...

    @bank.step("write", no_compensation="nobody asks for it here")
    async def deposit(account: int, ctx: StepContext[asyncpg.Connection]) -> None:
        await ctx.tx.execute("UPDATE account SET balance = balance + 1 WHERE number = $1", account)

    return bank


def run(*, commands: int, rounds: int) -> None:
    """Start servers and a worker, print the figures, and take all of it down."""
    postgres, rabbitmq = postgres_lookup().start(), rabbitmq_lookup().start()
    try:
        _run(create_database(postgres.url), rabbitmq.url, commands, rounds)
    finally:
        rabbitmq.close()
        postgres.close()


def _run(database: str, broker: str, commands: int, rounds: int) -> None:
    asyncio.run(_prepare(database))
    namespace = f"bench{secrets.token_hex(3)}"
    worker = multiprocessing.get_context("spawn").Process(target=_serve, args=(database, broker, namespace))
    worker.start()
    try:
        assert worker.pid is not None
        uvloop.run(_measure(database, broker, namespace, commands, rounds, psutil.Process(worker.pid)))
    finally:
        worker.terminate()
        worker.join()


async def _prepare(database: str) -> None:
    connection = await asyncpg.connect(database)
    await upgrade(connection, Line.PARTICIPANT)
    await connection.execute(
        "CREATE TABLE account (number int PRIMARY KEY, balance int NOT NULL) WITH (fillfactor = 50)"
    )
    await connection.execute("INSERT INTO account SELECT number, 0 FROM generate_series(1, $1) AS number", ACCOUNTS)
    await connection.close()


def _serve(database: str, broker: str, namespace: str) -> None:
    async def serve_it() -> None:
        async with (
            AsyncpgTransactions.connect(database) as transactions,
            serve(participant(), transport=RabbitTransport(broker, namespace=namespace), transactions=transactions),
        ):
            await until_stopped()

    uvloop.run(serve_it())


async def _measure(
    database: str, broker: str, namespace: str, commands: int, rounds: int, worker: psutil.Process
) -> None:
    connection = await asyncpg.connect(database)
    async with RabbitTransport(broker, namespace=namespace) as transport, _replies(transport) as replies:
        for handler in ("noop", "write"):
            await _round(transport, replies, _letters(handler, WARM_UP))
            figures = [await _round(transport, replies, _letters(handler, commands)) for _ in range(rounds)]
            before, cpu_before = await _commits(connection), _cpu_seconds(worker)
            await _round(transport, replies, _letters(handler, commands))
            transactions = (await _commits(connection) - before) / commands
            cpu_seconds = (_cpu_seconds(worker) - cpu_before) / commands
            each = ", ".join(f"{figure:.0f}" for figure in figures)
            print(
                f"{handler}: {statistics.median(figures):6.0f} commands/s (rounds: {each}), "
                f"{transactions:.3f} transactions and {1e6 * cpu_seconds:.0f} us of the worker's CPU a command"
            )
    await connection.close()


@asynccontextmanager
async def _replies(transport: RabbitTransport) -> AsyncIterator[asyncio.Queue[Reply]]:
    replies: asyncio.Queue[Reply] = asyncio.Queue()
    reader: Reader[Reply] = Reader(Reply)
    acks: set[asyncio.Task[None]] = set()

    def receive(delivery: Delivery) -> None:
        for reply in reader.read(delivery.body):
            assert isinstance(reply, Reply), reply
            replies.put_nowait(reply)
        ack = asyncio.create_task(delivery.ack())
        acks.add(ack)
        ack.add_done_callback(acks.discard)

    subscription = await transport.subscribe(Address(QueueKind.REPLIES, COORDINATOR), receive, prefetch=100)
    yield replies
    await subscription.cancel()


async def _round(transport: RabbitTransport, replies: asyncio.Queue[Reply], letters: Sequence[Letter]) -> float:
    """Commands a second, from the first published to the last answered."""
    began = time.perf_counter()
    publishing = asyncio.create_task(_publish(transport, letters))
    for _ in letters:
        reply = await replies.get()
        assert reply.outcome is ReplyOutcome.SUCCEEDED, reply
    await publishing
    return len(letters) / (time.perf_counter() - began)


async def _publish(transport: RabbitTransport, letters: Sequence[Letter]) -> None:
    for start in range(0, len(letters), 1_000):
        await transport.publish(letters[start : start + 1_000])


def _letters(handler: str, count: int) -> Sequence[Letter]:
    return [
        Letter(Address(QueueKind.COMMANDS, "bank"), write(_command(handler, 1 + number % ACCOUNTS)))
        for number in range(count)
    ]


def _command(handler: str, account: int) -> Command:
    return Command(
        saga_id=uuid4(),
        saga="bench",
        step=f"bank.{handler}",
        handler=handler,
        operation=Operation.ACTION,
        round=1,
        attempt=1,
        token="t",
        reply_to=COORDINATOR,
        budget_seconds=600.0,
        traceparent=TRACEPARENT,
        payload=msgspec.Raw(b'"go"' if handler == "noop" else str(account).encode()),
    )


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _commits(connection: asyncpg.Connection) -> int:
    """How many transactions were committed in this database, as far as the server has counted by now."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(await connection.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"))

"""One coordinator by itself, over a real PostgreSQL: every command is answered at once, inside its own process.

What answering costs is measured and left out, so the figures are those of the coordinator and of its database alone.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Self

import asyncpg
import msgspec
import psutil
import uvloop

from benchmarks.systems.sagaflow import saga_of
from benchmarks.workloads import ACCOUNTS, WORKLOADS
from sagaflow import Coordinator, SagaStatus, UndoReady
from sagaflow.adapters.parcels import pack
from sagaflow.adapters.postgres import Line, PostgresStore, upgrade
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.messages import Command, Reader, Reply, ReplyOutcome, write
from sagaflow.definitions.ports import Address, DeadDelivery, Delivery, Letter, QueueKind, Subscription
from tests.servers import postgres_lookup
from tests.servers.databases import create_database

WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


class AnsweringTransport:
    """Carries nothing: what is sent to a participant is answered with success, in bodies as a worker sends them."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        """What answering has cost so far."""
        self._commands: Reader[Command] = Reader(Command)
        self._receive: dict[Address, Callable[[Delivery], None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    @property
    def durable(self) -> bool:
        """As if."""
        return True

    def troubles(self) -> Sequence[Trouble]:
        """As if."""
        return ()

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Answer them; the replies are delivered when the loop comes to it."""
        parcels = pack(letters)
        began = time.thread_time()
        replies: dict[Address, list[Letter]] = defaultdict(list)
        for parcel in parcels:
            if parcel.to.kind in (QueueKind.COMMANDS, QueueKind.COMPENSATIONS):
                for command in self._commands.read(parcel.body):
                    assert isinstance(command, Command), command
                    to = Address(QueueKind.REPLIES, command.reply_to)
                    replies[to].append(Letter(to, write(_success(command, parcel.to.name))))
        bodies = [parcel for some in replies.values() for parcel in pack(some)]
        self.cpu_seconds += time.thread_time() - began
        for body in bodies:
            asyncio.get_running_loop().call_soon(self._receive[body.to], _Arrived(body.body))

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        """Deliver replies there from now on."""
        self._receive[address] = receive
        return _Subscription()

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        """Nothing is given up."""
        return _Subscription()


class _Subscription:
    async def cancel(self) -> None:
        pass


class _Arrived:
    def __init__(self, body: bytes) -> None:
        self.body = body
        self.again = False

    async def ack(self) -> None:
        pass


def _success(command: Command, participant: str) -> Reply:
    return Reply(
        saga_id=command.saga_id,
        step=command.step,
        operation=command.operation,
        round=command.round,
        attempt=command.attempt,
        token=command.token,
        outcome=ReplyOutcome.SUCCEEDED,
        participant=participant,
        host="bench:1",
        traceparent=command.traceparent,
        result=msgspec.Raw(b"null"),
    )


def run(*, sagas: int, in_flight: int, rounds: int) -> None:
    """Start a server, print the figures, and take it down."""
    postgres = postgres_lookup().start()
    try:
        uvloop.run(_measure(create_database(postgres.url), sagas, in_flight, rounds))
    finally:
        postgres.close()


async def _measure(database: str, sagas: int, in_flight: int, rounds: int) -> None:
    connection = await asyncpg.connect(database)
    await upgrade(connection, Line.COORDINATOR)
    saga, transport = saga_of(WORKLOADS["noop"]), AnsweringTransport()
    async with (
        PostgresStore.connect(database) as store,
        Coordinator([saga], store=store, transport=transport, name="bench", undo_ready=UndoReady.NOT_ASKED) as runs,
    ):

        async def lane(numbers: Sequence[int]) -> None:
            for number in numbers:
                outcome = await (await runs.start(saga, number % ACCOUNTS, key=str(number))).outcome()
                assert outcome.status is SagaStatus.COMPLETED, outcome

        def server() -> float:
            return sum(_cpu_seconds(child) for child in psutil.Process().children(recursive=True))

        async def round_(first: int, sagas: int, lanes: int) -> Sequence[float]:
            """Sagas a second; CPU milliseconds of the coordinator and of PostgreSQL, and WAL bytes, a saga."""
            wal = await connection.fetchval(WAL)
            ours, theirs, wall = time.process_time() - transport.cpu_seconds, server(), time.perf_counter()
            await asyncio.gather(*(lane(range(first + one, first + sagas, lanes)) for one in range(lanes)))
            ours, theirs = time.process_time() - transport.cpu_seconds - ours, server() - theirs
            wall = time.perf_counter() - wall
            wal = int(await connection.fetchval(WAL) - wal)
            return sagas / wall, 1_000 * ours / sagas, 1_000 * theirs / sagas, wal / sagas

        await round_(0, sagas // 10, in_flight)
        for lanes, count in ((in_flight, sagas), (1, sagas // 40)):
            figures = [await round_(10_000_000 * lanes + sagas * one + sagas, count, lanes) for one in range(rounds)]
            rate, ours, theirs, wal = (statistics.median(column) for column in zip(*figures, strict=True))
            print(
                f"{lanes} in flight: {rate:,.0f} sagas/s, CPU a saga: coordinator {ours:.3f} ms, "
                f"PostgreSQL {theirs:.3f} ms; WAL a saga: {wal:,.0f} bytes"
            )
    await connection.close()


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)

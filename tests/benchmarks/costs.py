"""What sagas cost, in counts that no clock has a say in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.place import Place
from benchmarks.systems.sagaflow import migrate, saga_of
from benchmarks.systems.sagaflow_service import participant, transport
from benchmarks.workloads import SERVICES, Workload
from sagaflow import Coordinator, SagaStatus, serve
from sagaflow.adapters.postgres import AsyncpgTransactions, PostgresStore
from sagaflow.definitions.ports import Address, Delivery, Letter, Subscription, Transport
from tests.runners.faults import Passing

ROWS = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables"
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


class CountingTransport(Passing):
    """Hands everything on, and counts messages as they go out and bodies as they come in."""

    def __init__(self, transport: Transport, counts: Counter[str]) -> None:
        super().__init__(transport)
        self._counts = counts

    async def publish(self, letters: Sequence[Letter]) -> None:
        self._counts["messages"] += len(letters)
        await super().publish(letters)

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        def counted(delivery: Delivery) -> None:
            self._counts["bodies"] += 1
            receive(delivery)

        return await super().subscribe(address, counted, prefetch=prefetch)


async def costs_of(place: Place, workload: Workload, sagas: int) -> Counter[str]:
    """Run so many sagas, started together, in one process; count what that took."""
    await migrate(place)
    counts: Counter[str] = Counter()
    before = await _counted_by_the_server(place)
    async with _running(place, workload, counts) as coordinator:
        saga = coordinator.saga
        runs = await coordinator.start_many(saga, {str(number): number % 1_000 for number in range(sagas)})
        outcomes = await asyncio.gather(*(run.outcome() for run in runs))
    assert {outcome.status for outcome in outcomes} == {
        SagaStatus.COMPENSATED if workload.refused else SagaStatus.COMPLETED
    }
    counts.update(await _counted_by_the_server(place))
    counts.subtract(before)
    return counts


class _Coordinator(Coordinator):
    saga: Any


@asynccontextmanager
async def _running(place: Place, workload: Workload, counts: Counter[str]) -> AsyncIterator[_Coordinator]:
    async def count_statements(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda _: counts.update(["statements"]))

    async with AsyncExitStack() as stack:
        shared = CountingTransport(transport(place), counts)
        for name in SERVICES:
            connected = AsyncpgTransactions.connect(place.services[name], init=count_statements)
            transactions = await stack.enter_async_context(connected)
            await stack.enter_async_context(serve(participant(name), transport=shared, transactions=transactions))
        store = await stack.enter_async_context(PostgresStore.connect(place.coordinator, init=count_statements))
        saga = saga_of(workload)
        coordinator = _Coordinator([saga], store=store, transport=shared, name="counted")
        coordinator.saga = saga
        yield await stack.enter_async_context(coordinator)


async def _counted_by_the_server(place: Place) -> Counter[str]:
    """Rows and transactions of all the databases, and WAL of the server. Everyone else's connections are closed: what
    a connection did is counted, at the latest, when it ends."""
    counted: Counter[str] = Counter()
    for database in (place.coordinator, *place.services.values()):
        connection = await asyncpg.connect(database)
        while await connection.fetchval(OTHERS):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
        counted["rows"] += int(await connection.fetchval(ROWS))
        counted["transactions"] += await connection.fetchval(COMMITS)
        counted["WAL bytes"] = int(await connection.fetchval(WAL))
        await connection.close()
    return counted

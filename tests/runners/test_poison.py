"""What kills whoever takes it is found, harms no other for long, and is shown to a person: with real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest

from sagaflow import Cause, Operation, SagaStatus, StepRejected
from sagaflow.adapters.postgres import AsyncpgTransactions
from sagaflow.adapters.rabbitmq.topology import DELIVERY_LIMIT
from sagaflow.core.state import OpStatus
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.ports import Address, Delivery, Letter, QueueKind, SagaStore
from tests.runners.poison_workers import DEADLY, NO_RETURN
from tests.runners.world import Trip, World, always, check_journal, op_of, trip_saga, until
from tests.servers import Server

OUTCOME_SECONDS = 120.0
"""Dozens of processes have to die first."""

DEATHS_MAX = DELIVERY_LIMIT + 2
"""One with the body that it came in, and then each time that it came back alone."""

pytestmark = pytest.mark.parametrize("world", ["distributed"], indirect=True)


@dataclass
class Airline:
    """The service in processes of its own."""

    database: str
    environment: tuple[str, ...]
    deaths: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Its workers, as long as the context is open."""
        supervisor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.runners.poison_workers", self.database, *self.environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        counting = asyncio.create_task(self._count(supervisor.stdout))
        try:
            yield
        finally:
            supervisor.stdin.close()
            await supervisor.wait()
            await counting

    async def _count(self, lines: asyncio.StreamReader) -> None:
        while await lines.readline():
            self.deaths += 1

    async def dead(self) -> str:
        """What `sagaflow dead participant` shows."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagaflow.cli", "dead", "participant", "--json", "--database", self.database),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await child.communicate()
        assert child.returncode == 0
        return said.decode()


@pytest.fixture
def airline(database_url: str, rabbitmq: Server, broker_namespace: str) -> Airline:
    return Airline(database_url, (rabbitmq.url, broker_namespace))


async def errors_of(store: SagaStore, saga_id: UUID) -> list[ErrorInfo]:
    return [entry.error for entry in await check_journal(store, saga_id) if entry.error is not None]


async def test_case_10_a_deadly_command_is_given_up_the_others_live_and_its_saga_is_undone(
    world: World, airline: Airline
) -> None:
    trip = trip_saga(airline="airline", attempts=5)
    await world.worker()
    sagas, store = await world.coordinator(trip), await world.store()
    cities = [DEADLY, *(f"Rome {number}" for number in range(9))]
    runs = await sagas.start_many(trip, {city: Trip(city) for city in cities})
    async with airline.serving():
        outcomes = {run.key: await run.outcome(timeout=OUTCOME_SECONDS) for run in runs}
        assert DELIVERY_LIMIT < airline.deaths <= DEATHS_MAX
    assert (outcomes[DEADLY].status, outcomes[DEADLY].cause) == (SagaStatus.COMPENSATED, Cause.EXHAUSTED)
    assert [city for city in cities if outcomes[city].status is not SagaStatus.COMPLETED] == [DEADLY]
    (saga_id,) = [run.saga_id for run in runs if run.key == DEADLY]
    flight = await op_of(store, saga_id, "airline.book_flight")
    assert (flight.status, flight.attempt) == (OpStatus.UNKNOWN, 1), "nobody else is to die of further attempts"
    assert [error.type for error in await errors_of(store, saga_id)] == ["GivenUp"]
    (shown,) = (await airline.dead()).splitlines()
    assert "commands.airline" in shown
    assert "delivery_limit" in shown
    async with AsyncpgTransactions.connect(airline.database) as transactions:
        (kept,) = await transactions.list_put_aside(2)
    assert DEADLY.encode() in kept.body


async def test_a_deadly_compensation_is_given_up_and_a_person_has_to_decide(world: World, airline: Airline) -> None:
    world.agency.behaviour["pay"] = always(StepRejected("the card was declined"))
    trip = trip_saga(airline="airline")
    await world.worker()
    sagas, store = await world.coordinator(trip), await world.store()
    async with airline.serving():
        run = await sagas.start(trip, Trip(NO_RETURN), key="t-1")
        assert (await run.outcome(timeout=OUTCOME_SECONDS)).status is SagaStatus.STUCK
        assert DELIVERY_LIMIT < airline.deaths <= DEATHS_MAX
    undo = await op_of(store, run.saga_id, "airline.book_flight", Operation.COMPENSATION)
    assert (undo.status, undo.attempt) == (OpStatus.STUCK, 1)
    assert [error.type for error in await errors_of(store, run.saga_id)] == ["StepRejected", "GivenUp"]
    (shown,) = (await airline.dead()).splitlines()
    assert "compensations.airline" in shown


@pytest.mark.parametrize("kind", [QueueKind.REPLIES, QueueKind.REQUESTS])
async def test_what_kills_coordinators_is_put_aside(world: World, kind: QueueKind) -> None:
    address = Address(kind, "trips")
    transport = world.make_transport()
    async with transport:
        await transport.publish([Letter(address, b'{"type": "deadly"}')])
    for _ in range(DELIVERY_LIMIT + 1):  # whoever takes it goes away without a word
        taken: asyncio.Queue[Delivery] = asyncio.Queue()
        async with transport:
            await transport.subscribe(address, taken.put_nowait, prefetch=1)
            await asyncio.wait_for(taken.get(), OUTCOME_SECONDS)
    store = await world.store()
    await world.coordinator()

    async def put_aside() -> bool:
        return bool(await store.list_put_aside(10))

    await until(put_aside)
    (aside,) = await store.list_put_aside(10)
    assert (aside.source, aside.body) == (str(address), b'[{"type": "deadly"}]')
    assert "delivery_limit" in aside.reason

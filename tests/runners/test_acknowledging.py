"""What is acknowledged when: nothing before what it led to is safe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sagaflow import SagaStatus
from sagaflow.definitions.ports import (
    Address,
    Delivery,
    Letter,
    LoneTransaction,
    QueueKind,
    StoreTransaction,
    Subscription,
    Transport,
)
from tests.runners.faults import Wiretap
from tests.runners.world import DEADLINE_SECONDS, Trip, World, trip_saga


class Noting(Wiretap):
    """A transport that notes what arrives, what is published and what is acknowledged, in order."""

    def __init__(self, transport: Transport, notes: list[str]) -> None:
        super().__init__(transport, [], lambda letter: [letter])
        self._notes = notes

    async def publish(self, letters: Sequence[Letter]) -> None:
        await super().publish(letters)
        self._notes.extend(f"published {letter.to.kind}" for letter in letters)

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        def note(delivery: Delivery) -> None:
            self._notes.append(f"arrived {address.kind}")
            receive(NotedDelivery(delivery, address.kind, self._notes))

        return await super().subscribe(address, note, prefetch=prefetch)


class NotedDelivery:
    """A delivery whose acknowledgement is noted."""

    def __init__(self, delivery: Delivery, kind: QueueKind, notes: list[str]) -> None:
        self._delivery = delivery
        self._kind = kind
        self._notes = notes

    @property
    def body(self) -> bytes:
        return self._delivery.body

    @property
    def again(self) -> bool:
        return self._delivery.again

    async def ack(self) -> None:
        self._notes.append(f"acknowledged {self._kind}")
        await self._delivery.ack()


class NotingStore:
    """Passes everything on to a store, and notes its commits."""

    def __init__(self, store: Any, notes: list[str]) -> None:
        self._store = store
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[StoreTransaction]:
        async with self._store.transaction() as tx:
            yield tx
        self._notes.append("committed")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[LoneTransaction]:
        async with self._store.alone() as tx:
            yield tx
        self._notes.append("committed")


async def test_a_reply_is_acknowledged_after_its_commit_and_after_the_commands_that_follow_from_it(
    world: World,
) -> None:
    notes: list[str] = []
    store: Any = NotingStore(await world.store(), notes)
    trip = trip_saga()
    await world.worker()
    noting: Any = Noting(world.make_transport(), notes)
    sagas = await world.stack.enter_async_context(world.coordinating(store, trip, transport=noting))
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    await sagas._replies.settled()
    first = notes[notes.index("arrived replies") : notes.index("acknowledged replies")]
    assert "committed" in first
    assert "published commands" in first[first.index("committed") :]


async def test_a_command_is_acknowledged_after_its_reply(world: World) -> None:
    notes: list[str] = []
    trip = trip_saga()
    make, world.make_transport = world.make_transport, lambda: Noting(make(), notes)
    worker = await world.worker()
    world.make_transport = make
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    for intake in worker._intakes:
        await intake.settled()
    assert "published replies" in notes[notes.index("arrived commands") : notes.index("acknowledged commands")]

"""A saga begins once, whatever happens to the transaction in which it does."""

from __future__ import annotations

from sagaflow import Replies, Saga, SagaStatus
from sagaflow.definitions.records import PayloadKind
from tests.runners.faults import CommitsInDoubt
from tests.runners.world import World, until, until_status


async def test_what_is_sent_is_what_was_committed(world: World) -> None:
    """The first try commits, unknown to the coordinator, that the command could not be made. The second try can make
    it, and must not send it: nothing stored would say so."""
    calls: list[str] = []
    trip = Saga("moody-trip", str)

    @trip.step("agency.book_car", reply=str)
    def book_car(city: str, replies: Replies) -> str:
        calls.append(city)
        if len(calls) == 1:
            raise MemoryError("not now")
        return city

    store = CommitsInDoubt(await world.store())
    await world.worker()
    coordinator = await world.stack.enter_async_context(world.coordinating(store, trip))
    store.doubts = 1
    run = await coordinator.start(trip, "Rome", key="1")
    assert len(calls) == 2
    await until_status(store, run.saga_id, SagaStatus.STUCK)
    await coordinator.operator("eve").cancel(run.saga_id, reason="it never began")
    await until_status(store, run.saga_id, SagaStatus.COMPENSATED)
    other = await coordinator.start(trip, "Oslo", key="2")  # what was sent before it has been done by now
    await until_status(store, other.saga_id, SagaStatus.COMPLETED)
    assert world.agency.done == ["book_car"]


async def test_what_is_sent_of_a_callers_transaction_is_kept_before_it_is_sent(world: World) -> None:
    """Whoever starts a saga within a transaction need not have its code, so the command is made by who sends it first.
    Whoever sends it again sends the same: made anew, it could be another, or none, of what is done already."""
    trip = Saga("moody-trip", str)

    @trip.step("agency.book_car", reply=str)
    def book_car(city: str, replies: Replies) -> str:
        return city

    store = await world.store()
    coordinator = await world.coordinator(trip)
    async with world.own_transaction() as connection:
        run = await coordinator.start(trip, "Rome", key="1", tx=connection)

    async def is_kept() -> bool:
        async with store.transaction() as tx:
            return PayloadKind.COMMAND in {payload.kind for payload in await tx.payloads([run.saga_id])}

    await until(is_kept)

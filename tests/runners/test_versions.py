"""Runs are pinned to the plan they began with; code that is missing is waited for."""

from __future__ import annotations

from sagaflow import Replies, Saga, SagaStatus, StepRejected
from sagaflow.core.state import OpStatus
from tests.runners.world import Trip, World, always, check_journal, op_of, trip_saga, until, until_status


def another_saga() -> Saga[Trip]:
    other = Saga("another", Trip)

    @other.step("agency.book_car")
    def book_car(trip: Trip, replies: Replies) -> str:
        return trip.city

    return other


async def test_case_27_a_run_whose_code_nobody_has_waits_for_a_coordinator_with_it(
    world: World,
) -> None:
    trip = trip_saga()
    store = await world.store()
    async with world.coordinating(store, trip, another_saga()) as sagas:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await world.worker()
    async with world.coordinating(store, another_saga()):

        async def waits() -> bool:
            return (await op_of(store, run.saga_id, "agency.book_room")).status is OpStatus.DEFERRED

        await until(waits)
    assert (await op_of(store, run.saga_id, "agency.book_room")).attempt == 0
    complete = await world.coordinator(trip, another_saga())
    await complete.operator("anna").retry(run.saga_id, step="agency.book_room", reason="deployed")
    await complete.operator("anna").retry(run.saga_id, step="agency.book_flight", reason="deployed")
    await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    await check_journal(store, run.saga_id)


async def test_case_27_a_rollback_is_completed_by_a_coordinator_without_the_code(world: World) -> None:
    world.agency.behaviour["book_flight"] = always(StepRejected("full"))
    trip = trip_saga()
    store = await world.store()
    agency = world.serving(world.agency.participant(without=["book_flight"]), await world.transactions())
    async with world.coordinating(store, trip, another_saga()) as sagas, agency:
        run = await sagas.start(trip, Trip("Rome"), key="t-1")

        async def booked() -> bool:
            return (await op_of(store, run.saga_id, "agency.book_room")).status is OpStatus.SUCCEEDED

        await until(booked)
    without = await world.coordinator(another_saga())
    await world.worker()
    await without.operator("anna").retry(run.saga_id, step="agency.book_flight", reason="the step is served now")
    await until_status(store, run.saga_id, SagaStatus.COMPENSATED)
    assert world.agency.done[-2:] == ["cancel book_room", "cancel book_car"]


async def test_two_versions_of_a_saga_are_served_side_by_side(world: World) -> None:
    old, new = trip_saga(), Saga("trip", Trip, version=2)

    @new.step("agency.book_car")
    def book_car(trip: Trip, replies: Replies) -> str:
        return trip.city

    await world.worker()
    sagas = await world.coordinator(old, new)
    store = await world.store()
    runs = [await sagas.start(saga, Trip("Rome"), key=f"t-{saga.version}") for saga in (old, new)]
    for run in runs:
        await until_status(store, run.saga_id, SagaStatus.COMPLETED)
    assert world.agency.done.count("book_car") == 2
    assert world.agency.done.count("pay") == 1

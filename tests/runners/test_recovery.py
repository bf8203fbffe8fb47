"""What happens when processes die or servers do not answer. Real SIGKILLs are in tests/crash and tests/demo."""

from __future__ import annotations

import asyncio
from typing import Any

from sagaflow import SagaStatus
from sagaflow.core.state import OpStatus
from tests.runners.faults import CommitsInDoubt, Unreliable
from tests.runners.world import (
    DEADLINE_SECONDS,
    Trip,
    World,
    check_journal,
    op_of,
    trip_saga,
    until,
)


async def test_publishing_that_fails_is_tried_until_it_succeeds(world: World) -> None:
    trip = trip_saga()
    transport = Unreliable(world.make_transport())
    transport.failures = 3
    await world.worker()
    sagas = await world.coordinator(trip, transport=transport)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert transport.failures == 0


async def test_commands_of_a_commit_in_doubt_are_sent_all_the_same(world: World) -> None:
    trip = trip_saga()
    await world.worker()
    store = await world.store()
    doubtful: Any = CommitsInDoubt(store)
    sagas = await world.stack.enter_async_context(world.coordinating(doubtful, trip))
    doubtful.doubts = 1
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    doubtful.doubts = 3
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    await check_journal(store, run.saga_id)


async def test_a_stopping_worker_finishes_what_it_has_begun(world: World) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def hold(attempt: int) -> None:
        begun.set()
        await released.wait()

    world.agency.behaviour["book_car"] = hold
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    store = await world.store()
    worker = world.serving(None, await world.transactions())
    await worker.__aenter__()
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await begun.wait()
    stopping = asyncio.create_task(worker.__aexit__(None, None, None))
    released.set()
    await stopping

    async def answered() -> bool:
        return (await op_of(store, run.saga_id, "agency.book_car")).status is OpStatus.SUCCEEDED

    await until(answered)
    assert world.agency.attempts["book_car"] == 1


async def test_a_handler_that_is_cut_off_is_rolled_back_and_done_again_elsewhere(world: World) -> None:
    begun = asyncio.Event()

    async def hang_once(attempt: int) -> None:
        begun.set()
        if attempt == 1:
            await asyncio.Event().wait()

    world.agency.behaviour["book_car"] = hang_once
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    worker = world.serving(None, await world.transactions())
    worker._grace_seconds = 0.05
    await worker.__aenter__()
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    await begun.wait()
    await worker.__aexit__(None, None, None)
    await world.worker()
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED
    assert world.agency.done.count("book_car") == 1

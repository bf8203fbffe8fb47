"""A row that a stranger keeps locked holds up its saga, and no other."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from sagaflow import SagaStatus
from sagaflow.adapters.postgres import PostgresStore
from tests.runners.world import Trip, World, check_journal, record_of, trip_saga, until, until_status


@pytest.mark.parametrize("world", ["distributed"], indirect=True)
async def test_a_row_that_a_stranger_keeps_locked_holds_up_no_other_saga(world: World, database_url: str) -> None:
    trip = trip_saga()
    impatient = PostgresStore.connect(database_url, server_settings={"lock_timeout": "300ms"})
    store = await world.stack.enter_async_context(impatient)
    sagas = await world.stack.enter_async_context(world.coordinating(store, trip))
    locked = await sagas.start(trip, Trip("Rome"), key="locked")
    async with AsyncExitStack() as held:
        stranger = await held.enter_async_context(world.own_transaction())
        await stranger.execute("SELECT FROM sagaflow.saga WHERE id = $1 FOR UPDATE", locked.saga_id)
        await world.worker()

        async def answered() -> bool:
            return "book_car" in world.agency.done

        await until(answered)
        others = await sagas.start_many(trip, {f"t-{number}": Trip("Oslo") for number in range(3)})
        for other in others:
            await until_status(store, other.saga_id, SagaStatus.COMPLETED)
        assert (await record_of(store, locked.saga_id)).version == 1, "its reply waits with the row"
    await until_status(store, locked.saga_id, SagaStatus.COMPLETED)
    assert world.agency.done.count("book_car") == 4
    await check_journal(store, locked.saga_id)

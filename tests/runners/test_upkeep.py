"""What a coordinator does by the clock, and that it stops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from sagaflow.core.state import SagaStatus
from sagaflow.definitions.records import Due
from sagaflow.definitions.retention import Retention
from sagaflow.runners.upkeep import Upkeep
from sagaflow.testing.simulation.store import SimulatedStore
from sagaflow.testing.store_contract import ended_and_open


async def test_an_upkeep_that_is_nudged_while_it_is_closed_stops() -> None:
    """`asyncio.wait_for` swallows a cancellation that comes at the same time as what it waits for (before 3.12)."""

    async def wake(due: Due) -> None:
        raise AssertionError("nothing is due")

    store = SimulatedStore(lambda: datetime.now(UTC))
    upkeep = Upkeep(name="shop", process=uuid4(), store=store, wake=wake, poll_seconds=60.0, lease_seconds=60.0)
    async with asyncio.timeout(10):
        await upkeep.open()
        for _ in range(5):  # so that the agenda is waited for
            await asyncio.sleep(0)
        upkeep.nudge()
        await upkeep.close()


async def test_what_a_retention_does_not_keep_is_purged_by_the_upkeep() -> None:
    async def wake(due: Due) -> None:
        """Nothing is to be done about it here."""

    store = SimulatedStore(lambda: datetime.now(UTC))
    completed, *others = await ended_and_open(store)
    upkeep = Upkeep(
        name="shop",
        process=uuid4(),
        store=store,
        wake=wake,
        poll_seconds=60.0,
        lease_seconds=60.0,
        retention=Retention(completed=timedelta(0), compensated=timedelta(0)),
        purge_every_seconds=0.01,
    )
    async with asyncio.timeout(10):
        await upkeep.open()
        while await store.find([completed]):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)
        await upkeep.close()
    assert [record.saga_id for record in await store.find(others)] == others


@pytest.mark.parametrize("status", [SagaStatus.STUCK, SagaStatus.RUNNING, SagaStatus.COMPENSATING])
def test_a_retention_says_nothing_of_open_sagas(status: SagaStatus) -> None:
    kept = Retention(timedelta(0), timedelta(0), timedelta(0), timedelta(0)).kept_seconds
    assert status not in kept

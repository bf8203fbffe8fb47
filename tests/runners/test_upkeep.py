"""What a coordinator does by the clock, and that it stops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from sagaflow.definitions.records import Due
from sagaflow.runners.upkeep import Upkeep
from sagaflow.testing.simulation.store import SimulatedStore


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

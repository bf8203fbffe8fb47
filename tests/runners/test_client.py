"""Sagas over the broker, for services that cannot reach the coordinator's database."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from sagaflow import ConflictError, NotPossible, PayloadError, SagaClient, SagaNotFound, SagaStatus
from tests.runners.world import DEADLINE_SECONDS, Trip, World


async def client(world: World) -> SagaClient:
    return await world.stack.enter_async_context(SagaClient(world.make_transport(), coordinator="trips"))


async def test_a_client_starts_a_saga_once_for_each_key_and_is_told_its_outcome(world: World) -> None:
    await world.worker()
    await world.coordinator()
    async with asyncio.timeout(DEADLINE_SECONDS):
        sagas = await client(world)
        saga_id = await sagas.start("trip", Trip("Rome"), key="t-1")
        assert await sagas.start("trip", Trip("Rome"), key="t-1") == saga_id
        assert await sagas.outcome(saga_id) is SagaStatus.COMPLETED
        assert await sagas.outcome(saga_id) is SagaStatus.COMPLETED
    assert world.agency.done.count("pay") == 1


async def test_a_client_waits_for_a_coordinator_that_is_not_there_yet(world: World) -> None:
    sagas = await client(world)
    starting = asyncio.create_task(sagas.start("trip", Trip("Rome"), key="t-1"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(starting), 0.1)
    await world.coordinator()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await sagas.start("trip", Trip("Rome"), key="t-1") == await starting


async def test_a_client_cancels_a_saga(world: World) -> None:
    await world.coordinator()
    async with asyncio.timeout(DEADLINE_SECONDS):
        sagas = await client(world)
        saga_id = await sagas.start("trip", Trip("Rome"), key="t-1")
        assert await sagas.cancel(saga_id, reason="the meeting is off") is SagaStatus.COMPENSATING
        await world.worker()
        assert await sagas.outcome(saga_id) is SagaStatus.COMPENSATED


async def test_a_client_is_told_why_not(world: World) -> None:
    await world.worker()
    await world.coordinator()
    async with asyncio.timeout(DEADLINE_SECONDS):
        sagas = await client(world)
        saga_id = await sagas.start("trip", Trip("Rome"), key="t-1")
        await sagas.outcome(saga_id)
        with pytest.raises(ConflictError, match="t-1"):
            await sagas.start("trip", Trip("Oslo"), key="t-1")
        with pytest.raises(SagaNotFound, match="no saga 'cruise'"):
            await sagas.start("cruise", Trip("Oslo"), key="t-1")
        with pytest.raises(PayloadError, match="Trip"):
            await sagas.start("trip", {"town": "Oslo"}, key="t-2")
        with pytest.raises(NotPossible, match="COMPLETED"):
            await sagas.cancel(saga_id, reason="too late")
        with pytest.raises(SagaNotFound):
            await sagas.outcome(uuid4())

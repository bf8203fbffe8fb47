"""Waiting for outcomes: what it costs, and that nothing that ends is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from sagaflow import SagaNotFound, SagaStatus, StepRejected
from sagaflow.definitions.records import SagaRecord, Watcher
from sagaflow.runners import watches
from tests.runners.world import DEADLINE_SECONDS, Trip, World, always, trip_saga, until_status


class Counting:
    """Passes everything on to a store, and counts what waiting asks of it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.finds: list[Sequence[UUID]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        self.finds.append(saga_ids)
        found: Sequence[SagaRecord] = await self._store.find(saga_ids)
        return found


@pytest.fixture
def registrations(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Watcher]]:
    """The waits that are written to a store."""
    written: list[Sequence[Watcher]] = []
    watch = watches.watch

    async def note(store: Any, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
        written.append(watchers)
        return await watch(store, watchers)

    monkeypatch.setattr(watches, "watch", note)
    return written


async def test_to_wait_for_sagas_that_were_started_here_writes_nothing_and_reads_them_together(
    world: World, registrations: list[Sequence[Watcher]]
) -> None:
    trip = trip_saga()
    await world.worker()
    store: Any = Counting(await world.store())
    sagas = await world.stack.enter_async_context(world.coordinating(store, trip))
    runs = await sagas.start_many(trip, {f"t-{number}": Trip("Rome") for number in range(40)})
    outcomes = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in runs))
    assert {outcome.status for outcome in outcomes} == {SagaStatus.COMPLETED}
    assert registrations == []
    store.finds.clear()
    again = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in runs))
    assert [outcome.saga_id for outcome in again] == [run.saga_id for run in runs]
    assert len(store.finds) == 1, "who asks at the same time is answered by one question"


@pytest.mark.parametrize("sagas_together", [1, 20])
async def test_who_waits_where_a_saga_ends_is_given_it_and_reads_nothing(world: World, sagas_together: int) -> None:
    trip = trip_saga()
    store: Any = Counting(await world.store())
    sagas = await world.stack.enter_async_context(world.coordinating(store, trip))
    runs = await sagas.start_many(trip, {f"t-{number}": Trip("Rome") for number in range(sagas_together)})
    waiting = [asyncio.create_task(run.outcome(timeout=DEADLINE_SECONDS)) for run in runs]
    await world.worker()
    outcomes = await asyncio.gather(*waiting)
    assert store.finds == []
    read = await asyncio.gather(*(run.outcome(timeout=DEADLINE_SECONDS) for run in runs))
    assert store.finds != []
    for told, again in zip(outcomes, read, strict=True):
        assert (told.status, told.cause, told.trace_id) == (again.status, again.cause, again.trace_id)
        assert told.replies._encoded == again.replies._encoded != {}


async def test_a_saga_that_ends_elsewhere_is_told_to_where_it_was_started(
    world: World, registrations: list[Sequence[Watcher]]
) -> None:
    trip = trip_saga()
    here, there = [await world.coordinator(trip) for _ in range(2)]
    run = await here.start(trip, Trip("Rome"), key="t-1")
    waiting = asyncio.create_task(run.outcome(timeout=DEADLINE_SECONDS))
    await here._replies.stop()  # whatever is answered, the other takes it
    await world.worker()
    assert (await waiting).status is SagaStatus.COMPLETED
    assert registrations == []
    assert there._engine.inputs.is_open


async def test_a_saga_that_was_stuck_and_repaired_is_waited_for_anew(world: World) -> None:
    world.agency.behaviour["send_ticket"] = always(StepRejected("no printer"))
    trip = trip_saga()
    await world.worker()
    sagas = await world.coordinator(trip)
    run = await sagas.start(trip, Trip("Rome"), key="t-1")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.STUCK
    del world.agency.behaviour["send_ticket"]
    await sagas.operator("anna").retry(run.saga_id, reason="a new printer")
    assert (await run.outcome(timeout=DEADLINE_SECONDS)).status is SagaStatus.COMPLETED


async def test_one_that_was_started_long_ago_is_asked_for(
    world: World, registrations: list[Sequence[Watcher]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was started here only so much is remembered."""
    monkeypatch.setattr(watches, "FOLLOWED_MAX", 1)
    trip = trip_saga()
    sagas = await world.coordinator(trip)
    first = await sagas.start(trip, Trip("Rome"), key="t-1")
    await sagas.start(trip, Trip("Rome"), key="t-2")
    waiting = asyncio.create_task(first.outcome(timeout=DEADLINE_SECONDS))
    await world.worker()
    assert (await waiting).status is SagaStatus.COMPLETED
    assert [watcher.saga_id for watchers in registrations for watcher in watchers] == [first.saga_id]


async def test_who_waits_for_a_saga_that_does_not_exist_is_told(world: World) -> None:
    sagas = await world.coordinator()
    with pytest.raises(SagaNotFound):
        await sagas.outcome(uuid4(), timeout=DEADLINE_SECONDS)


async def test_a_saga_that_exists_already_is_waited_for_by_who_starts_it_again(
    world: World, registrations: list[Sequence[Watcher]]
) -> None:
    trip = trip_saga()
    here, there = [await world.coordinator(trip) for _ in range(2)]
    await here.start(trip, Trip("Rome"), key="t-1")
    again = await there.start(trip, Trip("Rome"), key="t-1")
    waiting = asyncio.create_task(again.outcome(timeout=DEADLINE_SECONDS))
    await world.worker()
    assert (await waiting).status is SagaStatus.COMPLETED
    assert len(registrations) == 1
    await until_status(await world.store(), again.saga_id, SagaStatus.COMPLETED)

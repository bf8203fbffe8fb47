"""Who waits for whom, and that nobody waits in a circle."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from sagaflow.adapters.postgres import PostgresStore, database
from sagaflow.core.events import Event, Succeeded
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.ports import Overtaken, SagaStore
from sagaflow.definitions.records import Watcher
from sagaflow.errors import Unavailable
from sagaflow.testing.store_contract import (
    COORDINATOR,
    DEADLINE_SECONDS,
    DONE,
    LONG,
    NOT_YET,
    OTHER_PROCESS,
    PROCESS,
    SHORT,
    STARTED,
    STUCK,
    an_input,
    claimed,
    happens,
    insert,
    moment,
    new_saga,
    racing,
    save,
    save_alone,
    seeded,
    started,
    watch,
)
from tests.adapters.postgres.outside import raised, until_waiting


async def test_who_loads_a_saga_waits_for_who_has_it_loaded(store: PostgresStore, side: asyncpg.Connection) -> None:
    record = await started(store)
    async with racing() as tasks, store.transaction() as tx:
        (loaded,) = await tx.load([record.saga_id])
        second = tasks.create_task(load_version(store, record.saga_id))
        await until_waiting(side)
        await tx.save([happens(loaded, NOT_YET)], PROCESS)
    assert second.result() == 2


async def test_who_loads_a_saga_sees_it_as_it_was_left_whatever_isolation_the_database_prefers(
    url: str, side: asyncpg.Connection
) -> None:
    settings = {"default_transaction_isolation": "repeatable read"}
    async with PostgresStore.connect(url, server_settings=settings) as store:
        record = await started(store)
        async with racing() as tasks, store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            second = tasks.create_task(load_version(store, record.saga_id))
            await until_waiting(side)
            await tx.save([happens(loaded, NOT_YET)], PROCESS)
        assert second.result() == 2


async def test_who_begins_a_saga_waits_for_who_begins_it(store: PostgresStore, side: asyncpg.Connection) -> None:
    await store.add_plans([SHORT])
    first, second = new_saga(key="order-1"), new_saga(key="order-1")
    async with racing() as tasks, store.transaction() as tx:
        await tx.insert([happens(first, STARTED)], PROCESS)
        run = tasks.create_task(insert(store, happens(second, STARTED)))
        await until_waiting(side)
    assert [record.saga_id for record in run.result()] == [first.saga_id]


async def test_keys_are_taken_in_their_order_whatever_that_of_the_batch(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    """So that two batches cannot wait for each other."""
    await store.add_plans([SHORT])
    async with racing() as tasks, store.transaction() as tx:
        await tx.insert([happens(new_saga(key="m"), STARTED)], PROCESS)
        tasks.create_task(insert(store, *(happens(new_saga(key=key), STARTED) for key in "zma")))
        await until_waiting(side)
        assert list(await insert(store, happens(new_saga(key="z"), STARTED))) == []


async def test_who_watches_a_saga_waits_for_who_ends_it(store: PostgresStore, side: asyncpg.Connection) -> None:
    record = await started(store)
    async with racing() as tasks, store.transaction() as tx:
        (loaded,) = await tx.load([record.saga_id])
        assert list(await tx.save([happens(loaded, DONE)], PROCESS)) == []
        run = tasks.create_task(watch(store, Watcher(record.saga_id, "a")))
        await until_waiting(side)
    assert [found.status for found in run.result()] == [SagaStatus.COMPLETED]


@pytest.mark.parametrize("event", [DONE, STUCK])
async def test_who_ends_a_saga_alone_waits_for_who_watches_it_and_tells_him(
    store: PostgresStore, side: asyncpg.Connection, event: Event
) -> None:
    """What that one wrote is later than what the statement saw when it began."""
    record = await started(store)
    watcher = Watcher(record.saga_id, "a")
    async with racing() as tasks, store.transaction() as tx:
        assert len(await tx.watch([watcher])) == 1
        run = tasks.create_task(save_alone(store, record.saga_id, event))
        await until_waiting(side)
    assert run.result() == [watcher]


async def test_who_goes_on_alone_waits_for_who_has_the_saga_and_is_overtaken(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    record = await started(store)
    async with racing() as tasks, store.transaction() as tx:
        (loaded,) = await tx.load([record.saga_id])
        run = tasks.create_task(raised(save_alone(store, record.saga_id, DONE)))
        await until_waiting(side)
        await tx.save([happens(loaded, NOT_YET)], PROCESS)
    assert isinstance(run.result(), Overtaken)
    assert [entry.event for entry in await store.journal(record.saga_id)] == [STARTED, NOT_YET]


async def test_a_claim_waits_for_nobody(store: PostgresStore) -> None:
    busy, free = [await started(store, wake_at=moment(-1)) for _ in range(2)]
    async with asyncio.timeout(DEADLINE_SECONDS), store.transaction() as tx:
        (loaded,) = await tx.load([busy.saga_id])
        await tx.save([happens(loaded, NOT_YET, wake_at=moment(-1), wake_changed=True)], PROCESS)
        assert await claimed(store) == [free.saga_id]
    assert await claimed(store) == [busy.saga_id]


async def test_a_takeover_waits_for_who_has_the_saga_and_then_leaves_it_to_him(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    kept, lost = [await started(store) for _ in range(2)]
    await store.keep_lease(COORDINATOR, PROCESS, 0.0)
    async with racing() as tasks, store.transaction() as tx:
        (loaded,) = await tx.load([kept.saga_id])
        run = tasks.create_task(store.take_over(COORDINATOR))
        await until_waiting(side)
        await tx.save([happens(loaded, NOT_YET)], OTHER_PROCESS)
    assert run.result() == 1
    assert await claimed(store) == [lost.saga_id]


async def test_a_takeover_of_many_sagas_goes_page_by_page(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaflow.adapters.postgres.store.TAKE_OVER_PAGE", 7)
    await insert(store, *(happens(new_saga(), STARTED) for _ in range(50)))
    await store.keep_lease(COORDINATOR, PROCESS, 0.0)
    assert await store.take_over(COORDINATOR) == 50
    assert len(await claimed(store, limit=100)) == 50


async def test_transactions_that_wait_do_not_keep_a_process_from_its_lease(url: str, side: asyncpg.Connection) -> None:
    async with PostgresStore.connect(url, max_size=4) as store:
        record = await started(store)
        async with racing() as tasks, store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            runs = [tasks.create_task(load_version(store, record.saga_id)) for _ in range(20)]
            await until_waiting(side)
            await store.keep_lease(COORDINATOR, PROCESS, 10.0)
            assert await claimed(store) == []
            await tx.save([happens(loaded, NOT_YET)], PROCESS)
        assert {run.result() for run in runs} == {2}


async def test_a_transaction_that_gets_no_connection_is_unavailable(
    url: str, side: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgresStore.connect(url, max_size=1) as store, store.transaction():
        monkeypatch.setattr(database, "ACQUIRE_SECONDS", 0.05)
        for use in (load_version(store, UUID(int=1)), store.find([])):
            error = await raised(use)
            assert isinstance(error, Unavailable)
            assert str(error) == "PostgreSQL: no connection within 0.05 s; all are in use, or none can be made"


async def test_of_a_change_that_was_refused_nothing_is_written_even_if_that_is_not_minded(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    record = await started(store, wake_at=moment(60))
    await save(store, happens(record, NOT_YET))
    stale = happens(record, DONE, payloads=[an_input(record)])
    async with store.transaction() as tx:
        with suppress(RuntimeError):
            await tx.save([stale], PROCESS)
    assert [one.version for one in await store.find([record.saga_id])] == [2]
    assert len(await store.journal(record.saga_id)) == 2
    assert await side.fetchval("SELECT count(*) FROM sagaflow.payload") == 0
    assert await side.fetchval("SELECT count(*) FROM sagaflow.agenda") == 1


async def test_a_saga_that_begins_and_ends_at_once_is_never_on_the_agenda(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    await insert(store, happens(new_saga(), STARTED, DONE))
    assert await side.fetchval("SELECT count(*) FROM sagaflow.agenda") == 0


async def test_everything_at_once_deadlocks_nowhere_and_ends_consistently(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    """Starting, going on, claiming, taking over and watching, all of the same sagas, in random batches."""
    chance = seeded(2)
    records = [happens(new_saga(LONG), STARTED, wake_at=moment(-1)) for _ in range(60)]
    await insert(store, *records)
    saga_ids = [change.record.saga_id for change in records]
    deadlocks = await deadlocks_so_far(side)
    told: list[Watcher] = []

    async def go_on(process: UUID) -> None:
        async with store.transaction() as tx:
            loaded = [record for record in await tx.load(chance.sample(saga_ids, 20)) if not record.state.ended]
            changes = [
                happens(record, next_success(record.version), wake_at=moment(-1), wake_changed=chance.random() < 0.5)
                for record in loaded
            ]
            told.extend(await tx.save(changes, process))

    async def send_again() -> None:
        due = [one.saga_id for one in await store.claim_due(COORDINATOR, 20, 0.0)]
        async with store.transaction() as tx:
            await tx.load(due)
            await tx.resent(due, [moment(-1)] * len(due), PROCESS)

    async def die() -> None:
        await store.keep_lease(COORDINATOR, OTHER_PROCESS, 0.0)
        await store.take_over(COORDINATOR)

    async def start_again() -> None:
        await insert(store, *chance.sample(records, 20))

    async def look_on() -> None:
        await watch(store, *(Watcher(saga_id, chance.choice("abc")) for saga_id in chance.sample(saga_ids, 20)))

    async def repeat(times: int, *works: Callable[[], Any]) -> None:
        for _ in range(times):
            await chance.choice(works)()

    async with racing() as tasks:
        for _ in range(3):
            tasks.create_task(repeat(25, lambda: go_on(PROCESS), lambda: go_on(OTHER_PROCESS)))
            tasks.create_task(repeat(25, send_again, die))
            tasks.create_task(repeat(25, look_on, start_again))
    assert await deadlocks_so_far(side) == deadlocks
    open_sagas = await side.fetch("SELECT id FROM sagaflow.saga WHERE ended_at IS NULL ORDER BY id")
    on_agenda = await side.fetch("SELECT saga_id FROM sagaflow.agenda ORDER BY saga_id")
    assert [row["id"] for row in open_sagas] == [row["saga_id"] for row in on_agenda]
    assert len(open_sagas) < len(saga_ids), "none has ended; the test shows little"
    assert max(Counter(told).values(), default=0) == 1


def next_success(version: int) -> Succeeded:
    """The step whose turn it is, at a version of the long saga to which nothing but successes have happened."""
    return Succeeded(LONG.steps[version - 1].name, Operation.ACTION, 1, 1)


async def load_version(store: SagaStore, saga_id: UUID) -> int | None:
    async with store.transaction() as tx:
        return next((record.version for record in await tx.load([saga_id])), None)


async def deadlocks_so_far(side: asyncpg.Connection) -> int:
    count = await side.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert isinstance(count, int)
    return count

"""The SQLite store, beyond its contract: its clock, its tables, and that it outlives its process."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from msgspec.structs import replace

from sagaflow.adapters.sqlite import SqliteDatabase, SqliteStore
from sagaflow.adapters.sqlite.schema import COORDINATOR
from sagaflow.core.plan import Operation
from sagaflow.core.state import ENDED, SagaStatus
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.records import (
    Change,
    Due,
    PayloadKind,
    SagaFilter,
    SagaRecord,
    Timer,
    Watcher,
)
from sagaflow.testing.store_contract import PAYMENTS, STOCK
from tests.adapters.sqlite_sagas import PLAN, new_saga, step_on

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
PROCESS = UUID(int=1)
OTHER_PROCESS = UUID(int=2)


class FakeClock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sagas.db"


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, clock=clock) as store:
        yield store


async def insert(store: SqliteStore, *changes: Change, process: UUID = PROCESS) -> list[SagaRecord]:
    async with store.transaction() as tx:
        return list(await tx.insert(changes, process))


async def save(store: SqliteStore, *changes: Change, process: UUID = PROCESS) -> list[Watcher]:
    async with store.transaction() as tx:
        return list(await tx.save(changes, process))


async def found(store: SqliteStore, saga_id: UUID) -> SagaRecord:
    (record,) = await store.find([saga_id])
    return record


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def test_everything_of_a_saga_comes_back_as_it_was_after_the_file_was_closed(
    path: Path, clock: FakeClock
) -> None:
    timers = (Timer(later(60), "reserve", Operation.ACTION, 1, 1), Timer(later(3600)))
    change = new_saga(wake_at=later(60))
    change = replace(change, record=replace(change.record, timers=timers))
    async with SqliteStore(path, clock=clock) as store:
        await store.add_plans([PLAN, PLAN])
        assert await insert(store, change) == []
    async with SqliteStore(path) as store:
        record = await found(store, change.record.saga_id)
        assert record == replace(change.record, owner=PROCESS, started_at=NOW, updated_at=NOW)
        (entry,) = change.journal
        assert list(await store.journal(record.saga_id)) == [replace(entry, at=NOW)]
        assert list(await store.plans([PLAN.hash, "f" * 64])) == [PLAN]
        async with store.transaction() as tx:
            assert list(await tx.payloads([record.saga_id])) == list(change.payloads)
            assert list(await tx.load([record.saga_id, uuid4()])) == [record]


async def test_an_id_that_is_taken_by_another_key_is_an_error(store: SqliteStore) -> None:
    change = new_saga(key="a")
    await insert(store, change)
    with pytest.raises(RuntimeError, match="the id is taken"):
        await insert(store, replace(change, record=replace(change.record, key="b")))


@pytest.mark.parametrize("status", SagaStatus)
async def test_a_saga_is_on_the_agenda_until_it_has_ended(store: SqliteStore, status: SagaStatus, path: Path) -> None:
    change = new_saga(wake_at=NOW)
    await insert(store, change)
    saved = step_on(change.record, status)
    await save(store, saved)
    record = await found(store, change.record.saga_id)
    assert (record.status, record.wake_at) == (status, None if status in ENDED else NOW)
    due = await store.claim_due("shop", 10, 5.0)
    assert list(due) == ([] if status in ENDED else [Due(record.saga_id, resend=False)])
    late = step_on(record, status)
    await save(store, late)
    assert (await found(store, record.saga_id)).version == 3
    async with SqliteDatabase(path) as database, database.snapshot() as connection:
        ended_at = await connection.fetchval("SELECT ended_at FROM sagaflow_saga")
    assert (ended_at is not None) == (status in ENDED)


async def test_what_is_due_is_given_to_one_only_the_earliest_first(store: SqliteStore, clock: FakeClock) -> None:
    changes = [new_saga(key=str(number), wake_at=later(-number)) for number in range(4)]
    asleep = [new_saga(key="later", wake_at=later(0.000_001)), new_saga(key="never")]
    elsewhere = new_saga(key="elsewhere", coordinator="another", wake_at=NOW)
    await insert(store, *changes, *asleep, elsewhere)
    expected = [Due(change.record.saga_id, resend=False) for change in reversed(changes)]
    assert list(await store.claim_due("shop", 3, 5.0)) == expected[:3]
    assert list(await store.claim_due("shop", 3, 5.0)) == expected[3:]
    clock.pass_seconds(4.999)
    assert list(await store.claim_due("shop", 3, 5.0)) == [Due(asleep[0].record.saga_id, resend=False)]
    clock.pass_seconds(0.001)
    assert {due.saga_id for due in await store.claim_due("shop", 10, 5.0)} == {due.saga_id for due in expected}


async def test_a_saga_that_is_held_keeps_the_time_at_which_it_wants_to_be_looked_at(store: SqliteStore) -> None:
    change = new_saga(wake_at=NOW)
    await insert(store, change)
    await store.claim_due("shop", 1, 5.0)
    assert (await found(store, change.record.saga_id)).wake_at == NOW


async def test_what_a_dead_process_had_in_flight_is_taken_over_once(store: SqliteStore, clock: FakeClock) -> None:
    of_dead = [new_saga(key=str(number), wake_at=wake_at) for number, wake_at in enumerate((None, later(99)))]
    of_living = new_saga(key="living", wake_at=later(99))
    ended = new_saga(key="ended")
    await insert(store, *of_dead, ended)
    await save(store, step_on(ended.record, SagaStatus.COMPLETED))
    await insert(store, of_living, process=OTHER_PROCESS)
    await store.keep_lease("shop", PROCESS, 10.0)
    await store.keep_lease("shop", OTHER_PROCESS, 10.0)
    clock.pass_seconds(9.999)
    assert await store.take_over("shop") == 0
    await store.keep_lease("shop", OTHER_PROCESS, 10.0)
    clock.pass_seconds(0.001)
    assert await store.take_over("another") == 0
    assert await store.take_over("shop") == 2
    assert await store.take_over("shop") == 0
    assert list(await store.claim_due("shop", 10, 5.0)) == [
        Due(change.record.saga_id, resend=True) for change in of_dead
    ]


async def test_the_latest_of_several_statuses_are_listed(store: SqliteStore) -> None:
    changes = [new_saga(key=str(number)) for number in range(5)]
    await insert(store, *changes)
    await save(store, *(step_on(changes[number].record, SagaStatus.STUCK) for number in (0, 3)))
    matching = SagaFilter(statuses=frozenset({SagaStatus.STUCK, SagaStatus.RUNNING}))
    for limit in range(6):
        assert [saga.key for saga in await store.list(matching, limit)] == ["4", "3", "2", "1", "0"][:limit]


async def test_the_time_of_a_transaction_is_the_clock_s(store: SqliteStore, clock: FakeClock) -> None:
    async with store.transaction() as tx:
        clock.pass_seconds(5)
        assert tx.now == NOW
    async with store.begin() as connection:
        assert store.enlist(connection).now == later(5)


async def test_nothing_that_breaks_an_invariant_can_be_written(store: SqliteStore, path: Path) -> None:
    change = new_saga()
    await insert(store, change)
    broken = [
        "UPDATE sagaflow_saga SET version = 0",
        "UPDATE sagaflow_saga SET status = 'COMPLETED', state = json_set(state, '$.status', 'COMPLETED')",
        "UPDATE sagaflow_saga SET status = 'STUCK'",
        "UPDATE sagaflow_saga SET ended_at = updated_at",
        "UPDATE sagaflow_saga SET key = ''",
        "UPDATE sagaflow_agenda SET wake_at = 'tomorrow', due_at = 'tomorrow'",
        "UPDATE sagaflow_agenda SET watchers = '{}'",
        "UPDATE sagaflow_journal SET seq = 0",
        "UPDATE sagaflow_payload SET kind = 'result'",
        "DELETE FROM sagaflow_saga",
    ]
    async with SqliteDatabase(path) as database, database.transaction() as connection:
        for statement in broken:
            with pytest.raises(sqlite3.IntegrityError):
                await connection.execute(statement)


@pytest.mark.parametrize(
    "query",
    [
        *("update_saga", "update_agenda", "watchers", "forget_watchers", "leave_agenda", "watch", "resent", "sagas"),
        *("saga_of_key", "latest latest_first", "latest of_key latest_first", "latest of_status latest_first"),
        *("latest of_older latest_first", "latest of_status of_older idle of_waiting latest_first", "deferrals"),
        *("latest_errors", "sample_began"),
        *("payloads", "journal", "due", "hold", "keep_lease", "lapsed", "orphan", "drop_lease"),
    ],
)
async def test_no_statement_looks_at_all_sagas(store: SqliteStore, query: str) -> None:
    """But for the latest ones, which are read from the end until there are enough."""
    statements = load("sagaflow.adapters.sqlite", "coordinator_queries.sql")
    sql = "\n".join(statements[name] for name in query.split())
    async with store.begin() as connection:
        parameters = dict.fromkeys(re.findall(r":(\w+)", sql)) or (None,) * sql.count("?")
        plan = await connection.call(lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall())
    tables = {row["detail"].split()[1] for row in plan if row["detail"].startswith("SCAN")} - {"json_each", "CONSTANT"}
    assert tables == ({"saga"} if query == "latest latest_first" else set())


def test_the_lists_in_the_schema_are_those_of_the_code() -> None:
    statuses = ", ".join(f"'{status}'" for status in SagaStatus)
    ended = ", ".join(f"'{status}'" for status in SagaStatus if status in ENDED)
    kinds = ", ".join(f"'{kind}'" for kind in PayloadKind)
    assert f"IN ({statuses})" in COORDINATOR.statements["sagaflow_saga"]
    assert f"IN ({ended})" in COORDINATOR.statements["sagaflow_saga"]
    assert f"IN ({statuses})" in COORDINATOR.statements["sagaflow_journal"]
    assert f"IN ({kinds})" in COORDINATOR.statements["sagaflow_payload"]


async def test_who_was_silent_for_a_day_is_forgotten_when_the_participant_announces_anything(
    store: SqliteStore, clock: FakeClock
) -> None:
    other = msgspec.structs.replace(STOCK, host="stock-2:1")
    await store.keep_announcements([STOCK, other, PAYMENTS], 60.0)
    for hours, expected in [(23, 3), (2, 2)]:
        clock.pass_seconds(hours * 3600)
        await store.keep_announcements([STOCK], 60.0)
        assert len(await store.announcements()) == expected
    assert [kept.announcement for kept in await store.announcements()] == [PAYMENTS, STOCK]

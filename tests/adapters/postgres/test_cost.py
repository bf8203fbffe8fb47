"""What a batch costs: statements, index writes, and what is left behind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from sagaflow.adapters import postgres
from sagaflow.adapters.postgres import PostgresStore
from sagaflow.adapters.postgres.store import _SQL
from sagaflow.core.events import Succeeded
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.records import SagaFilter, Watcher
from sagaflow.testing.store_contract import (
    COORDINATOR,
    DONE,
    LONG,
    NOT_YET,
    OPEN_STATUSES,
    PROCESS,
    SHORT,
    STARTED,
    an_input,
    claimed,
    happens,
    insert,
    moment,
    new_saga,
    resent,
    save,
    started,
    watch,
)
from tests.adapters.postgres.outside import Undo, name_of, polling


@pytest.fixture
async def counted(url: str, side: asyncpg.Connection) -> AsyncIterator[tuple[PostgresStore, list[str]]]:
    """A store, and the statements that it makes."""
    statements: list[str] = []

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: statements.append(query.query))

    async with PostgresStore.connect(url, max_size=1, init=listen) as store:
        yield store, statements


async def test_a_batch_is_a_few_statements_however_many_sagas(counted: tuple[PostgresStore, list[str]]) -> None:
    store, statements = counted
    await use_all(store)  # the driver looks up the types that it meets for the first time
    begun = [happens(new_saga(), STARTED, payloads=[], wake_at=moment(-1)) for _ in range(50)]
    saga_ids = [change.record.saga_id for change in begun]
    expected = {
        "insert": ["begin", "insert", "commit"],
        "insert again": ["begin", "insert", "find_by_key", "commit"],
        "go on": ["begin", "load", "payloads", "save", "commit"],
        "insert alone": ["insert"],
        "go on alone": ["look", "save"],
        "send again": ["begin", "load", "resent", "commit"],
        "watch": ["begin", "load", "watch", "commit"],
        "claim": ["claim_due"],
        "keep lease": ["keep_lease"],
        "take over": ["lapsed"],
        "find": ["find"],
    }
    made = {}

    def note(what: str) -> None:
        made[what] = [name_of(statement) for statement in statements]
        statements.clear()

    statements.clear()
    for what in ("insert", "insert again"):
        async with store.transaction() as tx:
            await tx.insert(begun, PROCESS)
        note(what)
    async with store.transaction() as tx:
        loaded = await tx.load(saga_ids)
        await tx.payloads(saga_ids)
        await tx.save([happens(record, NOT_YET) for record in loaded], PROCESS)
    note("go on")
    async with store.alone() as tx:
        await tx.insert([happens(new_saga(), STARTED, payloads=[])], PROCESS)
    note("insert alone")
    async with store.alone() as tx:
        loaded = await tx.load(saga_ids[:1])
        await tx.payloads(saga_ids[:1])
        await tx.save([happens(record, NOT_YET) for record in loaded], PROCESS)
    note("go on alone")
    async with store.transaction() as tx:
        await tx.load(saga_ids)
        await tx.resent(saga_ids, [None] * len(saga_ids), PROCESS)
    note("send again")
    await watch(store, *(Watcher(saga_id, "a") for saga_id in saga_ids))
    note("watch")
    await store.claim_due(COORDINATOR, 50, 1.0)
    note("claim")
    await store.keep_lease(COORDINATOR, PROCESS, 10.0)
    note("keep lease")
    await store.take_over(COORDINATOR)
    note("take over")
    await store.find(saga_ids)
    note("find")
    assert made == expected


async def test_the_clock_is_asked_again_when_it_was_not_asked_for_long(
    counted: tuple[PostgresStore, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, statements = counted
    await use_all(store)
    asked = []
    for seconds in (60.0, -1.0):
        monkeypatch.setattr("sagaflow.adapters.postgres.store.GUESSED_SECONDS_MAX", seconds)
        statements.clear()
        async with store.alone():
            pass
        asked.append([name_of(statement) for statement in statements])
    assert asked == [[], ["clock"]]


async def test_the_texts_of_statements_are_few_and_nothing_is_written_into_them(
    counted: tuple[PostgresStore, list[str]],
) -> None:
    store, statements = counted
    await use_all(store)
    first = set(statements)
    await use_all(store)
    assert set(statements) == first
    assert len(first) < 40
    assert max(len(text) for text in first) < 15_000, "asyncpg would not keep it prepared"


async def test_no_statement_is_written_in_python() -> None:
    folder = Path(postgres.__file__).parent
    words = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER)\b")
    files = [file for file in folder.glob("*.py") if file.name != "failures.py"]  # which names missing rights
    assert [file.name for file in files if words.search(file.read_text())] == []


async def test_nothing_is_left_behind_in_a_session(url: str, side: asyncpg.Connection) -> None:
    """Which is why a connection goes back to its pool without being reset."""
    async with PostgresStore.connect(url, max_size=1) as store:
        pool = store._database.pool

        async def session() -> Sequence[object]:
            async with pool.acquire() as connection:
                return [
                    await connection.fetch("SELECT name, setting FROM pg_settings"),
                    await connection.fetch("SELECT * FROM pg_listening_channels()"),
                    await connection.fetch("SELECT name FROM pg_cursors WHERE NOT statement LIKE '%pg_cursors%'"),
                    await connection.fetch("SELECT * FROM pg_locks WHERE locktype = 'advisory'"),
                    await connection.fetch("SELECT relname FROM pg_class WHERE relpersistence = 't'"),
                    connection.is_in_transaction(),
                ]

        clean = await session()
        await use_all(store)
        with suppress(Undo):
            async with store.transaction() as tx:
                await tx.load([])
                raise Undo
        assert await session() == clean
        assert clean[1:] == [[], [], [], [], False]


async def test_a_saga_is_updated_in_its_page_without_touching_an_index(url: str, side: asyncpg.Connection) -> None:
    """Sagas that began together and get their replies together, the hardest case."""
    before = await updates(side)
    async with PostgresStore.connect(url) as store:
        for _ in range(10):
            begun = [happens(new_saga(LONG), STARTED, wake_at=moment(60)) for _ in range(100)]
            await insert(store, *begun)
            records = [change.record for change in begun]
            for step in LONG.steps:
                changes = [happens(record, Succeeded(step.name, Operation.ACTION, 1, 1)) for record in records]
                await save(store, *changes)
                records = [change.record for change in changes]
    async with polling() as again:  # a connection that ends hands in its statistics
        while (updated := await updates(side) - before)["all"] < 5_000:
            await again()
    assert updated["hot"] / updated["all"] > 0.9


async def test_a_change_that_moves_nothing_does_not_touch_the_agenda(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    record = await started(store, wake_at=moment(60))
    before = await side.fetchval("SELECT ctid FROM sagaflow.agenda")
    await save(store, happens(record, NOT_YET))
    assert await side.fetchval("SELECT ctid FROM sagaflow.agenda") == before


async def test_a_claim_looks_up_the_time_in_the_index(store: PostgresStore) -> None:
    """However many sagas wait, only those that are due are looked at; and of these no more than are claimed."""
    await insert(store, *(happens(new_saga(), STARTED, wake_at=moment(seconds)) for seconds in range(100, 400)))
    query = _SQL["claim_due"].replace("$1", "'shop'").replace("$2", "10").replace("$3", "1.0")
    async with store._database.lend() as connection:
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}"))
    picked = plan.partition("CTE held")[0].partition("CTE picked")[2]
    assert "Sort" not in picked, plan
    assert re.search(r"Index Cond: \(\(coordinator = 'shop'::text\) AND \(due_at <= ", plan), plan


async def test_rows_are_looked_up_in_order_even_while_tables_are_empty(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    """A plan that was made then is kept for a while when they no longer are."""
    for name, arguments in {"load": "'{}'", "payloads": "'{}'", "claim_due": "'shop', 10, 1"}.items():
        query = "\n".join(line for line in _SQL[name].splitlines() if not line.startswith("--"))
        async with store._database.lend() as connection:
            await connection.execute(f"PREPARE {name} AS {query}")
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE {name} ({arguments})"))
            await connection.execute(f"DEALLOCATE {name}")
        assert not re.search(r"Seq Scan|Bitmap", plan), plan


async def test_a_page_of_open_sagas_is_read_from_where_the_last_one_ended(store: PostgresStore) -> None:
    """However many have ended, and however many pages there were: so a million of them slow no check."""
    begun = [happens(new_saga(), STARTED) for _ in range(300)]
    await insert(store, *begun)
    await save(store, *(happens(change.record, DONE) for change in begun[:290]))
    before = begun[295].record.saga_id
    for query in ("list_open", "list_waiting"):
        sql = _SQL[query].replace("$4", "100").replace("$3", "'{RUNNING}'").replace("$5", f"'{before}'")
        sql = sql.replace("$1", "null").replace("$2", "null").replace("$6", "null")
        async with store._database.lend() as connection:
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, TIMING off) {sql}"))
        assert re.search(r"Index Cond: \(\(?(agenda\.)?saga_id < ", plan), plan
        assert "Sort" not in plan, plan
        read = [int(rows) for rows in re.findall(r"\(actual rows=(\d+) loops=1\)", plan)]
        assert max(read) <= 10, plan
    assert len(await store.list(SagaFilter(statuses=OPEN_STATUSES, before=before), 100)) == 5


async def test_a_sample_reads_what_is_open_and_what_has_just_begun(store: PostgresStore) -> None:
    """However many have ended: so `sagaflow top` slows no store."""
    begun = [happens(new_saga(), STARTED) for _ in range(300)]
    await insert(store, *begun)
    await save(store, *(happens(change.record, DONE) for change in begun[:290]))
    ids_ = [begun[place].record.saga_id for place in (294, 296)]
    sql = _SQL["sample"].replace("$1", f"'{ids_[0]}'").replace("$2", f"'{ids_[1]}'").replace("$3", "100")
    async with store._database.lend() as connection:
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, TIMING off) {sql}"))
    assert not re.search(r"Seq Scan|Bitmap", plan), plan
    assert re.search(r"Index Cond: \(id > ", plan), plan
    read = [int(rows) for rows in re.findall(r"\(actual rows=(\d+) loops=1\)", plan)]
    assert max(read) <= 10, plan


async def use_all(store: PostgresStore) -> None:
    """Everything that a store can do."""
    await store.check()
    one, other = await started(store, wake_at=moment(-1)), await started(store)
    await insert(store, happens(new_saga(key=one.key), STARTED))
    await watch(store, Watcher(one.saga_id, "a"))
    await resent(store, other, wake_at=None)
    await save(store, happens(one, DONE, payloads=[an_input(one)]))
    async with store.transaction() as tx:
        await tx.payloads([one.saga_id])
    await claimed(store)
    await store.keep_lease(COORDINATOR, PROCESS, 0.0)
    await store.take_over(COORDINATOR)
    await store.keep_lease(COORDINATOR, PROCESS, 10.0)
    await store.drop_lease(COORDINATOR, PROCESS, resend=True)
    await store.plans([SHORT.hash])
    await store.journal(one.saga_id)
    await store.list(SagaFilter(), 1)
    await store.latest_errors([one.saga_id])
    await store.list(SagaFilter(statuses=frozenset({SagaStatus.STUCK})), 1)
    await store.list(SagaFilter(waiting=True), 1)
    await store.deferrals([])
    await store.put_aside([])
    await store.list_put_aside(1)


async def updates(side: asyncpg.Connection) -> Counter[str]:
    """How many sagas were updated so far, and how many of these HOT."""
    (row,) = await side.fetch("""
        SELECT n_tup_upd AS all, n_tup_hot_upd AS hot
        FROM pg_stat_user_tables WHERE relid = 'sagaflow.saga'::regclass
    """)
    return Counter(dict(row))

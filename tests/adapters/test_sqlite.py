"""The SQLite file: its connection, its transactions, and what it says when it cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from stat import S_IMODE
from uuid import uuid4

import pytest

from sagaflow.adapters.sqlite import SqliteConnection, SqliteDatabase, SqliteStore, SqliteTransactions
from sagaflow.adapters.sqlite.schema import COORDINATOR, PARTICIPANT
from sagaflow.adapters.sqlite.times import to_text, to_time
from sagaflow.definitions.ports import BarrierKey, Entered, Recorded, SagaStore, Transactions
from sagaflow.definitions.records import Payload, PayloadKind, SagaFilter
from sagaflow.errors import SchemaError, Unavailable
from sagaflow.testing.store_contract import DONE, happens, save, started
from sagaflow.testing.transactions_contract import enter_action, record
from tests.adapters.sqlite_sagas import new_saga

DEADLINE_SECONDS = 20.0
COUNT_TO = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) SELECT max(i) FROM n"
LONG = COUNT_TO.format(10**6)
ENDLESS = COUNT_TO.format(10**9)
"""It takes minutes, so that a test that waits for it fails; and ends, so that the run does."""

OLD_PAYLOAD_TABLE = """
    CREATE TABLE sagaflow_payload (
        saga_id TEXT NOT NULL REFERENCES sagaflow_saga (saga_id),
        step    TEXT NOT NULL CHECK (length(step) <= 128),
        kind    TEXT NOT NULL CHECK (kind IN ('input', 'command', 'result')),
        round   INTEGER NOT NULL CHECK (round >= 1),
        body    BLOB NOT NULL,
        PRIMARY KEY (saga_id, step, kind, round),
        CHECK ((kind = 'input') = (step = ''))
    ) STRICT
"""
"""As it was in version 1."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    async with SqliteDatabase(path) as database:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE business (row TEXT NOT NULL)")
        yield database


async def rows(database: SqliteDatabase) -> list[str]:
    async with database.snapshot() as connection:
        return [row["row"] for row in await connection.fetch("SELECT row FROM business ORDER BY rowid")]


async def add(connection: SqliteConnection, row: str) -> None:
    await connection.execute("INSERT INTO business VALUES (?)", row)


async def add_and(database: SqliteDatabase, work: Callable[[SqliteConnection], Awaitable[object]]) -> None:
    """A transaction that writes a row and does something else."""
    async with database.transaction() as connection:
        await add(connection, "a row")
        await work(connection)


def the_ports_are_kept(store: SqliteStore, transactions: SqliteTransactions) -> None:
    """For the type checker."""
    _store: SagaStore = store
    _transactions: Transactions[SqliteConnection] = transactions


# The connection.


async def test_a_connection_executes_and_fetches(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        assert await connection.execute("INSERT INTO business VALUES (?), (?)", "a", "b") == 2
        assert await connection.executemany("INSERT INTO business VALUES (?)", [("c",), ("d",)]) == 2
        assert await connection.execute("UPDATE business SET row = row WHERE row > ?", "b") == 2
        assert await connection.execute("DELETE FROM business WHERE row = ? RETURNING row", "d") == 1
        assert await connection.fetchval("INSERT INTO business VALUES ('e') RETURNING row") == "e"
        assert [row["row"] for row in await connection.fetch("SELECT row FROM business")] == ["a", "b", "c", "e"]
        first = await connection.fetchrow("SELECT row, 7 AS seven FROM business ORDER BY row")
        assert first is not None
        assert (first["row"], first["seven"], first[1]) == ("a", 7, 7)
        assert await connection.fetchrow("SELECT 1 WHERE false") is None
        assert await connection.fetchval("SELECT 1 WHERE false") is None
        assert await connection.call(lambda db: db.execute("SELECT count(*) FROM business").fetchone()[0]) == 4


async def test_parameters_may_be_numbered_as_in_postgresql(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT $2 || $1 || $2", "a", "b") == "bab"
        assert await connection.executemany("INSERT INTO business VALUES ($2 || $1)", [("a", "b"), ("c", "d")]) == 2
        costs = """SELECT '$1 ', "row", ? /* $3 */ FROM business -- $2"""
        found = [tuple(row) for row in await connection.fetch(costs, "each")]
        assert found == [("$1 ", "ba", "each"), ("$1 ", "dc", "each")]
        for args in [(), ("a",), ("a", "b", "c")]:
            with pytest.raises(sqlite3.ProgrammingError, match=rf"up to \$2, and {len(args)} are given"):
                await connection.fetch("SELECT $2, $1", *args)


async def test_what_is_wrong_with_the_sql_or_the_data_is_told_as_it_is(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
            await connection.execute("INSERT INTO business VALUES (NULL)")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await connection.fetch("SELECT * FROM nowhere")
        with pytest.raises(sqlite3.ProgrammingError, match="bindings"):
            await connection.fetch("SELECT ?")
        await add(connection, "and the transaction goes on")
    assert await rows(database) == ["and the transaction goes on"]


async def test_foreign_keys_are_enforced(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        await connection.execute("CREATE TABLE child (parent INTEGER REFERENCES parent (id))")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            await connection.execute("INSERT INTO child VALUES (1)")


async def test_what_is_committed_is_on_the_disk(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        assert await connection.fetchval("PRAGMA journal_mode") == "wal"
        assert await connection.fetchval("PRAGMA synchronous") == 2, "FULL: the log is synced at each commit"


async def test_sqlite_is_never_called_on_the_thread_of_the_event_loop(database: SqliteDatabase) -> None:
    async with database.transaction() as connection, database.snapshot() as reader:
        writing, again, reading = [
            await one.call(lambda _: threading.get_ident()) for one in (connection, connection, reader)
        ]
    assert writing == again
    assert len({writing, reading, threading.get_ident()}) == 3


# Transactions.


async def test_a_transaction_that_is_left_by_an_exception_is_rolled_back(database: SqliteDatabase) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await add_and(database, lambda connection: connection.call(fail))
    assert await rows(database) == []


@pytest.mark.parametrize("statement", ["COMMIT", "END", "ROLLBACK", "BEGIN", "commit; -- now"])
async def test_a_handler_cannot_end_the_transaction_that_it_works_in(database: SqliteDatabase, statement: str) -> None:
    with pytest.raises(RuntimeError, match="use SAVEPOINT"):
        await add_and(database, lambda connection: connection.execute(statement))
    assert await rows(database) == []


async def test_a_handler_cannot_commit_by_a_method_of_sqlite3_either(database: SqliteDatabase) -> None:
    with pytest.raises(RuntimeError, match="use SAVEPOINT"):
        await add_and(database, lambda connection: connection.call(lambda db: db.commit()))
    assert await rows(database) == []


async def test_a_handler_may_use_savepoints(database: SqliteDatabase) -> None:
    async with database.transaction() as connection:
        await connection.execute("SAVEPOINT try")
        await add(connection, "dropped")
        await connection.execute("ROLLBACK TO try")
        await connection.execute("RELEASE try")
        await add(connection, "kept")
    assert await rows(database) == ["kept"]


async def test_a_connection_is_of_no_use_after_its_transaction(database: SqliteDatabase) -> None:
    async with database.transaction() as ended:
        pass
    async with database.transaction():
        with pytest.raises(RuntimeError, match="has ended"):
            await add(ended, "slipped into another transaction")


async def test_a_second_transaction_of_one_task_is_refused_rather_than_waited_for_for_ever(
    database: SqliteDatabase, path: Path
) -> None:
    async with SqliteDatabase(path) as other, asyncio.timeout(DEADLINE_SECONDS), database.transaction():
        with pytest.raises(RuntimeError, match="has a transaction open on it already"):
            async with other.transaction():
                pass


async def test_transactions_take_turns_in_the_order_in_which_they_asked(path: Path) -> None:
    turns: list[int] = []

    async def take_turn(number: int, database: SqliteDatabase) -> None:
        async with database.transaction() as connection:
            turns.append(number)
            await connection.fetchval("SELECT 1")

    async with SqliteDatabase(path) as one, SqliteDatabase(path) as other, asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(take_turn(number, other if number % 2 else one))
    assert turns == list(range(40))


async def test_in_one_process_nobody_finds_the_file_locked(path: Path, tmp_path: Path) -> None:
    """Store, participant and the service itself, by two paths, none of which would wait for a lock."""
    link = tmp_path / "link.db"
    async with (
        SqliteTransactions(path, busy_seconds=0) as transactions,
        SqliteStore(path, busy_seconds=0) as store,
    ):
        link.symlink_to(path)
        async with SqliteDatabase(link, busy_seconds=0) as database, asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(enter(transactions, BarrierKey(uuid4(), "reserve")))
                tasks.create_task(store.keep_lease("shop", uuid4(), 10.0))
                tasks.create_task(create_table(database, f"table_{number}"))
                tasks.create_task(start(store, f"order-{number}"))
        assert len(await store.list(SagaFilter(), 100)) == 20


async def enter(transactions: SqliteTransactions, key: BarrierKey) -> Entered | object:
    async with transactions.begin() as transaction:
        entered = await enter_action(transaction, key, 1)
        if isinstance(entered, Entered):
            await record(transaction, key, "action", b"1", refusal=False)
        return entered


async def create_table(database: SqliteDatabase, name: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(f"CREATE TABLE {name} (a)")


async def start(store: SqliteStore, key: str) -> None:
    async with store.transaction() as tx:
        await tx.insert([new_saga(key=key)], uuid4())


async def test_a_snapshot_waits_for_no_writer_and_sees_one_state_of_the_file(database: SqliteDatabase) -> None:
    async with database.snapshot() as reader:
        assert await reader.fetchval("SELECT count(*) FROM business") == 0
        async with database.transaction() as connection:
            await add(connection, "committed meanwhile")
        assert await reader.fetchval("SELECT count(*) FROM business") == 0
    assert await rows(database) == ["committed meanwhile"]


async def test_a_snapshot_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        async with database.snapshot() as connection:
            await add(connection, "no")


# Cancellation.


async def test_a_statement_that_is_cancelled_is_interrupted_and_its_transaction_rolled_back(
    database: SqliteDatabase,
) -> None:
    async def work() -> None:
        async with database.transaction() as connection:
            await add(connection, "lost")
            running.set()
            await connection.fetchval(ENDLESS)

    running = asyncio.Event()
    task = asyncio.create_task(work())
    async with asyncio.timeout(DEADLINE_SECONDS):
        await running.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        async with database.transaction() as connection:
            await add(connection, "kept")
    assert await rows(database) == ["kept"]


async def test_a_statement_that_is_about_to_begin_when_it_is_cancelled_does_not_run_to_its_end(
    database: SqliteDatabase,
) -> None:
    called, cancelled = threading.Event(), threading.Event()

    def run(db: sqlite3.Connection) -> None:
        called.set()
        cancelled.wait(DEADLINE_SECONDS)
        db.execute(ENDLESS)

    async with asyncio.timeout(DEADLINE_SECONDS):
        task = asyncio.create_task(add_and(database, lambda connection: connection.call(run)))
        await asyncio.to_thread(called.wait, DEADLINE_SECONDS)
        task.cancel()
        await asyncio.sleep(0)
        cancelled.set()
        await asyncio.wait({task})
        assert await rows(database) == []
        assert task.cancelled()
        await create_table(database, "usable")


async def test_a_transaction_that_is_cancelled_twice_is_rolled_back_all_the_same(database: SqliteDatabase) -> None:
    called, cancelled = threading.Event(), threading.Event()

    def run(_: sqlite3.Connection) -> None:
        called.set()
        cancelled.wait(DEADLINE_SECONDS)

    async with asyncio.timeout(DEADLINE_SECONDS):
        task = asyncio.create_task(add_and(database, lambda connection: connection.call(run)))
        await asyncio.to_thread(called.wait, DEADLINE_SECONDS)
        while not task.done():  # the second meets it where it waits for the thread to roll back
            task.cancel()
            await asyncio.sleep(0)
        cancelled.set()
        await create_table(database, "usable")
    assert await rows(database) == []


async def test_of_two_statements_only_the_cancelled_one_is_interrupted(database: SqliteDatabase) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), database.snapshot() as connection:
        endless = asyncio.create_task(connection.fetchval(ENDLESS))
        waiting = asyncio.create_task(connection.fetchval(LONG))
        await asyncio.sleep(0)
        endless.cancel()
        assert await waiting == 10**6
        assert endless.cancelled()


async def test_a_transaction_can_be_cancelled_at_any_moment(database: SqliteDatabase) -> None:
    """It is cancelled a little later each time, until it is through before that."""
    moments = 0
    finished = False
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not finished:
            moments += 1
            task = asyncio.create_task(write_pair(database, moments))
            for _ in range(moments):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            finished = not task.cancelled()
    await task
    committed = await rows(database)
    assert all(committed.count(f"{moment} a") == committed.count(f"{moment} b") for moment in range(moments + 1))
    assert f"{moments} a" in committed
    assert moments > 5


async def write_pair(database: SqliteDatabase, moment: int) -> None:
    async with database.transaction() as connection:
        await add(connection, f"{moment} a")
        await add(connection, f"{moment} b")


async def test_who_is_cancelled_in_the_queue_leaves_it(database: SqliteDatabase) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with database.transaction():
            first, second = (asyncio.create_task(write_pair(database, number)) for number in (1, 2))
            await asyncio.sleep(0)
            first.cancel()
        await second
    assert first.cancelled()
    assert await rows(database) == ["2 a", "2 b"]


# What SQLite ends by itself.


async def test_half_of_a_transaction_that_sqlite_rolled_back_cannot_be_committed(database: SqliteDatabase) -> None:
    """A full disk makes SQLite roll back; a handler that goes on regardless must not have its rest committed."""

    async def fill_and_go_on(connection: SqliteConnection) -> None:
        pages = await connection.fetchval("PRAGMA page_count")
        await connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="no space left"):
            await add(connection, "x" * 100_000)
        await add(connection, "rest")

    with pytest.raises(Unavailable, match="rolled the transaction back"):
        await add_and(database, fill_and_go_on)
    assert await rows(database) == []


async def test_a_transaction_that_sqlite_rolled_back_is_not_reported_as_committed(database: SqliteDatabase) -> None:
    async def break_a_constraint(connection: SqliteConnection) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            await connection.execute("INSERT OR ROLLBACK INTO business VALUES (NULL)")

    with pytest.raises(Unavailable, match="rolled the transaction back"):
        await add_and(database, break_a_constraint)
    assert await rows(database) == []


# Opening, and what is told.


async def test_a_file_that_was_removed_while_it_is_open_is_not_written_to(database: SqliteDatabase, path: Path) -> None:
    for change in (path.unlink, path.touch):
        change()
        with pytest.raises(Unavailable, match="was removed or replaced"):
            await create_table(database, "lost")


async def test_a_database_in_memory_is_refused() -> None:
    for memory in (":memory:", ""):
        with pytest.raises(ValueError, match="give the path of a file"):
            SqliteStore(memory)


async def test_a_database_that_is_not_open_says_so(path: Path) -> None:
    database = SqliteDatabase(path)
    with pytest.raises(RuntimeError, match="enter it with"):
        async with database.transaction():
            pass
    async with database:
        pass
    with pytest.raises(RuntimeError, match="enter it with"):
        async with database.snapshot():
            pass


async def test_a_database_that_is_closed_under_a_transaction_rolls_it_back(path: Path) -> None:
    async def create_and_close() -> None:
        async with SqliteDatabase(path) as database, database.transaction() as connection:
            await connection.execute("CREATE TABLE business (row TEXT NOT NULL)")
            await database.__aexit__()

    with pytest.raises(Unavailable, match="closed in this process"):
        await create_and_close()
    async with SqliteDatabase(path) as database, database.snapshot() as connection:
        assert await connection.fetch("SELECT name FROM sqlite_schema") == []


async def test_a_new_file_in_which_somebody_writes_is_waited_for(path: Path) -> None:
    """SQLite itself does not wait there: a file that is not yet in WAL mode cannot be put into it now."""
    other = sqlite3.connect(path, isolation_level=None)
    with closing(other):
        other.execute("CREATE TABLE business (row TEXT NOT NULL)")
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(DEADLINE_SECONDS):
            opening = asyncio.create_task(open_store(path))
            done, _ = await asyncio.wait({opening}, timeout=0.05)
            assert not done
            other.execute("COMMIT")
            await opening


async def test_those_who_open_a_new_file_at_the_same_time_make_its_tables_once(path: Path) -> None:
    await asyncio.gather(*(open_store(path) for _ in range(5)))


async def test_a_path_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(Unavailable, match="it is a folder; give the path of a file"):
        await open_store(tmp_path)
    with pytest.raises(Unavailable, match=r"the folder .*nowhere does not exist; make it first"):
        await open_store(tmp_path / "nowhere" / "sagas.db")
    with pytest.raises(Unavailable, match="there is no such file"):
        await open_store(tmp_path / "sagas.db", create=False)
    assert files(tmp_path) == []
    assert set(threading.enumerate()) == before


async def test_a_new_file_is_for_its_user_alone_and_an_old_one_stays_as_it_is(path: Path) -> None:
    async with SqliteStore(path):
        assert modes(path.parent) == {0o600}, "the log, too, has payloads in it"
    set_mode(path, 0o640)
    async with SqliteStore(path):
        assert modes(path.parent) == {0o640}


async def test_a_file_that_is_no_database_says_so(path: Path) -> None:
    write_letter(path)
    with pytest.raises(SchemaError, match="it is not a SQLite database"):
        await open_store(path)


async def test_a_file_of_another_schema_version_says_what_to_do(path: Path) -> None:
    await open_store(path)
    await execute(path, "UPDATE sagaflow_schema SET version = 9")
    expected = r"coordinator tables have version 9, this sagaflow works with version 2; use the release that made"
    with pytest.raises(SchemaError, match=expected):
        await open_store(path)


async def test_a_file_of_an_older_version_is_upgraded_when_it_is_opened(path: Path) -> None:
    async with SqliteStore(path) as store:
        record = await started(store, key="kept")
        saga_id = str(record.saga_id)
    await execute(path, "DROP TABLE sagaflow_payload")
    await execute(path, "DROP TABLE sagaflow_announcement")
    await execute(path, OLD_PAYLOAD_TABLE)
    await execute(path, f"INSERT INTO sagaflow_payload VALUES ('{saga_id}', 'reserve', 'command', 1, x'31')")
    await execute(path, "UPDATE sagaflow_schema SET version = 1")
    with pytest.raises(SchemaError, match=r"have version 1, .* or run: sagaflow db upgrade coordinator --database"):
        await open_store(path, create=False)
    async with SqliteStore(path) as store:
        kept = Payload(record.saga_id, "reserve", PayloadKind.COMMAND, 1, b"1")
        assert list(await store.payloads([record.saga_id])) == [kept]
        undo = Payload(record.saga_id, "reserve", PayloadKind.UNDO, 1, b"2")
        await save(store, happens(record, DONE, payloads=[undo]))
        assert set(await store.payloads([record.saga_id])) == {kept, undo}
    await open_store(path, create=False)


async def test_a_file_without_some_of_its_tables_says_which(path: Path) -> None:
    await open_store(path)
    await execute(path, "DROP TABLE sagaflow_journal")
    with pytest.raises(SchemaError, match="sagaflow_journal is missing; restore the file from a backup"):
        await open_store(path)


async def test_tables_are_made_only_if_that_is_wanted(path: Path) -> None:
    await execute(path, "CREATE TABLE business (row TEXT)")
    with pytest.raises(SchemaError, match="it has no tables of a coordinator; open it with create=True"):
        await open_store(path, create=False)
    async with SqliteTransactions(path):
        with pytest.raises(SchemaError, match="it has no tables of a coordinator"):
            await open_store(path, create=False)
    await open_store(path)
    await open_store(path, create=False)


async def test_check_sees_what_happened_to_the_tables_since_the_file_was_opened(path: Path) -> None:
    async with SqliteStore(path) as store, SqliteTransactions(path) as transactions:
        await store.check()
        await transactions.check()
        await execute(path, "UPDATE sagaflow_schema SET version = 9")
        with pytest.raises(SchemaError, match="coordinator tables have version 9"):
            await store.check()
        with pytest.raises(SchemaError, match="participant tables have version 9"):
            await transactions.check()


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def modes(folder: Path) -> set[int]:
    return {S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


def write_letter(path: Path) -> None:
    path.write_text("This is a letter, which happens to be longer than the first page of a database. " * 100)


async def open_store(path: Path, *, create: bool = True) -> None:
    async with SqliteStore(path, create=create) as store:
        await store.check()


async def execute(path: Path, statement: str) -> None:
    async with SqliteDatabase(path) as database, database.transaction() as connection:
        await connection.execute(statement)


def test_every_statement_of_the_schema_makes_what_its_name_says() -> None:
    for part in (COORDINATOR, PARTICIPANT):
        for name, statement in part.statements.items():
            assert any(f"CREATE {kind} {name} " in statement for kind in ("TABLE", "INDEX")), name


def test_times_compare_as_text() -> None:
    new_york = timezone(timedelta(hours=-5))
    times = [
        datetime(999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2025, 12, 31, 23, tzinfo=new_york),
    ]
    texts = [to_text(time) for time in times]
    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {27}
    assert [to_time(text) for text in texts] == times


# The barrier, beyond its contract.


async def test_the_barrier_survives_that_the_file_is_closed(path: Path) -> None:
    key = BarrierKey(uuid4(), "reserve")
    async with SqliteTransactions(path) as transactions:
        await enter(transactions, key)
    async with SqliteTransactions(path) as transactions:
        assert await enter(transactions, key) == Recorded(b"1")


async def test_a_saga_is_started_in_the_transaction_of_a_step(path: Path) -> None:
    async with SqliteStore(path) as store, SqliteTransactions(path) as transactions:
        for key, fails in (("kept", False), ("lost", True)):
            try:
                async with transactions.begin() as transaction:
                    await store.enlist(transaction.tx).insert([new_saga(key=key)], uuid4())
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                assert fails
        assert [saga.key for saga in await store.list(SagaFilter(), 10)] == ["kept"]


async def test_a_transaction_that_cannot_be_joined_is_refused(path: Path, tmp_path: Path) -> None:
    async with SqliteStore(path) as store, SqliteDatabase(tmp_path / "other.db") as other:
        with pytest.raises(TypeError, match="joins the transaction of a SqliteConnection"):
            store.enlist(object())
        async with other.transaction() as connection:
            with pytest.raises(TypeError, match=r"the transaction in .*other\.db"):
                store.enlist(connection)


async def test_nothing_of_a_database_outlives_it(path: Path) -> None:
    before = set(threading.enumerate())
    async with SqliteStore(path), SqliteTransactions(path):
        assert len(set(threading.enumerate()) - before) == 4
    assert set(threading.enumerate()) == before
    assert files(path.parent) == [path], "the log is in the file when the last connection is closed"

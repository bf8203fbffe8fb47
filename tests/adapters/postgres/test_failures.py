"""Servers that are not there, connections that break, and statements that cannot be done."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, connect, database, upgrade
from sagaflow.adapters.postgres.failures import explain
from sagaflow.errors import Locked, NotPermitted, SchemaError, Unavailable, UnsupportedPooling
from sagaflow.testing.store_contract import (
    DONE,
    NOT_YET,
    PROCESS,
    SHORT,
    STARTED,
    claimed,
    happens,
    new_saga,
    plain,
    racing,
    save,
    started,
)
from tests.adapters.postgres.outside import (
    DEADLINE_SECONDS,
    Undo,
    as_user,
    kill_others,
    raised,
    sooner_or_later,
    until_waiting,
)
from tests.servers import Server

PASSWORD = "corr3ct-h0rse"

RIGHTS = (
    "GRANT USAGE ON SCHEMA sagaflow",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sagaflow",
)
"""What docs/operations.md says that a coordinator needs."""

BAD_URLS = {
    "nobody listens": f"postgresql://ann:{PASSWORD}@127.0.0.1:1/shop",
    "no URL": PASSWORD,
    "another scheme": f"mysql://ann:{PASSWORD}@127.0.0.1/shop",
    "a slash in the password": f"postgresql://ann:1/{PASSWORD}@127.0.0.1:1/shop",
    "a hash in the password": f"postgresql://ann:1#{PASSWORD}@127.0.0.1:1/shop",
    "a question mark in the password": f"postgresql://ann:1?{PASSWORD}@127.0.0.1:1/shop",
    "a bracket in the password": f"postgresql://ann:[{PASSWORD}@127.0.0.1:1/shop",
    "a port that is none": f"postgresql://ann:{PASSWORD}@127.0.0.1:{PASSWORD}/shop",
}


@asynccontextmanager
async def a_role(side: asyncpg.Connection, *grants: str) -> AsyncIterator[str]:
    """A role with these rights, which is gone afterwards."""
    name = f"limited_{secrets.token_hex(4)}"
    await side.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    try:
        for grant in grants:
            await side.execute(f"{grant} TO {name}")
        yield name
    finally:
        await side.execute(f"DROP OWNED BY {name}")
        await side.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("bad", BAD_URLS.values(), ids=BAD_URLS)
async def test_a_bad_url_is_told_in_one_line_without_the_password(bad: str) -> None:
    for opened in (connect(bad), PostgresStore.connect(bad), AsyncpgTransactions.connect(bad)):
        with pytest.raises(Unavailable) as problem:
            await opened.__aenter__()
        message = str(problem.value)
        assert PASSWORD not in message
        assert "\n" not in message
        assert "URL" in message or "PostgreSQL" in message


async def test_a_refused_connection_names_the_place(database_url: str) -> None:
    with pytest.raises(Unavailable, match=r"^PostgreSQL at 127\.0\.0\.1:1/shop: .*(refused|Connect call failed)"):
        await connect(BAD_URLS["nobody listens"]).__aenter__()


async def test_a_wrong_password_or_database_is_told_in_one_line(database_url: str) -> None:
    place = re.escape(database_url.rpartition("@")[2])
    with pytest.raises(Unavailable, match=f"^PostgreSQL at {place}: password authentication failed for user") as wrong:
        await PostgresStore.connect(as_user(database_url, "postgres", PASSWORD)).__aenter__()
    assert PASSWORD not in str(wrong.value)
    with pytest.raises(Unavailable, match=r'no_such: database "no_such" does not exist$'):
        await PostgresStore.connect(urlsplit(database_url)._replace(path="/no_such").geturl()).__aenter__()


async def test_a_wrong_option_of_the_pool_is_the_drivers_to_tell(database_url: str) -> None:
    with pytest.raises(ValueError, match="min_size is greater than max_size"):
        await PostgresStore.connect(database_url, min_size=3, max_size=2).__aenter__()


SQLSTATES = {
    "08006": Unavailable,
    "08P01": Unavailable,
    "53300": Unavailable,
    "53100": Unavailable,
    "57P01": Unavailable,
    "57P02": Unavailable,
    "57P03": Unavailable,
    "57P05": Unavailable,
    "57014": Unavailable,
    "40001": Unavailable,
    "40003": Unavailable,
    "40P01": Locked,
    "55P03": Locked,
    "25006": Unavailable,
    "25P03": Unavailable,
    "26000": UnsupportedPooling,
    "42P05": UnsupportedPooling,
    "42P01": SchemaError,
    "42703": SchemaError,
    "42501": NotPermitted,
    "3F000": SchemaError,
    "23505": None,
    "23514": None,
    "22P02": None,
    "25P02": None,
    "42601": None,
    "P0001": None,
}


@pytest.mark.parametrize(("state", "expected"), SQLSTATES.items())
def test_each_kind_of_error_is_told_apart(state: str, expected: type[Exception] | None) -> None:
    error = asyncpg.PostgresError.new({"C": state, "M": "it says\nthis", "D": "secret data"})
    explained = explain(error, mend=Line.COORDINATOR.mend)
    assert (None if explained is None else type(explained)) == expected
    if explained is not None:
        assert "it says this" in str(explained)
        assert "secret data" not in str(explained)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), Unavailable),
        (ConnectionResetError("reset by peer"), Unavailable),
        (asyncpg.TargetServerAttributeNotMatched("read-only"), Unavailable),
        (asyncpg.OutdatedSchemaCacheError("outdated"), Unavailable),
        (asyncpg.InterfaceError("another operation is in progress"), None),
        (asyncpg.DataError("invalid input"), None),
        (asyncpg.InternalClientError("a bug"), None),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_each_kind_of_error_of_the_driver_is_told_apart(error: Exception, expected: type[Exception] | None) -> None:
    explained = explain(error)
    assert (None if explained is None else type(explained)) == expected
    assert type(explain(error, lost=True)) is Unavailable


async def test_a_transaction_whose_connection_is_killed_is_unavailable_and_the_next_one_is_not(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    record = await started(store)

    async def end() -> None:
        async with store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            await kill_others(side)
            await tx.save([happens(loaded, DONE)], PROCESS)

    with pytest.raises(Unavailable):
        await end()
    await sooner_or_later(store.check)
    assert [plain(found) for found in await store.find([record.saga_id])] == [record]
    await save(store, happens(record, DONE))


async def test_a_commit_whose_connection_is_killed_is_unavailable(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    record = await started(store)

    async def end() -> None:
        async with store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            await tx.save([happens(loaded, DONE)], PROCESS)
            await kill_others(side)

    with pytest.raises(Unavailable):
        await end()
    await sooner_or_later(store.check)
    assert [plain(found) for found in await store.find([record.saga_id])] == [record]


async def test_an_error_of_the_caller_counts_for_nothing_if_the_connection_was_killed(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    async def give_up() -> None:
        async with store.transaction() as tx:
            await tx.load([])
            await kill_others(side)
            raise Undo

    assert isinstance(await raised(give_up()), Unavailable)


async def test_an_error_of_the_caller_is_his_own(store: PostgresStore) -> None:
    error = Undo()

    async def give_up() -> None:
        async with store.transaction() as tx:
            await tx.load([])
            raise error

    assert await raised(give_up()) is error


async def test_who_is_cancelled_stays_cancelled_even_if_the_connection_was_killed(
    store: PostgresStore, side: asyncpg.Connection
) -> None:
    begun = asyncio.Event()

    async def never_end() -> None:
        async with store.transaction() as tx:
            await tx.load([])
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_end())
    await begun.wait()
    await kill_others(side)
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE_SECONDS)
    assert task.cancelled()


async def test_a_statement_that_waits_when_its_connection_is_killed_is_unavailable(
    store: PostgresStore, side: asyncpg.Connection, url: str
) -> None:
    record = await started(store)
    async with connect(url) as holder, holder.transaction():
        await holder.execute("SELECT FROM sagaflow.saga FOR UPDATE")
        async with racing() as tasks:
            waiting = tasks.create_task(raised(save(store, happens(record, DONE))))
            await until_waiting(side)
            await kill_others(side, but=holder)
        assert isinstance(waiting.result(), Unavailable)
    await sooner_or_later(lambda: save(store, happens(record, DONE)))


async def test_a_pool_is_closed_in_time_whoever_keeps_a_connection(
    url: str, side: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaflow.adapters.postgres.pool.CLOSE_SECONDS", 0.05)
    async with asyncio.timeout(DEADLINE_SECONDS), PostgresStore.connect(url) as store:
        kept = await store._database.pool.acquire()
    with pytest.raises(asyncpg.InterfaceError):
        await kept.fetch("SELECT 1")


async def test_idle_connections_that_were_killed_are_replaced(store: PostgresStore, side: asyncpg.Connection) -> None:
    async with racing() as tasks:
        for _ in range(5):
            tasks.create_task(started(store))
    await kill_others(side)
    await sooner_or_later(lambda: started(store))


async def test_a_server_that_stops_is_unavailable_until_it_is_back(
    store: PostgresStore, postgres: Server, url: str
) -> None:
    record = await started(store)
    await asyncio.to_thread(postgres.stop)
    try:
        for use in (store.check(), store.find([record.saga_id]), started(store), claimed(store)):
            error = await raised(use)
            assert isinstance(error, Unavailable)
            assert "\n" not in str(error)
        with pytest.raises(Unavailable, match=re.escape(f"PostgreSQL at {url.rpartition('@')[2]}: ")):
            await PostgresStore.connect(url).__aenter__()
    finally:
        await asyncio.to_thread(postgres.start)
    await sooner_or_later(store.check)
    assert [plain(found) for found in await store.find([record.saga_id])] == [record]


async def test_a_server_that_crashes_takes_what_was_not_committed(store: PostgresStore, postgres: Server) -> None:
    record, lost = await started(store), new_saga()

    async def crash() -> None:
        async with store.transaction() as tx:
            await tx.insert([happens(lost, STARTED)], PROCESS)
            await asyncio.to_thread(postgres.kill)

    try:
        with pytest.raises(Unavailable):
            await crash()
    finally:
        await asyncio.to_thread(postgres.start)
    await sooner_or_later(store.check)
    assert [plain(found) for found in await store.find([record.saga_id, lost.saga_id])] == [record]


async def test_connections_to_a_server_that_became_read_only_are_made_anew(side: asyncpg.Connection, url: str) -> None:
    async with PostgresStore.connect(url, max_size=1) as store:
        pool = store._database.pool
        await pool.execute("SET default_transaction_read_only = on")
        with pytest.raises(Unavailable, match="read-only transaction"):
            await store.add_plans([SHORT])
        await store.add_plans([SHORT])


async def test_a_lock_is_not_waited_for_without_end(side: asyncpg.Connection, url: str) -> None:
    async with PostgresStore.connect(url, server_settings={"lock_timeout": "50ms"}) as store:
        record = await started(store)
        async with side.transaction():
            await side.execute("SELECT FROM sagaflow.saga FOR UPDATE")
            with pytest.raises(Locked, match="lock timeout"):
                await save(store, happens(record, DONE))
        await save(store, happens(record, DONE))


async def test_an_answer_is_not_waited_for_without_end(
    side: asyncpg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with a pool that has no time limits of its own."""
    async with asyncpg.create_pool(url, min_size=1, max_size=3) as pool:
        store = PostgresStore(pool)
        async with side.transaction():
            await side.execute("LOCK TABLE sagaflow.saga IN ACCESS EXCLUSIVE MODE")
            with monkeypatch.context() as patch:
                patch.setattr(database, "COMMAND_SECONDS", 0.05)
                with pytest.raises(Unavailable, match="no answer in time"):
                    await store.find([UUID(int=1)])
        assert list(await store.find([UUID(int=1)])) == []


async def test_tables_that_change_under_a_running_process_cost_one_transaction(database_url: str) -> None:
    async with connect(database_url) as connection:
        await upgrade(connection, Line.COORDINATOR)
        async with PostgresStore.connect(database_url, max_size=1) as store:
            record = await started(store)
            await save(store, happens(record, NOT_YET))
            await connection.execute("ALTER TABLE sagaflow.saga ALTER version TYPE bigint")  # no view shows it
            again = happens(happens(record, NOT_YET).record, DONE)
            assert isinstance(await raised(save(store, again)), Unavailable)
            await save(store, again)


async def test_a_transaction_in_which_a_statement_failed_cannot_end_well(store: PostgresStore) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, and no error."""
    record = await started(store)

    async def go_on_after_an_error() -> None:
        async with store.transaction() as tx:
            (loaded,) = await tx.load([record.saga_id])
            good = happens(loaded, NOT_YET)
            await tx.save([good], PROCESS)
            bad = happens(good.record, NOT_YET)
            with suppress(asyncpg.CheckViolationError):
                await tx.save([replace(bad, record=replace(bad.record, version=-1))], PROCESS)

    with pytest.raises(RuntimeError, match="rolled back: a statement in it had failed"):
        await go_on_after_an_error()
    assert [plain(found) for found in await store.find([record.saga_id])] == [record]


async def test_a_right_that_is_revoked_is_named_and_may_be_granted_again(
    store: PostgresStore, side: asyncpg.Connection, url: str
) -> None:
    record = await started(store)
    async with a_role(side, *RIGHTS) as name, PostgresStore.connect(as_user(url, name, PASSWORD)) as limited:
        await limited.check()
        await save(limited, happens(record, STARTED))  # with the rights that are documented it works
        for table, right, use in (
            ("saga", "UPDATE", lambda: save(limited, happens(record, STARTED))),
            ("journal", "SELECT", lambda: limited.journal(record.saga_id)),
            ("process", "INSERT", lambda: limited.keep_lease("orders", PROCESS, 1.0)),
            ("agenda", "UPDATE", lambda: limited.claim_due("orders", 1, 1.0)),
        ):
            await side.execute(f"REVOKE {right} ON sagaflow.{table} FROM {name}")
            with pytest.raises(NotPermitted) as caught:
                await use()
            grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON sagaflow.{table} TO the role of this process"
            assert str(caught.value) == f"PostgreSQL: permission denied for table {table}; run: {grant}"
            await side.execute(f"GRANT {right} ON sagaflow.{table} TO {name}")
        assert await limited.find([record.saga_id])


async def test_a_migration_by_another_role_than_the_owner_says_whose_it_is(side: asyncpg.Connection, url: str) -> None:
    async with a_role(side, *RIGHTS, "GRANT INSERT, DELETE ON sagaflow.migration") as name:
        latest = await side.fetchrow("DELETE FROM sagaflow.migration WHERE number = 4 RETURNING *")
        assert latest is not None
        try:
            async with connect(as_user(url, name, PASSWORD)) as limited:
                with pytest.raises(NotPermitted, match="; migrate as the role that owns the tables"):
                    await upgrade(limited, Line.COORDINATOR)
        finally:
            await side.execute("INSERT INTO sagaflow.migration SELECT ($1::sagaflow.migration).*", latest)

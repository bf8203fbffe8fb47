"""How the tables come to be, in databases of any age."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import asyncpg
import pytest

from sagaflow.adapters.postgres import (
    AsyncpgTransactions,
    Line,
    PostgresStore,
    connect,
    migrations,
    sql,
    status,
    upgrade,
)
from sagaflow.adapters.postgres.migrations import Migration, check
from sagaflow.definitions.records import SagaFilter
from sagaflow.errors import Locked, NotPermitted, SchemaError
from sagaflow.testing.store_contract import COORDINATOR, SHORT, racing, started
from tests.adapters.postgres.outside import as_user

COORDINATOR_LINE, PARTICIPANT_LINE = Line.COORDINATOR, Line.PARTICIPANT


@pytest.mark.parametrize("line", Line)
async def test_upgrading_an_empty_database_makes_what_check_wants(database_url: str, line: Line) -> None:
    async with connect(database_url) as connection:
        assert {one.applied_at for one in await status(connection, line)} == {None}
        applied = await upgrade(connection, line)
        assert list(applied) == list(migrations.migrations(line))
        await check(connection, line)
        standing = await status(connection, line)
        assert [(one.number, one.name, one.problem) for one in standing] == [
            (one.number, one.name, None) for one in applied
        ]
        assert applied[0].name == "tables"
        assert all(one.applied_at is not None for one in standing)


async def test_upgrading_again_does_nothing(database_url: str) -> None:
    async with connect(database_url) as connection:
        await upgrade(connection, COORDINATOR_LINE)
        before = await status(connection, COORDINATOR_LINE)
        assert list(await upgrade(connection, COORDINATOR_LINE)) == []
        assert await status(connection, COORDINATOR_LINE) == before


async def test_both_lines_fit_into_one_database(database_url: str) -> None:
    async with connect(database_url) as connection:
        await upgrade(connection, COORDINATOR_LINE)
        with pytest.raises(SchemaError):
            await check(connection, PARTICIPANT_LINE)
        await upgrade(connection, PARTICIPANT_LINE)
        await check(connection, PARTICIPANT_LINE)
        await check(connection, COORDINATOR_LINE)


@pytest.mark.parametrize("line", Line)
async def test_the_script_does_what_upgrading_does(make_database: Callable[[], str], line: Line) -> None:
    async with connect(make_database()) as by_script, connect(make_database()) as by_upgrade:
        await by_script.execute(sql(line))
        await upgrade(by_upgrade, line)
        await check(by_script, line)
        assert list(await upgrade(by_script, line)) == []
        assert await catalogue(by_script) == await catalogue(by_upgrade)


async def test_those_who_upgrade_at_the_same_time_do_not_harm_each_other(database_url: str) -> None:
    async def upgraded() -> int:
        async with connect(database_url) as connection:
            return len(await upgrade(connection, COORDINATOR_LINE))

    async with racing() as tasks:
        runs = [tasks.create_task(upgraded()) for _ in range(4)]
    assert sum(run.result() for run in runs) == len(migrations.migrations(COORDINATOR_LINE))


async def test_payloads_that_undo_is_told_instead_fit_into_a_database_that_had_none(database_url: str) -> None:
    """The check is widened without a look at what is there: nobody waits for that."""
    insert = "INSERT INTO sagaflow.payload VALUES (gen_random_uuid(), 'a', $1, 1, '')"
    async with connect(database_url) as connection:
        await connection.execute(sql(COORDINATOR_LINE, to=1))
        await connection.execute(insert, "command")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, "undo")
        before = await connection.fetchval("SELECT pg_relation_filenode('sagaflow.payload')")
        await upgrade(connection, COORDINATOR_LINE)
        assert await connection.fetchval("SELECT pg_relation_filenode('sagaflow.payload')") == before
        await connection.execute(insert, "undo")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, "reply")
        assert await connection.fetchval("SELECT count(*) FROM sagaflow.payload") == 2


@pytest.fixture
def three_migrations(monkeypatch: pytest.MonkeyPatch) -> Sequence[Migration]:
    """As if sagaflow had been developed further."""
    first, *_ = migrations.migrations(COORDINATOR_LINE)
    second = Migration(2, "colour", "ALTER TABLE sagaflow.saga ADD colour text;")
    third = Migration(3, "broken", "ALTER TABLE sagaflow.saga ADD size text; SELECT 1 / 0;")
    chosen = (first, second, third)
    monkeypatch.setattr(migrations, "migrations", lambda line: chosen)
    return chosen


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(
    database_url: str, three_migrations: Sequence[Migration]
) -> None:
    async with connect(database_url) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await upgrade(connection, COORDINATOR_LINE)
        standing = await status(connection, COORDINATOR_LINE)
        assert [one.applied_at is None for one in standing] == [False, False, True]
        with pytest.raises(SchemaError, match="too old, without migration 0003_broken; run: sagaflow db upgrade"):
            await check(connection, COORDINATOR_LINE)
        columns = await connection.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'saga'")
        assert {"colour", "size"} & {row["column_name"] for row in columns} == {"colour"}


def test_the_script_holds_the_migrations_that_are_asked_for(three_migrations: Sequence[Migration]) -> None:
    def numbers(script: str) -> list[str]:
        return re.findall(r"VALUES \((\d+), '", script)

    assert numbers(sql(COORDINATOR_LINE)) == ["1", "2", "3"]
    assert numbers(sql(COORDINATOR_LINE, from_=1)) == ["2", "3"]
    assert numbers(sql(COORDINATOR_LINE, from_=1, to=2)) == ["2"]
    assert three_migrations[1].text in sql(COORDINATOR_LINE, 1, 2)


async def test_a_migration_does_not_wait_long_for_a_table(
    database_url: str, three_migrations: Sequence[Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "TABLE_WAIT", "50ms")
    async with connect(database_url) as connection, connect(database_url) as other:
        await connection.execute(sql(COORDINATOR_LINE, to=1))
        async with other.transaction():
            await other.execute("LOCK TABLE sagaflow.saga IN ACCESS SHARE MODE")
            with pytest.raises(Locked, match="lock timeout"):
                await upgrade(connection, COORDINATOR_LINE)
        assert [one.applied_at is None for one in await status(connection, COORDINATOR_LINE)] == [False, True, True]


async def test_a_migration_that_was_changed_after_it_was_applied_is_noticed(database_url: str) -> None:
    async with connect(database_url) as connection:
        await upgrade(connection, COORDINATOR_LINE)
        await connection.execute("UPDATE sagaflow.migration SET checksum = repeat('0', 64) WHERE number = 1")
        with pytest.raises(SchemaError, match="migration 0001_tables was changed after it was applied"):
            await check(connection, COORDINATOR_LINE)
        with pytest.raises(SchemaError, match="migration 0001_tables was changed after it was applied; nothing was"):
            await upgrade(connection, COORDINATOR_LINE)


async def test_a_database_of_a_newer_sagaflow_is_noticed(database_url: str) -> None:
    async with connect(database_url) as connection:
        await upgrade(connection, COORDINATOR_LINE)
        await connection.execute("INSERT INTO sagaflow.migration VALUES (7000, 'future', repeat('0', 64))")
        problem = "migration 7000_future is of a newer sagaflow; install that version here"
        standing = await status(connection, COORDINATOR_LINE)
        assert [one.problem for one in standing if one.problem] == [problem.removeprefix("migration 7000_future ")]
        for refused in (check, upgrade):
            with pytest.raises(SchemaError, match=problem):
                await refused(connection, COORDINATOR_LINE)


async def test_a_database_without_tables_is_told_in_one_line_with_the_mend(database_url: str) -> None:
    name = urlsplit(database_url).path.removeprefix("/")
    missing = f"database {name}: the {{0}} tables are missing; run: sagaflow db upgrade {{0}} --database URL"
    async with PostgresStore.connect(database_url) as store:
        with pytest.raises(SchemaError) as of_store:
            await store.check()
    assert str(of_store.value) == missing.format("coordinator")
    async with AsyncpgTransactions.connect(database_url) as transactions:
        with pytest.raises(SchemaError) as of_transactions:
            await transactions.check()
    assert str(of_transactions.value) == missing.format("participant")


async def test_nothing_migrates_unasked(database_url: str) -> None:
    async with connect(database_url) as connection:
        before = await catalogue(connection)
        async with PostgresStore.connect(database_url) as store:
            for use in (store.check(), store.add_plans([SHORT]), store.take_over(COORDINATOR), started(store)):
                with pytest.raises(SchemaError, match="sagaflow db upgrade coordinator --database URL"):
                    await use
        assert await catalogue(connection) == before


async def test_a_role_without_rights_is_told_so(store: PostgresStore, side: asyncpg.Connection, url: str) -> None:
    await side.execute("CREATE ROLE stranger LOGIN PASSWORD 'strange'")
    try:
        async with PostgresStore.connect(as_user(url, "stranger", "strange")) as strange:
            grant = "run: GRANT USAGE ON SCHEMA sagaflow TO the role of this process$"
            with pytest.raises(NotPermitted, match=f"permission denied for schema sagaflow; {grant}"):
                await strange.list(SagaFilter(), 1)
        async with connect(as_user(url, "stranger", "strange")) as strange_connection:
            with pytest.raises(NotPermitted, match="permission denied for schema sagaflow"):
                await upgrade(strange_connection, Line.COORDINATOR)
    finally:
        await side.execute("DROP ROLE stranger")


async def catalogue(connection: asyncpg.Connection) -> Sequence[tuple[object, ...]]:
    """All columns and constraints of our schemas, and the options of the tables."""
    rows = await connection.fetch("""
        SELECT table_schema, table_name, column_name, data_type || is_nullable || coalesce(column_default, '')
        FROM information_schema.columns WHERE table_schema LIKE 'sagaflow%'
        UNION ALL
        SELECT connamespace::regnamespace::text, conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace::regnamespace::text LIKE 'sagaflow%'
        UNION ALL
        SELECT relnamespace::regnamespace::text, relname, relkind::text, reloptions::text
        FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'sagaflow%'
        ORDER BY 1, 2, 3, 4
    """)
    return [tuple(row) for row in rows]

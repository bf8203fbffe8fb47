"""The contract of participant transactions over PostgreSQL, and what is PostgreSQL's own about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

import asyncpg
import pytest

from sagaflow.adapters.postgres import AsyncpgTransactions, connect
from sagaflow.core.plan import Operation
from sagaflow.definitions.ports import Entered
from sagaflow.definitions.records import PutAside
from sagaflow.errors import Locked, SchemaError, Unavailable
from sagaflow.testing.transactions_contract import (
    DONE,
    TransactionsContract,
    act,
    enter_action,
    new_key,
    record,
    undo,
)
from tests.adapters.postgres.outside import Undo, kill_others, name_of, raised, sooner_or_later, until_waiting

BUSINESS = """
    CREATE TABLE IF NOT EXISTS business (number bigint GENERATED ALWAYS AS IDENTITY, row text NOT NULL UNIQUE);
    TRUNCATE business;
"""


@pytest.fixture
async def transactions(url: str, side: asyncpg.Connection) -> AsyncIterator[AsyncpgTransactions]:
    await side.execute(BUSINESS)
    async with AsyncpgTransactions.connect(url) as transactions:
        yield transactions


async def add_row(tx: asyncpg.Connection, row: str) -> None:
    await tx.execute("INSERT INTO business (row) VALUES ($1)", row)


async def rows(tx: asyncpg.Connection) -> Sequence[str]:
    return [row["row"] for row in await tx.fetch("SELECT row FROM business ORDER BY number")]


class TestAsyncpgTransactions(TransactionsContract[asyncpg.Connection]):
    async def add_row(self, tx: asyncpg.Connection, row: str) -> None:
        await tx.execute(
            "INSERT INTO business (row) VALUES ($1)", f"{row} {await tx.fetchval('SELECT gen_random_uuid()')}"
        )

    async def rows(self, tx: asyncpg.Connection) -> Sequence[str]:
        return [row.rpartition(" ")[0] for row in await rows(tx)]


Handler = Callable[[asyncpg.Connection], Awaitable[object]]


async def do(transactions: AsyncpgTransactions, handler: Handler) -> None:
    """What a worker does with an action: enter, let the handler work, record."""
    key = new_key()
    async with transactions.begin() as transaction:
        assert await enter_action(transaction, key, 1) == Entered()
        await handler(transaction.tx)
        await record(transaction, key, Operation.ACTION, DONE, refusal=False)


async def test_an_error_of_the_handler_is_raised_as_it_is(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    error = Undo("the handler's own")

    async def fail(tx: asyncpg.Connection) -> None:
        await add_row(tx, "lost")
        raise error

    assert await raised(do(transactions, fail)) is error
    assert await rows(side) == []


async def test_an_error_of_the_handlers_own_statements_is_raised_as_it_is(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    async def violate(tx: asyncpg.Connection) -> None:
        await add_row(tx, "twice")
        await add_row(tx, "twice")

    async def use_what_is_not_there(tx: asyncpg.Connection) -> None:
        await tx.execute("SELECT * FROM no_such_table")

    assert type(await raised(do(transactions, violate))) is asyncpg.UniqueViolationError
    assert type(await raised(do(transactions, use_what_is_not_there))) is asyncpg.UndefinedTableError
    assert await rows(side) == []


async def test_whatever_the_handler_raises_a_lost_connection_is_unavailable(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    async def lose(tx: asyncpg.Connection) -> None:
        await kill_others(side)

    async def lose_and_fail(tx: asyncpg.Connection) -> None:
        await kill_others(side)
        raise Undo

    async def lose_and_use(tx: asyncpg.Connection) -> None:
        await kill_others(side)
        await add_row(tx, "lost")

    for handler in (lose, lose_and_fail, lose_and_use):
        assert type(await raised(do(transactions, handler))) is Unavailable
    await sooner_or_later(lambda: do(transactions, lambda tx: add_row(tx, "kept")))
    assert await rows(side) == ["kept"]


async def test_a_handler_may_open_transactions_inside_its_own(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    async def nest(tx: asyncpg.Connection) -> None:
        with suppress(asyncpg.UniqueViolationError):
            async with tx.transaction():
                await add_row(tx, "twice")
                await add_row(tx, "twice")
        async with tx.transaction():
            await add_row(tx, "kept")

    await do(transactions, nest)
    assert await rows(side) == ["kept"]


async def test_a_handler_that_goes_on_after_a_failed_statement_is_told_so(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    async def go_on(tx: asyncpg.Connection) -> None:
        await add_row(tx, "twice")
        with suppress(asyncpg.UniqueViolationError):
            await add_row(tx, "twice")

    error = await raised(do(transactions, go_on))
    assert "the handler went on after a statement had failed" in str(error)
    assert await rows(side) == []


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "ROLLBACK; BEGIN"])
async def test_a_handler_that_ends_its_transaction_is_told_so(transactions: AsyncpgTransactions, end: str) -> None:
    async def end_it(tx: asyncpg.Connection) -> None:
        await tx.execute(end)

    assert "the handler ended the transaction of its step" in str(await raised(do(transactions, end_it)))


async def test_an_open_action_is_not_waited_for_without_end(url: str, transactions: AsyncpgTransactions) -> None:
    key = new_key()
    async with (
        AsyncpgTransactions.connect(url, server_settings={"lock_timeout": "50ms"}) as hasty,
        transactions.begin() as transaction,
    ):
        await enter_action(transaction, key, 1)
        for attempt in (act(hasty, key), undo(hasty, key)):
            error = await raised(attempt)
            assert isinstance(error, Locked)
            assert "lock timeout" in str(error)
        await record(transaction, key, Operation.ACTION, DONE, refusal=False)


async def test_a_waiting_undo_waits_for_the_row_of_its_action(
    transactions: AsyncpgTransactions, side: asyncpg.Connection
) -> None:
    key = new_key()
    async with asyncio.TaskGroup() as tasks, transactions.begin() as transaction:
        await enter_action(transaction, key, 1)
        tasks.create_task(undo(transactions, key))
        await until_waiting(side)
        await record(transaction, key, Operation.ACTION, DONE, refusal=False)
    (row,) = await side.fetch("SELECT fenced FROM sagaflow_participant.barrier WHERE operation = 'action'")
    assert row["fenced"]


async def test_what_a_handler_leaves_in_its_session_is_gone_for_the_next_one(
    url: str, side: asyncpg.Connection
) -> None:
    await side.execute(BUSINESS)
    async with AsyncpgTransactions.connect(url, max_size=1) as transactions:

        async def leave(tx: asyncpg.Connection) -> None:
            await tx.execute("SET search_path = elsewhere; SELECT pg_advisory_lock(1)")

        await do(transactions, leave)
        async with transactions.begin() as transaction:
            assert await transaction.tx.fetchval("SHOW search_path") == '"$user", public'
            assert await transaction.tx.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_only_a_connection_that_a_handler_had_is_reset(url: str, side: asyncpg.Connection) -> None:
    await side.execute(BUSINESS)
    statements: list[str] = []

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: statements.append(query.query))

    def resets() -> int:
        return sum("RESET ALL" in statement for statement in statements)

    async def nothing(tx: asyncpg.Connection) -> None: ...

    async with AsyncpgTransactions.connect(url, max_size=1, init=listen) as transactions:
        await enter_and_record(transactions)
        assert resets() == 0
        await do(transactions, nothing)
        assert resets() == 1
        await enter_and_record(transactions)
        assert resets() == 1


async def enter_and_record(transactions: AsyncpgTransactions) -> None:
    """An action whose handler is not given the connection."""
    key = new_key()
    async with transactions.begin() as transaction:
        assert await enter_action(transaction, key, 1) == Entered()
        await record(transaction, key, Operation.ACTION, DONE)


async def test_entering_is_one_statement_and_so_is_recording(url: str, side: asyncpg.Connection) -> None:
    statements: list[str] = []

    async def listen(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: statements.append(name_of(query.query)))

    async with AsyncpgTransactions.connect(url, max_size=1, init=listen) as transactions:
        for work in (act, undo):
            await work(transactions, new_key())
    assert [
        statement for statement in statements if statement in {"enter_actions", "enter_compensations", "record"}
    ] == [
        "enter_actions",
        "record",
        "enter_compensations",
        "record",
    ]
    assert len([statement for statement in statements if statement.startswith(("BEGIN", "COMMIT"))]) == 4
    assert [statement for statement in statements if "barrier" in statement] == []


async def test_without_tables_each_use_tells_the_mend(database_url: str) -> None:
    async with AsyncpgTransactions.connect(database_url) as transactions:
        uses = [
            transactions.check(),
            act(transactions, new_key()),
            undo(transactions, new_key()),
            transactions.put_aside([PutAside("a", "b", b"c")]),
            transactions.list_put_aside(1),
        ]
        for use in uses:
            error = await raised(use)
            assert isinstance(error, SchemaError)
            assert "run: sagaflow db upgrade participant --database URL" in str(error)


async def test_a_pool_of_the_service_will_do(url: str, side: asyncpg.Connection) -> None:
    await side.execute(BUSINESS)
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        transactions = AsyncpgTransactions(pool)
        await transactions.check()
        await do(transactions, lambda tx: add_row(tx, "kept"))
    async with connect(url) as connection:
        assert await rows(connection) == ["kept"]

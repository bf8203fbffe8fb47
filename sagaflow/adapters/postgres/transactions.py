"""The transactions of a participant in its own PostgreSQL, with the barrier in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sagaflow.adapters.postgres import migrations
from sagaflow.adapters.postgres.database import Database
from sagaflow.adapters.postgres.migrations import Line
from sagaflow.adapters.postgres.pool import open_pool
from sagaflow.core.plan import Operation
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.ports import BarrierKey, Entered, Fenced, Recorded, Undo
from sagaflow.definitions.records import PutAside

_SQL: Final = load(__package__, "participant_queries.sql")


class AsyncpgTransactions:
    """`Transactions` in the service's own PostgreSQL; handlers are given a connection of asyncpg.

    Args:
        pool: whose connections are used; who gives it closes it. It needs a `command_timeout`; without a
            `lock_timeout` a duplicate waits longer for the transaction that it duplicates.
            `AsyncpgTransactions.connect` makes one with all settings that matter.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._database = Database(pool, Line.PARTICIPANT.mend)

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """Transactions with a pool of their own, closed when left.

        Args:
            url: such as postgresql://user:password@host:5432/database.
            options: those of `asyncpg.create_pool`, to be used instead of sagaflow's.

        Raises:
            Unavailable: the server cannot be reached, or does not let us in.
        """
        async with open_pool(url, **options) as pool:
            yield cls(pool)

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""
        async with self._database.lend() as connection:
            await migrations.check(connection, Line.PARTICIPANT)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncpgTransaction]:
        """One transaction: committed when left, rolled back when left by an exception. That is raised as it
        is, unless the connection was lost: then it is `Unavailable`.

        Raises:
            RuntimeError: (on leaving) an operation was entered and its outcome not recorded; rolled back.
        """
        async with self._database.lend() as connection:
            transaction = connection.transaction(isolation="read_committed")
            async with self._database.explaining(connection):
                await transaction.start()
            entered = AsyncpgTransaction(self._database, connection)
            try:
                yield entered
                entered.expect_all_recorded()
            except BaseException as error:
                await self._database.give_up(connection, error, transaction.rollback)
                raise
            async with self._database.explaining(connection):
                await transaction.commit()

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with, in a transaction of its own."""
        await self._database.put_aside(_SQL["put_aside"], messages)

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        return await self._database.list_put_aside(_SQL["list_put_aside"], limit)


class AsyncpgTransaction:
    """A `ParticipantTransaction`. Entering waits for another transaction that has entered the same, until it
    ends or the lock timeout has passed (`Unavailable`)."""

    def __init__(self, database: Database, connection: PoolConnectionProxy) -> None:
        self._database = database
        self._connection = connection
        self._unrecorded: set[tuple[BarrierKey, Operation]] = set()

    @property
    def tx(self) -> asyncpg.Connection:
        """What handlers are given: a connection with this transaction open."""
        return cast(asyncpg.Connection, self._connection)

    async def enter_action(self, key: BarrierKey, round_: int) -> Entered | Recorded | Fenced:
        """Enter the barrier for an action."""
        (row,) = await self._fetch("enter_action", key.saga_id, key.step, round_)
        if row["outcome"] is not None:
            return Recorded(row["outcome"])
        if row["fenced"]:
            return Fenced()
        self._unrecorded.add((key, Operation.ACTION))
        return Entered()

    async def enter_compensation(self, key: BarrierKey, round_: int) -> Undo | Recorded:
        """Enter the barrier for a compensation, and fence the action off."""
        (row,) = await self._fetch("enter_compensation", key.saga_id, key.step, round_)
        if row["compensation"] is not None:
            return Recorded(row["compensation"])
        self._unrecorded.add((key, Operation.COMPENSATION))
        return Undo(row["action"])

    async def record(self, key: BarrierKey, operation: str, outcome: bytes, *, refusal: bool) -> None:
        """Keep the outcome of the operation that was entered.

        Raises:
            RuntimeError: it was not entered in this transaction, or is recorded already; or the handler has
                ended the transaction, or went on after a statement of it had failed.
        """
        entered = (key, Operation(operation))
        if entered not in self._unrecorded:
            raise RuntimeError(f"the {operation} of {key} was not entered in this transaction, or is recorded already")
        try:
            recorded = self._connection.is_in_transaction() and await self._fetch(
                "record", key.saga_id, key.step, operation, outcome, refusal
            )
        except asyncpg.InFailedSQLTransactionError as error:
            raise RuntimeError(
                f"{key.step}: the handler went on after a statement had failed, which has undone its transaction; "
                "let the error pass, or put the statement into a transaction() of its own"
            ) from error
        if not recorded:
            raise RuntimeError(f"{key.step}: the handler ended the transaction of its step; leave that to sagaflow")
        self._unrecorded.discard(entered)

    def expect_all_recorded(self) -> None:
        """Raises `RuntimeError` if an operation was entered that has no outcome to tell to duplicates."""
        if self._unrecorded:
            raise RuntimeError(f"entered, but without an outcome to tell to duplicates: {self._unrecorded}")

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        return await self._database.fetch_by(self._connection, _SQL[query], *arguments)

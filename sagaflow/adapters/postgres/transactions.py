"""The transactions of a participant in its own PostgreSQL, with the barrier in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self, cast
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sagaflow.adapters.postgres import migrations
from sagaflow.adapters.postgres.database import AnyConnection, Database, columns
from sagaflow.adapters.postgres.migrations import Line
from sagaflow.adapters.postgres.pool import open_pool
from sagaflow.core.plan import Operation
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.ports import BarrierKey, Entered, Entry, Fenced, Recorded, Settled, Undo, expect_distinct
from sagaflow.definitions.records import PurgePage, PutAside

_SQL: Final = load(__package__, "participant_queries.sql")

ENTERED: Final = Entered()


class Lent:
    """Which connections handlers were given, who may have left something behind on them. Only those are reset when they
    go back to the pool: a round trip."""

    def __init__(self) -> None:
        self._servers: set[int] = set()

    def note(self, connection: AnyConnection) -> None:
        """A handler is given it."""
        self._servers.add(connection.get_server_pid())

    async def tidy(self, connection: asyncpg.Connection) -> None:
        """Leave it as others expect to find it."""
        server = connection.get_server_pid()
        if server in self._servers:
            await connection.execute(connection.get_reset_query())
            self._servers.discard(server)


class AsyncpgTransactions:
    """`Transactions` in the service's own PostgreSQL; handlers are given a connection of asyncpg.

    Args:
        pool: whose connections are used; who gives it closes it. It needs a `command_timeout`; without a
            `lock_timeout` a duplicate waits longer for the transaction that it duplicates.
            `AsyncpgTransactions.connect` makes one with all settings that matter.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._database = Database(pool, Line.PARTICIPANT.mend)
        self._lent = Lent()

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
        lent = Lent()
        async with open_pool(url, **{"reset": lent.tidy, **options}) as pool:
            transactions = cls(pool)
            transactions._lent = lent
            yield transactions

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
            entered = AsyncpgTransaction(self._database, connection, self._lent)
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

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        return len(await self._database.fetch(_SQL["remove_put_aside"], list(numbers)))

    async def purge(
        self, kept_seconds: float, open_sagas: Collection[UUID], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the rows of the barrier among the next `limit` whose sagas were quiet for so long."""
        query = _SQL["purge" if delete else "count_expired"]
        return await self._database.purge(query, kept_seconds, list(open_sagas), after=after, limit=limit)

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        query = _SQL["purge_put_aside" if delete else "count_put_aside"]
        return len(await self._database.fetch(query, kept_seconds, limit))


class AsyncpgTransaction:
    """A `ParticipantTransaction`. Entering waits for another transaction that has entered the same, until it
    ends or the lock timeout has passed (`Unavailable`)."""

    def __init__(self, database: Database, connection: PoolConnectionProxy, lent: Lent) -> None:
        self._database = database
        self._connection = connection
        self._lent = lent
        self._unrecorded: dict[tuple[UUID, str], Operation] = {}
        self._id = ""
        """Which transaction it is, as the server calls it; empty until something was entered."""
        self._is_guarded = False

    @property
    def tx(self) -> asyncpg.Connection:
        """What handlers are given: a connection with this transaction open."""
        self._lent.note(self._connection)
        return cast(asyncpg.Connection, self._connection)

    async def enter_actions(self, entries: Sequence[Entry]) -> Sequence[Entered | Recorded | Fenced]:
        """Enter the barrier for actions."""
        rows = await self._enter("enter_actions", entries)
        return [self._action_of(entry.key, row) for entry, row in zip(entries, rows, strict=True)]

    async def enter_compensations(self, entries: Sequence[Entry]) -> Sequence[Undo | Recorded]:
        """Enter the barrier for compensations, and fence their actions off."""
        rows = await self._enter("enter_compensations", entries)
        return [self._compensation_of(entry.key, row) for entry, row in zip(entries, rows, strict=True)]

    async def guard(self) -> None:
        """From here on, what is written can be taken back: a savepoint, one round trip.

        Raises:
            RuntimeError: a handler has ended the transaction, or went on after a statement of it had failed.
        """
        await self._execute("guard_again" if self._is_guarded else "guard")
        self._is_guarded = True

    async def take_back(self) -> None:
        """Undo what was written since the latest `guard`.

        Raises:
            RuntimeError: a handler has ended the transaction.
        """
        await self._execute("take_back")

    async def record(self, settled: Sequence[Settled]) -> None:
        """Keep the outcomes of operations that were entered.

        Raises:
            RuntimeError: one was not entered in this transaction, or is recorded already; or a handler has
                ended the transaction, or went on after a statement of it had failed.
        """
        self._expect_unrecorded(settled)
        if not settled:
            return
        names = ", ".join(dict.fromkeys(one.key.step for one in settled))
        rows = [(one.key.saga_id, one.key.step, one.operation, one.outcome, one.refusal) for one in settled]
        try:
            recorded = await self._fetch("record", *columns(rows, 5), self._id) if self._is_open else ()
        except asyncpg.InFailedSQLTransactionError as error:
            raise RuntimeError(
                f"{names}: the handler went on after a statement had failed, which has undone its transaction; "
                "let the error pass, or put the statement into a transaction() of its own"
            ) from error
        if len(recorded) != len(settled):
            raise RuntimeError(f"{names}: the handler ended the transaction of its step; leave that to sagaflow")
        for one in settled:
            del self._unrecorded[one.key.saga_id, one.key.step]

    @property
    def _is_open(self) -> bool:
        return self._connection.is_in_transaction()

    async def _enter(self, query: str, entries: Sequence[Entry]) -> Sequence[asyncpg.Record]:
        """One row for each entry, in their order."""
        expect_distinct(entries)
        if not entries:
            return ()
        keys = [(entry.key.saga_id, entry.key.step) for entry in entries]
        saga_ids, steps = zip(*keys, strict=True)
        found = await self._fetch(query, saga_ids, steps, [entry.round for entry in entries])
        self._id = found[0]["transaction"]
        if len(found) == 1:
            return found
        rows = {(row["saga_id"], row["step"]): row for row in found}
        return [rows[key] for key in keys]

    def _action_of(self, key: BarrierKey, row: asyncpg.Record) -> Entered | Recorded | Fenced:
        if row["outcome"] is not None:
            return Recorded(row["outcome"])
        if row["fenced"]:
            return Fenced()
        self._unrecorded[key.saga_id, key.step] = Operation.ACTION
        return ENTERED

    def _compensation_of(self, key: BarrierKey, row: asyncpg.Record) -> Undo | Recorded:
        if row["compensation"] is not None:
            return Recorded(row["compensation"])
        self._unrecorded[key.saga_id, key.step] = Operation.COMPENSATION
        return Undo(row["action"])

    def _expect_unrecorded(self, settled: Sequence[Settled]) -> None:
        for one in settled:
            if self._unrecorded.get((one.key.saga_id, one.key.step)) is not one.operation:
                raise RuntimeError(
                    f"the {one.operation} of {one.key} was not entered in this transaction, or is recorded already"
                )

    def expect_all_recorded(self) -> None:
        """Raises `RuntimeError` if an operation was entered that has no outcome to tell to duplicates."""
        if self._unrecorded:
            raise RuntimeError(f"entered, but without an outcome to tell to duplicates: {self._unrecorded}")

    async def _execute(self, query: str) -> None:
        try:
            await self._database.execute_by(self._connection, _SQL[query])
        except asyncpg.InFailedSQLTransactionError as error:
            raise RuntimeError("a handler went on after a statement had failed, which has undone all") from error
        except (asyncpg.NoActiveSQLTransactionError, asyncpg.InvalidSavepointSpecificationError) as error:
            raise RuntimeError("a handler has ended the transaction of its step; leave that to sagaflow") from error

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        return await self._database.fetch_by(self._connection, _SQL[query], *arguments)

"""The transactions of a participant in its own SQLite file, with the barrier in them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

from sagaflow.adapters.sqlite.connection import BUSY_SECONDS, SqliteConnection, SqliteDatabase
from sagaflow.adapters.sqlite.rows import put_aside_of, put_aside_parameters
from sagaflow.adapters.sqlite.schema import PARTICIPANT
from sagaflow.adapters.sqlite.times import Clock, to_text, utc_now
from sagaflow.core.plan import Operation
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.ports import BarrierKey, Entered, Fenced, Recorded, Undo
from sagaflow.definitions.records import PutAside

_SQL: Final = load(__package__, "participant_queries.sql")


class SqliteTransactions:
    """`Transactions` in a SQLite file: an async context manager. Handlers are given a `SqliteConnection`.

    The file is the service's own: sagaflow adds two tables to it, `sagaflow_barrier` and
    `sagaflow_put_aside`, when it is opened. SQLite has one writer at a time, so the steps of this participant
    happen one after another, and an external step keeps all others waiting while its call lasts.

    Args:
        path: the file. It is made if it is missing, unless `create` is false.
        clock: says what time it is, for people to read.
        busy_seconds: how long to wait for another process that writes, before `Unavailable` is raised.
        create: whether a file, or the tables in it, are made if they are missing.

    Raises (on entering):
        Unavailable: the file cannot be opened.
        SchemaError: it is not a SQLite database, or its tables are of another version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock = utc_now,
        busy_seconds: float = BUSY_SECONDS,
        create: bool = True,
    ) -> None:
        self._database = SqliteDatabase(path, busy_seconds=busy_seconds, create=create)
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._database.open_with(PARTICIPANT)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._database.__aexit__(*exc_info)

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""
        await self._database.check(PARTICIPANT)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SqliteParticipantTransaction]:
        """One transaction: committed when left, rolled back when left by an exception.

        Raises:
            RuntimeError: (on leaving) an operation was entered and its outcome not recorded; rolled back.
        """
        async with self._database.transaction() as connection:
            transaction = SqliteParticipantTransaction(connection, self._clock)
            yield transaction
            transaction._expect_all_recorded()

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with, in a transaction of its own."""
        now = self._clock()
        rows = [put_aside_parameters(message, now) for message in messages]
        async with self._database.transaction() as connection:
            await connection.executemany(_SQL["put_aside"], rows)

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        async with self._database.snapshot() as connection:
            return [put_aside_of(row) for row in await connection.fetch(_SQL["list_put_aside"], limit)]


class SqliteParticipantTransaction:
    """A `ParticipantTransaction`. It holds the write lock of the file from its beginning, so that of two that
    meet the second begins when the first has ended, and looking is as good as inserting."""

    def __init__(self, connection: SqliteConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._unrecorded: set[tuple[BarrierKey, Operation]] = set()

    @property
    def tx(self) -> SqliteConnection:
        """What handlers are given."""
        return self._connection

    async def enter_action(self, key: BarrierKey, round_: int) -> Entered | Recorded | Fenced:
        """Enter the barrier for an action."""
        settled = await self._settled(key)
        outcome = _outcome(settled.get(Operation.ACTION), round_)
        if outcome is not None:
            return Recorded(outcome)
        if Operation.COMPENSATION in settled:
            return Fenced()
        await self._enter(key, Operation.ACTION, round_)
        return Entered()

    async def enter_compensation(self, key: BarrierKey, round_: int) -> Undo | Recorded:
        """Enter the barrier for a compensation, and fence the action off."""
        settled = await self._settled(key)
        outcome = _outcome(settled.get(Operation.COMPENSATION), round_)
        if outcome is not None:
            return Recorded(outcome)
        await self._enter(key, Operation.COMPENSATION, round_)
        action = settled.get(Operation.ACTION)
        return Undo(None if action is None else action["outcome"])

    async def record(self, key: BarrierKey, operation: str, outcome: bytes, *, refusal: bool) -> None:
        """Keep the outcome of the operation that was entered.

        Raises:
            RuntimeError: it was not entered in this transaction, or is recorded already.
        """
        entered = (key, Operation(operation))
        if entered not in self._unrecorded:
            raise RuntimeError(f"the {operation} of {key} was not entered in this transaction, or is recorded already")
        await self._connection.execute(_SQL["record"], refusal, outcome, str(key.saga_id), key.step, operation)
        self._unrecorded.discard(entered)

    async def _settled(self, key: BarrierKey) -> Mapping[str, sqlite3.Row]:
        rows = await self._connection.fetch(_SQL["settled"], str(key.saga_id), key.step)
        return {row["operation"]: row for row in rows}

    async def _enter(self, key: BarrierKey, operation: Operation, round_: int) -> None:
        now = to_text(self._clock())
        await self._connection.execute(_SQL["enter"], str(key.saga_id), key.step, operation.value, round_, now)
        self._unrecorded.add((key, operation))

    def _expect_all_recorded(self) -> None:
        if self._unrecorded:
            raise RuntimeError(f"entered, but without an outcome to tell to duplicates: {self._unrecorded}")


def _outcome(row: sqlite3.Row | None, round_: int) -> bytes | None:
    """What settles an operation in this round, if anything does."""
    if row is None or (row["refusal"] and row["round"] < round_):
        return None
    outcome: bytes | None = row["outcome"]
    return outcome

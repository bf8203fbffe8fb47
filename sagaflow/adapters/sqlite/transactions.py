"""The transactions of a participant in its own SQLite file, with the barrier in them."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Self
from uuid import UUID

from sagaflow.adapters.sqlite.connection import BUSY_SECONDS, SqliteConnection, SqliteDatabase
from sagaflow.adapters.sqlite.rows import purge_put_aside, put_aside_of, put_aside_parameters
from sagaflow.adapters.sqlite.schema import PARTICIPANT
from sagaflow.adapters.sqlite.times import Clock, to_text, utc_now
from sagaflow.core.plan import Operation
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.ports import BarrierKey, Entered, Entry, Fenced, Recorded, Settled, Undo, expect_distinct
from sagaflow.definitions.records import PurgePage, PutAside

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

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        async with self._database.transaction() as connection:
            return sum([await connection.execute(_SQL["remove_put_aside"], number) for number in set(numbers)])

    async def purge(
        self, kept_seconds: float, open_sagas: Collection[UUID], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the rows of the barrier among the next `limit` whose sagas were quiet for so long."""
        until = to_text(self._clock() - timedelta(seconds=kept_seconds))
        kept = {str(saga_id) for saga_id in open_sagas}
        async with self._database.transaction() as connection:
            return await connection.call(lambda db: _purge(db, until, kept, after, limit, delete))

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        until = to_text(self._clock() - timedelta(seconds=kept_seconds))
        async with self._database.transaction() as connection:
            return await connection.call(lambda db: purge_put_aside(db, _SQL, until, limit, delete))


class SqliteParticipantTransaction:
    """A `ParticipantTransaction`. It holds the write lock of the file from its beginning, so that of two that
    meet the second begins when the first has ended, and looking is as good as inserting."""

    def __init__(self, connection: SqliteConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._unrecorded: set[tuple[BarrierKey, Operation]] = set()
        self._is_guarded = False

    @property
    def tx(self) -> SqliteConnection:
        """What handlers are given."""
        return self._connection

    async def enter_actions(self, entries: Sequence[Entry]) -> Sequence[Entered | Recorded | Fenced]:
        """Enter the barrier for actions."""
        expect_distinct(entries)
        now = to_text(self._clock())
        entered = await self._connection.call(lambda db: [_enter_action(db, entry, now) for entry in entries])
        self._expect_outcomes(entries, entered, Operation.ACTION)
        return entered

    async def enter_compensations(self, entries: Sequence[Entry]) -> Sequence[Undo | Recorded]:
        """Enter the barrier for compensations, and fence their actions off."""
        expect_distinct(entries)
        now = to_text(self._clock())
        entered = await self._connection.call(lambda db: [_enter_compensation(db, entry, now) for entry in entries])
        self._expect_outcomes(entries, entered, Operation.COMPENSATION)
        return entered

    async def guard(self) -> None:
        """From here on, what is written can be taken back by itself."""
        if self._is_guarded:
            await self._connection.execute(_SQL["release"])
        await self._connection.execute(_SQL["guard"])
        self._is_guarded = True

    async def take_back(self) -> None:
        """Undo what was written since the latest `guard`."""
        await self._connection.execute(_SQL["take_back"])

    async def record(self, settled: Sequence[Settled]) -> None:
        """Keep the outcomes of operations that were entered.

        Raises:
            RuntimeError: one was not entered in this transaction, or is recorded already.
        """
        for one in settled:
            if (one.key, one.operation) not in self._unrecorded:
                raise RuntimeError(
                    f"the {one.operation} of {one.key} was not entered in this transaction, or is recorded already"
                )
        await self._connection.executemany(
            _SQL["record"],
            [(one.refusal, one.outcome, str(one.key.saga_id), one.key.step, one.operation.value) for one in settled],
        )
        self._unrecorded.difference_update((one.key, one.operation) for one in settled)

    def _expect_outcomes(self, entries: Sequence[Entry], entered: Sequence[object], operation: Operation) -> None:
        for entry, how in zip(entries, entered, strict=True):
            if isinstance(how, (Entered, Undo)):
                self._unrecorded.add((entry.key, operation))

    def _expect_all_recorded(self) -> None:
        if self._unrecorded:
            raise RuntimeError(f"entered, but without an outcome to tell to duplicates: {self._unrecorded}")


def _enter_action(db: sqlite3.Connection, entry: Entry, now: str) -> Entered | Recorded | Fenced:
    settled = _settled(db, entry.key)
    outcome = _outcome(settled.get(Operation.ACTION), entry.round)
    if outcome is not None:
        return Recorded(outcome)
    if Operation.COMPENSATION in settled:
        return Fenced()
    _enter(db, entry, Operation.ACTION, now)
    return Entered()


def _enter_compensation(db: sqlite3.Connection, entry: Entry, now: str) -> Undo | Recorded:
    settled = _settled(db, entry.key)
    outcome = _outcome(settled.get(Operation.COMPENSATION), entry.round)
    if outcome is not None:
        return Recorded(outcome)
    _enter(db, entry, Operation.COMPENSATION, now)
    action = settled.get(Operation.ACTION)
    return Undo(None if action is None else action["outcome"])


def _settled(db: sqlite3.Connection, key: BarrierKey) -> Mapping[str, sqlite3.Row]:
    rows = db.execute(_SQL["settled"], (str(key.saga_id), key.step))
    return {row["operation"]: row for row in rows}


def _enter(db: sqlite3.Connection, entry: Entry, operation: Operation, now: str) -> None:
    db.execute(_SQL["enter"], (str(entry.key.saga_id), entry.key.step, operation.value, entry.round, now))


def _purge(
    db: sqlite3.Connection, until: str, kept: Collection[str], after: UUID | None, limit: int, delete: bool
) -> PurgePage:
    page = db.execute(_SQL["purge_page"], ("" if after is None else str(after), limit)).fetchall()
    quiet = dict.fromkeys((row["saga_id"],) for row in page if row["latest"] <= until and row["saga_id"] not in kept)
    expired = Counter(row["operation"] for saga in quiet for row in db.execute(_SQL["operations"], saga))
    if delete:
        db.executemany(_SQL["delete_barrier"], list(quiet))
    goes_on = len(page) == limit and min(row["settled_at"] for row in page) <= until
    return PurgePage(len(page), expired, UUID(page[-1]["saga_id"]) if goes_on else None)


def _outcome(row: sqlite3.Row | None, round_: int) -> bytes | None:
    """What settles an operation in this round, if anything does."""
    if row is None or (row["refusal"] and row["round"] < round_):
        return None
    outcome: bytes | None = row["outcome"]
    return outcome

"""Keeps the sagas of a coordinator in a SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Self, TypeVar
from uuid import UUID

from sagaflow.adapters.sqlite.connection import BUSY_SECONDS, SqliteConnection, SqliteDatabase
from sagaflow.adapters.sqlite.rows import (
    agenda_parameters,
    announcement_parameters,
    attempt_parameters,
    deferral_of,
    id_array,
    journal_entry_of,
    journal_parameters,
    kept_announcement_of,
    latest_error_of,
    optional_text,
    payload_of,
    payload_parameters,
    purge_put_aside,
    put_aside_of,
    put_aside_parameters,
    saga_of,
    saga_parameters,
)
from sagaflow.adapters.sqlite.schema import COORDINATOR
from sagaflow.adapters.sqlite.times import Clock, to_text, to_time, utc_now
from sagaflow.core.plan import Plan
from sagaflow.core.state import ENDED, SETTLED, SagaStatus
from sagaflow.definitions.limits import LAPSED_KEPT_SECONDS
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.records import (
    Attempt,
    Change,
    Deferral,
    Due,
    JournalEntry,
    KeptAnnouncement,
    LatestError,
    OpenSagas,
    Payload,
    PurgePage,
    PutAside,
    SagaFilter,
    SagaRecord,
    StoreSample,
    Watcher,
    decode_plan,
    encode,
)

T = TypeVar("T")

FORGET_AFTER: Final = timedelta(days=1)
"""When announcements are forgotten that were not heard again."""

_SQL: Final = load(__package__, "coordinator_queries.sql")


class SqliteStore:
    """A `SagaStore` in a SQLite file: an async context manager. Several processes may have the file open.

    The file is the user's own, so a new one gets its tables when it is opened. It may hold the tables of a
    participant and of a service too; sagas can then be started in the service's own transaction (`enlist`).

    Args:
        path: the file. It is made if it is missing, unless `create` is false.
        clock: says what time it is; processes that share the file should agree on it.
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
        await self._database.open_with(COORDINATOR)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._database.__aexit__(*exc_info)

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""
        await self._database.check(COORDINATOR)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteStoreTransaction]:
        """One transaction: committed when left, rolled back when left by an exception."""
        async with self._database.transaction() as connection:
            yield SqliteStoreTransaction(connection, self._clock())

    def alone(self) -> AbstractAsyncContextManager[SqliteStoreTransaction]:
        """The same: transactions take turns here, so nobody is ever overtaken."""
        return self.transaction()

    def begin(self) -> AbstractAsyncContextManager[SqliteConnection]:
        """A transaction of the service's own in the file of the store, to write its tables and start sagas in."""
        return self._database.transaction()

    def enlist(self, connection: object) -> SqliteStoreTransaction:
        """A view of the caller's own open transaction (such as `ctx.tx`) on the same file.

        Raises:
            TypeError: `connection` is no `SqliteConnection`, or one of another file.
        """
        if not isinstance(connection, SqliteConnection):
            raise TypeError(f"a SqliteStore joins the transaction of a SqliteConnection, not of {type(connection)!r}")
        if not self._database.has(connection):
            raise TypeError(f"the store is in {self._database.path}, the transaction in {connection.path}")
        return SqliteStoreTransaction(connection, self._clock())

    async def add_plans(self, plans: Sequence[Plan]) -> None:
        """Keep plans, by their hash; those that are known already are left alone."""
        rows = [(plan.hash, plan.saga, plan.version, encode(plan)) for plan in plans]
        await self._write(lambda db: db.executemany(_SQL["add_plan"], rows))

    async def plans(self, hashes: Sequence[str]) -> Sequence[Plan]:
        """The plans of these hashes, as far as they are known."""
        wanted = json.dumps(list(hashes))
        return await self._read(lambda db: [decode_plan(row["plan"]) for row in db.execute(_SQL["plans"], (wanted,))])

    async def claim_due(self, coordinator: str, limit: int, hold_seconds: float) -> Sequence[Due]:
        """Sagas whose time has come, earliest first, held for the caller for `hold_seconds`."""

        def claim(db: sqlite3.Connection) -> Sequence[Due]:
            now = self._clock()
            rows = db.execute(_SQL["due"], (coordinator, to_text(now), limit)).fetchall()
            held_until = to_text(now + timedelta(seconds=hold_seconds))
            db.executemany(_SQL["hold"], [(held_until, row["saga_id"]) for row in rows])
            return [Due(UUID(row["saga_id"]), bool(row["resend"])) for row in rows]

        return await self._write(claim)

    async def keep_lease(self, coordinator: str, process: UUID, seconds: float) -> None:
        """Say that this process is alive, for so long."""

        def keep(db: sqlite3.Connection) -> None:
            lease_until = to_text(self._clock() + timedelta(seconds=seconds))
            db.execute(_SQL["keep_lease"], (coordinator, str(process), lease_until))

        await self._write(keep)

    async def drop_lease(self, coordinator: str, process: UUID, *, resend: bool) -> None:
        """Say that this process ends. With `resend`, what it had in flight is to be sent again."""

        def drop(db: sqlite3.Connection) -> None:
            if resend:
                _orphan(db, coordinator, str(process), self._clock())
            db.execute(_SQL["drop_lease"], (coordinator, str(process)))

        await self._write(drop)

    async def take_over(self, coordinator: str) -> int:
        """Put the open sagas of processes whose lease has lapsed on the agenda, to be re-sent now; forget
        those whose lease lapsed long ago. Returns how many sagas."""

        def take(db: sqlite3.Connection) -> int:
            now = self._clock()
            sagas = 0
            for (process,) in db.execute(_SQL["lapsed"], (coordinator, to_text(now))).fetchall():
                sagas += _orphan(db, coordinator, process, now)
            long_ago = to_text(now - timedelta(seconds=LAPSED_KEPT_SECONDS))
            db.execute(_SQL["forget_lapsed"], (coordinator, long_ago))
            return sagas

        return await self._write(take)

    async def open_sagas(self, coordinator: str, process: UUID) -> Sequence[OpenSagas]:
        """How many sagas are open, by saga and status; nothing, unless this process is the first of those alive."""

        def count(db: sqlite3.Connection) -> Sequence[OpenSagas]:
            now = self._clock()
            parameters = {"coordinator": coordinator, "process": str(process), "now": to_text(now)}
            return [
                OpenSagas(
                    row["saga"],
                    SagaStatus(row["status"]),
                    row["count"],
                    (now - to_time(row["oldest"])).total_seconds(),
                )
                for row in db.execute(_SQL["open_sagas"], parameters)
            ]

        return await self._read(count)

    async def sample(self, after: UUID, later: UUID, limit: int) -> StoreSample:
        """What goes on at this moment, of all coordinators."""
        return await self._read(lambda db: _sample(db, self._clock(), after, later, limit))

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with."""
        now = self._clock()
        rows = [put_aside_parameters(message, now) for message in messages]
        await self._write(lambda db: db.executemany(_SQL["put_aside"], rows))

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        return await self._read(lambda db: [put_aside_of(row) for row in db.execute(_SQL["list_put_aside"], (limit,))])

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        return await self._write(
            lambda db: sum(db.execute(_SQL["remove_put_aside"], (number,)).rowcount for number in set(numbers))
        )

    async def keep_announcements(self, announcements: Sequence[Announcement], live_seconds: float) -> None:
        """Keep what participants have announced just now; they count as live for so long."""
        now = self._clock()
        live_until = now + timedelta(seconds=live_seconds)
        rows = [announcement_parameters(one, now, live_until) for one in announcements]
        participants = json.dumps([one.participant for one in announcements])

        def keep(db: sqlite3.Connection) -> None:
            db.executemany(_SQL["keep_announcement"], rows)
            db.execute(_SQL["forget_announcements"], (participants, to_text(now - FORGET_AFTER)))

        await self._write(keep)

    async def announcements(self) -> Sequence[KeptAnnouncement]:
        """What is kept of them, by participant, then the one that was heard last first."""
        now = self._clock()
        return await self._read(
            lambda db: [kept_announcement_of(row, now) for row in db.execute(_SQL["announcements"])]
        )

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids; nothing is locked."""
        return await self._read(lambda db: _sagas(db, saga_ids))

    async def list(self, matching: SagaFilter, limit: int) -> Sequence[SagaRecord]:
        """The latest sagas that match, the last one first."""
        return await self._read(lambda db: _latest(db, matching, limit, self._clock()))

    async def latest_errors(self, saga_ids: Sequence[UUID]) -> Sequence[LatestError]:
        """What went wrong last with each operation of these sagas of which the journal holds an error."""
        wanted = (id_array(saga_ids),)
        return await self._read(lambda db: [latest_error_of(row) for row in db.execute(_SQL["latest_errors"], wanted)])

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of a saga, from its beginning."""
        parameters = (str(saga_id),)
        return await self._read(lambda db: [journal_entry_of(row) for row in db.execute(_SQL["journal"], parameters)])

    async def journals(self, saga_ids: Sequence[UUID]) -> Sequence[JournalEntry]:
        """The journals of these sagas, in the order of their ids, each from its beginning."""
        parameters = (json.dumps([str(saga_id) for saga_id in saga_ids]),)
        return await self._read(lambda db: [journal_entry_of(row) for row in db.execute(_SQL["journals"], parameters)])

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas; nothing is locked."""
        return await self._read(lambda db: _payloads(db, saga_ids))

    async def deferrals(self, attempts: Sequence[Attempt]) -> Sequence[Deferral]:
        """Since when these attempts wait, as far as they do, and why."""
        return await self._read(lambda db: _deferrals(db, attempts))

    async def purge(
        self, kept_seconds: Mapping[SagaStatus, float], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the sagas among the next `limit` that ended so long ago in their status."""
        now = self._clock()
        kept_from = {status.value: to_text(now - timedelta(seconds=age)) for status, age in kept_seconds.items()}
        in_hand = self._write if delete else self._read
        return await in_hand(lambda db: _purge(db, kept_from, after, limit, delete))

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        until = to_text(self._clock() - timedelta(seconds=kept_seconds))
        in_hand = self._write if delete else self._read
        return await in_hand(lambda db: purge_put_aside(db, _SQL, until, limit, delete))

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        async with self._database.transaction() as connection:
            return await connection.call(function)

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        async with self._database.snapshot() as connection:
            return await connection.call(function)


class SqliteStoreTransaction:
    """A `StoreTransaction`. It holds the write lock of the file, so each saga is locked by it already."""

    def __init__(self, connection: SqliteConnection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    @property
    def now(self) -> datetime:
        """The time of the store when the transaction began."""
        return self._now

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas, and put them on the agenda. Those whose (saga, key) exists already are not written;
        the existing ones are returned."""
        return await self._connection.call(lambda db: self._insert(db, changes, process))

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids."""
        return await self._connection.call(lambda db: _sagas(db, saga_ids))

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas."""
        return await self._connection.call(lambda db: _payloads(db, saga_ids))

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write changes of loaded sagas. Returns, and forgets, who watches those that have ended or are stuck.

        Raises:
            RuntimeError: a stored version is not the expected one.
        """
        return await self._connection.call(lambda db: self._save(db, changes, process))

    async def erase(self, saga_ids: Sequence[UUID]) -> None:
        """Delete the payloads of those of these sagas that have ended, and messages put aside that name one."""

        def erase(db: sqlite3.Connection) -> None:
            ended = [(row["saga_id"],) for row in db.execute(_SQL["ended"], (id_array(saga_ids),)).fetchall()]
            db.executemany(_SQL["delete_payloads"], ended)
            db.executemany(_SQL["remove_put_aside_of"], ended)

        await self._connection.call(erase)

    async def resent(self, saga_ids: Sequence[UUID], wake_at: Sequence[datetime | None], process: UUID) -> None:
        """This process has what these sagas have in flight now; look at them again at `wake_at`."""
        rows = [
            {"saga_id": str(saga_id), "wake_at": optional_text(time), "process": str(process)}
            for saga_id, time in zip(saga_ids, wake_at, strict=True)
        ]
        await self._connection.call(lambda db: db.executemany(_SQL["resent"], rows))

    async def watch(self, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
        """Remember who watches; returns those sagas that exist."""
        rows = [{"saga_id": str(watcher.saga_id), "address": watcher.address} for watcher in watchers]

        def watch(db: sqlite3.Connection) -> Sequence[SagaRecord]:
            db.executemany(_SQL["watch"], rows)
            return _sagas(db, [watcher.saga_id for watcher in watchers])

        return await self._connection.call(watch)

    # On the thread of the connection.

    def _insert(self, db: sqlite3.Connection, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        written: list[Change] = []
        taken: list[Change] = []
        for change in changes:
            is_new = db.execute(_SQL["insert_saga"], saga_parameters(change, self.now)).rowcount
            (written if is_new else taken).append(change)
        self._keep_history(db, written)
        db.executemany(_SQL["insert_agenda"], [agenda_parameters(change, process) for change in _open(written)])
        return [_saga_of_key(db, change.record) for change in taken]

    def _save(self, db: sqlite3.Connection, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        for change in changes:
            if not db.execute(_SQL["update_saga"], saga_parameters(change, self.now)).rowcount:
                saga_id = change.record.saga_id
                raise RuntimeError(f"saga {saga_id}: its stored version is not {change.expected_version}")
        self._keep_history(db, changes)
        settled = [str(change.record.saga_id) for change in changes if change.record.status in SETTLED]
        watchers = [watcher for saga_id in settled for watcher in _dismiss_watchers(db, saga_id)]
        ended = [(str(change.record.saga_id),) for change in changes if change.record.state.ended]
        db.executemany(_SQL["leave_agenda"], ended)
        db.executemany(_SQL["update_agenda"], [agenda_parameters(change, process) for change in _open(changes)])
        return watchers

    def _keep_history(self, db: sqlite3.Connection, changes: Sequence[Change]) -> None:
        entries = [journal_parameters(entry, self.now) for change in changes for entry in change.journal]
        payloads = [payload_parameters(payload) for change in changes for payload in change.payloads]
        db.executemany(_SQL["insert_journal"], entries)
        db.executemany(_SQL["insert_payload"], payloads)


def _open(changes: Sequence[Change]) -> Sequence[Change]:
    return [change for change in changes if not change.record.state.ended]


def _sagas(db: sqlite3.Connection, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
    return [saga_of(row) for row in db.execute(_SQL["sagas"], (id_array(saga_ids),))]


def _saga_of_key(db: sqlite3.Connection, record: SagaRecord) -> SagaRecord:
    row = db.execute(_SQL["saga_of_key"], (record.saga, record.key)).fetchone()
    if row is None:
        raise RuntimeError(f"saga {record.saga_id}: the id is taken by a saga with another key")
    return saga_of(row)


def _latest(db: sqlite3.Connection, matching: SagaFilter, limit: int, now: datetime) -> Sequence[SagaRecord]:
    statuses = matching.statuses or (set(SagaStatus) - ENDED if matching.waiting else set())
    idle_since = None if matching.idle_seconds is None else to_text(now - timedelta(seconds=matching.idle_seconds))
    clauses = [_SQL["latest"]]
    clauses += [_SQL["of_saga"]] if matching.saga is not None else []
    clauses += [_SQL["of_key"]] if matching.key is not None else []
    clauses += [_SQL["of_status"]] if statuses else []
    clauses += [_SQL["of_older"]] if matching.before is not None else []
    clauses += [_SQL["idle"]] if idle_since is not None else []
    clauses += [_SQL["of_waiting"]] if matching.waiting else []
    query = "\n".join([*clauses, _SQL["latest_first"]])
    rows: list[sqlite3.Row] = []
    parameters = {
        "saga": matching.saga,
        "key": matching.key,
        "limit": limit,
        "before": str(matching.before),
        "idle_since": idle_since,
    }
    for status in statuses or [None]:
        rows += db.execute(query, parameters | {"status": status})
    rows.sort(key=lambda row: row["saga_id"], reverse=True)
    return [saga_of(row) for row in rows[:limit]]


def _orphan(db: sqlite3.Connection, coordinator: str, process: str, now: datetime) -> int:
    parameters = {"coordinator": coordinator, "process": process, "now": to_text(now)}
    return db.execute(_SQL["orphan"], parameters).rowcount


def _dismiss_watchers(db: sqlite3.Connection, saga_id: str) -> Sequence[Watcher]:
    row = db.execute(_SQL["watchers"], (saga_id,)).fetchone()
    db.execute(_SQL["forget_watchers"], (saga_id,))
    return [] if row is None else [Watcher(UUID(saga_id), address) for address in json.loads(row["watchers"])]


def _payloads(db: sqlite3.Connection, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
    return [payload_of(row) for row in db.execute(_SQL["payloads"], (id_array(saga_ids),))]


def _purge(
    db: sqlite3.Connection, kept_from: Mapping[str, str], after: UUID | None, limit: int, delete: bool
) -> PurgePage:
    page = db.execute(_SQL["purge_page"], ("" if after is None else str(after), limit)).fetchall()
    expired = [
        row
        for row in page
        if row["ended_at"] is not None and row["status"] in kept_from and row["ended_at"] <= kept_from[row["status"]]
    ]
    if delete:
        of_expired = [(row["saga_id"],) for row in expired]
        for statement in ("delete_payloads", "delete_journal", "delete_saga"):
            db.executemany(_SQL[statement], of_expired)
    goes_on = len(page) == limit and min(row["started_at"] for row in page) <= max(kept_from.values(), default="")
    return PurgePage(
        len(page), Counter(row["status"] for row in expired), UUID(page[-1]["saga_id"]) if goes_on else None
    )


def _deferrals(db: sqlite3.Connection, attempts: Sequence[Attempt]) -> Sequence[Deferral]:
    rows = [(attempt, db.execute(_SQL["deferrals"], attempt_parameters(attempt)).fetchone()) for attempt in attempts]
    return [deferral_of(attempt, row) for attempt, row in rows if row["since"] is not None]


def _sample(db: sqlite3.Connection, now: datetime, after: UUID, later: UUID, limit: int) -> StoreSample:
    rows = db.execute(_SQL["sample_open"], {"now": to_text(now), "most": limit}).fetchall()
    begun = db.execute(_SQL["sample_began"], {"after": str(after), "later": str(later)}).fetchall()
    due = min((row["due"] for row in rows if row["due"] is not None), default=None)
    return StoreSample(
        at=now,
        open=[
            OpenSagas(
                row["saga"], SagaStatus(row["status"]), row["count"], (now - to_time(row["oldest"])).total_seconds()
            )
            for row in rows
        ],
        all_counted=sum(row["count"] for row in rows) < limit,
        late=sum(row["late"] for row in rows),
        late_seconds=0.0 if due is None else (now - to_time(due)).total_seconds(),
        put_aside=db.execute(_SQL["sample_put_aside"], (limit,)).fetchone()["count"],
        began={row["saga"]: (row["after"], row["later"]) for row in begun},
    )

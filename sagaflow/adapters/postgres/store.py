"""Keeps the sagas of coordinators in PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sagaflow.adapters.postgres import migrations, rows
from sagaflow.adapters.postgres.database import AnyConnection, Database, in_time
from sagaflow.adapters.postgres.migrations import Line
from sagaflow.adapters.postgres.pool import keep_as_it_is, open_pool
from sagaflow.core.plan import Plan
from sagaflow.core.state import ENDED, SETTLED, SagaStatus
from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.limits import LAPSED_KEPT_SECONDS
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.named_queries import load
from sagaflow.definitions.ports import Overtaken
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
    decode_announcement,
    decode_plan,
    encode,
)

_SQL: Final = load(__package__, "coordinator_queries.sql")

RESERVED_CONNECTIONS: Final = 2
"""Connections that transactions leave to leases, claims and reading, however many transactions wait."""

STORE_SETTINGS: Final[Mapping[str, str]] = {
    "idle_in_transaction_session_timeout": "15s",  # nothing slow is done inside a transaction
    "default_transaction_isolation": "read committed",  # for statements that are transactions by themselves
    # Plans are kept that were made while the tables were empty, and there is an index for every question.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",  # it would sort all that is due to claim some, and meet the dead again and again
}

TAKE_OVER_PAGE: Final = 1_000
"""Sagas that are taken over in one transaction."""

NOTHING_YET: Final = UUID(int=0)

GUESSED_SECONDS_MAX: Final = 5.0
"""How long the clock of the database is guessed after it was asked."""


class PostgresStore:
    """A `SagaStore` in PostgreSQL. Any number of coordinators and processes may use one database.

    Args:
        pool: whose connections are used; who gives it closes it. It needs a `command_timeout`, and two
            connections at least. `PostgresStore.connect` makes one with all settings that matter.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._database = Database(pool, Line.COORDINATOR.mend)
        self._turns = asyncio.Semaphore(max(1, pool.get_max_size() - RESERVED_CONNECTIONS))
        self._clock = _Clock()

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """A store with a pool of its own, closed when left.

        Args:
            url: such as postgresql://user:password@host:5432/database.
            options: those of `asyncpg.create_pool`, to be used instead of sagaflow's.

        Raises:
            Unavailable: the server cannot be reached, or does not let us in.
        """
        server_settings = {**STORE_SETTINGS, **options.pop("server_settings", {})}
        async with open_pool(url, **{"reset": keep_as_it_is, **options}, server_settings=server_settings) as pool:
            yield cls(pool)

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""
        async with self._database.lend() as connection:
            await migrations.check(connection, Line.COORDINATOR)
            await self._now(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """One transaction: committed when left, rolled back when left by an exception. That is raised as it
        is, unless the connection was lost: then it is `Unavailable`.

        Raises:
            RuntimeError: (on leaving) a statement had failed, and who saw the error went on.
        """
        async with self._turn(), self._database.lend() as connection:
            await self._database.execute_by(connection, _SQL["begin"])
            try:
                yield PostgresTransaction(self._database, connection, await self._now(connection), self._clock)
            except BaseException as error:
                await self._database.give_up(connection, error, lambda: connection.execute(_SQL["rollback"]))
                raise
            answer = await self._database.execute_by(connection, _SQL["commit"])
            if answer != "COMMIT":
                raise RuntimeError("the transaction was rolled back: a statement in it had failed before")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[PostgresLoneTransaction]:
        """A transaction of new sagas, or of one that goes on, in which each statement is committed by itself: one for
        new ones, two for one that goes on."""
        async with self._turn(), self._database.lend() as connection:
            yield PostgresLoneTransaction(self._database, connection, await self._now(connection), self._clock)

    def enlist(self, connection: object) -> PostgresTransaction:
        """A view of the caller's own open transaction, which the caller commits. Its `now` is a guess that is
        some milliseconds off at most.

        Raises:
            TypeError: it is not a connection of asyncpg.
            RuntimeError: it has no transaction open; or the store was never used before.
        """
        if not isinstance(connection, (asyncpg.Connection, PoolConnectionProxy)):
            raise TypeError(f"give a connection of asyncpg with a transaction open, not a {type(connection).__name__}")
        if not connection.is_in_transaction():
            raise RuntimeError("the connection has no transaction open; begin one: async with connection.transaction()")
        return PostgresTransaction(self._database, connection, self._clock.guess(), self._clock)

    async def add_plans(self, plans: Sequence[Plan]) -> None:
        """Keep plans, by their hash; those that are known already are left alone."""
        await self._fetch(
            "add_plans",
            [plan.hash for plan in plans],
            [plan.saga for plan in plans],
            [plan.version for plan in plans],
            [encode(plan) for plan in plans],
        )

    async def plans(self, hashes: Sequence[str]) -> Sequence[Plan]:
        """The plans of these hashes, as far as they are known."""
        return [decode_plan(row["body"]) for row in await self._fetch("plans", hashes)]

    async def claim_due(self, coordinator: str, limit: int, hold_seconds: float) -> Sequence[Due]:
        """Sagas of this coordinator name whose time has come, earliest first. Nobody else is given them for
        `hold_seconds`, after which they are due again unless they were saved meanwhile."""
        return [Due(**row) for row in await self._fetch("claim_due", coordinator, limit, hold_seconds)]

    async def keep_lease(self, coordinator: str, process: UUID, seconds: float) -> None:
        """Say that this process is alive, for so long."""
        await self._fetch("keep_lease", coordinator, process, seconds)

    async def drop_lease(self, coordinator: str, process: UUID, *, resend: bool) -> None:
        """Say that this process ends. With `resend`, what it had in flight is to be sent again."""
        if resend:
            await self._orphan(coordinator, [process])
        await self._fetch("drop_lease", coordinator, process)

    async def take_over(self, coordinator: str) -> int:
        """Put the open sagas of processes whose lease has lapsed on the agenda, to be re-sent now; forget those
        whose lease lapsed long ago. Returns how many sagas."""
        lapsed = [row["id"] for row in await self._fetch("lapsed", coordinator)]
        if not lapsed:
            return 0
        sagas = await self._orphan(coordinator, lapsed)
        await self._fetch("forget_lapsed", coordinator, lapsed, LAPSED_KEPT_SECONDS)
        return sagas

    async def open_sagas(self, coordinator: str, process: UUID) -> Sequence[OpenSagas]:
        """How many sagas are open, by saga and status; nothing, unless this process is the first of those alive."""
        rows = await self._fetch("open_sagas", coordinator, process)
        return [OpenSagas(row["saga"], SagaStatus(row["status"]), row["count"], row["oldest_seconds"]) for row in rows]

    async def sample(self, after: UUID, later: UUID, limit: int) -> StoreSample:
        """What goes on at this moment, of all coordinators."""
        (row,) = await self._fetch("sample", after, later, limit)
        return StoreSample(
            at=row["at"],
            open=[
                OpenSagas(saga, SagaStatus(status), count, seconds)
                for saga, status, count, seconds in json.loads(row["open"] or "[]")
            ],
            all_counted=row["counted"] < limit,
            late=row["late"],
            late_seconds=row["late_seconds"],
            put_aside=row["put_aside"],
            began={saga: (first, second) for saga, (first, second) in json.loads(row["began"] or "{}").items()},
        )

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with."""
        await self._database.put_aside(_SQL["put_aside"], messages)

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        return await self._database.list_put_aside(_SQL["list_put_aside"], limit)

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        return len(await self._database.fetch(_SQL["remove_put_aside"], list(numbers)))

    async def keep_announcements(self, announcements: Sequence[Announcement], live_seconds: float) -> None:
        """Keep what participants have announced just now; they count as live for so long."""
        latest = {(one.participant, one.host, one.hash): one for one in announcements}
        await self._fetch(
            "keep_announcements",
            [one.participant for one in latest.values()],
            [one.host for one in latest.values()],
            [one.hash for one in latest.values()],
            [encode(one) for one in latest.values()],
            live_seconds,
        )

    async def announcements(self) -> Sequence[KeptAnnouncement]:
        """What is kept of them, by participant, then the one that was heard last first."""
        return [
            KeptAnnouncement(decode_announcement(row["body"]), row["heard_at"], row["is_live"])
            for row in await self._fetch("announcements")
        ]

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids; nothing is locked."""
        return [rows.saga_of(row) for row in await self._fetch("find", saga_ids)]

    async def list(self, matching: SagaFilter, limit: int) -> Sequence[SagaRecord]:
        """The latest sagas that match, the last one first."""
        statuses = [status.value for status in matching.statuses]
        only_open = bool(statuses) and not matching.statuses & ENDED
        query = "list_waiting" if matching.waiting else "list_open" if only_open else "list_all"
        found = await self._fetch(
            query,
            matching.saga,
            matching.key,
            statuses or None,
            limit,
            matching.before,
            matching.idle_seconds,
        )
        return [rows.saga_of(row) for row in found]

    async def latest_errors(self, saga_ids: Sequence[UUID]) -> Sequence[LatestError]:
        """What went wrong last with each operation of these sagas of which the journal holds an error."""
        return [rows.latest_error_of(row) for row in await self._fetch("latest_errors", saga_ids)]

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of a saga, from its beginning."""
        return [rows.journal_entry_of(row) for row in await self._fetch("journal", saga_id)]

    async def journals(self, saga_ids: Sequence[UUID]) -> Sequence[JournalEntry]:
        """The journals of these sagas, in the order of their ids, each from its beginning."""
        return [rows.journal_entry_of(row) for row in await self._fetch("journals", saga_ids)]

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas; nothing is locked."""
        return [rows.payload_of(row) for row in await self._fetch("payloads", saga_ids)]

    async def deferrals(self, attempts: Sequence[Attempt]) -> Sequence[Deferral]:
        """Since when these attempts wait, as far as they do, and why."""
        return [rows.deferral_of(row) for row in await self._fetch("deferrals", *rows.attempts(attempts))]

    async def purge(
        self, kept_seconds: Mapping[SagaStatus, float], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the sagas among the next `limit` that ended so long ago in their status."""
        query = _SQL["purge" if delete else "count_expired"]
        statuses = [status.value for status in kept_seconds]
        return await self._database.purge(query, statuses, list(kept_seconds.values()), after=after, limit=limit)

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        return len(await self._fetch("purge_put_aside" if delete else "count_put_aside", kept_seconds, limit))

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        return await self._database.fetch(_SQL[query], *arguments)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked():
            async with in_time():
                await self._turns.acquire()
        else:
            await self._turns.acquire()  # at once
        try:
            yield
        finally:
            self._turns.release()

    async def _now(self, connection: AnyConnection) -> datetime:
        """What time it is there, asked only if it was not learnt lately."""
        if (guess := self._clock.guess_of_lately()) is not None:
            return guess
        (row,) = await self._database.fetch_by(connection, _SQL["clock"])
        now: datetime = row["now"]
        self._clock.learn(now)
        return now

    async def _orphan(self, coordinator: str, processes: Sequence[UUID]) -> int:
        """Put the open sagas of these processes on the agenda, page by page."""
        sagas, after = 0, NOTHING_YET
        while page := await self._fetch("orphan", coordinator, processes, after, TAKE_OVER_PAGE):
            sagas += len(page)
            after = page[-1]["id"]
            crash_point("store.taken_over_page")
        return sagas


class PostgresTransaction:
    """A `StoreTransaction`: what can be done in one transaction."""

    def __init__(self, database: Database, connection: AnyConnection, now: datetime, clock: _Clock) -> None:
        self._database = database
        self._connection = connection
        self._now = now
        self._clock = clock

    @property
    def now(self) -> datetime:
        """The time of the database when sagas were loaded; before that, a guess, some milliseconds off at most."""
        return self._now

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas, and put them on the agenda. Those whose (saga, key) exists already are not written;
        the existing ones are returned. Waits for a transaction that is starting one of them."""
        written = await self._fetch(
            "insert",
            process,
            *rows.new_sagas(changes),
            [change.record.saga_id for change in changes if change.resend] or None,
            *rows.journal_entries(changes),
            *rows.payloads(changes),
            *rows.watchers(changes),
        )
        left = {change.record.saga_id: change.record for change in changes}
        for row in written:
            del left[row["id"]]
        return await self._of_keys(list(left.values())) if left else ()

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, locked in the order of their ids until the end."""
        return self._loaded(await self._fetch("load", saga_ids))

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas."""
        return [rows.payload_of(row) for row in await self._fetch("payloads", saga_ids)]

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write changes of loaded sagas. Returns, and forgets, who watches those that have ended or are stuck.

        Raises:
            RuntimeError: a stored version is not the expected one. Nothing of that saga was written.
        """
        saved = await self._save(changes, process, None)
        if len(saved) != len(changes):
            raise RuntimeError(_not_saved(changes, {row["id"] for row in saved}))
        return _watchers(saved)

    async def erase(self, saga_ids: Sequence[UUID]) -> None:
        """Delete the payloads of those of these sagas that have ended, and messages put aside that name one."""
        await self._fetch("erase", saga_ids)

    async def resent(self, saga_ids: Sequence[UUID], wake_at: Sequence[datetime | None], process: UUID) -> None:
        """This process has what these sagas have in flight now; look at them again at `wake_at`."""
        await self._fetch("resent", process, saga_ids, wake_at)

    async def watch(self, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
        """Remember who watches; returns those sagas that exist. They are locked first, so that none can end
        between the look and the note."""
        records = await self.load([watcher.saga_id for watcher in watchers])
        going_on = {record.saga_id for record in records if record.status not in SETTLED}
        noted = [watcher for watcher in watchers if watcher.saga_id in going_on]
        if noted:
            await self._fetch("watch", [one.saga_id for one in noted], [one.address for one in noted])
        return records

    async def _save(
        self, changes: Sequence[Change], process: UUID, read_at: Sequence[datetime | None] | None
    ) -> Sequence[asyncpg.Record]:
        return await self._fetch(
            "save",
            process,
            *rows.changed_sagas(changes),
            *rows.journal_entries(changes),
            *rows.payloads(changes),
            read_at,
        )

    def _loaded(self, found: Sequence[asyncpg.Record]) -> Sequence[SagaRecord]:
        """These sagas, and what time it is."""
        if found:
            self._now = max(self._now, found[-1]["now"])
            self._clock.learn(found[-1]["now"])
        return [rows.saga_of(row) for row in found]

    async def _of_keys(self, wanted: Sequence[SagaRecord]) -> Sequence[SagaRecord]:
        found = await self._fetch("find_by_key", [one.key for one in wanted], [one.saga for one in wanted])
        return [rows.saga_of(row) for row in found]

    async def _fetch(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        return await self._database.fetch_by(self._connection, _SQL[query], *arguments)


class PostgresLoneTransaction(PostgresTransaction):
    """A `LoneTransaction`: nothing is locked before it is written."""

    _seen: Sequence[Payload] = ()

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The one saga of this id, if it exists, as it was committed last."""
        (saga_id,) = saga_ids
        found = await self._fetch("look", saga_id)
        self._seen = [payload for row in found for payload in rows.payloads_of(row)]
        return self._loaded(found)

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of the saga that was loaded, as they were then."""
        return self._seen

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write a change of the saga that was loaded.

        Raises:
            Overtaken: anybody has written it, or a payload of it, since it was loaded.
        """
        saved = await self._save(changes, process, [change.record.updated_at for change in changes])
        if not saved:
            raise Overtaken
        return _watchers(saved)


class _Clock:
    """The clock of the database, as far as it is known without asking."""

    def __init__(self) -> None:
        self._learnt: tuple[datetime, float] | None = None

    def learn(self, now: datetime) -> None:
        """It was just so."""
        self._learnt = now, time.monotonic()

    def guess_of_lately(self) -> datetime | None:
        """What it is now, unless it was learnt so long ago that the two clocks may have gone apart."""
        if self._learnt is None or time.monotonic() - self._learnt[1] > GUESSED_SECONDS_MAX:
            return None
        return self.guess()

    def guess(self) -> datetime:
        """What it is now.

        Raises:
            RuntimeError: nothing was learnt yet.
        """
        if self._learnt is None:
            raise RuntimeError("the clock of the database is not known yet; `await store.check()` once, before")
        now, at = self._learnt
        return now + timedelta(seconds=time.monotonic() - at)


def _watchers(saved: Sequence[asyncpg.Record]) -> Sequence[Watcher]:
    return [Watcher(row["id"], address) for row in saved for address in row["watchers"] or ()]


def _not_saved(changes: Sequence[Change], saved: set[UUID]) -> str:
    which = ", ".join(
        f"saga {change.record.saga_id} is not at version {change.expected_version}"
        for change in changes
        if change.record.saga_id not in saved
    )
    return f"{which}: somebody has written it meanwhile, or it was not loaded first"

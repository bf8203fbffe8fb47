"""A store in memory that behaves like a database server: transactions that see only what is committed, rows locked
until the end, commits whose outcome may stay unknown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar
from uuid import UUID

from msgspec import structs

from sagaflow.core.events import CommandDeferred, Unserved
from sagaflow.core.plan import Plan
from sagaflow.core.state import SETTLED, OpStatus, SagaStatus
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.records import (
    NO_PROCESS,
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
    Watcher,
)
from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.locks import Locks
from sagaflow.testing.simulation.processes import CURRENT, Process
from sagaflow.testing.simulation.servers import Line

T = TypeVar("T")

Clock = Callable[[], datetime]
Records = list[SagaRecord]


@dataclass(frozen=True, slots=True)
class Agenda:
    """When a saga is to be looked at; see the schema of the real stores."""

    coordinator: str
    process: UUID | None
    wake_at: datetime | None
    due_at: datetime | None
    resend: bool
    watchers: tuple[str, ...] = ()


class StoreWitness(Protocol):
    """Told of every commit, before anybody else can see it."""

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """A saga was written."""

    def taken_over(self, sagas: int) -> None:
        """So many sagas of the dead are to be sent again."""


class NoWitness:
    """Looks away."""

    def taken_over(self, sagas: int) -> None:
        """Nothing."""

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """Nothing."""


FORGET_AFTER: Final = timedelta(days=1)
"""When announcements are forgotten that were not heard again."""


@dataclass(frozen=True, slots=True)
class _Heard:
    announcement: Announcement
    at: datetime
    live_until: datetime


@dataclass
class Tables:
    """What is committed."""

    sagas: dict[UUID, SagaRecord] = field(default_factory=dict)
    keys: dict[tuple[str, str], UUID] = field(default_factory=dict)
    agenda: dict[UUID, Agenda] = field(default_factory=dict)
    journal: dict[UUID, list[JournalEntry]] = field(default_factory=dict)
    payloads: dict[UUID, dict[tuple[str, str, int], Payload]] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    leases: dict[tuple[str, UUID], datetime] = field(default_factory=dict)
    put_aside: list[PutAside] = field(default_factory=list)
    announcements: dict[tuple[str, str, str], _Heard] = field(default_factory=dict)


class SimulatedStore:
    """A `SagaStore`. `clock` is its own; `line` how processes reach it.

    Rows are locked one by one, as PostgreSQL does; a transaction that is idle for too long, or whose process is
    gone, is rolled back.
    """

    def __init__(self, clock: Clock, line: Line | None = None, witness: StoreWitness | None = None) -> None:
        self.tables = Tables()
        self.line = Line("store") if line is None else line
        self.locks = Locks()
        self.clock = clock
        self.witness: StoreWitness = NoWitness() if witness is None else witness
        self._open: list[SimulatedStoreTransaction] = []

    def disconnect(self, process: Process | None) -> None:
        """The transactions of a process are rolled back; of all processes, if none is given."""
        for tx in [tx for tx in self._open if process is None or tx.process is process]:
            tx.end()

    async def check(self) -> None:
        """Its tables are always there."""
        await self.line.call("store.read", lambda: None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SimulatedStoreTransaction]:
        """One transaction: committed when left, rolled back when left by an exception."""
        tx = self.begin()
        try:
            yield tx
            await self.line.call("store.commit", tx.commit)
        finally:
            tx.end()

    def begin(self) -> SimulatedStoreTransaction:
        """A transaction that whoever has it commits or ends."""
        tx = SimulatedStoreTransaction(self, self.clock())
        self._open.append(tx)
        return tx

    def ended(self, tx: SimulatedStoreTransaction) -> None:
        """A transaction is no more."""
        if tx in self._open:
            self._open.remove(tx)
        self.locks.release(tx)

    def enlist(self, connection: object) -> SimulatedStoreTransaction:
        """A view of the caller's own open transaction, which here is such a transaction itself.

        Raises:
            TypeError: it is none, or one of another store.
        """
        if not isinstance(connection, SimulatedStoreTransaction) or connection.store is not self:
            raise TypeError(f"a SimulatedStore joins one of its own transactions, not a {type(connection)!r}")
        return connection

    async def add_plans(self, plans: Sequence[Plan]) -> None:
        """Keep plans, by their hash."""

        def add() -> None:
            for plan in plans:
                self.tables.plans.setdefault(plan.hash, plan)

        await self.line.call("store.write", add)

    async def plans(self, hashes: Sequence[str]) -> Sequence[Plan]:
        """The plans of these hashes, as far as they are known."""
        known = self.tables.plans
        return await self.line.call("store.read", lambda: [known[hash_] for hash_ in hashes if hash_ in known])

    async def claim_due(self, coordinator: str, limit: int, hold_seconds: float) -> Sequence[Due]:
        """Sagas whose time has come and that nobody has locked, earliest first, held for the caller."""
        return await self.line.call("store.claim", lambda: self._claim(coordinator, limit, hold_seconds))

    def _claim(self, coordinator: str, limit: int, hold_seconds: float) -> Sequence[Due]:
        now, agenda = self.clock(), self.tables.agenda
        due = [
            (row.due_at, saga_id)
            for saga_id, row in agenda.items()
            if row.due_at is not None
            and row.due_at <= now
            and row.coordinator == coordinator
            and self.locks.is_free(saga_id, self)
        ]
        claimed = [saga_id for _, saga_id in sorted(due)[:limit]]
        for saga_id in claimed:
            agenda[saga_id] = replace(agenda[saga_id], due_at=now + timedelta(seconds=hold_seconds))
        return [Due(saga_id, agenda[saga_id].resend) for saga_id in claimed]

    async def keep_lease(self, coordinator: str, process: UUID, seconds: float) -> None:
        """Say that this process is alive, for so long."""

        def keep() -> None:
            self.tables.leases[coordinator, process] = self.clock() + timedelta(seconds=seconds)

        await self.line.call("store.lease", keep)

    async def drop_lease(self, coordinator: str, process: UUID, *, resend: bool) -> None:
        """Say that this process ends. With `resend`, what it had in flight is to be sent again."""
        async with self._maintenance() as tx:
            if resend:
                await tx.orphan(coordinator, {process})
            tx.dropped.append((coordinator, process))

    async def take_over(self, coordinator: str) -> int:
        """Put the open sagas of processes whose lease has lapsed on the agenda; forget those processes."""
        async with self._maintenance() as tx:
            now = tx.now
            lapsed = {
                process for (of, process), until in self.tables.leases.items() if of == coordinator and until <= now
            }
            tx.dropped.extend((coordinator, process) for process in lapsed)
            sagas = await tx.orphan(coordinator, lapsed)
        self.witness.taken_over(sagas)
        return sagas

    @asynccontextmanager
    async def _maintenance(self) -> AsyncIterator[SimulatedStoreTransaction]:
        tx = self.begin()
        try:
            yield tx
            await self.line.call("store.lease", tx.commit)
        finally:
            tx.end()

    async def open_sagas(self, coordinator: str, process: UUID) -> Sequence[OpenSagas]:
        """How many sagas are open, by saga and status; nothing, unless this process is the first of those alive."""
        return await self.line.call("store.read", lambda: self._count(coordinator, process))

    def _count(self, coordinator: str, process: UUID) -> Sequence[OpenSagas]:
        now = self.clock()
        alive = [one for (of, one), until in self.tables.leases.items() if of == coordinator and until > now]
        if not alive or process != min(alive):
            return []
        ages: dict[tuple[str, SagaStatus], list[float]] = defaultdict(list)
        for record in self.tables.sagas.values():
            if record.coordinator == coordinator and not record.state.ended:
                assert record.started_at is not None, "the store has set it"
                ages[record.saga, record.status].append((now - record.started_at).total_seconds())
        return [OpenSagas(*which, len(ages[which]), max(ages[which])) for which in sorted(ages)]

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with."""
        await self.line.call("store.write", lambda: keep_aside(self.tables.put_aside, messages, self.clock()))

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        return await self.line.call("store.read", lambda: self._latest_aside(limit))

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        return await self.line.call("store.write", lambda: remove_aside(self.tables.put_aside, numbers))

    async def keep_announcements(self, announcements: Sequence[Announcement], live_seconds: float) -> None:
        """Keep what participants have announced just now; they count as live for so long."""

        def keep() -> None:
            now = self.clock()
            for one in announcements:
                place = (one.participant, one.host, one.hash)
                self.tables.announcements[place] = _Heard(one, now, now + timedelta(seconds=live_seconds))
            participants = {one.participant for one in announcements}
            for place, heard in list(self.tables.announcements.items()):
                if place[0] in participants and heard.at < now - FORGET_AFTER:
                    del self.tables.announcements[place]

        await self.line.call("store.write", keep)

    async def announcements(self) -> Sequence[KeptAnnouncement]:
        """What is kept of them, by participant, then the one that was heard last first."""

        def kept() -> Sequence[KeptAnnouncement]:
            now, places = self.clock(), sorted(self.tables.announcements)
            heard = sorted((self.tables.announcements[place] for place in places), key=lambda one: one.at, reverse=True)
            heard.sort(key=lambda one: one.announcement.participant)
            return [KeptAnnouncement(one.announcement, one.at, one.live_until > now) for one in heard]

        return await self.line.call("store.read", kept)

    async def latest_errors(self, saga_ids: Sequence[UUID]) -> Sequence[LatestError]:
        """What went wrong last with each operation of these sagas of which the journal holds an error."""

        def latest() -> Sequence[LatestError]:
            found = {}
            for saga_id in set_of(saga_ids):
                for entry in self.tables.journal.get(saga_id, ()):
                    operation = getattr(entry.event, "operation", None)
                    if entry.error is not None and operation is not None:
                        place = (saga_id, entry.event.step, operation)  # type: ignore[union-attr]
                        found[place] = LatestError(*place, entry.error)
            return [found[place] for place in sorted(found)]

        return await self.line.call("store.read", latest)

    async def deferrals(self, attempts: Sequence[Attempt]) -> Sequence[Deferral]:
        """Since when these attempts wait, as far as they do, and why."""
        return await self.line.call(
            "store.read", lambda: [found for attempt in attempts if (found := self._deferral(attempt)) is not None]
        )

    def _deferral(self, attempt: Attempt) -> Deferral | None:
        entries = [
            entry
            for entry in self.tables.journal.get(attempt.saga_id, ())
            if isinstance(entry.event, Unserved | CommandDeferred) and _is_about(entry.event, attempt)
        ]
        if not entries:
            return None
        since = entries[0].at
        assert since is not None, "the store has set it"
        return Deferral(attempt, since, entries[-1].error)

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids; nothing is locked."""
        return await self.line.call("store.read", lambda: self._found(saga_ids))

    async def list(self, matching: SagaFilter, limit: int) -> Sequence[SagaRecord]:
        """The latest sagas that match, the last one first."""

        def matches() -> Sequence[SagaRecord]:
            now = self.clock()
            some = [saga_id for saga_id, record in self.tables.sagas.items() if _matches(matching, record, now)]
            latest = self._found(sorted(some)[-limit:])
            latest.reverse()
            return latest

        return await self.line.call("store.read", matches)

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of a saga, from its beginning."""
        return await self.line.call("store.read", lambda: list(self.tables.journal.get(saga_id, ())))

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas; nothing is locked."""
        return await self.line.call("store.read", lambda: self.stored_payloads(saga_ids))

    async def purge(
        self, kept_seconds: Mapping[SagaStatus, float], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the sagas among the next `limit` that ended so long ago in their status."""
        return await self.line.call("store.write", lambda: self._purge(kept_seconds, after, limit, delete))

    def _purge(
        self, kept_seconds: Mapping[SagaStatus, float], after: UUID | None, limit: int, delete: bool
    ) -> PurgePage:
        tables, now = self.tables, self.clock()
        kept_from = {status: now - timedelta(seconds=seconds) for status, seconds in kept_seconds.items()}
        later = sorted(saga_id for saga_id in tables.sagas if after is None or saga_id > after)
        page = [tables.sagas[saga_id] for saga_id in later[:limit]]
        expired = [
            record
            for record in page
            if record.state.ended
            and record.status in kept_from
            and updated_at(record) <= kept_from[record.status]
            and self.locks.is_free(record.saga_id, self)
        ]
        for record in expired if delete else ():
            del tables.sagas[record.saga_id], tables.keys[record.saga, record.key]
            tables.journal.pop(record.saga_id, None)
            tables.payloads.pop(record.saga_id, None)
        began = min((record.started_at for record in page if record.started_at is not None), default=now)
        goes_on = len(page) == limit and bool(kept_from) and began <= max(kept_from.values())
        return PurgePage(len(page), Counter(r.status.value for r in expired), page[-1].saga_id if goes_on else None)

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        until = self.clock() - timedelta(seconds=kept_seconds)
        return await self.line.call(
            "store.write", lambda: purge_aside(self.tables.put_aside, until, limit, delete=delete)
        )

    def stored_payloads(self, saga_ids: Iterable[UUID]) -> Sequence[Payload]:
        """All committed payloads of these sagas."""
        return [payload for saga_id in set_of(saga_ids) for payload in self.tables.payloads.get(saga_id, {}).values()]

    def _latest_aside(self, limit: int) -> Sequence[PutAside]:
        return self.tables.put_aside[::-1][:limit]

    def _found(self, saga_ids: Sequence[UUID]) -> Records:
        tables = self.tables
        return [
            joined(tables.sagas[saga_id], tables.agenda.get(saga_id))
            for saga_id in set_of(saga_ids)
            if saga_id in tables.sagas
        ]


class SimulatedStoreTransaction:
    """A `StoreTransaction`. What it writes is its own until it is committed."""

    def __init__(self, store: SimulatedStore, now: datetime) -> None:
        self.store = store
        self.process = CURRENT.get()
        self.dropped: list[tuple[str, UUID]] = []
        """Leases to be forgotten with it."""
        self._now = now
        self._ended = False
        self._sagas: dict[UUID, SagaRecord] = {}
        self._agenda: dict[UUID, Agenda | None] = {}
        self._journal: list[JournalEntry] = []
        self._payloads: list[Payload] = []
        self._erased: list[UUID] = []

    @property
    def now(self) -> datetime:
        """The time of the store when the transaction began."""
        return self._now

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas. Those whose (saga, key) exists already are not written; the existing ones are returned."""
        for key in sorted({(change.record.saga, change.record.key) for change in changes}):
            await self._lock(key)
        return await self._do(lambda: self._insert(changes, process))

    def _insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        existing = []
        mine = {(record.saga, record.key): saga_id for saga_id, record in self._sagas.items()}
        for change in changes:
            record = change.record
            key = (record.saga, record.key)
            taken = mine.get(key) or self.store.tables.keys.get(key)
            if taken is not None:
                existing.append(self._record(taken))
                continue
            mine[key] = record.saga_id
            self._write(change, structs.replace(record, started_at=self._now, updated_at=self._now))
            if not record.state.ended:
                watchers = () if change.watcher is None else (change.watcher,)
                self._agenda[record.saga_id] = Agenda(
                    record.coordinator, process, record.wake_at, record.wake_at, change.resend, watchers
                )
        return existing

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, locked in the order of their ids until the end."""
        for saga_id in set_of(saga_ids):
            await self._lock(saga_id)
        return await self._do(lambda: [self._record(saga_id) for saga_id in set_of(saga_ids) if self._exists(saga_id)])

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas."""
        wanted = set(saga_ids)

        def both() -> Sequence[Payload]:
            return [*self.store.stored_payloads(wanted), *(mine for mine in self._payloads if mine.saga_id in wanted)]

        return await self._do(both)

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write changes of loaded sagas. Returns, and forgets, who watches those that have ended or are stuck.

        Raises:
            RuntimeError: a stored version is not the expected one.
        """
        return await self._do(lambda: self._save(changes, process))

    def _save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        watchers: list[Watcher] = []
        for change in changes:
            record = change.record
            stored = self._record(record.saga_id) if self._exists(record.saga_id) else None
            if stored is None or stored.version != change.expected_version:
                raise RuntimeError(f"saga {record.saga_id}: its stored version is not {change.expected_version}")
            updated_at = stored.updated_at if stored.state.ended else self._now
            self._write(change, structs.replace(record, started_at=stored.started_at, updated_at=updated_at))
            agenda = self._agenda_of(record.saga_id)
            if agenda is None:
                continue
            if record.status in SETTLED:
                watchers += [Watcher(record.saga_id, address) for address in agenda.watchers]
                agenda = replace(agenda, watchers=())
            if change.wake_changed:
                agenda = replace(agenda, wake_at=record.wake_at, due_at=record.wake_at, resend=change.resend)
            self._agenda[record.saga_id] = None if record.state.ended else replace(agenda, process=process)
        return watchers

    async def erase(self, saga_ids: Sequence[UUID]) -> None:
        """Delete the payloads of those of these sagas that have ended, and messages put aside that name one."""

        def erase() -> None:
            known = (self._record(saga_id) for saga_id in set_of(saga_ids) if self._exists(saga_id))
            self._erased += [record.saga_id for record in known if record.state.ended]

        await self._do(erase)

    async def resent(self, saga_ids: Sequence[UUID], wake_at: Sequence[datetime | None], process: UUID) -> None:
        """This process has what these sagas have in flight now; look at them again at `wake_at`."""

        def note() -> None:
            for saga_id, time in zip(saga_ids, wake_at, strict=True):
                agenda = self._agenda_of(saga_id)
                if agenda is not None:
                    self._agenda[saga_id] = replace(agenda, process=process, wake_at=time, due_at=time, resend=False)

        await self._do(note)

    async def watch(self, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
        """Remember who watches; returns those sagas that exist."""
        ids = set_of(watcher.saga_id for watcher in watchers)
        for saga_id in ids:
            await self._lock(saga_id)

        def note() -> Sequence[SagaRecord]:
            for watcher in watchers:
                agenda = self._agenda_of(watcher.saga_id)
                if agenda is None or watcher.address in agenda.watchers:
                    continue
                if self._record(watcher.saga_id).status not in SETTLED:
                    self._agenda[watcher.saga_id] = replace(agenda, watchers=(*agenda.watchers, watcher.address))
            return [self._record(saga_id) for saga_id in ids if self._exists(saga_id)]

        return await self._do(note)

    async def orphan(self, coordinator: str, processes: set[UUID]) -> int:
        """What these processes had in flight is to be sent again, now. Returns how many sagas."""
        tables = self.store.tables
        count = 0
        for saga_id in set_of(tables.agenda):
            if not _is_of(tables.agenda.get(saga_id), coordinator, processes):
                continue
            await self._lock(saga_id)
            agenda = tables.agenda.get(saga_id)  # who had it locked may have changed it
            if agenda is not None and _is_of(agenda, coordinator, processes):
                self._agenda[saga_id] = replace(
                    agenda, process=NO_PROCESS, wake_at=self._now, due_at=self._now, resend=True
                )
                count += 1
        return count

    def commit(self) -> None:
        """Make it so, at once and for all to see."""
        self._expect_open()
        tables = self.store.tables
        by_saga: dict[UUID, list[JournalEntry]] = {}
        for entry in self._journal:
            by_saga.setdefault(entry.saga_id, []).append(entry)
        for saga_id, record in self._sagas.items():
            before = tables.sagas.get(saga_id)
            self.store.witness.committed(before, record, by_saga.get(saga_id, ()))
            tables.sagas[saga_id] = record
            tables.keys[record.saga, record.key] = saga_id
        for saga_id, entries in by_saga.items():
            tables.journal.setdefault(saga_id, []).extend(entries)
        for payload in self._payloads:
            tables.payloads.setdefault(payload.saga_id, {})[payload.step, payload.kind, payload.round] = payload
        for saga_id in self._erased:
            tables.payloads.pop(saga_id, None)
            tables.put_aside[:] = [one for one in tables.put_aside if str(saga_id).encode() not in one.body]
        for saga_id, agenda in self._agenda.items():
            if agenda is None:
                tables.agenda.pop(saga_id, None)
            else:
                tables.agenda[saga_id] = agenda
        for lease in self.dropped:
            tables.leases.pop(lease, None)
        self.end()

    def end(self) -> None:
        """It is over; what is not committed never was."""
        if not self._ended:
            self._ended = True
            self.store.ended(self)

    async def _lock(self, key: UUID | tuple[str, str]) -> None:
        await self.store.locks.take(key, self)
        if self._ended:  # it was rolled back while it waited
            self.store.locks.release(self)
        self._expect_open()

    async def _do(self, what: Callable[[], T]) -> T:
        def do() -> T:
            self._expect_open()
            return what()

        result = await self.store.line.call("store.write", do)
        self._expect_open()
        return result

    def _expect_open(self) -> None:
        if self._ended:
            raise Unavailable("the transaction was rolled back, since its connection was lost")

    def _exists(self, saga_id: UUID) -> bool:
        return saga_id in self._sagas or saga_id in self.store.tables.sagas

    def _record(self, saga_id: UUID) -> SagaRecord:
        record = self._sagas.get(saga_id) or self.store.tables.sagas[saga_id]
        return joined(record, self._agenda_of(saga_id))

    def _agenda_of(self, saga_id: UUID) -> Agenda | None:
        return self._agenda[saga_id] if saga_id in self._agenda else self.store.tables.agenda.get(saga_id)

    def _write(self, change: Change, record: SagaRecord) -> None:
        for payload in change.payloads:
            place = (payload.step, payload.kind, payload.round)
            if place in self.store.tables.payloads.get(payload.saga_id, {}):
                raise RuntimeError(f"saga {payload.saga_id}: its {payload.kind} of {payload.step} is there already")
        self._sagas[record.saga_id] = record
        self._journal += [structs.replace(entry, at=self._now) for entry in change.journal]
        self._payloads += change.payloads


def set_of(saga_ids: Iterable[UUID]) -> Sequence[UUID]:
    """Each once, in order."""
    return sorted(set(saga_ids))


def joined(record: SagaRecord, agenda: Agenda | None) -> SagaRecord:
    """A saga with its row on the agenda."""
    wake_at, owner = (None, None) if agenda is None else (agenda.wake_at, agenda.process)
    if record.wake_at == wake_at and record.owner == owner:
        return record
    return structs.replace(record, wake_at=wake_at, owner=owner)


def keep_aside(kept: list[PutAside], messages: Sequence[PutAside], now: datetime) -> None:
    """Add messages to those that were put aside."""
    for message in messages:
        number = 1 + max((one.number or 0 for one in kept), default=0)
        kept.append(structs.replace(message, body=message.body[:PUT_ASIDE_BYTES_MAX], at=now, number=number))


def remove_aside(kept: list[PutAside], numbers: Sequence[int]) -> int:
    """Forget those of these numbers; returns how many there were."""
    before = len(kept)
    kept[:] = [one for one in kept if one.number not in numbers]
    return before - len(kept)


def purge_aside(kept: list[PutAside], until: datetime, limit: int, *, delete: bool) -> int:
    """Delete, or count, the oldest messages that were put aside before a time; returns how many."""
    old = [message for message in kept if message.at is not None and message.at <= until][:limit]
    if delete:
        kept[:] = [message for message in kept if not any(message is gone for gone in old)]
    return len(old)


def updated_at(record: SagaRecord) -> datetime:
    """When something happened to it last: to a saga that has ended, at the latest when it did."""
    assert record.updated_at is not None, "the store has set it"
    return record.updated_at


def _matches(matching: SagaFilter, record: SagaRecord, now: datetime) -> bool:
    assert record.updated_at is not None, "the store has set it"
    idle_seconds = (now - record.updated_at).total_seconds()
    return (
        matching.saga in (None, record.saga)
        and matching.key in (None, record.key)
        and (not matching.statuses or record.status in matching.statuses)
        and (matching.before is None or record.saga_id < matching.before)
        and (not matching.waiting or _is_waiting(record))
        and (matching.idle_seconds is None or idle_seconds >= matching.idle_seconds)
    )


def _is_waiting(record: SagaRecord) -> bool:
    ops = [op for step in record.state.steps for op in (step.action, step.compensation)]
    return not record.state.ended and any(op.status is OpStatus.DEFERRED for op in ops)


def _is_about(event: Unserved | CommandDeferred, attempt: Attempt) -> bool:
    about = (event.step, event.operation, event.round, event.attempt)
    return about == (attempt.step, attempt.operation, attempt.round, attempt.attempt)


def _is_of(agenda: Agenda | None, coordinator: str, processes: set[UUID]) -> bool:
    return agenda is not None and agenda.coordinator == coordinator and agenda.process in processes

"""A store in memory that behaves like a database server: transactions that see only what is committed, rows locked
until the end, commits whose outcome may stay unknown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar
from uuid import UUID

from msgspec import structs

from sagaflow.core.events import CommandDeferred, Unserved
from sagaflow.core.plan import Plan
from sagaflow.core.state import SETTLED, SagaStatus
from sagaflow.definitions.limits import LAPSED_KEPT_SECONDS
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.ports import Overtaken
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
    StoreSample,
    Watcher,
)
from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.locks import Locks
from sagaflow.testing.simulation.processes import CURRENT, Process
from sagaflow.testing.simulation.servers import Line
from sagaflow.testing.simulation.tables import (
    Agenda,
    Clock,
    Heard,
    Tables,
    is_about,
    is_match,
    is_of,
    joined,
    keep_aside,
    purge_aside,
    remove_aside,
    set_of,
    updated_at,
)

T = TypeVar("T")

Records = list[SagaRecord]


class StoreWitness(Protocol):
    """Told of every commit, before anybody else can see it."""

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """A saga was written."""

    def taken_over(self, sagas: int) -> None:
        """So many sagas of the dead are to be sent again."""

    def overtaken(self) -> None:
        """What came alone is not written, since another was faster."""


class NoWitness:
    """Looks away."""

    def taken_over(self, sagas: int) -> None:
        """Nothing."""

    def overtaken(self) -> None:
        """Nothing."""

    def committed(self, before: SagaRecord | None, after: SagaRecord, journal: Sequence[JournalEntry]) -> None:
        """Nothing."""


FORGET_AFTER: Final = timedelta(days=1)
"""When announcements are forgotten that were not heard again."""


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

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[SimulatedLoneTransaction]:
        """A transaction that locks nothing before it writes, and is committed by that."""
        yield SimulatedLoneTransaction(self)

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
            agenda[saga_id] = structs.replace(agenda[saga_id], due_at=now + timedelta(seconds=hold_seconds))
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
        """Put the open sagas of processes whose lease has lapsed on the agenda; forget those that lapsed long ago."""
        async with self._maintenance() as tx:
            now = tx.now
            lapsed = {
                process: until
                for (of, process), until in self.tables.leases.items()
                if of == coordinator and until <= now
            }
            long_ago = now - timedelta(seconds=LAPSED_KEPT_SECONDS)
            tx.dropped.extend((coordinator, process) for process, until in lapsed.items() if until <= long_ago)
            sagas = await tx.orphan(coordinator, set(lapsed))
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

    async def sample(self, after: UUID, later: UUID, limit: int) -> StoreSample:
        """What goes on at this moment, of all coordinators."""
        return await self.line.call("store.read", lambda: self._sample(after, later, limit))

    def _sample(self, after: UUID, later: UUID, limit: int) -> StoreSample:
        now, tables = self.clock(), self.tables
        latest = sorted(tables.agenda, reverse=True)[:limit]
        ages: dict[tuple[str, SagaStatus], list[float]] = defaultdict(list)
        for record in (tables.sagas[saga_id] for saga_id in latest):
            assert record.started_at is not None, "the store has set it"
            ages[record.saga, record.status].append((now - record.started_at).total_seconds())
        times = [due_at for saga_id in latest if (due_at := tables.agenda[saga_id].due_at) is not None]
        late = [(now - due_at).total_seconds() for due_at in times if due_at <= now]
        begun = Counter(record.saga for saga_id, record in tables.sagas.items() if saga_id > after)
        begun_later = Counter(record.saga for saga_id, record in tables.sagas.items() if saga_id > later)
        return StoreSample(
            at=now,
            open=[OpenSagas(*which, len(ages[which]), max(ages[which])) for which in sorted(ages)],
            all_counted=len(latest) < limit,
            late=len(late),
            late_seconds=max(late, default=0.0),
            put_aside=min(limit, len(tables.put_aside)),
            began={saga: (begun[saga], begun_later[saga]) for saga in begun},
        )

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
                self.tables.announcements[place] = Heard(one, now, now + timedelta(seconds=live_seconds))
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
            if isinstance(entry.event, Unserved | CommandDeferred) and is_about(entry.event, attempt)
        ]
        if not entries:
            return None
        since = entries[0].at
        assert since is not None, "the store has set it"
        return Deferral(attempt, since, entries[-1].error)

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids; nothing is locked."""
        return await self.line.call("store.read", lambda: self.found(saga_ids))

    async def list(self, matching: SagaFilter, limit: int) -> Sequence[SagaRecord]:
        """The latest sagas that match, the last one first."""

        def matches() -> Sequence[SagaRecord]:
            now = self.clock()
            some = [saga_id for saga_id, record in self.tables.sagas.items() if is_match(matching, record, now)]
            latest = self.found(sorted(some)[-limit:])
            latest.reverse()
            return latest

        return await self.line.call("store.read", matches)

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of a saga, from its beginning."""
        return await self.line.call("store.read", lambda: list(self.tables.journal.get(saga_id, ())))

    async def journals(self, saga_ids: Sequence[UUID]) -> Sequence[JournalEntry]:
        """The journals of these sagas, in the order of their ids, each from its beginning."""
        found = sorted({*saga_ids} & self.tables.journal.keys())
        return await self.line.call("store.read", lambda: [e for one in found for e in self.tables.journal[one]])

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

    def found(self, saga_ids: Sequence[UUID]) -> Records:
        """Those of these sagas that are committed."""
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
                agenda = structs.replace(agenda, watchers=())
            if change.wake_changed:
                agenda = structs.replace(agenda, wake_at=record.wake_at, due_at=record.wake_at, resend=change.resend)
            self._agenda[record.saga_id] = None if record.state.ended else structs.replace(agenda, process=process)
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
                    self._agenda[saga_id] = structs.replace(
                        agenda, process=process, wake_at=time, due_at=time, resend=False
                    )

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
                    self._agenda[watcher.saga_id] = structs.replace(
                        agenda, watchers=(*agenda.watchers, watcher.address)
                    )
            return [self._record(saga_id) for saga_id in ids if self._exists(saga_id)]

        return await self._do(note)

    async def orphan(self, coordinator: str, processes: set[UUID]) -> int:
        """What these processes had in flight is to be sent again, now. Returns how many sagas."""
        tables = self.store.tables
        count = 0
        for saga_id in set_of(tables.agenda):
            if not is_of(tables.agenda.get(saga_id), coordinator, processes):
                continue
            await self._lock(saga_id)
            agenda = tables.agenda.get(saga_id)  # who had it locked may have changed it
            if agenda is not None and is_of(agenda, coordinator, processes):
                self._agenda[saga_id] = structs.replace(
                    agenda, process=NO_PROCESS, wake_at=self._now, due_at=self._now, resend=True
                )
                count += 1
        return count

    async def lock(self, keys: Sequence[UUID] | Sequence[tuple[str, str]]) -> None:
        """Have these sagas, or the keys of new ones, for itself until the end."""
        for key in keys:
            await self._lock(key)

    def insert_and_commit(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas, for all to see."""
        self._expect_open()
        existing = self._insert(changes, process)
        self.commit()
        return existing

    def save_and_commit(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write changes, for all to see."""
        self._expect_open()
        watchers = self._save(changes, process)
        self.commit()
        return watchers

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


class SimulatedLoneTransaction:
    """A `LoneTransaction`: two calls of the server at most."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._now = store.clock()
        self._seen: dict[UUID, SagaRecord | None] = {}
        self._payloads: Sequence[Payload] = ()

    @property
    def now(self) -> datetime:
        """The time of the store when the saga was loaded; before that, when the transaction began."""
        return self._now

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas. Those whose (saga, key) exists already are not written; the existing ones are returned."""
        async with self._committing() as tx:
            await tx.lock(sorted({(change.record.saga, change.record.key) for change in changes}))
            return await self._store.line.call("store.commit", lambda: tx.insert_and_commit(changes, process))

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The saga of this id, if it exists; nothing is locked."""

        def look() -> Sequence[SagaRecord]:
            self._now = self._store.clock()
            self._seen = {saga_id: self._store.tables.sagas.get(saga_id) for saga_id in saga_ids}
            self._payloads = self._store.stored_payloads(saga_ids)
            return self._store.found(saga_ids)

        return await self._store.line.call("store.read", look)

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of the saga that was loaded, as they were then."""
        return [payload for payload in self._payloads if payload.saga_id in saga_ids]

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write a change of the saga that was loaded.

        Raises:
            Overtaken: anybody has written it, or a payload of it, since it was loaded.
        """
        async with self._committing() as tx:
            await tx.lock([change.record.saga_id for change in changes])

            def save() -> Sequence[Watcher]:
                if any(self._store.tables.sagas.get(saga_id) is not seen for saga_id, seen in self._seen.items()):
                    self._store.witness.overtaken()
                    raise Overtaken
                return tx.save_and_commit(changes, process)

            return await self._store.line.call("store.commit", save)

    @asynccontextmanager
    async def _committing(self) -> AsyncIterator[SimulatedStoreTransaction]:
        tx = self._store.begin()
        try:
            yield tx
        finally:
            tx.end()

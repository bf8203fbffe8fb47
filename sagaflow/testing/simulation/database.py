"""The database of a participant in memory, with the barrier in its transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.definitions.ports import (
    BarrierKey,
    Entered,
    Entry,
    Fenced,
    Recorded,
    Settled,
    Undo,
    expect_distinct,
)
from sagaflow.definitions.records import PurgePage, PutAside
from sagaflow.errors import Unavailable
from sagaflow.testing.simulation.locks import Locks
from sagaflow.testing.simulation.processes import CURRENT, Process
from sagaflow.testing.simulation.servers import Line
from sagaflow.testing.simulation.tables import Clock, keep_aside, purge_aside, remove_aside

Tx = TypeVar("Tx")
Met = TypeVar("Met", bound=Entered | Recorded | Fenced | Undo)


class Business(Protocol[Tx]):
    """The tables of a service: whatever its handlers write to."""

    serial: bool
    """Whether there is one transaction at a time."""

    def begin(self) -> Tx:
        """What handlers are given."""
        ...

    def commit(self, tx: Tx) -> None:
        """What was written by it is there for all to see."""

    def roll_back(self, tx: Tx) -> None:
        """It never was."""

    def guard(self, tx: Tx) -> None:
        """What is written from here on may be taken back."""

    def take_back(self, tx: Tx) -> None:
        """What was written since the latest `guard` never was; what was written before is."""


class DatabaseWitness(Protocol):
    """Told of every commit, and of how the barrier was met."""

    def settled(self, key: BarrierKey, operation: Operation, outcome: bytes) -> None:
        """The outcome of an operation is committed."""

    def met(self, key: BarrierKey, entered: Entered | Recorded | Fenced | Undo, operation: Operation) -> None:
        """An operation came to the barrier."""


class Rows:
    """A business of single rows: what the contract and the simulator's own participants write."""

    serial = False

    def __init__(self) -> None:
        self.rows: list[object] = []

    def begin(self) -> RowsTx:
        """A transaction."""
        return RowsTx(self.rows)

    def commit(self, tx: RowsTx) -> None:
        """Its rows are there."""
        self.rows += tx.added

    def roll_back(self, tx: RowsTx) -> None:
        """Its rows are not."""

    def guard(self, tx: RowsTx) -> None:
        """Its rows up to here stay."""
        tx.kept = len(tx.added)

    def take_back(self, tx: RowsTx) -> None:
        """Those that came after are not."""
        del tx.added[tx.kept :]


class RowsTx:
    """Adds rows, and sees those that are committed and its own."""

    def __init__(self, committed: list[object]) -> None:
        self.added: list[object] = []
        self.kept = 0
        """How many of them are not taken back."""
        self._committed = committed

    def add(self, row: object) -> None:
        """Write a row."""
        self.added.append(row)

    def rows(self) -> Sequence[object]:
        """All rows that there are."""
        return [*self._committed, *self.added]


@dataclass(frozen=True, slots=True)
class _Settled:
    round: int
    refusal: bool
    outcome: bytes
    at: datetime


class SimulatedTransactions(Generic[Tx]):
    """`Transactions` of a participant, over any `Business`."""

    def __init__(
        self,
        business: Business[Tx],
        clock: Clock,
        line: Line | None = None,
        witness: DatabaseWitness | None = None,
    ) -> None:
        self.business = business
        self.line = Line("database") if line is None else line
        self.clock = clock
        self.witness = witness
        self.locks = Locks()
        self.barrier: dict[tuple[BarrierKey, Operation], _Settled] = {}
        self.aside: list[PutAside] = []
        self._open: list[SimulatedParticipantTransaction[Tx]] = []

    def disconnect(self, process: Process | None) -> None:
        """The transactions of a process are rolled back; of all processes, if none is given."""
        for transaction in [one for one in self._open if process is None or one.process is process]:
            transaction.end()

    async def check(self) -> None:
        """Its tables are always there."""
        await self.line.call("database.enter", lambda: None)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SimulatedParticipantTransaction[Tx]]:
        """One transaction: committed when left, rolled back when left by an exception.

        Raises:
            RuntimeError: (on leaving) an operation was entered and its outcome not recorded; rolled back.
        """
        transaction = SimulatedParticipantTransaction(self)
        self._open.append(transaction)
        try:
            if self.business.serial:
                await self.locks.take("the database", transaction)
            transaction.begin()
            yield transaction
            transaction.expect_all_recorded()
            await self.line.call("database.commit", transaction.commit)
        finally:
            transaction.end()

    def ended(self, transaction: SimulatedParticipantTransaction[Tx]) -> None:
        """A transaction is no more."""
        if transaction in self._open:
            self._open.remove(transaction)
        self.locks.release(transaction)

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with."""
        await self.line.call("database.commit", lambda: keep_aside(self.aside, messages, self.clock()))

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, the last one first."""
        return await self.line.call("database.enter", lambda: self.aside[::-1][:limit])

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        return await self.line.call("database.commit", lambda: remove_aside(self.aside, numbers))

    async def purge(
        self, kept_seconds: float, open_sagas: Collection[UUID], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Delete, or count, the rows of the barrier among the next `limit` whose sagas were quiet for so long."""
        until = self.clock() - timedelta(seconds=kept_seconds)
        return await self.line.call(
            "database.commit", lambda: self._purge(until, set(open_sagas), after, limit, delete)
        )

    def _purge(self, until: datetime, kept: set[UUID], after: UUID | None, limit: int, delete: bool) -> PurgePage:
        places = [place for place in self.barrier if after is None or place[0].saga_id > after]
        places = sorted(places, key=lambda place: (place[0].saga_id, place[0].step, place[1]))[:limit]
        page = {key.saga_id for key, _ in places}
        young = {key.saga_id for (key, _), settled in self.barrier.items() if settled.at > until}
        locked = {key.saga_id for key, _ in places if not self.locks.is_free(key, self)}
        quiet = page - young - kept - locked
        expired = [place for place in self.barrier if place[0].saga_id in quiet]
        for place in expired if delete else ():
            del self.barrier[place]
        goes_on = len(places) == limit and bool(page - young)
        counted = Counter(operation.value for _, operation in expired)
        return PurgePage(len(places), counted, places[-1][0].saga_id if goes_on else None)

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete, or count, the oldest messages that were put aside so long ago."""
        until = self.clock() - timedelta(seconds=kept_seconds)
        return await self.line.call("database.commit", lambda: purge_aside(self.aside, until, limit, delete=delete))


class SimulatedParticipantTransaction(Generic[Tx]):
    """A `ParticipantTransaction`."""

    def __init__(self, database: SimulatedTransactions[Tx]) -> None:
        self.process = CURRENT.get()
        self._database = database
        self._began_at: datetime = database.clock()
        self._entered: dict[tuple[BarrierKey, Operation], int] = {}
        self._settled: dict[tuple[BarrierKey, Operation], _Settled] = {}
        self._tx: Tx | None = None
        self._ended = False

    def begin(self) -> None:
        """The business may be written to."""
        self._expect_open()
        self._tx = self._database.business.begin()

    @property
    def tx(self) -> Tx:
        """What handlers are given."""
        assert self._tx is not None, "it has begun"
        return self._tx

    async def enter_actions(self, entries: Sequence[Entry]) -> Sequence[Entered | Recorded | Fenced]:
        """Enter the barrier for actions."""

        def enter(entry: Entry) -> Entered | Recorded | Fenced:
            recorded = self._recorded(entry.key, Operation.ACTION, entry.round)
            if recorded is not None:
                return Recorded(recorded)
            if self._of(entry.key, Operation.COMPENSATION) is not None:
                return Fenced()
            self._entered[entry.key, Operation.ACTION] = entry.round
            return Entered()

        return await self._enter(entries, Operation.ACTION, enter)

    async def enter_compensations(self, entries: Sequence[Entry]) -> Sequence[Undo | Recorded]:
        """Enter the barrier for compensations, and fence the actions off."""

        def enter(entry: Entry) -> Undo | Recorded:
            recorded = self._recorded(entry.key, Operation.COMPENSATION, entry.round)
            if recorded is not None:
                return Recorded(recorded)
            self._entered[entry.key, Operation.COMPENSATION] = entry.round
            action = self._of(entry.key, Operation.ACTION)
            return Undo(None if action is None else action.outcome)

        return await self._enter(entries, Operation.COMPENSATION, enter)

    async def guard(self) -> None:
        """From here on, what is written can be taken back by itself."""
        await self._database.line.call("database.enter", lambda: self._inside(self._database.business.guard))

    async def take_back(self) -> None:
        """Undo what was written since the latest `guard`."""
        await self._database.line.call("database.enter", lambda: self._inside(self._database.business.take_back))

    async def record(self, settled: Sequence[Settled]) -> None:
        """Keep the outcomes of operations that were entered.

        Raises:
            RuntimeError: one was not entered in this transaction, or is recorded already.
        """
        for one in settled:
            place = (one.key, Operation(one.operation))
            if place not in self._entered:
                raise RuntimeError(
                    f"the {one.operation} of {one.key} was not entered in this transaction, or is recorded already"
                )
            self._settled[place] = _Settled(self._entered.pop(place), one.refusal, one.outcome, self._database.clock())

    def expect_all_recorded(self) -> None:
        """Nothing may be committed whose outcome could not be told to duplicates."""
        if self._entered:
            raise RuntimeError(f"entered, but without an outcome to tell to duplicates: {list(self._entered)}")

    def commit(self) -> None:
        """Make it so, at once and for all to see."""
        self._expect_open()
        database = self._database
        database.business.commit(self.tx)
        database.barrier |= self._settled
        self._tx = None
        if database.witness is not None:
            for (key, operation), settled in self._settled.items():
                database.witness.settled(key, operation, settled.outcome)
        self.end()

    def end(self) -> None:
        """It is over; what is not committed never was."""
        if self._ended:
            return
        self._ended = True
        if self._tx is not None:
            self._database.business.roll_back(self._tx)
        self._database.ended(self)

    async def _lock(self, key: BarrierKey) -> None:
        await self._database.locks.take(key, self)
        if self._ended:  # it was rolled back while it waited
            self._database.locks.release(self)
        self._expect_open()

    async def _enter(
        self, entries: Sequence[Entry], operation: Operation, enter: Callable[[Entry], Met]
    ) -> Sequence[Met]:
        expect_distinct(entries)
        for key in sorted((entry.key for entry in entries), key=lambda key: (key.saga_id, key.step)):
            await self._lock(key)

        def do() -> Sequence[Met]:
            self._expect_open()
            return [enter(entry) for entry in entries]

        met = await self._database.line.call("database.enter", do)
        self._expect_open()
        if self._database.witness is not None:
            for entry, how in zip(entries, met, strict=True):
                self._database.witness.met(entry.key, how, operation)
        return met

    def _of(self, key: BarrierKey, operation: Operation) -> _Settled | None:
        place = (key, operation)
        return self._settled.get(place) or self._database.barrier.get(place)

    def _recorded(self, key: BarrierKey, operation: Operation, round_: int) -> bytes | None:
        """What settles an operation in this round, if anything does."""
        settled = self._of(key, operation)
        return None if settled is None or (settled.refusal and settled.round < round_) else settled.outcome

    def _inside(self, do: Callable[[Tx], None]) -> None:
        self._expect_open()
        do(self.tx)

    def _expect_open(self) -> None:
        if self._ended:
            raise Unavailable("the transaction was rolled back, since its connection was lost")

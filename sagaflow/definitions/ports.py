"""The ports: what the runners need from the world, and what an adapter has to keep.

Each has a conformance suite that every adapter passes (tests/contracts).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, Self, TypeVar
from uuid import UUID

import msgspec

from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.messages import Announcement
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
)

Tx = TypeVar("Tx")
Tx_co = TypeVar("Tx_co", covariant=True)


# ------------------------------------------------------------------------------------------- store


class SagaStore(Protocol):
    """Keeps sagas, durably. All times are by its own clock.

    Every method raises `Unavailable` when the database cannot be reached or the connection was lost;
    whatever was not acknowledged may then have happened or not.
    """

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""

    def transaction(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """One transaction: committed when left, rolled back when left by an exception."""
        ...

    def alone(self) -> AbstractAsyncContextManager[LoneTransaction]:
        """A transaction of new sagas, or of one that goes on, with as few statements as can be: what it writes is one,
        which is committed by itself. Nothing is locked before that; it tells if another was faster."""
        ...

    def enlist(self, connection: object) -> StoreTransaction:
        """A view of the caller's own open transaction, which the caller commits.

        Raises:
            TypeError: `connection` is not of the kind that this store can join.
        """
        ...

    async def add_plans(self, plans: Sequence[Plan]) -> None:
        """Keep plans, by their hash; those that are known already are left alone."""

    async def plans(self, hashes: Sequence[str]) -> Sequence[Plan]:
        """The plans of these hashes, as far as they are known."""
        ...

    async def claim_due(self, coordinator: str, limit: int, hold_seconds: float) -> Sequence[Due]:
        """Sagas of this coordinator name whose time has come, earliest first. Nobody else is given
        them for `hold_seconds`, after which they are due again unless they were saved meanwhile."""
        ...

    async def keep_lease(self, coordinator: str, process: UUID, seconds: float) -> None:
        """Say that this process is alive, for so long."""

    async def drop_lease(self, coordinator: str, process: UUID, *, resend: bool) -> None:
        """Say that this process ends. With `resend`, what it had in flight is to be sent again."""

    async def take_over(self, coordinator: str) -> int:
        """Put the open sagas of processes whose lease has lapsed on the agenda, to be re-sent now; forget
        those processes whose lease lapsed `LAPSED_KEPT_SECONDS` ago. Returns how many sagas."""
        ...

    async def open_sagas(self, coordinator: str, process: UUID) -> Sequence[OpenSagas]:
        """How many sagas of this coordinator name are open, by saga and status. Nothing, unless this process is the
        first, by its id, of those of the name that are alive: so one of them counts for all."""
        ...

    async def sample(self, after: UUID, later: UUID, limit: int) -> StoreSample:
        """What goes on at this moment: what is open, the latest `limit` of it; how many sagas of each name have an id
        after these two, of which `after` is the smaller; what is due; and what is put aside, at most `limit`. All but
        the last is of one moment. However many sagas have ended, only the others and those after `after` are read."""
        ...

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with."""

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, each with its number."""
        ...

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        ...

    async def keep_announcements(self, announcements: Sequence[Announcement], live_seconds: float) -> None:
        """Keep what participants have announced just now, once for each (participant, host, hash); they count as
        live for so long. What the same participants have announced is forgotten a day after it was heard last."""

    async def announcements(self) -> Sequence[KeptAnnouncement]:
        """What is kept of them, by participant, then the one that was heard last first."""
        ...

    async def find(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, in the order of their ids; nothing is locked."""
        ...

    async def list(self, matching: SagaFilter, limit: int) -> Sequence[SagaRecord]:
        """The latest sagas that match, the last one first. All are found page by page: the next page is `before`
        the last id of this one."""
        ...

    async def latest_errors(self, saga_ids: Sequence[UUID]) -> Sequence[LatestError]:
        """What went wrong last with each operation of these sagas of which the journal holds an error, in the
        order of their ids, steps and operations."""
        ...

    async def journal(self, saga_id: UUID) -> Sequence[JournalEntry]:
        """The journal of a saga, from its beginning."""
        ...

    async def journals(self, saga_ids: Sequence[UUID]) -> Sequence[JournalEntry]:
        """The journals of these sagas, in the order of their ids, each from its beginning."""
        ...

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas; nothing is locked."""
        ...

    async def deferrals(self, attempts: Sequence[Attempt]) -> Sequence[Deferral]:
        """Since when these attempts wait, as far as they do, and why. However long a saga has waited, only the
        ends of its journal are read."""
        ...

    async def purge(
        self, kept_seconds: Mapping[SagaStatus, float], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Look at the next `limit` sagas in the order of their ids, beginning after one of them, and delete those,
        with all that belongs to them, that ended so long ago in that status; without `delete`, only count them.

        No open saga is ever deleted, whatever is asked for. Waits for nobody: a saga that somebody has locked is
        left for the next purge.
        """
        ...

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete the oldest messages that were put aside so long ago, `limit` of them at most, or count them.
        Returns how many."""
        ...


class Overtaken(Exception):
    """A saga was written by another since it was loaded. Nothing of this one's was written."""


class LoneTransaction(Protocol):
    """What can be done at once: `insert`; or `load` of one saga, and then `save`. Nothing can be taken back."""

    @property
    def now(self) -> datetime:
        """The time of the store when sagas were loaded (timezone aware, UTC); before that, when the transaction began,
        and that may be a guess which is some milliseconds off."""
        ...

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """As in any transaction."""
        ...

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The one saga of this id, if it exists, as it was committed last; nobody is kept from writing it."""
        ...

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of the saga that was loaded, as they were then."""
        ...

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write the change of the saga that was loaded; waits for who has it locked. Returns, and forgets, who watches
        it if it has ended or is stuck now.

        Raises:
            Overtaken: anybody has written it, or a payload of it, since it was loaded.
        """
        ...


class StoreTransaction(LoneTransaction, Protocol):
    """What can be done in one transaction. Each method is one or two statements, however many sagas."""

    async def insert(self, changes: Sequence[Change], process: UUID) -> Sequence[SagaRecord]:
        """Write new sagas, all with their first journal rows and payloads, and put them on the agenda.

        Those whose (saga, key) exists already are not written; the existing ones are returned.
        """
        ...

    async def load(self, saga_ids: Sequence[UUID]) -> Sequence[SagaRecord]:
        """The sagas of these ids that exist, locked in the order of their ids until the end."""
        ...

    async def payloads(self, saga_ids: Sequence[UUID]) -> Sequence[Payload]:
        """All payloads of these sagas."""
        ...

    async def save(self, changes: Sequence[Change], process: UUID) -> Sequence[Watcher]:
        """Write changes of loaded sagas. Returns, and forgets, who watches those that have ended or are
        stuck now. When a saga ended, and was updated last, is not moved by what is written of it afterwards.

        Raises:
            RuntimeError: a stored version is not the expected one.
        """
        ...

    async def erase(self, saga_ids: Sequence[UUID]) -> None:
        """Delete the payloads of those of these sagas, which were loaded, that have ended; and the messages that were
        put aside and name one of them, for they may hold the same."""

    async def resent(self, saga_ids: Sequence[UUID], wake_at: Sequence[datetime | None], process: UUID) -> None:
        """This process has what these sagas have in flight now; look at them again at `wake_at`
        (None: only when something happens)."""

    async def watch(self, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
        """Remember who watches; returns those sagas that exist. Of these, the ones that have ended or are
        stuck are not remembered. No change of a saga can slip between."""
        ...


# --------------------------------------------------------------------------------------- transport


class QueueKind(StrEnum):
    """What a queue is for. Each kind is apart, so that one cannot starve another."""

    __hash__ = str.__hash__  # that of enums is a call of Python, and addresses are asked for with each message

    COMMANDS = "commands"
    COMPENSATIONS = "compensations"
    INQUIRIES = "inquiries"
    """What nobody takes in time is worth nothing, and is not kept for a person either."""
    REPLIES = "replies"
    REQUESTS = "requests"
    ANSWERS = "answers"
    """Belongs to one process and goes with it; what nobody takes is dropped."""


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where messages go: `commands`, `compensations` and `inquiries` of a participant, `replies` and `requests` of a
    coordinator name, `answers` of a process."""

    kind: QueueKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"


def addresses_of_participant(name: str) -> Sequence[Address]:
    """The addresses that the processes of a participant read."""
    return [Address(kind, name) for kind in (QueueKind.COMMANDS, QueueKind.COMPENSATIONS, QueueKind.INQUIRIES)]


def addresses_of_coordinator(name: str) -> Sequence[Address]:
    """The addresses that the processes of a coordinator name share; each has one more of its own, for answers."""
    return [Address(kind, name) for kind in (QueueKind.REPLIES, QueueKind.REQUESTS)]


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A message on its way: one JSON object, not an array.

    After `expires_seconds` in its queue it is worth nothing, and the transport may drop it instead of delivering it.
    How long it has been there is measured by the transport's own clock. None: it waits for as long as it takes.
    """

    to: Address
    message: bytes
    expires_seconds: float | None = None


class Delivery(Protocol):
    """A body that has arrived. It comes again, here or elsewhere, unless it is acknowledged."""

    @property
    def body(self) -> bytes:
        """A JSON array of messages, as it came; nothing about it has been checked."""
        ...

    @property
    def again(self) -> bool:
        """Whether it may have been delivered before (a hint: false does not mean never)."""
        ...

    async def ack(self) -> None:
        """It is dealt with. Does nothing if the connection it came by is gone: it will come again."""


EXPIRED: Final = "expired"
"""Why a transport gave a body up: all of its letters have expired."""

DELIVERY_LIMIT: Final = "delivery_limit"
"""... it came back too often without being acknowledged: whoever takes it dies of it."""


class DeadDelivery(Delivery, Protocol):
    """A body that the transport gave up. It, too, comes again unless it is acknowledged."""

    @property
    def reason(self) -> str:
        """Why: `EXPIRED`, `DELIVERY_LIMIT`, or the transport's own word for something else."""
        ...


class Subscription(Protocol):
    """A queue that is being consumed, through reconnects, until it is cancelled."""

    async def cancel(self) -> None:
        """No more deliveries; those that are out can still be acknowledged."""


class Transport(Protocol):
    """Carries messages: at least once, in any order. An async context manager that connects and closes.

    Entering raises `Unavailable` when the broker cannot be reached.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    @property
    def durable(self) -> bool:
        """Whether published messages outlive this process."""
        ...

    def troubles(self) -> Sequence[Trouble]:
        """What keeps it from carrying messages now, as far as it knows without asking anybody: a connection that is
        lost, a queue that is not consumed. Nothing, unless it is entered."""
        ...

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Hand over messages, joined to bodies per address within the bounds of `limits`. On return all
        are safe in their queues (for answers: handed over or dropped). Queues that are missing are made.

        A body that has waited for longer than any of its letters asks for is not delivered. No letter is dropped
        before its own time, and none that does not expire is ever dropped with others that do.

        Raises:
            Unavailable: at least one may not have arrived, or may; publish all of them again.
        """

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        """Consume a queue, making it if it is missing. `receive` must only take note: it is called for
        each delivery, at most `prefetch` of which are out unacknowledged."""
        ...

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        """Consume what the transport gave up instead of delivering it to this address, in the same way; for the
        owner of the address alone. A transport may drop what has expired without telling, and one that gives up
        nothing else never calls `receive`.

        Raises:
            ValueError: the address is for answers, of which nothing is kept; or `prefetch` is less than 1.
        """
        ...


# ------------------------------------------------------------------------------------ transactions


class BarrierKey(msgspec.Struct, frozen=True, gc=False):
    """Which step of which saga a participant's transaction is for."""

    saga_id: UUID
    step: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An operation that is to be entered, and in which round it was asked for."""

    key: BarrierKey
    round: int


def expect_distinct(entries: Sequence[Entry]) -> None:
    """Raises `ValueError` if a key is there twice."""
    if len({entry.key for entry in entries}) < len(entries):
        raise ValueError("the same step of the same saga is to be entered twice in one call")


class Entered(msgspec.Struct, frozen=True, gc=False):
    """The operation is to be done in this transaction."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """The operation was settled before; this is the outcome that was recorded."""

    outcome: bytes


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """The action's compensation was here before: the action must not be done, ever."""


class Undo(msgspec.Struct, frozen=True, gc=False):
    """The compensation is to be done in this transaction, and the action is fenced off by it.

    `action` is the recorded outcome of the action; None if it never committed here.
    """

    action: bytes | None


class Settled(msgspec.Struct, frozen=True, gc=False):
    """An operation that was entered, and its outcome (JSON), which duplicates are told.

    A refusal holds for its round.
    """

    key: BarrierKey
    operation: Operation
    outcome: bytes
    refusal: bool = False


class Transactions(Protocol[Tx_co]):
    """Opens transactions in the participant's own database.

    Methods raise `Unavailable` when the database cannot be reached or the connection was lost; a
    transaction may then have been committed or not, and entering the barrier again tells.
    """

    async def check(self) -> None:
        """Raises `SchemaError` unless the tables are there and of this version."""

    def begin(self) -> AbstractAsyncContextManager[ParticipantTransaction[Tx_co]]:
        """One transaction: committed when left, rolled back when left by an exception."""
        ...

    async def put_aside(self, messages: Sequence[PutAside]) -> None:
        """Keep messages that could not be dealt with, in a transaction of its own."""

    async def list_put_aside(self, limit: int) -> Sequence[PutAside]:
        """The latest of them, each with its number."""
        ...

    async def remove_put_aside(self, numbers: Sequence[int]) -> int:
        """Forget those of these numbers; returns how many there were."""
        ...

    async def purge(
        self, kept_seconds: float, open_sagas: Collection[UUID], after: UUID | None, limit: int, *, delete: bool
    ) -> PurgePage:
        """Look at the next `limit` rows of the barrier in the order of their sagas, beginning after one, and delete
        those of each saga to which nothing has happened here for so long; without `delete`, only count them. Those
        of `open_sagas` are kept. Waits for nobody."""
        ...

    async def purge_put_aside(self, kept_seconds: float, limit: int, *, delete: bool) -> int:
        """Delete the oldest messages that were put aside so long ago, `limit` of them at most, or count them.
        Returns how many."""
        ...


class ParticipantTransaction(Protocol[Tx_co]):
    """A transaction of a participant, with the barrier in it, for one operation or for many at once.

    The barrier is two rows at most for a step of a saga: one for its action, one for its compensation.
    Each is written by a unique insert, so that of two transactions that meet, the second waits for the
    first. That settles duplicates, a compensation that comes before its action, and a compensation that
    races an action still open.

    Each method is one statement, however many operations. The keys of one call are distinct, and their rows are
    written in the order of the keys, whatever the order of the call: two transactions that enter the same ones in
    one call each do not deadlock.
    """

    @property
    def tx(self) -> Tx_co:
        """What handlers are given: a connection with this transaction open."""
        ...

    async def enter_actions(self, entries: Sequence[Entry]) -> Sequence[Entered | Recorded | Fenced]:
        """Enter the barrier for actions; returns how it met each. A refusal that was recorded in an earlier round
        is forgotten: a person wants the action tried again.

        Raises:
            ValueError: a key is there twice.
        """
        ...

    async def enter_compensations(self, entries: Sequence[Entry]) -> Sequence[Undo | Recorded]:
        """Enter the barrier for compensations, and fence their actions off; returns how it met each. A refusal of
        an earlier round is forgotten likewise.

        Raises:
            ValueError: a key is there twice.
        """
        ...

    async def guard(self) -> None:
        """From here on, what is written can be taken back by itself; what was written before no longer.

        Raises:
            RuntimeError: a handler has ended the transaction, or went on after a statement of it had failed.
        """

    async def take_back(self) -> None:
        """Undo what was written since the latest `guard`, and nothing else. What was entered before stays entered.

        Raises:
            RuntimeError: a handler has ended the transaction.
        """

    async def record(self, settled: Sequence[Settled]) -> None:
        """Keep the outcomes of operations that were entered in this transaction.

        Raises:
            RuntimeError: one was not entered in this transaction, or is recorded already.
        """

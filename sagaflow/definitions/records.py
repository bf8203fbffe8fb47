"""What a store keeps: sagas, their journal and their payloads, as plain values.

Those that come in great numbers are structs which the garbage collector does not look at (`gc=False`): they are made in
C, and hold nothing that could lead back to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from sagaflow.core import events
from sagaflow.core.effects import SendCommand
from sagaflow.core.events import Event
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import SagaState, SagaStatus
from sagaflow.definitions.messages import Announcement, ErrorInfo
from sagaflow.definitions.remembering import REMEMBERED_MAX, Remembered


class PayloadKind(StrEnum):
    """What a stored payload is."""

    INPUT = "input"
    """The input of the saga; belongs to no step."""
    COMMAND = "command"
    """What was sent for the action of a step, in this round and those after it; its compensation is given what was
    sent in the round in which the action was done."""
    UNDO = "undo"
    """What is sent for the compensation of a step instead, because a person said so."""
    RESULT = "result"
    """What the action of a step returned; its round is the one in which it was done."""


INPUT_STEP: Final = ""
"""The step of the payload that belongs to no step."""


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A payload of a saga, written once and never changed."""

    saga_id: UUID
    step: str
    kind: PayloadKind
    round: int
    body: bytes


class Timer(msgspec.Struct, frozen=True, gc=False):
    """When to look after an operation again. `step` None is the deadline of the saga."""

    due_at: datetime
    step: str | None = None
    operation: Operation = Operation.ACTION
    round: int = 0
    attempt: int = 0


NO_PROCESS: Final = UUID(int=0)
"""The owner of a saga whose commands nobody has sent yet."""


class SagaRecord(msgspec.Struct, frozen=True, gc=False):
    """A saga as it is stored.

    `version` counts the rows of its journal and guards every write. `wake_at` is when the store's agenda
    has it looked at again, which may be earlier than the first timer is due, never later.
    """

    saga_id: UUID
    saga: str
    key: str
    coordinator: str
    plan_hash: str
    secret: bytes
    traceparent: str
    input_digest: bytes
    version: int
    state: SagaState
    timers: tuple[Timer, ...] = ()
    wake_at: datetime | None = None
    owner: UUID | None = None
    """The process that wrote it last and has sent what is in flight; none, or a nil one: nobody has yet."""
    started_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands."""
        return self.state.status


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """One row of the journal: what happened, what it caused, and who says so."""

    saga_id: UUID
    seq: int
    event: Event
    status: SagaStatus
    """The status after it."""
    commands: tuple[SendCommand, ...] = ()
    ignored: str | None = None
    """Why the event changed nothing, if so."""
    error: ErrorInfo | None = None
    origin: str = ""
    """Who reported it: participant@host, coordinator@host."""
    actor: str | None = None
    """The person or program that asked for it, if one did."""
    reason: str | None = None
    traceparent: str | None = None
    at: datetime | None = None
    """Set by the store, from its clock."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one transaction writes for one saga.

    `record` is the saga afterwards; the stored version must still be `expected_version`. An ended saga
    has no timers and leaves the agenda. `resend` asks for what is in flight to be sent again when the
    agenda comes to it.
    """

    record: SagaRecord
    expected_version: int
    journal: Sequence[JournalEntry] = ()
    payloads: Sequence[Payload] = ()
    wake_changed: bool = False
    resend: bool = False
    watcher: str | None = None
    """Of a new saga: who wants to know when it has ended or is stuck, from its first row on."""


class Due(msgspec.Struct, frozen=True, gc=False):
    """A saga that the agenda has come to."""

    saga_id: UUID
    resend: bool


class Watcher(msgspec.Struct, frozen=True, gc=False):
    """Somebody who wants to know when a saga has ended or is stuck: the name of an answers queue."""

    saga_id: UUID
    address: str


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """Which attempt of which operation of which saga."""

    saga_id: UUID
    step: str
    operation: Operation
    round: int
    attempt: int


class Deferral(msgspec.Struct, frozen=True, gc=False):
    """An attempt that could not be made: since when, and why it could not when it was tried last."""

    attempt: Attempt
    since: datetime
    error: ErrorInfo | None


class PutAside(msgspec.Struct, frozen=True, gc=False):
    """A message that could not be dealt with, kept for a person."""

    source: str
    """The queue it came from."""
    reason: str
    body: bytes
    """As much of it as is kept."""
    at: datetime | None = None
    number: int | None = None
    """Given by whoever keeps it, and never given again."""


@dataclass(frozen=True, slots=True)
class KeptAnnouncement:
    """What a process of a participant has announced, kept for people."""

    announcement: Announcement
    heard_at: datetime
    is_live: bool
    """Whether the process answered so lately that it counts as live, by the clock of the store."""


class LatestError(msgspec.Struct, frozen=True, gc=False):
    """What went wrong last with one operation of a saga."""

    saga_id: UUID
    step: str
    operation: Operation
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class OpenSagas:
    """How many sagas of one name are open in one status, and the age of the oldest of them."""

    saga: str
    status: SagaStatus
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class StoreSample:
    """What goes on in a store at one moment, of all coordinators."""

    at: datetime
    """By the clock of the store."""
    open: Sequence[OpenSagas]
    all_counted: bool
    """False: so many are open that only the latest of them were counted."""
    late: int
    """How many are due, and nobody has taken them yet."""
    late_seconds: float
    """Since when the one is due that has waited longest."""
    put_aside: int
    """How many messages are put aside, as far as they were counted."""
    began: Mapping[str, tuple[int, int]]
    """By the name of the saga: how many have an id after the first one that was asked for, and after the second."""


@dataclass(frozen=True, slots=True)
class SagaFilter:
    """Which sagas to list; None does not restrict."""

    saga: str | None = None
    statuses: frozenset[SagaStatus] = field(default_factory=frozenset)
    """Empty: all."""
    key: str | None = None
    before: UUID | None = None
    """Only sagas that are older than this one; the last one of a page begins the next."""
    waiting: bool = False
    """Only open sagas with an operation that is deferred: nobody can do it, or ask for it, now."""
    idle_seconds: float | None = None
    """Only those of which nothing was written for so long, by the clock of the store."""


@dataclass(frozen=True, slots=True)
class PurgePage:
    """What a look at the next rows of a purge has found."""

    looked_at: int
    expired: Mapping[str, int]
    """How many have expired: sagas by their status, rows of a barrier by their operation."""
    last: UUID | None
    """The saga after which the next page begins; None: nothing that comes later can have expired yet."""


_STATE = msgspec.json.Decoder(SagaState)
_TIMERS = msgspec.json.Decoder(tuple[Timer, ...])
_PLAN = msgspec.json.Decoder(Plan)
_ERROR = msgspec.json.Decoder(ErrorInfo)
_COMMANDS = msgspec.json.Decoder(tuple[SendCommand, ...])
_ANNOUNCEMENT = msgspec.json.Decoder(Announcement)

_EVENTS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        events.Started,
        events.Succeeded,
        events.Refused,
        events.Failed,
        events.Unserved,
        events.TimerFired,
        events.CommandFailed,
        events.CommandDeferred,
        events.DeadlinePassed,
        events.CancelRequested,
        events.RetryRequested,
        events.ReplyGiven,
        events.SkipRequested,
        events.AbandonRequested,
        events.Erased,
    )
}


def encode(value: SagaState | Sequence[Timer] | Plan | ErrorInfo | Sequence[SendCommand] | Announcement) -> str:
    """One of the values below as JSON text."""
    return msgspec.json.encode(value).decode()


encode_state: Final[Remembered[SagaState, str]] = Remembered(encode)
"""The same for a state."""


@lru_cache(maxsize=REMEMBERED_MAX)
def encode_commands(commands: tuple[SendCommand, ...]) -> str:
    """The same for commands."""
    return encode(commands)


@lru_cache(maxsize=REMEMBERED_MAX)
def decode_state(text: str) -> SagaState:
    """A state, from what `encode_state` made of it. Equal texts give the same object."""
    return _STATE.decode(text)


def decode_timers(text: str | bytes) -> tuple[Timer, ...]:
    """Timers, from what `encode` made of them."""
    return _TIMERS.decode(text)


def decode_plan(text: str | bytes) -> Plan:
    """A plan, from what `encode` made of it; checked again."""
    return _PLAN.decode(text)


def decode_error(text: str | bytes) -> ErrorInfo:
    """An error, from what `encode` made of it."""
    return _ERROR.decode(text)


def decode_commands(text: str | bytes) -> tuple[SendCommand, ...]:
    """Commands, from what `encode` made of them."""
    return _COMMANDS.decode(text)


def decode_announcement(text: str | bytes) -> Announcement:
    """An announcement, from what `encode` made of it."""
    return _ANNOUNCEMENT.decode(text)


@lru_cache(maxsize=REMEMBERED_MAX)
def encode_event(event: Event) -> str:
    """An event as JSON text: its fields, and `event` for its kind."""
    fields = msgspec.to_builtins(event)
    return msgspec.json.encode({"event": type(event).__name__, **fields}).decode()


def decode_event(text: str | bytes) -> Event:
    """An event, from what `encode_event` made of it."""
    fields = msgspec.json.decode(text)
    kind = _EVENTS[fields.pop("event")]
    event: Event = msgspec.convert(fields, kind)
    return event

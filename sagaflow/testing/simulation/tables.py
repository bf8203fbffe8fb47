"""What is committed in a simulated store, and what can be asked of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from msgspec import Struct, structs

from sagaflow.core.events import CommandDeferred, Unserved
from sagaflow.core.plan import Plan
from sagaflow.core.state import OpStatus
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX
from sagaflow.definitions.messages import Announcement
from sagaflow.definitions.records import Attempt, JournalEntry, Payload, PutAside, SagaFilter, SagaRecord

Clock = Callable[[], datetime]


class Agenda(Struct, frozen=True):
    """When a saga is to be looked at; see the schema of the real stores."""

    coordinator: str
    process: UUID | None
    wake_at: datetime | None
    due_at: datetime | None
    resend: bool
    watchers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """An announcement, and until when who made it counts as live."""

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
    announcements: dict[tuple[str, str, str], Heard] = field(default_factory=dict)


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


def is_match(matching: SagaFilter, record: SagaRecord, now: datetime) -> bool:
    """Whether a filter lets a saga through."""
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


def is_about(event: Unserved | CommandDeferred, attempt: Attempt) -> bool:
    """Whether an event is about an attempt."""
    about = (event.step, event.operation, event.round, event.attempt)
    return about == (attempt.step, attempt.operation, attempt.round, attempt.attempt)


def is_of(agenda: Agenda | None, coordinator: str, processes: set[UUID]) -> bool:
    """Whether one of these processes has what is in flight."""
    return agenda is not None and agenda.coordinator == coordinator and agenda.process in processes

"""The trace of a saga, made from its journal: a pure function, so that it is the same whoever tells it.

    saga checkout                                  the first span, or a child of the caller's
    ├── step payments.authorize_card               from its first command until it is settled
    │   ├── attempt payments.authorize_card        from the command until the answer, or until it came too late
    │   │   └── process payments.authorize_card    the handler, told by the participant
    │   └── attempt payments.authorize_card
    └── compensation payments.authorize_card
        └── attempt payments.authorize_card

The ids of all spans but the last kind follow from what they are (`ids.span_id_of`), and that of an attempt is in its
command, in the reply and so in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sagaflow.core import events
from sagaflow.core.machine import advance
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import ENDED, OPEN, SagaState, SagaStatus, initial
from sagaflow.definitions import ids
from sagaflow.definitions.ports import Address, QueueKind
from sagaflow.definitions.records import JournalEntry, SagaRecord

Attributes = Mapping[str, str | int]

TIMEOUT: Final = "timeout"
"""The `error.type` of an attempt that was not answered in time."""


@dataclass(frozen=True, slots=True)
class ToldSpan:
    """A span that is over. `error_type` is why it has failed, if it has."""

    name: str
    span_id: str
    parent_id: str | None
    began: datetime
    ended: datetime
    attributes: Attributes
    is_attempt: bool = False
    error_type: str | None = None


def spans_of(record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> Sequence[ToldSpan]:
    """What was not told before of a saga that has just ended or become stuck, the outermost spans last.

    It is told each time when the saga ends or becomes stuck, so what was told before is all until it was stuck.
    """
    telling = _Telling(record, plan)
    status = SagaStatus.RUNNING
    for place, entry in enumerate(journal):
        telling.take(entry)
        if entry.status is SagaStatus.STUCK is not status and place < len(journal) - 1 and _went_on(journal[place:]):
            telling.spans.clear()
        status = entry.status
    return telling.spans


def _went_on(rest: Sequence[JournalEntry]) -> bool:
    """Whether the saga became stuck and this was told: it is not the transition that is told now."""
    return any(entry.status is not SagaStatus.STUCK for entry in rest)


@dataclass(slots=True)
class _Telling:
    record: SagaRecord
    plan: Plan
    spans: list[ToldSpan] = field(default_factory=list)
    began: datetime | None = None
    state: SagaState | None = None
    operations: dict[tuple[str, Operation], datetime] = field(default_factory=dict)
    errors: dict[tuple[str, Operation], str] = field(default_factory=dict)
    attempts: dict[tuple[str, Operation, int, int], datetime] = field(default_factory=dict)

    def take(self, entry: JournalEntry) -> None:
        """One entry more has happened."""
        assert entry.at is not None, "the store has set it"
        if entry.ignored is not None:
            return
        if self.began is None:
            self.began = entry.at
        before = self.state or initial(self.plan)
        after, _ = advance(self.plan, before, entry.event)
        self.state = after
        self._end_attempt(entry, entry.at)
        for step, old, new in zip(self.plan.steps, before.steps, after.steps, strict=True):
            for operation in Operation:
                was, now = old.op(operation).status, new.op(operation).status
                if was not in OPEN and now in OPEN:
                    self.operations[step.name, operation] = entry.at
                elif was in OPEN and now not in OPEN:
                    self._end_operation(step.name, operation, entry.at, now.value)
        for command in entry.commands:
            key = (command.step, command.operation, command.round, command.attempt)
            self.attempts.setdefault(key, entry.at)
            self.operations.setdefault(key[:2], entry.at)
        if entry.status in ENDED and before.status not in ENDED:
            self._end_saga(entry)

    def _end_attempt(self, entry: JournalEntry, at: datetime) -> None:
        event = entry.event
        if not isinstance(event, events.OfAttempt):
            return
        key = (event.step, event.operation, event.round, event.attempt)
        error_type = None if entry.error is None else entry.error.type
        match event:
            case events.Succeeded():
                self._attempt(key, at, "succeeded", None)
                self.errors.pop(key[:2], None)
            case events.Refused():
                self._attempt(key, at, "refused", error_type)
            case events.Failed():
                self._attempt(key, at, "failed", error_type)
            case events.TimerFired():
                self._attempt(key, at, "timeout", TIMEOUT)
            case events.CommandFailed() | events.CommandDeferred():
                self.attempts.pop(key, None)  # it was never sent
            case events.Unserved():
                pass  # it is made again under its number, and is one attempt
        if error_type is not None:
            self.errors[key[:2]] = error_type

    def _attempt(
        self, key: tuple[str, Operation, int, int], at: datetime, outcome: str, error_type: str | None
    ) -> None:
        began = self.attempts.pop(key, None)
        if began is None:
            return
        step, operation, round_, attempt = key
        if error_type is not None:
            self.errors[step, operation] = error_type
        planned = self.plan.steps[self.plan.index[step]]
        kind = QueueKind.COMMANDS if operation is Operation.ACTION else QueueKind.COMPENSATIONS
        saga_id = self.record.saga_id
        self.spans.append(
            ToldSpan(
                f"attempt {step}",
                ids.span_id_of(saga_id, *key),
                ids.span_id_of(saga_id, step, operation),
                began,
                at,
                {
                    **self._of_step(step, operation),
                    "sagaflow.round": round_,
                    "sagaflow.attempt": attempt,
                    "sagaflow.outcome": outcome,
                    "messaging.operation.name": "attempt",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": str(Address(kind, planned.participant)),
                },
                is_attempt=True,
                error_type=error_type,
            )
        )

    def _end_operation(self, step: str, operation: Operation, at: datetime, status: str) -> None:
        for key in [key for key in self.attempts if key[:2] == (step, operation)]:
            self._attempt(key, at, "overtaken", None)  # undone, or settled by a person, before it was answered
        began = self.operations.pop((step, operation), None)
        error_type = self.errors.pop((step, operation), None)
        if began is None:
            return
        name = "step" if operation is Operation.ACTION else "compensation"
        self.spans.append(
            ToldSpan(
                f"{name} {step}",
                ids.span_id_of(self.record.saga_id, step, operation),
                ids.span_id_of(self.record.saga_id),
                began,
                at,
                {**self._of_step(step, operation), "sagaflow.outcome": status.lower()},
                error_type=None if status in ("SUCCEEDED", "SKIPPED") else error_type,
            )
        )

    def _end_saga(self, entry: JournalEntry) -> None:
        assert self.began is not None
        assert entry.at is not None
        assert self.state is not None
        own, of_record = ids.span_id_of(self.record.saga_id), ids.span_id(self.record.traceparent)
        cause = self.state.cause
        attributes: dict[str, str | int] = {
            **self._of_saga(),
            "sagaflow.saga.version": self.plan.version,
            "sagaflow.saga.status": entry.status.value,
        }
        if cause is not None:
            attributes["sagaflow.saga.cause"] = cause.value
        self.spans.append(
            ToldSpan(
                f"saga {self.record.saga}",
                own,
                None if of_record == own else of_record,
                self.began,
                entry.at,
                attributes,
                error_type=None if entry.status is SagaStatus.COMPLETED or cause is None else cause.value,
            )
        )

    def _of_saga(self) -> dict[str, str | int]:
        return {
            "sagaflow.saga.id": str(self.record.saga_id),
            "sagaflow.saga.name": self.record.saga,
            "messaging.message.conversation_id": str(self.record.saga_id),
        }

    def _of_step(self, step: str, operation: Operation) -> dict[str, str | int]:
        return {**self._of_saga(), "sagaflow.step.name": step, "sagaflow.operation": operation.value}

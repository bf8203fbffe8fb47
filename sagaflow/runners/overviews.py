"""A saga for people to look at: where each of its operations stands, and why, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import Cause, OpStatus, SagaStatus, by_name
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import Attempt, JournalEntry, SagaRecord
from sagaflow.errors import SagaNotFound


@dataclass(frozen=True, slots=True)
class OperationOverview:
    """One operation of a step. `attempts` counts the commands of all rounds."""

    step: str
    op: Operation
    status: OpStatus
    attempts: int
    error: ErrorInfo | None
    """What went wrong last, if anything did; for one that is deferred, why nobody can do it now."""
    next_at: datetime | None = None
    """When it is looked at next, if it waits for a time."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A saga as it stands: the actions of all its steps, and the compensations that were asked for."""

    saga_id: UUID
    saga: str
    key: str
    status: SagaStatus
    cause: Cause | None
    trace_id: str
    steps: tuple[OperationOverview, ...]

    @property
    def stuck(self) -> Sequence[OperationOverview]:
        """What a person has to decide about."""
        return [operation for operation in self.steps if operation.status is OpStatus.STUCK]


def overview_of(record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry]) -> Overview:
    """The overview of a saga."""
    operations = [
        OperationOverview(
            step=name,
            op=operation,
            status=step.op(operation).status,
            attempts=_attempts(journal, name, operation),
            error=last_error(journal, name, operation),
            next_at=next_at_of(record, name, operation),
        )
        for name, step in by_name(plan, record.state).items()
        for operation in Operation
        if operation is Operation.ACTION or step.op(operation).status is not OpStatus.IDLE
    ]
    return Overview(
        saga_id=record.saga_id,
        saga=record.saga,
        key=record.key,
        status=record.status,
        cause=record.state.cause,
        trace_id=ids.trace_id(record.traceparent),
        steps=tuple(operations),
    )


async def look_at(store: SagaStore, saga_id: UUID) -> tuple[SagaRecord, Plan, Sequence[JournalEntry]]:
    """All that a store knows of a saga, but its payloads.

    Raises:
        SagaNotFound: there is no such saga.
    """
    records = await store.find([saga_id])
    if not records:
        raise SagaNotFound(f"there is no saga {saga_id}")
    (plan,) = await store.plans([records[0].plan_hash])
    return records[0], plan, await store.journal(saga_id)


@dataclass(frozen=True, slots=True)
class Wait:
    """An operation that nobody can do, or ask for, now: why, since when, and when it is tried next."""

    record: SagaRecord
    step: str
    op: Operation
    since: datetime
    error: ErrorInfo | None
    next_at: datetime | None


async def waits_of(store: SagaStore, records: Sequence[SagaRecord]) -> Sequence[Wait]:
    """What these sagas wait for, in their order: every operation of theirs that is deferred."""
    plans = {plan.hash: plan for plan in await store.plans(sorted({record.plan_hash for record in records}))}
    deferred = {
        Attempt(record.saga_id, name, operation, op.round, op.attempt if op.again else op.attempt + 1): record
        for record in records
        for name, step in by_name(plans[record.plan_hash], record.state).items()
        for operation in Operation
        if (op := step.op(operation)).status is OpStatus.DEFERRED
    }
    told = {one.attempt: one for one in await store.deferrals(list(deferred))}
    return [
        Wait(
            record=record,
            step=attempt.step,
            op=attempt.operation,
            since=told[attempt].since,
            error=told[attempt].error,
            next_at=next_at_of(record, attempt.step, attempt.operation),
        )
        for attempt, record in deferred.items()
        if attempt in told
    ]


def next_at_of(record: SagaRecord, step: str, operation: Operation) -> datetime | None:
    """When an operation is looked at next, if it waits for a time."""
    return next((timer.due_at for timer in record.timers if (timer.step, timer.operation) == (step, operation)), None)


def _attempts(journal: Sequence[JournalEntry], step: str, operation: Operation) -> int:
    """An attempt that nobody served is made again under its number, and counts once."""
    commands = [command for entry in journal for command in entry.commands]
    return len({(c.round, c.attempt) for c in commands if (c.step, c.operation) == (step, operation)})


def last_error(journal: Sequence[JournalEntry], step: str, operation: Operation) -> ErrorInfo | None:
    """What went wrong last with an operation, if the journal holds an error of it."""
    of_operation = (
        entry.error
        for entry in reversed(journal)
        if (getattr(entry.event, "step", None), getattr(entry.event, "operation", None)) == (step, operation)
    )
    return next((error for error in of_operation if error is not None), None)

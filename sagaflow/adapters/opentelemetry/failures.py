"""What fails, as log records: one for each attempt that failed, and one for each saga that is stuck or undone.

They are told by the coordinator that commits the failure, once, in the span of the attempt or of the saga. Participants
tell none, and no span has an exception in it. Of an error there is the type; its text, which may hold anything, is in
the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry._logs import SeverityNumber

from sagaflow.core import events
from sagaflow.core.state import DONE, Cause, OpStatus, SagaStatus
from sagaflow.definitions import ids
from sagaflow.definitions.observing import Moved
from sagaflow.definitions.records import JournalEntry

TIMEOUT: Final = "timeout"

GOES_ON: Final = DONE | {OpStatus.SENT, OpStatus.WAITING, OpStatus.DEFERRED}
"""Where an operation stands that a failed attempt is not the end of."""

EXPECTED: Final = {Cause.REFUSED, Cause.CANCELLED}
"""Why a saga may be undone although nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One log record. `span_id` is that of the attempt or the saga."""

    event: str
    severity: SeverityNumber
    body: str
    span_id: str
    attributes: Mapping[str, str | int]


def failures_of(moved: Moved) -> Iterator[Failure]:
    """What has failed in one transaction of a saga."""
    for entry in moved.journal:
        error_type = None if entry.ignored is not None else _error_type(moved, entry)
        if error_type is not None:
            yield _of_attempt(moved, entry.event, error_type)
    after = moved.after
    if after.status is moved.before.status:
        return
    match after.status:
        case SagaStatus.STUCK:
            yield _of_saga(moved, "sagaflow.saga.stuck", SeverityNumber.ERROR, "is stuck: a person has to decide")
        case SagaStatus.COMPENSATED:
            severity = SeverityNumber.INFO if after.state.cause in EXPECTED else SeverityNumber.WARN
            yield _of_saga(moved, "sagaflow.saga.undone", severity, f"is undone ({after.state.cause})")
        case SagaStatus.ABANDONED:
            yield _of_saga(moved, "sagaflow.saga.abandoned", SeverityNumber.WARN, "was given up as it stood")
        case _:
            pass


def _error_type(moved: Moved, entry: JournalEntry) -> str | None:
    """The type of the failure that an entry tells of. A refusal is none: it is an answer."""
    match entry.event:
        case events.Failed() | events.CommandFailed():
            return "_OTHER" if entry.error is None else entry.error.type
        case events.TimerFired() as event:
            before = moved.before.state.steps[moved.plan.index[event.step]].op(event.operation)
            was_open = before.status is OpStatus.SENT and (before.round, before.attempt) == (event.round, event.attempt)
            return TIMEOUT if was_open else None  # otherwise the delay before the next attempt is over
        case _:
            return None


def _of_attempt(moved: Moved, event: events.Event, error_type: str) -> Failure:
    assert isinstance(event, events.OfAttempt)
    key = (event.step, event.operation, event.round, event.attempt)
    status = moved.after.state.steps[moved.plan.index[event.step]].op(event.operation).status
    return Failure(
        "sagaflow.attempt.failed",
        SeverityNumber.WARN if status in GOES_ON else SeverityNumber.ERROR,
        f"{event.operation} of {event.step} has failed ({error_type}), attempt {event.attempt}",
        ids.span_id_of(moved.after.saga_id, *key),
        {
            **_names(moved),
            "sagaflow.step.name": event.step,
            "sagaflow.operation": event.operation.value,
            "sagaflow.round": event.round,
            "sagaflow.attempt": event.attempt,
            "error.type": error_type,
        },
    )


def _of_saga(moved: Moved, event: str, severity: SeverityNumber, what: str) -> Failure:
    cause = moved.after.state.cause
    attributes = {**_names(moved), "sagaflow.saga.status": moved.after.status.value}
    if cause is not None:
        attributes |= {"sagaflow.saga.cause": cause.value, "error.type": cause.value}
    body = f"saga {moved.after.saga} {what}"
    return Failure(event, severity, body, ids.span_id_of(moved.after.saga_id), attributes)


def _names(moved: Moved) -> dict[str, str | int]:
    return {"sagaflow.saga.id": str(moved.after.saga_id), "sagaflow.saga.name": moved.after.saga}

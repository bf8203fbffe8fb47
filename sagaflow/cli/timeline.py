"""A journal as a timeline: a line for each thing that happened. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    CommandDeferred,
    CommandFailed,
    DeadlinePassed,
    Erased,
    Event,
    Failed,
    OfAttempt,
    Refused,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
    Started,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.plan import Operation
from sagaflow.definitions.records import JournalEntry


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the time since the saga began, what happened, why or by whom, and what was asked for then."""

    time: str
    what: str
    why: str
    asks_for: Sequence[str]


def timeline(journal: Sequence[JournalEntry]) -> Sequence[Line]:
    """The lines of a journal."""
    return [
        Line(
            time=_since(journal[0], entry),
            what=_what(entry, journal[:place]),
            why=_why(entry),
            asks_for=[_attempt(c.step, c.operation, c.attempt) for c in entry.commands],
        )
        for place, entry in enumerate(journal)
    ]


def _since(first: JournalEntry, entry: JournalEntry) -> str:
    if first.at is None or entry.at is None:
        return ""
    return f"{(entry.at - first.at).total_seconds():+.3f}s"


def _what(entry: JournalEntry, before: Sequence[JournalEntry]) -> str:
    match entry.event:
        case TimerFired() as event:
            what = _timer_words(event, before)
        case CommandDeferred() as event if entry.error is not None:
            what = f"{_operation(event.step, event.operation)} is held up"
        case event:
            what = _words(event)
    return what if entry.ignored is None else f"{what}; nothing changes: {entry.ignored}"


def _why(entry: JournalEntry) -> str:
    said = [f"{entry.actor}: {entry.reason}"] if entry.actor is not None else []
    if entry.error is not None:
        said.append(entry.error.words)
    return "; ".join(said)


def _timer_words(event: TimerFired, before: Sequence[JournalEntry]) -> str:
    """A timer runs for an answer, or for the pause after a failure; what came before tells which."""
    attempt = (event.step, event.operation, event.round, event.attempt)
    was_answered = any(
        isinstance(entry.event, Failed | Unserved)
        and (entry.event.step, entry.event.operation, entry.event.round, entry.event.attempt) == attempt
        for entry in before
    )
    operation = _attempt(event.step, event.operation, event.attempt)
    of_operation = [entry.event for entry in before if _is_of(entry.event, event)]
    if of_operation and isinstance(of_operation[-1], CommandDeferred):
        return f"the pause before {operation} is over"
    return f"the pause after {operation} is over" if was_answered else f"{operation} was not answered in time"


def _is_of(event: Event, timer: TimerFired) -> bool:
    return isinstance(event, OfAttempt) and (event.step, event.operation) == (timer.step, timer.operation)


def _words(event: Event) -> str:
    match event:
        case Started():
            return "started"
        case DeadlinePassed():
            return "the deadline has passed"
        case CancelRequested():
            return "cancelled"
        case AbandonRequested():
            return "abandoned"
        case Erased():
            return "its payloads were erased"
        case CommandFailed():
            return f"the saga's own code could not make the command for {event.step}"
        case CommandDeferred():
            return f"the command for {event.step} cannot be made here now"
        case RetryRequested(other_input=True):
            return f"{_operation(event.step, event.operation)} retried by hand with other input"
        case ReplyGiven():
            return (
                f"{_operation(event.step, event.operation)} {'done' if event.succeeded else 'not done'}, said by hand"
            )
        case Failed(retry_after_seconds=None):
            return f"{_attempt(event.step, event.operation, event.attempt)} failed for good"
        case Failed():
            return f"{_attempt(event.step, event.operation, event.attempt)} failed"
        case _:
            return f"{_operation(event.step, event.operation)} {VERBS[type(event)]}"


VERBS: Mapping[type[object], str] = {
    Succeeded: "done",
    Refused: "refused",
    Unserved: "is served by nobody now",
    TimerFired: "timed out",
    RetryRequested: "retried by hand",
    SkipRequested: "skipped",
}


def _attempt(step: str, operation: Operation, attempt: int) -> str:
    again = f" (attempt {attempt})" if attempt > 1 else ""
    return f"{_operation(step, operation)}{again}"


def _operation(step: str, operation: Operation) -> str:
    return step if operation is Operation.ACTION else f"undo {step}"

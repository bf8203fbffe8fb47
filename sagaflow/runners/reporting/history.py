"""A saga with its journal, read once: what was tried, what went wrong, what is undone, and what is owed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sagaflow.core.effects import Ignored
from sagaflow.core.events import (
    CancelRequested,
    CommandDeferred,
    CommandFailed,
    DeadlinePassed,
    Event,
    Failed,
    OfAttempt,
    Refused,
    ReplyGiven,
    SkipRequested,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import Operation, Plan, PlannedStep, StepKind
from sagaflow.core.state import DONE, OPEN, OpState, OpStatus, SagaState, SagaStatus, initial
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.runners.overviews import last_error, next_at_of
from sagaflow.runners.repairs import OpenOperation, Repair, event_of
from sagaflow.runners.reporting.fingerprints import fingerprint_of
from sagaflow.runners.reporting.reports import AttemptOutcome, AttemptReport, ByHand, Failure, NotUndone, Owed, Undone
from sagaflow.runners.reporting.words import hand_words, join, operation_words, seconds_words, times


@dataclass
class History:
    """A saga with its journal, read once."""

    record: SagaRecord
    plan: Plan
    journal: Sequence[JournalEntry]
    attempts: tuple[AttemptReport, ...] = ()
    turned_by: JournalEntry | None = None
    """What had the saga undone."""
    state: SagaState = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.record.state
        self.attempts = tuple(self._read())

    # The journal.

    def _read(self) -> Iterator[AttemptReport]:
        found: dict[tuple[str, Operation, int, int], _Open] = {}
        state = initial(self.plan)
        for entry in self.journal:
            before = state
            state, _ = advance(self.plan, state, entry.event)
            if isinstance(entry.event, OfAttempt):
                event = entry.event
                one_of = found.get((event.step, event.operation, event.round, event.attempt))
                if one_of is not None:
                    _note(one_of, entry)
            if before.cause is None and state.cause is not None:
                self.turned_by = entry
                for one in found.values():
                    if one.outcome is AttemptOutcome.UNDER_WAY and one.first.operation is Operation.ACTION:
                        one.outcome = AttemptOutcome.LEFT
            for command in entry.commands:
                key = (command.step, command.operation, command.round, command.attempt)
                if key not in found:
                    found[key] = _Open(self._asked(key, entry))
                found[key].asked += 1
                found[key].outcome = AttemptOutcome.UNDER_WAY
        return (self._told(one) for one in found.values())

    def _asked(self, key: tuple[str, Operation, int, int], entry: JournalEntry) -> AttemptReport:
        return AttemptReport(
            *key,
            asked_at=entry.at,
            ended_at=None,
            outcome=AttemptOutcome.UNDER_WAY,
            service=self.step(key[0]).participant,
            host=None,
            error=None,
            trace_id=ids.trace_id(self.record.traceparent),
        )

    def _told(self, one: _Open) -> AttemptReport:
        entry = one.ended_by
        if entry is None:
            return replace(one.first, outcome=one.outcome, asked=one.asked, afterwards=one.afterwards)
        answered = isinstance(entry.event, Succeeded | Refused | Failed | Unserved)
        return replace(
            one.first,
            asked=one.asked,
            outcome=one.outcome,
            ended_at=entry.at,
            error=entry.error,
            host=entry.origin.partition("@")[2] or None if answered else None,
            trace_id=_trace_id(entry.traceparent) or one.first.trace_id,
            afterwards=one.afterwards,
        )

    def by_hand(self) -> Iterator[ByHand]:
        """What people had done."""
        for entry in self.journal:
            if entry.actor is not None:
                yield ByHand(entry.at, entry.actor, hand_words(entry.event), entry.reason or "")

    # What went wrong.

    def stuck(self) -> Sequence[tuple[int, Operation]]:
        """The operations that wait for a person."""
        return [
            (place, operation)
            for place in range(len(self.plan.steps))
            for operation in Operation
            if self.op(place, operation).status is OpStatus.STUCK
        ]

    def first_cause(self) -> Failure | None:
        """Why the saga is undone, if it is."""
        entry = self.turned_by
        if entry is None:
            return None
        match entry.event:
            case CancelRequested():
                return Failure(
                    f"{entry.actor or 'somebody'} cancelled it: {entry.reason or 'no reason given'}", entry.at
                )
            case DeadlinePassed():
                open_now = [one.step for one in self.attempts if one.outcome is AttemptOutcome.LEFT]
                waited = f"; it still waited for {join(open_now)}" if open_now else ""
                return Failure(f"its deadline of {seconds_words(self.plan.deadline_seconds)} passed{waited}", entry.at)
            case ReplyGiven() as event:
                what = f"{entry.actor} said that {event.step} was not done: {entry.reason}"
                return Failure(what, entry.at, event.step, event.operation)
            case Refused() | Failed() | TimerFired() as event:
                return self.failure(self.plan.index[event.step], event.operation)
            case _:
                return None

    def what_it_waits_for(self) -> Failure | None:
        """Going forward: the first operation that fails or is held up, if one is."""
        for place in range(len(self.plan.steps)):
            op = self.op(place, Operation.ACTION)
            if op.status in (OpStatus.WAITING, OpStatus.DEFERRED) or (op.status is OpStatus.SENT and op.attempt > 1):
                return self.failure(place, Operation.ACTION)
        return None

    def failure(self, place: int, operation: Operation) -> Failure:
        """What went wrong last with an operation."""
        step = self.plan.steps[place]
        error = last_error(self.journal, step.name, operation)
        tried = [
            one
            for one in self.attempts
            if (one.step, one.operation) == (step.name, operation) and one.outcome is not AttemptOutcome.DONE
        ]
        with_error = [one for one in tried if one.error is not None]
        last = next(reversed(with_error or tried), None)
        held = [e for e in self.journal if e.error is not None and _is_of(e.event, step.name, operation)]
        at = last.ended_at or last.asked_at if last is not None else (held[-1].at if held else None)
        return Failure(
            what=self._sentence(step, operation, error),
            at=at,
            step=step.name,
            operation=operation,
            round=0 if last is None else last.round,
            attempt=0 if last is None else last.attempt,
            service=step.participant,
            host=None if last is None else last.host,
            error=error,
            trace_id=None if last is None else last.trace_id,
            fingerprint=fingerprint_of(self.plan.saga, step.name, operation, error),
        )

    def _sentence(self, step: PlannedStep, operation: Operation, error: ErrorInfo | None) -> str:
        op = self.op(self.plan.index[step.name], operation)
        name = operation_words(step.name, operation)
        budget = step.budget(operation)
        last = next(
            (one for one in reversed(self.attempts) if (one.step, one.operation) == (step.name, operation)), None
        )
        told = f": {error.words}" if error is not None else ""
        if op.status is OpStatus.DEFERRED:
            return f"{name} cannot be {'sent' if not op.again else 'done'} now{told}"
        if last is not None and last.outcome is AttemptOutcome.NOT_MADE:
            return f"the saga's own code could not make the command for {name}{told}"
        if last is not None and last.outcome is AttemptOutcome.REFUSED:
            return f"{step.participant} refused {name}{told}"
        if error is None:
            return (
                f"{step.participant} did not answer {name} within {seconds_words(budget.timeout_seconds)}, "
                f"{times(op.attempt)} of {budget.attempts}"
            )
        if op.status is OpStatus.WAITING or op.status is OpStatus.SENT:
            return f"{name} failed {times(op.attempt)} of {budget.attempts} so far{told}"
        if op.attempt >= budget.attempts:
            return f"{name} failed, and all {budget.attempts} attempts are used up{told}"
        return f"{name} failed for good{told}"

    # What is undone and owed.

    def undone(self) -> Iterator[Undone]:
        """What is undone, in order, and by whom."""
        for entry in self.journal:
            if entry.ignored is not None or getattr(entry.event, "operation", None) is not Operation.COMPENSATION:
                continue
            match entry.event:
                case Succeeded() as event:
                    yield Undone(event.step, entry.at, entry.origin)
                case ReplyGiven(succeeded=True) as event:
                    yield Undone(event.step, entry.at, f"{entry.actor}, who said so: {entry.reason}")
                case SkipRequested() as event:
                    yield Undone(event.step, entry.at, f"{entry.actor}, by other means: {entry.reason}")

    def owed(self) -> Iterator[Owed]:
        """What is still to be done: forward, the actions; backward, the compensations."""
        if self.state.status in (SagaStatus.COMPLETED, SagaStatus.COMPENSATED):
            return
        for place, step in enumerate(self.plan.steps):
            if self.state.cause is None:
                if self.state.steps[place].action.status not in DONE:
                    yield self._owed(place, step, Operation.ACTION)
            elif self.is_undo_owed(place):
                yield self._owed(place, step, Operation.COMPENSATION)

    def _owed(self, place: int, step: PlannedStep, operation: Operation) -> Owed:
        op = self.op(place, operation)
        return Owed(
            step=step.name,
            operation=operation,
            status=op.status,
            why=self._why_owed(place, operation, op),
            attempts=op.attempt,
            of_attempts=step.budget(operation).attempts,
            next_at=next_at_of(self.record, step.name, operation),
            error=last_error(self.journal, step.name, operation) if op.status in OPEN else None,
        )

    def _why_owed(self, place: int, operation: Operation, op: OpState) -> str:
        if self.state.status is SagaStatus.ABANDONED:
            return "the saga was abandoned: nobody will do it"
        match op.status:
            case OpStatus.SENT:
                return "it is under way"
            case OpStatus.WAITING:
                return "the last attempt failed; it is tried again"
            case OpStatus.DEFERRED:
                return "nobody can do it now; it is asked for again"
            case OpStatus.STUCK:
                return "it is stuck: a person decides"
        names = [self.plan.steps[other].name for other in self._waits_for(place, operation)]
        first = [operation_words(name, operation) for name in names]
        return f"it comes after {join(first)}" if first else "nothing more is undone while another undo is stuck"

    def _waits_for(self, place: int, operation: Operation) -> Sequence[int]:
        if operation is Operation.ACTION:
            return [one for one in self.plan.before[place] if self.state.steps[one].action.status not in DONE]
        return sorted(one for one in self.plan.behind[place] if self.is_undo_owed(one))

    def not_undone(self) -> Iterator[NotUndone]:
        """What could not be undone."""
        for place, step in enumerate(self.plan.steps):
            op = self.op(place, Operation.COMPENSATION)
            if op.status is OpStatus.STUCK:
                yield NotUndone(step.name, self.failure(place, Operation.COMPENSATION).what)
            elif op.status is OpStatus.SKIPPED:
                yield NotUndone(step.name, "its undo was skipped: a person has settled it by other means")
            elif (
                self.state.status is SagaStatus.ABANDONED and self.state.cause is not None and self.is_undo_owed(place)
            ):
                yield NotUndone(step.name, "the saga was abandoned before its undo was done")

    def is_undo_owed(self, place: int) -> bool:
        """Whether the step happened, or may have, and is not undone."""
        step = self.state.steps[place]
        return (
            self.plan.steps[place].kind is StepKind.COMPENSATABLE
            and step.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN)
            and step.compensation.status not in DONE
        )

    # Small things.

    def step(self, name: str) -> PlannedStep:
        """A step by its name."""
        return self.plan.steps[self.plan.index[name]]

    def op(self, place: int, operation: Operation) -> OpState:
        """Where an operation stands."""
        return self.state.steps[place].op(operation)

    def permits(self, repair: Repair, about: OpenOperation | None) -> bool:
        """Whether the machine would take a repair in this state."""
        _, effects = advance(self.plan, self.state, event_of(repair, about))
        return not any(isinstance(effect, Ignored) for effect in effects)


@dataclass(slots=True)
class _Open:
    """An attempt while the journal is read."""

    first: AttemptReport
    asked: int = 0
    outcome: AttemptOutcome = AttemptOutcome.UNDER_WAY
    ended_by: JournalEntry | None = None
    afterwards: str | None = None


_OUTCOMES: Final[Mapping[type[Event], AttemptOutcome]] = {
    Succeeded: AttemptOutcome.DONE,
    Refused: AttemptOutcome.REFUSED,
    Failed: AttemptOutcome.FAILED,
    Unserved: AttemptOutcome.UNSERVED,
    CommandDeferred: AttemptOutcome.HELD,
    CommandFailed: AttemptOutcome.NOT_MADE,
    TimerFired: AttemptOutcome.NO_ANSWER,
}


def _note(one: _Open, entry: JournalEntry) -> None:
    """What an entry says of an attempt. A timer that fires after an answer was the pause before the next attempt."""
    outcome = _OUTCOMES[type(entry.event)]
    if outcome is AttemptOutcome.NO_ANSWER and one.outcome is not AttemptOutcome.UNDER_WAY:
        return
    if entry.ignored is not None:
        one.afterwards = f"answered later: {outcome}; {entry.ignored}"
        return
    one.outcome, one.ended_by = outcome, entry


def _is_of(event: Event, step: str, operation: Operation) -> bool:
    return (getattr(event, "step", None), getattr(event, "operation", None)) == (step, operation)


def _trace_id(traceparent: str | None) -> str | None:
    """None, too, of what a participant in another language may have sent in its place."""
    if traceparent is None:
        return None
    try:
        return ids.trace_id(traceparent)
    except ValueError:
        return None

"""The failure report: what happened to a saga, what is undone, what is owed, and what to type.

    make_report(record, plan, journal, alike) -> SagaReport

It is a pure function of what the store holds, so it is complete after any crash. What is offered to a person is
asked of the machine first: no command is in a report that would be refused in this state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sagaflow.core.effects import Ignored
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    CommandDeferred,
    CommandFailed,
    DeadlinePassed,
    Event,
    Failed,
    OfAttempt,
    Refused,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance, can_turn_round
from sagaflow.core.plan import Operation, Plan, PlannedStep, StepKind
from sagaflow.core.state import DONE, ENDED, OPEN, Cause, OpState, OpStatus, SagaState, SagaStatus, by_name, initial
from sagaflow.definitions import ids
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import JournalEntry, SagaFilter, SagaRecord
from sagaflow.runners.fingerprints import fingerprint
from sagaflow.runners.overviews import last_error, look_at, next_at_of
from sagaflow.runners.repairs import Abandon, Cancel, GiveReply, OpenOperation, Repair, RetryStep, SkipStep, event_of
from sagaflow.runners.reports import (
    NO_ANSWER,
    Again,
    Alike,
    AttemptOutcome,
    AttemptReport,
    ByHand,
    Failure,
    Move,
    NotUndone,
    Owed,
    SagaReport,
    Undone,
)

ALIKE_MAX: Final = 500
"""So many open sagas of the name, and so many of the latest of all, are looked at for those that fail alike."""

PAGE: Final = 200
"""So many at a time."""

LOOKED_AT_MAX: Final = 10_000
"""So many sagas are looked at, at most, for a list."""

BUGS: Final = frozenset(
    {
        "AssertionError",
        "AttributeError",
        "DecodeError",
        "IndexError",
        "KeyError",
        "NameError",
        "NotImplementedError",
        "PayloadError",
        "TypeError",
        "UnicodeDecodeError",
        "ValidationError",
        "ValueError",
        "ZeroDivisionError",
    }
)
"""Types of errors that come again for as long as neither the code nor the input is another."""


def make_report(
    record: SagaRecord, plan: Plan, journal: Sequence[JournalEntry], alike: Alike | None = None
) -> SagaReport:
    """The report of a saga as it was when `record` was read; what its journal holds of later is left out."""
    journal = [entry for entry in journal if entry.seq <= record.version]
    history = _History(record, plan, journal)
    stuck = tuple(history.failure(place, operation) for place, operation in history.stuck())
    first_cause = history.first_cause() or (stuck[0] if stuck else history.what_it_waits_for())
    again, advice = _advice(history, stuck, first_cause)
    return SagaReport(
        saga_id=record.saga_id,
        saga=record.saga,
        plan_version=plan.version,
        key=record.key,
        coordinator=record.coordinator,
        status=record.status,
        cause=record.state.cause,
        trace_id=ids.trace_id(record.traceparent),
        started_at=record.started_at,
        updated_at=record.updated_at,
        headline=_headline(history, stuck),
        first_cause=first_cause,
        stuck=stuck,
        attempts=history.attempts,
        undone=tuple(history.undone()),
        owed=tuple(history.owed()),
        not_undone=tuple(history.not_undone()),
        by_hand=tuple(history.by_hand()),
        again=again,
        advice=advice,
        moves=tuple(_moves(history, again, alike)),
        alike=alike,
    )


def operation_words(step: str, operation: Operation) -> str:
    """An operation as people call it."""
    return step if operation is Operation.ACTION else f"undo of {step}"


@dataclass(slots=True)
class _Open:
    """An attempt while the journal is read."""

    first: AttemptReport
    asked: int = 0
    outcome: AttemptOutcome = AttemptOutcome.UNDER_WAY
    ended_by: JournalEntry | None = None
    afterwards: str | None = None


@dataclass
class _History:
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
                yield ByHand(entry.at, entry.actor, _hand_words(entry.event), entry.reason or "")

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
                waited = f"; it still waited for {_and(open_now)}" if open_now else ""
                return Failure(f"its deadline of {_seconds(self.plan.deadline_seconds)} passed{waited}", entry.at)
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
        told = f": {error.type}: {error.message}" if error is not None else ""
        if op.status is OpStatus.DEFERRED:
            return f"{name} cannot be {'sent' if not op.again else 'done'} now{told}"
        if last is not None and last.outcome is AttemptOutcome.NOT_MADE:
            return f"the saga's own code could not make the command for {name}{told}"
        if last is not None and last.outcome is AttemptOutcome.REFUSED:
            return f"{step.participant} refused {name}{told}"
        if error is None:
            return (
                f"{step.participant} did not answer {name} within {_seconds(budget.timeout_seconds)}, "
                f"{_times(op.attempt)} of {budget.attempts}"
            )
        if op.status is OpStatus.WAITING or op.status is OpStatus.SENT:
            return f"{name} failed {_times(op.attempt)} of {budget.attempts} so far{told}"
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
        return f"it comes after {_and(first)}" if first else "nothing more is undone while another undo is stuck"

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


def fingerprint_of(saga: str, step: str, operation: Operation, error: ErrorInfo | None) -> str:
    """The fingerprint of what went wrong last with an operation; without an error, nobody answered."""
    kind, message = (NO_ANSWER, "") if error is None else (error.type, error.message)
    return fingerprint(saga, step, operation, kind, message)


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


def _hand_words(event: Event) -> str:
    match event:
        case CancelRequested():
            return "cancelled the saga"
        case AbandonRequested():
            return "abandoned the saga"
        case RetryRequested():
            other = " with other input" if event.other_input else ""
            return f"retried the {operation_words(event.step, event.operation)}{other}"
        case ReplyGiven():
            done = "done" if event.succeeded else "not done"
            return f"said that the {operation_words(event.step, event.operation)} is {done}"
        case SkipRequested():
            return f"skipped the {operation_words(event.step, event.operation)}"
        case _:
            return "asked for it"


def _headline(history: _History, stuck: Sequence[Failure]) -> str:
    state, plan = history.state, history.plan
    happened = sum(step.action.status in DONE for step in state.steps)
    match state.status:
        case SagaStatus.COMPLETED:
            skipped = sum(step.action.status is OpStatus.SKIPPED for step in state.steps)
            settled = f", {skipped} of them settled by hand" if skipped else ""
            return f"All of it happened: {len(plan.steps)} of {len(plan.steps)} steps are done{settled}."
        case SagaStatus.COMPENSATED:
            return "None of it remains: what had happened is undone."
        case SagaStatus.ABANDONED:
            owed = [operation_words(one.step, one.operation) for one in history.owed()]
            return (
                f"A person ended it as it stood; nobody will do {_and(owed, 'or')}." if owed else "A person ended it."
            )
        case SagaStatus.STUCK:
            names = _and([operation_words(one.step or "", one.operation or Operation.ACTION) for one in stuck])
            way = "It goes forward only" if state.cause is None else "It is being undone"
            return f"{way}, and waits for a person to decide about the {names}."
        case SagaStatus.COMPENSATING:
            return f"It is being undone; {len(list(history.owed()))} undo(s) are owed, and nobody is needed."
        case SagaStatus.RUNNING:
            waits = any(step.action.status is OpStatus.DEFERRED for step in state.steps)
            goes = "it waits until somebody can do the next" if waits else "it goes on by itself"
            return f"{happened} of {len(plan.steps)} steps are done; {goes}."


def _advice(history: _History, stuck: Sequence[Failure], first: Failure | None) -> tuple[Again, str]:
    state = history.state
    match state.status:
        case SagaStatus.COMPLETED:
            return Again.NOT_NEEDED, "There is nothing to do."
        case SagaStatus.ABANDONED:
            return Again.NOT_NEEDED, "It never changes again. Settle what is owed by hand, outside of sagaflow."
        case SagaStatus.COMPENSATED if state.cause is Cause.CANCELLED:
            return Again.NOT_NEEDED, "It was cancelled. To have it after all, start it again under a new key."
        case SagaStatus.COMPENSATED if state.cause is Cause.REFUSED:
            return Again.MENDED, (
                "The refusal is final for this run. If it is still wanted, start it under a new key, with mended input "
                "or when the reason of the refusal is gone."
            )
        case SagaStatus.COMPENSATED:
            return Again.SAME_INPUT, "Once what failed is well, start it again under a new key with the same input."
        case SagaStatus.STUCK:
            return _advice_for_stuck(history, stuck[0])
    held = [one for one in history.owed() if one.status is OpStatus.DEFERRED]
    if held:
        return Again.BY_ITSELF, f"{_what_is_missing(held[0], history)} It goes on by itself then."
    if first is not None and state.cause is None and first.error is None and first.service is not None:
        return Again.BY_ITSELF, f"See that {first.service} runs: nobody has answered. It goes on by itself then."
    return Again.BY_ITSELF, "It goes on by itself: nothing has to be typed."


def _advice_for_stuck(history: _History, failure: Failure) -> tuple[Again, str]:
    last = next((one for one in reversed(history.attempts) if _is_of_failure(one, failure)), None)
    kind = NO_ANSWER if failure.error is None else failure.error.type
    if last is not None and last.outcome is AttemptOutcome.NOT_MADE:
        return (
            Again.MENDED,
            "It is a bug in the saga: deploy mended code of this version, then retry; the input is kept.",
        )
    if last is not None and last.outcome is AttemptOutcome.REFUSED:
        return (
            Again.MENDED,
            "No is no answer here, and the same would be refused again: remove the reason, or mend the input.",
        )
    if kind in BUGS:
        return (
            Again.MENDED,
            f"{kind} comes again with the same input and the same code: mend {failure.service}, or the input.",
        )
    if kind == NO_ANSWER:
        return Again.SAME_INPUT, f"Nobody answered: see that {failure.service} runs, then retry with the same input."
    return Again.SAME_INPUT, f"Once {failure.service} is well, retry with the same input."


def _is_of_failure(one: AttemptReport, failure: Failure) -> bool:
    return (one.step, one.operation) == (failure.step, failure.operation)


def _what_is_missing(held: Owed, history: _History) -> str:
    kind = "" if held.error is None else held.error.type
    if kind == "CodeMissing":
        plan = history.plan
        return f"No coordinator that runs has the code of {plan.saga} version {plan.version}: run one that has it."
    participant = history.step(held.step).participant
    if kind == "NotReady":
        return "The undos that may be needed have no live service: start it."
    return f"Nobody serves {operation_words(held.step, held.operation)}: start a {participant} that does."


def _moves(
    history: _History, again: Again, alike: Alike | None, stuck: Sequence[Failure] | None = None
) -> Iterator[Move]:
    """The commands that the state permits, the one to try first before others."""
    saga_id = str(history.record.saga_id)
    troubles = [history.failure(*one) for one in history.stuck()] if stuck is None else stuck
    for failure in troubles:
        yield from _moves_about(history, failure, saga_id, again, alike if failure is troubles[0] else None)
    held = [one for one in history.owed() if one.status in (OpStatus.DEFERRED, OpStatus.WAITING)]
    if held:
        if any(one.status is OpStatus.DEFERRED for one in held):
            yield Move("See who serves what, and what is missing", ("participants",))
        step, operation = held[0].step, held[0].operation
        if history.permits(RetryStep(), OpenOperation(step, operation, held[0].status)):
            yield Move("Not to wait for the next try", _typed("retry", saga_id, step, "what was missing is there"))
    if can_turn_round(history.plan, history.state) and history.permits(Cancel(), None):
        yield Move(
            "If it is not wanted any more, have it undone", _typed("cancel", saga_id, None, "not wanted any more")
        )
    if history.permits(Abandon(), None):
        yield Move(
            "Last of all, end it as it stands: nobody will do what is owed",
            _typed("abandon", saga_id, None, "given up; what is owed is settled outside"),
        )


def _moves_about(
    history: _History, failure: Failure, saga_id: str, again: Again, alike: Alike | None
) -> Iterator[Move]:
    assert failure.step is not None, "what is stuck is an operation"
    assert failure.operation is not None, "what is stuck is an operation"
    step, operation = failure.step, failure.operation
    about, name = OpenOperation(step, operation, OpStatus.STUCK), operation_words(step, operation)
    if history.permits(RetryStep(), about):
        cause = "the code is mended" if again is Again.MENDED else f"{failure.service} is well again"
        yield Move(f"When {cause}, try the {name} again", _typed("retry", saga_id, step, cause))
        others = 0 if alike is None else alike.by_status.get(SagaStatus.STUCK, 0)
        if others and failure.error is not None:
            bulk = ("retry", "--stuck", "--saga", history.plan.saga, "--step", step, "--error", failure.error.type)
            yield Move(f"The same for all {others + 1} (they are shown first)", (*bulk, "--reason", cause))
    if history.permits(RetryStep(b"null"), about):
        words = _typed("retry", saga_id, step, "the input is mended")
        yield Move("With mended input, which you write to input.json", (*words, "--input", "@input.json"), to_edit=True)
    if history.permits(GiveReply(True), about):
        words = _typed("reply", saga_id, step, f"it was done, as seen at {failure.service}")
        yield Move(f"If you have seen at {failure.service} that it was done", (*words, "--succeeded"))
    if history.permits(GiveReply(False), about):
        words = _typed("reply", saga_id, step, f"it was not done, as seen at {failure.service}")
        yield Move("If you have seen that it was not done, have the saga undone", (*words, "--refused"))
    if history.permits(SkipStep(), about):
        words = _typed("skip", saga_id, step, "settled by other means")
        yield Move("If you have settled it by other means, go on without it", words)


def _typed(verb: str, saga_id: str, step: str | None, reason: str) -> tuple[str, ...]:
    return (verb, saga_id, *(() if step is None else ("--step", step)), "--reason", reason)


def _trace_id(traceparent: str | None) -> str | None:
    """None, too, of what a participant in another language may have sent in its place."""
    if traceparent is None:
        return None
    try:
        return ids.trace_id(traceparent)
    except ValueError:
        return None


def _and(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}" if names else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g} s"


FAILING: Final = frozenset({OpStatus.STUCK, OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.REFUSED, OpStatus.UNKNOWN})
"""The operations that may be what fails in a saga."""


async def report_on(store: SagaStore, saga_id: UUID) -> SagaReport:
    """The report of a saga, with how many others fail as it does: four short queries, however many sagas there are.

    Raises:
        SagaNotFound: there is no such saga.
    """
    record, plan, journal = await look_at(store, saga_id)
    report = make_report(record, plan, journal)
    if report.trouble is None or report.trouble.fingerprint is None:
        return report
    return make_report(record, plan, journal, await _alike(store, record, report.trouble))


async def _alike(store: SagaStore, record: SagaRecord, failure: Failure) -> Alike:
    """All is bounded: open sagas are found by the agenda, the latest by their ids, errors by the ids of their sagas."""
    open_ones = await store.list(SagaFilter(saga=record.saga, statuses=frozenset(SagaStatus) - ENDED), ALIKE_MAX)
    latest = await store.list(SagaFilter(), ALIKE_MAX)
    others = {
        one.saga_id: one
        for one in (*open_ones, *latest)
        if one.saga == record.saga and one.saga_id != record.saga_id and one.status is not SagaStatus.COMPLETED
    }
    prints = await fingerprints(store, list(others.values()))
    same = Counter(others[saga_id].status for saga_id, found in prints.items() if failure.fingerprint in found)
    return Alike(failure.fingerprint or "", dict(sorted(same.items())), len(others))


async def fingerprints(store: SagaStore, records: Sequence[SagaRecord]) -> Mapping[UUID, Mapping[str, OpFailure]]:
    """What fails in these sagas, by its fingerprint."""
    plans = {plan.hash: plan for plan in await store.plans(sorted({one.plan_hash for one in records}))}
    latest = await store.latest_errors([one.saga_id for one in records])
    errors = {(one.saga_id, one.step, one.operation): one.error for one in latest}
    return {
        record.saga_id: {
            fingerprint_of(record.saga, name, operation, error): OpFailure(name, operation, status, error)
            for name, step in by_name(plans[record.plan_hash], record.state).items()
            for operation in Operation
            if _fails(step.op(operation))
            for status in [step.op(operation).status]
            for error in [errors.get((record.saga_id, name, operation))]
        }
        for record in records
    }


async def failing(
    store: SagaStore, matching: SagaFilter, step: str | None, error: str | None, limit: int
) -> Sequence[SagaRecord]:
    """The latest sagas that match, of which an operation of this step is open or failed, with this type of error.

    Of those that the store finds, the latest `LOOKED_AT_MAX` are looked at.
    """
    found: list[SagaRecord] = []
    async for records, failures in _pages(store, matching):
        for record in records:
            if any(_fits(one, step, error) for one in failures[record.saga_id].values()):
                found.append(record)
                if len(found) == limit:
                    return found
    return found


@dataclass(frozen=True, slots=True)
class StuckGroup:
    """Sagas that are stuck in the same way."""

    fingerprint: str
    saga: str
    failure: OpFailure
    """Of the latest of them."""
    saga_ids: tuple[UUID, ...]
    """The latest first."""
    oldest_at: datetime | None
    """Since when the one that is stuck longest is as it is."""


async def stuck_groups(store: SagaStore) -> Sequence[StuckGroup]:
    """What a person has to decide about, by fingerprint, the largest group first; of the latest `LOOKED_AT_MAX`."""
    groups: dict[str, StuckGroup] = {}
    async for records, failures in _pages(store, SagaFilter(statuses=frozenset({SagaStatus.STUCK}))):
        for record in records:
            for print_, failure in failures[record.saga_id].items():
                if failure.status is not OpStatus.STUCK:
                    continue
                known = groups.get(print_) or StuckGroup(print_, record.saga, failure, (), record.updated_at)
                times = [at for at in (known.oldest_at, record.updated_at) if at is not None]
                oldest_at = min(times, default=None)
                groups[print_] = replace(known, saga_ids=(*known.saga_ids, record.saga_id), oldest_at=oldest_at)
    return sorted(groups.values(), key=lambda group: -len(group.saga_ids))


def _fits(one: OpFailure, step: str | None, error: str | None) -> bool:
    is_step = step is None or one.step == step or one.step.endswith(f".{step}")
    return is_step and (error is None or (NO_ANSWER if one.error is None else one.error.type) == error)


async def _pages(
    store: SagaStore, matching: SagaFilter
) -> AsyncIterator[tuple[Sequence[SagaRecord], Mapping[UUID, Mapping[str, OpFailure]]]]:
    looked_at = 0
    page = matching
    while looked_at < LOOKED_AT_MAX and (records := await store.list(page, PAGE)):
        yield records, await fingerprints(store, records)
        looked_at += len(records)
        page = replace(page, before=records[-1].saga_id)


def _fails(op: OpState) -> bool:
    """Whether it may be what fails in a saga: also what is sent again, since nobody has answered."""
    return op.status in FAILING or (op.status is OpStatus.SENT and op.attempt > 1)


@dataclass(frozen=True, slots=True)
class OpFailure:
    """An operation that fails, and what went wrong with it last; None: nobody answered."""

    step: str
    operation: Operation
    status: OpStatus
    error: ErrorInfo | None

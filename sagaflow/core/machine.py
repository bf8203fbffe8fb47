"""The life of a saga. Every rule that changes the state of a saga is in this file, and only here.

    advance(plan, state, event) -> (state, effects)

It is a pure function: no clock, no I/O, no randomness. The same history gives the same state, which is
why the journal (the list of events) is the truth and the stored state only its sum.

Theory of operation
-------------------

A saga goes **forward** until it has a *cause* to be undone; from then on it goes **backward**. It never
turns twice. In each direction the same three moves are made for every event:

1. *take*: the event changes one operation (the action or the compensation of one step), or gives the
   cause, or changes nothing and is ignored, with the reason;
2. *settle*: every operation that has become possible is sent.
   Forward, an action is possible when all steps that it comes after are done.
   Backward, a compensation is owed for each compensatable step whose action succeeded or may have
   happened, and is possible when every step behind it owes nothing any more: the reverse order of
   dependence, independent ones side by side;
3. *sum up*: the status is a function of the operations and the cause, never kept by hand.

Outcomes are three-valued. A *refusal* is definite: nothing was left behind, so the rollback begins with
the steps before. *Unknown* is what remains when the attempts are used up: the step itself is undone too,
and the barrier of the participant makes that safe if it never happened. When a rollback begins, every
action still under way becomes unknown at once; its late answer changes nothing, its undo is owed already.

The *pivot* is the point of no return. Before its command is sent, a cancel or the deadline turns the saga
round; after that only its own refusal does. A pivot whose outcome stays unknown is neither undone nor
passed: it is stuck.

A person's word is weaker than the participant's: "it did not happen" leaves a step that can be undone
unknown, so that its undo is sent, finds nothing, and fences off a command that may still be under way.

*Stuck* is an operation that cannot go on by itself: a pivot or retriable action, or a compensation, that
used up its attempts or was refused where no is no answer; or a command that the saga's own code failed to
make. Others that do not depend on it go on; in a rollback the plan may say instead that all others wait, or
that none does. A late success unsticks it, otherwise a person does: retry, give the reply, skip, cancel, or
abandon.

Numbers: an operation is sent in attempts, counted from 1 within a round; a person's retry opens a new
round. An answer to any earlier attempt that says *succeeded* counts, since all attempts of an operation
are one effect at the participant. A refusal counts within its round. Everything else counts only for the
attempt that is under way. Nothing is sent more often than the budget of its step allows in a round,
except that an attempt nobody served is made again under its old number, after a delay that grows each time:
however long it waits, its history stays short. A saga that has ended has no timers any more.
"""

from __future__ import annotations

from dataclasses import replace

from sagaflow.core.effects import (
    Effect,
    Ignored,
    IgnoredBecause,
    SendCommand,
    StartDeadline,
    StartTimer,
    StopDeadline,
    StopTimer,
)
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
from sagaflow.core.plan import OnStuck, Operation, Plan, StepKind
from sagaflow.core.state import (
    DONE,
    OPEN,
    Cause,
    OpState,
    OpStatus,
    SagaState,
    SagaStatus,
    StepState,
)

ACTION = Operation.ACTION
COMPENSATION = Operation.COMPENSATION

_TIMED = frozenset({OpStatus.SENT, OpStatus.WAITING, OpStatus.DEFERRED})
"""What a timer is running for."""

DEFERRAL_GROWTH = 4
DEFERRALS_COUNTED_MAX = 4
DEFERRAL_SECONDS_MAX = 300.0
"""Each deferral in a row is four times as long as the one before, up to 256 times the first and to five minutes;
never shorter than was asked for."""


def advance(plan: Plan, state: SagaState, event: Event) -> tuple[SagaState, tuple[Effect, ...]]:
    """What follows from an event: the new state, and what is to be done once it is committed."""
    if state.ended:
        if isinstance(event, Erased):
            return state, ()
        return state, (Ignored(IgnoredBecause.ENDED),)
    turn = _Turn(plan, state)
    ignored = turn.take(event)
    if ignored is not None:
        return state, (Ignored(ignored),)
    turn.settle()
    return turn.sum_up(), tuple(turn.effects)


class _Turn:
    """One call of `advance`: the state under change and the effects so far."""

    def __init__(self, plan: Plan, state: SagaState) -> None:
        self.plan = plan
        self.status = state.status
        self.steps = list(state.steps)
        self.cause = state.cause
        self.abandoned = False
        self.effects: list[Effect] = []

    # take: what the event changes. Each returns why the event is ignored, or None.

    def take(self, event: Event) -> IgnoredBecause | None:
        match event:
            case Started():
                return self._started()
            case Succeeded() | Refused() | Failed() | Unserved():
                return self._of_attempt(event)
            case TimerFired() | CommandFailed() | CommandDeferred():
                return self._of_attempt(event)
            case CancelRequested():
                return self._turn_round(Cause.CANCELLED)
            case DeadlinePassed():
                return self._turn_round(Cause.DEADLINE)
            case RetryRequested() | ReplyGiven() | SkipRequested():
                return self._by_person(event)
            case AbandonRequested():
                return self._abandon()
            case Erased():
                return IgnoredBecause.UNFIT  # what is not over needs its payloads

    def _started(self) -> IgnoredBecause | None:
        if any(step != StepState() for step in self.steps):
            return IgnoredBecause.DUPLICATE
        if self.plan.deadline_seconds is not None:
            self.effects.append(StartDeadline(self.plan.deadline_seconds))
        return None

    def _of_attempt(self, event: OfAttempt) -> IgnoredBecause | None:
        place = self.plan.index.get(event.step)
        if place is None:
            return IgnoredBecause.FOREIGN
        op = self.steps[place].op(event.operation)
        if _never_asked(op, event):
            return IgnoredBecause.FOREIGN
        if op.status not in OPEN:
            same = isinstance(event, Succeeded) and op.status is OpStatus.SUCCEEDED
            return IgnoredBecause.DUPLICATE if same else IgnoredBecause.LATE
        match event:
            case Succeeded():
                self._put(place, event.operation, replace(op, status=OpStatus.SUCCEEDED))
                return None
            case Refused():
                return self._refused(place, event.operation, op, event.round)
            case _ if (event.round, event.attempt) != (op.round, op.attempt):
                return IgnoredBecause.LATE
            case TimerFired():
                return self._timer_fired(place, event.operation, op)
            case _ if op.status is not OpStatus.SENT:
                return IgnoredBecause.DUPLICATE
            case Failed():
                self._failed(place, event.operation, op, event.retry_after_seconds)
            case Unserved():
                self._defer(place, event.operation, replace(op, again=True), event.retry_after_seconds)
            case CommandDeferred():
                self._defer(place, event.operation, _unsent(op), event.retry_after_seconds)
            case CommandFailed():
                self._put(place, event.operation, replace(_unsent(op), status=OpStatus.STUCK))
        return None

    def _refused(self, place: int, operation: Operation, op: OpState, round_: int) -> IgnoredBecause | None:
        if round_ != op.round:
            return IgnoredBecause.LATE
        if operation is ACTION and self.plan.steps[place].kind is not StepKind.RETRIABLE:
            self._put(place, operation, replace(op, status=OpStatus.REFUSED))
            self._roll_back(Cause.REFUSED)
            return None
        if op.status is OpStatus.STUCK:
            return IgnoredBecause.DUPLICATE
        self._put(place, operation, replace(op, status=OpStatus.STUCK))
        return None

    def _failed(self, place: int, operation: Operation, op: OpState, seconds: float | None) -> None:
        if seconds is None or self._used_up(place, operation, op):
            self._exhausted(place, operation, op)
            return
        self._put(place, operation, replace(op, status=OpStatus.WAITING))
        self._start_timer(place, operation, seconds)

    def _defer(self, place: int, operation: Operation, op: OpState, seconds: float) -> None:
        counted = min(op.deferrals + 1, DEFERRALS_COUNTED_MAX)
        self._put(place, operation, replace(op, status=OpStatus.DEFERRED, deferrals=counted))
        grown = min(seconds * DEFERRAL_GROWTH**op.deferrals, DEFERRAL_SECONDS_MAX)
        self._start_timer(place, operation, max(seconds, grown))

    def _timer_fired(self, place: int, operation: Operation, op: OpState) -> IgnoredBecause | None:
        match op.status:
            case OpStatus.SENT if self._used_up(place, operation, op):
                self._exhausted(place, operation, op)
            case OpStatus.DEFERRED:
                attempt = op.attempt if op.again else op.attempt + 1
                self._send(place, operation, op.round, attempt, again=op.again, deferrals=op.deferrals)
            case OpStatus.SENT | OpStatus.WAITING:
                self._send(place, operation, op.round, op.attempt + 1)
            case _:
                return IgnoredBecause.LATE
        return None

    def _exhausted(self, place: int, operation: Operation, op: OpState) -> None:
        if operation is ACTION and self.plan.steps[place].kind is StepKind.COMPENSATABLE:
            self._put(place, operation, replace(op, status=OpStatus.UNKNOWN))
            self._roll_back(Cause.EXHAUSTED)
        else:
            self._put(place, operation, replace(op, status=OpStatus.STUCK))

    def _turn_round(self, cause: Cause) -> IgnoredBecause | None:
        if self.cause is not None:
            return IgnoredBecause.UNDOING
        if self.plan.pivot is not None and not _never_begun(self.steps[self.plan.pivot].action):
            return IgnoredBecause.BEYOND_PIVOT
        self._roll_back(cause)
        return None

    def _by_person(self, event: RetryRequested | ReplyGiven | SkipRequested) -> IgnoredBecause | None:
        place = self.plan.index.get(event.step)
        if place is None:
            return IgnoredBecause.UNFIT
        operation, op = event.operation, self.steps[place].op(event.operation)
        kind = self.plan.steps[place].kind
        if op.status not in OPEN:
            return IgnoredBecause.UNFIT
        match event:
            case RetryRequested() if op.status is OpStatus.STUCK:
                self._send(place, operation, max(op.round, 1) if _never_begun(op) else op.round + 1, 1)
            case RetryRequested(other_input=False) if op.status is not OpStatus.SENT:
                return self._timer_fired(place, operation, op)
            case ReplyGiven(succeeded=True):
                self._put(place, operation, replace(op, status=OpStatus.SUCCEEDED))
            case ReplyGiven() if operation is ACTION and kind is not StepKind.RETRIABLE:
                if kind is StepKind.PIVOT:  # nothing could undo it, so the person's word has to do
                    self._put(place, operation, replace(op, status=OpStatus.REFUSED))
                self._roll_back(Cause.REFUSED)
            case SkipRequested() if op.status is OpStatus.STUCK and not (
                operation is ACTION and kind is StepKind.PIVOT
            ):
                self._put(place, operation, replace(op, status=OpStatus.SKIPPED))
            case _:
                return IgnoredBecause.UNFIT
        return None

    def _abandon(self) -> IgnoredBecause | None:
        if self.status is not SagaStatus.STUCK:
            return IgnoredBecause.UNFIT
        self.abandoned = True
        return None

    def _roll_back(self, cause: Cause) -> None:
        self.cause = cause
        if self.plan.deadline_seconds is not None:
            self.effects.append(StopDeadline())
        for place, step in enumerate(self.steps):
            action = step.action
            if action.status in OPEN:
                undone = OpState() if _never_begun(action) else replace(action, status=OpStatus.UNKNOWN)
                self._put(place, ACTION, undone)

    # settle: send what has become possible.

    def settle(self) -> None:
        if self.abandoned:
            return
        possible = self._action_possible if self.cause is None else self._compensation_possible
        operation = ACTION if self.cause is None else COMPENSATION
        for place, step in enumerate(self.steps):
            if step.op(operation).status is OpStatus.IDLE and possible(place):
                self._send(place, operation, round_=1, attempt=1)

    def _action_possible(self, place: int) -> bool:
        return all(self.steps[before].action.status in DONE for before in self.plan.before[place])

    def _compensation_possible(self, place: int) -> bool:
        if not self._owed(place) or (self.plan.on_stuck is OnStuck.HALT and self._undo_is_stuck()):
            return False
        return not any(self._is_waited_for(later) for later in self.plan.behind[place])

    def _is_waited_for(self, later: int) -> bool:
        """Whether the steps before this one are undone only after it."""
        passes = self.plan.on_stuck is OnStuck.CONTINUE_OTHERS
        return self._owed(later) and not (passes and self.steps[later].compensation.status is OpStatus.STUCK)

    def _undo_is_stuck(self) -> bool:
        return any(step.compensation.status is OpStatus.STUCK for step in self.steps)

    def _owed(self, place: int) -> bool:
        """Whether the step is still to be undone."""
        step = self.steps[place]
        return (
            self.plan.steps[place].kind is StepKind.COMPENSATABLE
            and step.action.status in (OpStatus.SUCCEEDED, OpStatus.UNKNOWN)
            and step.compensation.status not in DONE
        )

    # sum up: the status follows from the operations.

    def sum_up(self) -> SagaState:
        return SagaState(self._status(), tuple(self.steps), self.cause)

    def _status(self) -> SagaStatus:
        if self.abandoned:
            return SagaStatus.ABANDONED
        if any(OpStatus.STUCK in (step.action.status, step.compensation.status) for step in self.steps):
            return SagaStatus.STUCK
        if self.cause is None:
            done = all(step.action.status in DONE for step in self.steps)
            return SagaStatus.COMPLETED if done else SagaStatus.RUNNING
        owed = any(self._owed(place) for place in range(len(self.steps)))
        return SagaStatus.COMPENSATING if owed else SagaStatus.COMPENSATED

    # The three ways in which an operation and its timer change.

    def _put(self, place: int, operation: Operation, op: OpState) -> None:
        before = self.steps[place]
        if before.op(operation).status in _TIMED and op.status not in _TIMED:
            self.effects.append(StopTimer(self.plan.steps[place].name, operation))
        self.steps[place] = replace(before, action=op) if operation is ACTION else replace(before, compensation=op)

    def _send(
        self,
        place: int,
        operation: Operation,
        round_: int,
        attempt: int,
        *,
        again: bool = False,
        deferrals: int = 0,
    ) -> None:
        self._put(place, operation, OpState(OpStatus.SENT, round_, attempt, again, deferrals))
        step = self.plan.steps[place]
        self.effects.append(SendCommand(step.name, operation, round_, attempt))
        self._start_timer(place, operation, step.budget(operation).timeout_seconds)

    def _start_timer(self, place: int, operation: Operation, seconds: float) -> None:
        op = self.steps[place].op(operation)
        name = self.plan.steps[place].name
        self.effects.append(StartTimer(name, operation, op.round, op.attempt, seconds))

    def _used_up(self, place: int, operation: Operation, op: OpState) -> bool:
        return op.attempt >= self.plan.steps[place].budget(operation).attempts


def can_turn_round(plan: Plan, state: SagaState) -> bool:
    """Whether a cancel or the deadline would still have the saga undone."""
    return state.cause is None and (plan.pivot is None or _never_begun(state.steps[plan.pivot].action))


def _never_asked(op: OpState, event: OfAttempt) -> bool:
    first = 0 if isinstance(event, TimerFired) else 1  # the timer of a command that could not be made yet
    return event.round < 1 or event.attempt < first or (event.round, event.attempt) > (op.round, op.attempt)


def _never_begun(op: OpState) -> bool:
    """Whether it cannot have happened: no command of it was sent, and nobody says that it is done."""
    return op.round <= 1 and op.attempt == 0 and op.status not in DONE


def _unsent(op: OpState) -> OpState:
    """The operation as it was before the command that could not be made."""
    return op if op.again else replace(op, attempt=op.attempt - 1)

"""A turn: what happens to one saga in one transaction. Pure; the engine loads before it and saves after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from msgspec.structs import replace

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
from sagaflow.core.events import DeadlinePassed, Event, Succeeded, TimerFired
from sagaflow.core.machine import advance, can_turn_round
from sagaflow.core.plan import Operation, Plan, PlannedStep
from sagaflow.core.state import DONE, OpStatus, SagaState, SagaStatus, by_name
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import Change, JournalEntry, Payload, PayloadKind, SagaRecord, Timer
from sagaflow.definitions.remembering import Remembered

TimerKey = tuple[str | None, Operation]

BUDGET_SECONDS_MIN: Final = 0.001
"""What is sent although its time is over, since the agenda has not come to that yet, will be refused as stale."""


class Turn:
    """Events are applied to a saga one after another; then `change` is what is to be written."""

    def __init__(self, record: SagaRecord, plan: Plan, now: datetime) -> None:
        self.record = record
        self.plan = plan
        self.now = now
        self.state: SagaState = record.state
        self.version = record.version
        self.to_send: list[SendCommand] = []
        """Commands that are to be sent once this turn is committed."""
        self._timers = {(timer.step, timer.operation): timer for timer in record.timers}
        self._journal: list[JournalEntry] = []
        self.payloads: list[Payload] = []
        """What is to be written with this turn."""
        self.stored: Sequence[Payload] | None = None
        """What was written before, if it had to be read."""
        self.woken = False
        self._resend_later = False

    # What can happen.

    def apply(
        self,
        event: Event,
        *,
        origin: str,
        result: bytes | None = None,
        error: ErrorInfo | None = None,
        actor: str | None = None,
        reason: str | None = None,
        traceparent: str | None = None,
        done_in_round: int | None = None,
        other_input: bytes | None = None,
    ) -> IgnoredBecause | None:
        """Let the machine advance; returns why the event was ignored, if it was.

        `result` is what an action returned, in the round `done_in_round` if that is an earlier one than the
        event says; `other_input` is what a retry has sent from now on.
        """
        state, effects = _advance(self.plan, self.state, event)
        ignored = next((effect.because for effect in effects if isinstance(effect, Ignored)), None)
        if ignored is not None and not self._is_worth_recording(event, ignored):
            return ignored
        self.state = state
        self.version += 1
        commands = tuple(effect for effect in effects if isinstance(effect, SendCommand))
        self.to_send.extend(commands)
        self._keep_time(effects)
        if result is not None and ignored is None:
            self._keep_result(event, result, done_in_round)
        if other_input is not None and ignored is None:
            self._keep_other_input(event, other_input)
        self._journal.append(
            JournalEntry(
                saga_id=self.record.saga_id,
                seq=self.version,
                event=event,
                status=state.status,
                commands=commands,
                ignored=ignored,
                error=error,
                origin=origin,
                actor=actor,
                reason=reason,
                traceparent=traceparent,
            )
        )
        return ignored

    def leaves_behind(self, step: str, operation: Operation) -> bool:
        """Whether an action that turns out to have been done is an effect that nobody counts on and nobody undoes:
        the saga has ended, by a person who had skipped it or given up the saga as it stood."""
        if not self.state.ended or operation is not Operation.ACTION or step not in self.plan.index:
            return False
        known = by_name(self.plan, self.state)[step]
        if self.state.status is SagaStatus.ABANDONED and known.action.status is not OpStatus.SUCCEEDED:
            return known.compensation.status not in DONE
        return known.action.status is OpStatus.SKIPPED

    def wake(self, origin: str) -> None:
        """The agenda has come to this saga: what is due happens."""
        self.woken = True
        for timer in [timer for timer in self._timers.values() if timer.due_at <= self.now]:
            if self._timers.get((timer.step, timer.operation)) is not timer:
                continue  # stopped or replaced by what was due before it
            if timer.step is None:
                del self._timers[timer.step, timer.operation]
                self.apply(DeadlinePassed(), origin=origin)
            else:
                event = TimerFired(timer.step, timer.operation, timer.round, timer.attempt)
                self.apply(event, origin=origin)

    def retry_deferred(self, origin: str, which: Callable[[Turn, PlannedStep], bool]) -> None:
        """Of the steps whose first command could not be sent yet, try some now, and not when their time comes."""
        for timer in list(self._timers.values()):
            if timer.step is None or self._timers.get((timer.step, timer.operation)) is not timer:
                continue  # stopped or replaced by what happened before it
            place = self.plan.index[timer.step]
            op = self.state.steps[place].op(timer.operation)
            if op.status is OpStatus.DEFERRED and not op.again and which(self, self.plan.steps[place]):
                event = TimerFired(timer.step, timer.operation, timer.round, timer.attempt)
                self.apply(event, origin=origin)

    def begin_time(self) -> None:
        """Nobody has sent what is in flight, so the time of those attempts begins now."""
        for key, timer in self._timers.items():
            if timer.step is None:
                continue
            step = self.plan.steps[self.plan.index[timer.step]]
            if by_name(self.plan, self.state)[timer.step].op(timer.operation).status is OpStatus.SENT:
                fresh = self._after(step.budget(timer.operation).timeout_seconds)
                self._timers[key] = replace(timer, due_at=max(timer.due_at, fresh))

    def send_again(self) -> None:
        """Send whatever is in flight: whoever was to send it may have died before it did."""
        if self.state.ended:
            return
        for name, step in by_name(self.plan, self.state).items():
            for operation in Operation:
                op = step.op(operation)
                command = SendCommand(name, operation, op.round, op.attempt)
                if op.status is OpStatus.SENT and command not in self.to_send:
                    self.to_send.append(command)

    def budget_seconds(self, command: SendCommand) -> float:
        """How long a command that is sent now is of use. A compensation is owed, and has the whole time of its step.

        An action has what is left until its next attempt is made or it is given up; and until the saga's deadline, for
        as long as that would still have the saga undone.
        """
        step = self.plan.steps[self.plan.index[command.step]]
        timeout = step.budget(command.operation).timeout_seconds
        if command.operation is Operation.COMPENSATION:
            return timeout
        ends = [self._timers.get((command.step, command.operation))]
        if can_turn_round(self.plan, self.state):
            ends.append(self._timers.get(_DEADLINE))
        left = [(timer.due_at - self.now).total_seconds() for timer in ends if timer is not None]
        return max(BUDGET_SECONDS_MIN, min([timeout, *left]))

    def leave_sending_to_others(self) -> None:
        """Commands are not sent by who makes this change, but by the coordinator that its agenda reaches."""
        self._resend_later = True

    def keep(self, payload: Payload) -> None:
        """Write a payload with this turn."""
        self.payloads.append(payload)

    # What is to be written.

    @property
    def changed(self) -> bool:
        """Whether anything has happened that is recorded."""
        return self.version != self.record.version

    @property
    def has_news(self) -> bool:
        """Whether anything is to be written. A command that is made only now, since whoever had it sent has not got the
        code (a caller's own transaction, an operator), changes nothing of its saga, and is kept all the same: who sends
        it again sends what was sent."""
        return self.changed or bool(self.payloads)

    @property
    def wake_at(self) -> datetime | None:
        """When the saga has to be looked at next."""
        if self._resend_later:
            return self.now
        return min((timer.due_at for timer in self._timers.values()), default=None)

    def change(self) -> Change:
        """The saga afterwards, with the journal and the payloads of this turn."""
        ended = self.state.ended
        wake_at, before = None if ended else self.wake_at, None if ended else self.record.wake_at
        earlier = wake_at is not None and (before is None or wake_at < before)
        wake_changed = self.woken or self._resend_later or earlier
        return Change(
            record=replace(
                self.record,
                version=self.version,
                state=self.state,
                timers=() if ended else tuple(self._timers.values()),
                wake_at=wake_at if wake_changed else before,
            ),
            expected_version=self.record.version,
            journal=self._journal,
            payloads=self.payloads,
            wake_changed=wake_changed,
            resend=self._resend_later,
        )

    def _is_worth_recording(self, event: Event, ignored: IgnoredBecause) -> bool:
        """A late answer is a fact about the outside world; a duplicate is not, and may come without end."""
        if ignored is IgnoredBecause.LATE:
            return True
        if ignored is not IgnoredBecause.ENDED or not isinstance(event, Succeeded):
            return False
        op = by_name(self.plan, self.state)[event.step].op(event.operation) if event.step in self.plan.index else None
        return op is not None and op.status is not OpStatus.SUCCEEDED

    def _keep_result(self, event: Event, result: bytes, done_in_round: int | None) -> None:
        """A participant says of which round it is; a person means what was asked for last."""
        step = getattr(event, "step", "")
        now = max(1, by_name(self.plan, self.state)[step].action.round)
        said = getattr(event, "round", now)
        round_ = done_in_round if done_in_round is not None and 1 <= done_in_round < said else said
        self.keep(Payload(self.record.saga_id, step, PayloadKind.RESULT, round_, result))

    def _keep_other_input(self, event: Event, other_input: bytes) -> None:
        """It belongs to the round that the retry has opened, and to those after it."""
        step, operation = getattr(event, "step", ""), getattr(event, "operation", Operation.ACTION)
        round_ = by_name(self.plan, self.state)[step].op(operation).round
        kind = PayloadKind.COMMAND if operation is Operation.ACTION else PayloadKind.UNDO
        self.keep(Payload(self.record.saga_id, step, kind, round_, other_input))

    def _keep_time(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case StartTimer():
                    self._timers[effect.step, effect.operation] = Timer(
                        self._after(effect.seconds), effect.step, effect.operation, effect.round, effect.attempt
                    )
                case StopTimer():
                    self._timers.pop((effect.step, effect.operation), None)
                case StartDeadline():
                    self._timers[_DEADLINE] = Timer(self._after(effect.seconds))
                case StopDeadline():
                    self._timers.pop(_DEADLINE, None)
                case _:
                    pass

    def _after(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)


_DEADLINE: TimerKey = (None, Operation.ACTION)

_MOVES: Final[dict[str, Remembered[SagaState, tuple[SagaState, tuple[Effect, ...]]]]] = {}
"""What the machine has said before, by the hash of the plan. There are as many plans as versions of sagas."""


def _advance(plan: Plan, state: SagaState, event: Event) -> tuple[SagaState, tuple[Effect, ...]]:
    """`advance`, remembered: states that are read from a store are the same objects if they are equal."""
    moves = _MOVES.get(plan.hash)
    if moves is None:
        moves = _MOVES[plan.hash] = Remembered(partial(advance, plan))
    return moves(state, event)

"""A saga to which things happen, told in words: "a" is the action of step a, "undo a" its compensation."""

from __future__ import annotations

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
    Event,
    Failed,
    Refused,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
    Started,
    Succeeded,
    TimerFired,
    Unserved,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import OnStuck, Operation, PlannedStep
from sagaflow.core.state import Cause, OpState, SagaStatus, by_name, initial
from tests.core.plans import plan_of

LATER = 10.0
"""Seconds after which something is to be tried again."""


class Saga:
    """A saga. Without `of`, an event speaks of the latest attempt; `of="1.2"` is round 1, attempt 2."""

    def __init__(
        self,
        *steps: PlannedStep,
        deadline_seconds: float | None = None,
        on_stuck: OnStuck = OnStuck.KEEP_ORDER,
        started: bool = True,
    ) -> None:
        self.plan = plan_of(*steps, deadline_seconds=deadline_seconds, on_stuck=on_stuck)
        self.state = initial(self.plan)
        self.effects: tuple[Effect, ...] = ()
        if started:
            self.starts()

    # What is to be seen of it.

    @property
    def status(self) -> SagaStatus:
        """Where it stands."""
        return self.state.status

    @property
    def cause(self) -> Cause | None:
        """Why it is rolled back."""
        return self.state.cause

    def op(self, what: str) -> OpState:
        """One operation."""
        step, operation = _which(what)
        return by_name(self.plan, self.state)[step].op(operation)

    @property
    def sent(self) -> list[str]:
        """The commands that the last event sent, each with its round and attempt."""
        return [
            f"{_words(effect)} {effect.round}.{effect.attempt}"
            for effect in self.effects
            if isinstance(effect, SendCommand)
        ]

    @property
    def clocks(self) -> list[str]:
        """The timers that the last event started and stopped."""
        return [text for effect in self.effects if (text := _clock(effect))]

    @property
    def ignored(self) -> IgnoredBecause | None:
        """Why the last event was ignored, if it was."""
        return next((effect.because for effect in self.effects if isinstance(effect, Ignored)), None)

    # What can happen to it.

    def starts(self) -> None:
        """It was accepted."""
        self._happens(Started())

    def succeeds(self, *what: str, of: str | None = None) -> None:
        """Participants have done it, one after the other."""
        for each in what:
            self._happens(Succeeded(*self._attempt(each, of)))

    def refuses(self, what: str, of: str | None = None) -> None:
        """The participant says no."""
        self._happens(Refused(*self._attempt(what, of)))

    def fails(self, what: str, of: str | None = None) -> None:
        """The attempt failed and is to be made again."""
        self._happens(Failed(*self._attempt(what, of), LATER))

    def gives_up(self, what: str) -> None:
        """The attempt failed and the participant wants no other."""
        self._happens(Failed(*self._attempt(what, None), None))

    def is_unserved(self, what: str, of: str | None = None, seconds: float = LATER) -> None:
        """Nobody knows how to do it."""
        self._happens(Unserved(*self._attempt(what, of), seconds))

    def times_out(self, what: str, of: str | None = None) -> None:
        """The time of the attempt, or the delay after it, is over."""
        self._happens(TimerFired(*self._attempt(what, of)))

    def cannot_be_made(self, what: str) -> None:
        """The saga's own code fails to make the command."""
        self._happens(CommandFailed(*self._attempt(what, None)))

    def is_deferred(self, what: str) -> None:
        """There is no code here to make the command."""
        self._happens(CommandDeferred(*self._attempt(what, None), LATER))

    def deadline_passes(self) -> None:
        """Its time is used up."""
        self._happens(DeadlinePassed())

    def is_cancelled(self) -> None:
        """Somebody wants it undone."""
        self._happens(CancelRequested())

    def is_retried(self, what: str, *, other_input: bool = False) -> None:
        """A person wants it tried again."""
        self._happens(RetryRequested(*_which(what), other_input=other_input))

    def is_given(self, what: str, *, succeeded: bool) -> None:
        """A person says how it ended."""
        self._happens(ReplyGiven(*_which(what), succeeded=succeeded))

    def is_skipped(self, what: str) -> None:
        """A person has settled it by other means."""
        self._happens(SkipRequested(*_which(what)))

    def is_abandoned(self) -> None:
        """A person ends it as it stands."""
        self._happens(AbandonRequested())

    def _happens(self, event: Event) -> None:
        self.state, self.effects = advance(self.plan, self.state, event)

    def _attempt(self, what: str, of: str | None) -> tuple[str, Operation, int, int]:
        step, operation = _which(what)
        if of is None:
            op = self.op(what)
            return step, operation, op.round, op.attempt
        round_, attempt = map(int, of.split("."))
        return step, operation, round_, attempt


def _which(what: str) -> tuple[str, Operation]:
    step = what.removeprefix("undo ")
    return step, Operation.ACTION if step == what else Operation.COMPENSATION


def _words(effect: SendCommand | StartTimer | StopTimer) -> str:
    return effect.step if effect.operation is Operation.ACTION else f"undo {effect.step}"


def _clock(effect: Effect) -> str | None:
    match effect:
        case StartTimer():
            return f"start {_words(effect)} {effect.round}.{effect.attempt} {effect.seconds:g}s"
        case StopTimer():
            return f"stop {_words(effect)}"
        case StartDeadline():
            return f"start deadline {effect.seconds:g}s"
        case StopDeadline():
            return "stop deadline"
        case _:
            return None

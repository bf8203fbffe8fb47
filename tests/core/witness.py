"""A witness of a saga: what was sent and what was answered, written down by the tests themselves.

The witness knows the rules of the contract and nothing of how the machine keeps them: it sees events and
effects, and whether the saga has turned round. Its testimony is what the state is held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from sagaflow.core.effects import Effect, SendCommand, StartDeadline, StartTimer, StopDeadline, StopTimer
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
from tests.core.plans import Layout

ACTION = Operation.ACTION
COMPENSATION = Operation.COMPENSATION

RETRY_AFTER_SECONDS = 5.0

DEFERRED_SECONDS = (5.0, 20.0, 80.0, 300.0, 300.0)
"""How long an attempt waits that is deferred for the first, the second, ... and every later time in a row."""


class Verdict(Enum):
    """What has become of an operation."""

    OPEN = auto()
    DONE = auto()
    NOT_DONE = auto()
    """A definite no."""
    MAYBE_DONE = auto()
    """The saga turned round before it was known."""
    SETTLED = auto()
    """A person has skipped it."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What is known of one operation."""

    verdict: Verdict = Verdict.OPEN
    round: int = 0
    left: int = 0
    """The highest attempt of this round that has left."""
    awaited: int = 0
    """The attempt whose outcome is awaited; 0: none is."""
    counted: int = 0
    """How many commands of this round count against the budget."""
    ever: bool = False
    """Whether a command has left in any round."""
    timer: tuple[int, int] | None = None
    """The round and the attempt that a timer is running for."""
    deferred: int = 0
    """How often in a row it was deferred, up to where it makes no difference any more."""

    @property
    def latest(self) -> int:
        """The highest attempt of this round that was asked for."""
        return max(self.left, self.awaited)

    @property
    def asked(self) -> bool:
        """Whether it was asked for at all."""
        return self.round > 0

    @property
    def may_have_left(self) -> bool:
        """Whether the participant may have heard of it."""
        return self.ever or self.awaited > 0

    @property
    def done(self) -> bool:
        """Whether others may build upon it."""
        return self.verdict in (Verdict.DONE, Verdict.SETTLED)

    @property
    def stuck(self) -> bool:
        """Whether nothing will happen to it by itself."""
        return self.asked and self.verdict is Verdict.OPEN and self.timer is None

    def sent(self, round_: int, attempt: int) -> Testimony:
        """One more command."""
        same = round_ == self.round
        left, counted = (self.latest, self.counted) if same else (0, 0)
        return Testimony(
            self.verdict, round_, left, attempt, counted + 1, self.may_have_left, self.timer, self.deferred
        )

    def told(self, event: OfAttempt, *, no_is_an_answer: bool) -> Testimony:
        """Something that counts was said of an attempt."""
        match event:
            case Succeeded():
                return replace(self, verdict=Verdict.DONE)
            case Refused():
                return replace(self, verdict=Verdict.NOT_DONE) if no_is_an_answer else self._answered()
            case Failed():
                return self._answered()
            case TimerFired():
                return replace(self._answered(), timer=None, deferred=0 if self.awaited else self.deferred)
            case Unserved():
                return replace(self._answered(), counted=self.counted - 1, deferred=self._once_more())
            case CommandDeferred():
                return replace(self, awaited=0, counted=self.counted - 1, deferred=self._once_more())
            case CommandFailed():
                return replace(self, awaited=0, counted=self.counted - 1, deferred=0)

    def given_up(self) -> Testimony:
        """The saga turns round: an action that is not decided never will be."""
        if self.verdict is not Verdict.OPEN:
            return self
        if not self.may_have_left:
            return Testimony(timer=self.timer)
        return replace(self, verdict=Verdict.MAYBE_DONE)

    def _once_more(self) -> int:
        return min(self.deferred + 1, len(DEFERRED_SECONDS) - 1)

    def _answered(self) -> Testimony:
        return replace(self, left=self.latest, ever=self.may_have_left, awaited=0, deferred=0)


@dataclass(frozen=True, slots=True)
class Witness:
    """What is known of a saga."""

    layout: Layout
    operations: tuple[tuple[Testimony, Testimony], ...]
    started: bool = False
    turned: bool = False
    abandoned: bool = False
    deadline: bool = False
    """Whether the deadline is running."""

    @classmethod
    def of(cls, layout: Layout) -> Witness:
        """A witness to whom nothing has happened yet."""
        return cls(layout, ((Testimony(), Testimony()),) * len(layout.plan.steps))

    @property
    def plan(self) -> Plan:
        """The plan of the saga."""
        return self.layout.plan

    def of_step(self, place: int, operation: Operation) -> Testimony:
        """What is known of one operation."""
        return self.operations[place][0 if operation is ACTION else 1]

    def owed(self, place: int) -> bool:
        """Whether a step is still to be undone."""
        action, compensation = self.operations[place]
        happened = action.verdict in (Verdict.DONE, Verdict.MAYBE_DONE)
        return self._kind(place) is StepKind.COMPENSATABLE and happened and not compensation.done

    def may_be_undone(self, place: int) -> bool:
        """Whether the undo of a step that owes one may be asked for: what else is owed, or stuck, decides."""
        stuck = {other for other, (_, compensation) in enumerate(self.operations) if compensation.stuck}
        match self.plan.on_stuck:
            case OnStuck.HALT:
                return not stuck and not any(map(self.owed, self.layout.behind[place]))
            case OnStuck.KEEP_ORDER:
                return not any(map(self.owed, self.layout.behind[place]))
            case OnStuck.CONTINUE_OTHERS:
                return not any(map(self.owed, self.layout.behind[place] - stuck))

    @property
    def completed(self) -> bool:
        """Whether all of it is done."""
        return self.started and not self.turned and all(action.done for action, _ in self.operations)

    @property
    def compensated(self) -> bool:
        """Whether all of it is undone."""
        return self.turned and not any(self.owed(place) for place in range(len(self.operations)))

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.abandoned or self.completed or self.compensated

    @property
    def stuck(self) -> bool:
        """Whether a person has to decide something."""
        return any(testimony.stuck for both in self.operations for testimony in both)

    @property
    def past_return(self) -> bool:
        """Whether the pivot has happened, or may have."""
        if self.plan.pivot is None:
            return False
        action = self.of_step(self.plan.pivot, ACTION)
        return action.verdict is not Verdict.NOT_DONE and (action.may_have_left or action.done)

    # Taking note.

    def heard(self, event: Event) -> Witness:
        """The witness after an event that counts, before its effects."""
        match event:
            case Started():
                return replace(self, started=True)
            case AbandonRequested():
                return replace(self, abandoned=True)
            case CancelRequested() | DeadlinePassed() | RetryRequested() | Erased():
                return self
            case ReplyGiven(succeeded=False) if self.plan.index[event.step] != self.plan.pivot:
                return self  # a person may be wrong: it is undecided, and the saga turns round
            case ReplyGiven():
                verdict = Verdict.DONE if event.succeeded else Verdict.NOT_DONE
                return self._with(event.step, event.operation, replace(self._named(event), verdict=verdict))
            case SkipRequested():
                return self._with(event.step, event.operation, replace(self._named(event), verdict=Verdict.SETTLED))
            case _:
                no_is_an_answer = self._no_is_an_answer(self.plan.index[event.step], event.operation)
                told = self._named(event).told(event, no_is_an_answer=no_is_an_answer)
                return self._with(event.step, event.operation, told)

    def turned_round(self) -> Witness:
        """The saga has turned round: what is not known of its actions will not be known."""
        given_up = tuple((action.given_up(), compensation) for action, compensation in self.operations)
        return replace(self, operations=given_up, turned=True)

    def saw(self, effect: Effect) -> Witness:
        """The witness after one effect."""
        match effect:
            case SendCommand():
                return self._with(effect.step, effect.operation, self._named(effect).sent(effect.round, effect.attempt))
            case StartTimer():
                timed = replace(self._named(effect), timer=(effect.round, effect.attempt))
                return self._with(effect.step, effect.operation, timed)
            case StopTimer():
                return self._with(effect.step, effect.operation, replace(self._named(effect), timer=None))
            case StartDeadline():
                return replace(self, deadline=True)
            case StopDeadline():
                return replace(self, deadline=False)
            case _:
                return self

    # The contract: what counts.

    def what_counts(self) -> Iterator[Event]:
        """Exactly the events that must change something now. Attempts of earlier rounds are listed up to the
        one after the latest of this round."""
        if self.ended:
            return
        if not self.started:
            yield Started()
        if self.stuck:
            yield AbandonRequested()
        if not self.turned and not self.past_return:
            yield from (CancelRequested(), DeadlinePassed())
        for place in range(len(self.operations)):
            for operation in Operation:
                testimony = self.of_step(place, operation)
                if testimony.asked and testimony.verdict is Verdict.OPEN:
                    yield from self._what_counts_of(place, operation, testimony)

    def _what_counts_of(self, place: int, operation: Operation, known: Testimony) -> Iterator[Event]:
        step, now = self.plan.steps[place].name, known.round
        for round_ in range(1, now + 1):
            for attempt in range(1, known.latest + 1 + (round_ < now)):
                yield Succeeded(step, operation, round_, attempt)
        no_is_an_answer = self._no_is_an_answer(place, operation)
        if no_is_an_answer or not known.stuck:
            for attempt in range(1, known.latest + 1):
                yield Refused(step, operation, now, attempt)
        if known.timer is not None:
            yield TimerFired(step, operation, *known.timer)
        if known.awaited:
            awaited = (step, operation, now, known.awaited)
            yield Failed(*awaited, RETRY_AFTER_SECONDS)
            yield Failed(*awaited, None)
            yield Unserved(*awaited, RETRY_AFTER_SECONDS)
            yield CommandFailed(*awaited)
            yield CommandDeferred(*awaited, RETRY_AFTER_SECONDS)
        else:
            yield RetryRequested(step, operation)
        if known.stuck:
            yield RetryRequested(step, operation, other_input=True)
        yield ReplyGiven(step, operation, succeeded=True)
        if no_is_an_answer:
            yield ReplyGiven(step, operation, succeeded=False)
        if known.stuck and not (operation is ACTION and place == self.plan.pivot):
            yield SkipRequested(step, operation)

    def _no_is_an_answer(self, place: int, operation: Operation) -> bool:
        return operation is ACTION and self._kind(place) is not StepKind.RETRIABLE

    def _kind(self, place: int) -> StepKind:
        return self.plan.steps[place].kind

    def _named(self, what: OfAttempt | ReplyGiven | SkipRequested | SendCommand | StartTimer | StopTimer) -> Testimony:
        return self.of_step(self.plan.index[what.step], what.operation)

    def _with(self, step: str, operation: Operation, testimony: Testimony) -> Witness:
        place = self.plan.index[step]
        action, compensation = self.operations[place]
        both = (testimony, compensation) if operation is ACTION else (action, testimony)
        operations = (*self.operations[:place], both, *self.operations[place + 1 :])
        return Witness(self.layout, operations, self.started, self.turned, self.abandoned, self.deadline)

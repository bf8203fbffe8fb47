"""What can happen to a saga. Events are facts; the machine decides what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from sagaflow.core.plan import Operation


@dataclass(frozen=True, slots=True)
class Started:
    """The saga was accepted."""


@dataclass(frozen=True, slots=True)
class _OfAttempt:
    """Which attempt of which operation the event speaks of."""

    step: str
    operation: Operation
    round: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Succeeded(_OfAttempt):
    """The participant has done it; its effect is committed."""


@dataclass(frozen=True, slots=True)
class Refused(_OfAttempt):
    """The participant says no, for good: nothing is left behind, and no attempt of this round will succeed."""


@dataclass(frozen=True, slots=True)
class Failed(_OfAttempt):
    """The attempt failed. `retry_after_seconds` is when the participant wants the next; None: it gives up."""

    retry_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Unserved(_OfAttempt):
    """Nobody at the participant knows how to do it now; ask the same again later."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class TimerFired(_OfAttempt):
    """The time of the attempt, or the delay after it, is over."""


@dataclass(frozen=True, slots=True)
class CommandFailed(_OfAttempt):
    """The saga's own function could not make the command: a bug in the saga. The command was not sent."""


@dataclass(frozen=True, slots=True)
class CommandDeferred(_OfAttempt):
    """The command was not sent yet: this coordinator has no code to make it, another may; or it holds the step up."""

    retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The saga as a whole has used up its time."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants the saga undone."""


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """A person wants an operation tried again, now, with a fresh budget; with other input, if it is stuck."""

    step: str
    operation: Operation
    other_input: bool = False
    """Whether the participant is sent something else from now on; what, is kept beside the journal."""


@dataclass(frozen=True, slots=True)
class ReplyGiven:
    """A person knows the outcome of an operation that is open: done, or (actions only) not done."""

    step: str
    operation: Operation
    succeeded: bool


@dataclass(frozen=True, slots=True)
class SkipRequested:
    """A person has settled a stuck operation by other means; the saga goes on as if it were done."""

    step: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class AbandonRequested:
    """A person ends a stuck saga as it stands."""


@dataclass(frozen=True, slots=True)
class Erased:
    """A person had what the saga was given, sent and told erased. It has ended, and how it ended stays."""


Reply = Succeeded | Refused | Failed | Unserved
"""What a participant can answer."""

OfAttempt = Reply | TimerFired | CommandFailed | CommandDeferred

Event = (
    Started
    | OfAttempt
    | DeadlinePassed
    | CancelRequested
    | RetryRequested
    | ReplyGiven
    | SkipRequested
    | AbandonRequested
    | Erased
)

"""What the machine asks for. Effects are data; the runners perform them after the state is committed.

An effect may be performed more than once: receivers absorb duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sagaflow.core.plan import Operation


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Ask the participant of a step for an operation."""

    step: str
    operation: Operation
    round: int
    attempt: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Report `TimerFired` for this attempt after some seconds. An operation has one timer; a new one
    replaces it."""

    step: str
    operation: Operation
    round: int
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Forget the timer of an operation."""

    step: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class StartDeadline:
    """Report `DeadlinePassed` after some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StopDeadline:
    """Forget the deadline."""


class IgnoredBecause(StrEnum):
    """Why an event changed nothing."""

    ENDED = "the saga has ended"
    DUPLICATE = "it was known already"
    LATE = "it came too late to count"
    FOREIGN = "it speaks of something that was never asked"
    BEYOND_PIVOT = "the pivot is reached: the saga only goes forward"
    UNDOING = "the saga is being undone already"
    UNFIT = "the operation is not in a state in which this makes sense"


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event changed nothing."""

    because: IgnoredBecause


Effect = SendCommand | StartTimer | StopTimer | StartDeadline | StopDeadline | Ignored

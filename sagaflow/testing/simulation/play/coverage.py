"""What a suite of runs must have met, lest it has shown nothing.

A simulator that never kills anybody finds no bugs. So each run notes what it has met, and a suite that has missed
something fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

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
from sagaflow.core.plan import Operation
from sagaflow.core.state import ENDED, Cause, OpStatus
from sagaflow.testing.simulation.faults import POINTS, TIMED, Fault

Met = Counter[str]


def of_event(event: Event, status: OpStatus | None) -> str:
    """An edge of the machine: an event that meets an operation of a status and changes something."""
    operation = getattr(event, "operation", None)
    return type(event).__name__ if operation is None else f"{type(event).__name__} of {operation} that is {status}"


def of_fault(fault: Fault) -> str:
    """A fault of a kind at a point."""
    return f"{fault.kind} at {fault.point}"


DUPLICATE_AFTER_END: Final = "a duplicate reply after the end of its saga"
LATE_SUCCESS_AFTER_END: Final = "a success that comes after the end of its saga, and was not known"
UNDO_BEFORE_ACTION: Final = "an undo that comes before its action"
ACTION_AFTER_UNDO: Final = "an action that comes after its undo"
DUPLICATE_COMMAND: Final = "a duplicate command"
TAKEN_OVER: Final = "sagas of a dead process are taken over"
OVERTAKEN: Final = "two write one saga at the same time, and the second writes nothing"

_ACTIVE: Final = (OpStatus.SENT, OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.STUCK)
_NAMED: Final = (Started, CancelRequested, DeadlinePassed, AbandonRequested)


def _edges() -> Iterable[str]:
    yield from (kind.__name__ for kind in _NAMED)
    for operation in Operation:
        for kind, statuses in _CHANGES.items():
            for status in statuses:
                yield f"{kind.__name__} of {operation} that is {status}"


_CHANGES: Final[dict[type[object], Sequence[OpStatus]]] = {
    Succeeded: _ACTIVE,
    Refused: (OpStatus.SENT,),
    Failed: (OpStatus.SENT,),
    Unserved: (OpStatus.SENT,),
    TimerFired: (OpStatus.SENT, OpStatus.WAITING, OpStatus.DEFERRED),
    RetryRequested: (OpStatus.STUCK, OpStatus.WAITING),
    ReplyGiven: (OpStatus.STUCK,),
    SkipRequested: (OpStatus.STUCK,),
}

REQUIRED: Final = frozenset(
    {
        *(f"{kind} at {point}" for point, kinds in POINTS.items() for kind in kinds),
        *(f"{kind} at time" for kind in TIMED),
        *_edges(),
        f"{CommandFailed.__name__} of action that is SENT",
        f"{CommandDeferred.__name__} of action that is SENT",
        *(f"ended {status}" for status in ENDED),
        *(f"because {cause}" for cause in Cause),
        DUPLICATE_AFTER_END,
        LATE_SUCCESS_AFTER_END,
        UNDO_BEFORE_ACTION,
        ACTION_AFTER_UNDO,
        DUPLICATE_COMMAND,
        TAKEN_OVER,
        OVERTAKEN,
    }
)
"""All that has to be met."""


RARE: Final = frozenset(
    {
        *(f"{RetryRequested.__name__} of {operation} that is {OpStatus.WAITING}" for operation in Operation),
        f"{Unserved.__name__} of {Operation.COMPENSATION} that is {OpStatus.SENT}",
        f"{TimerFired.__name__} of {Operation.COMPENSATION} that is {OpStatus.DEFERRED}",
        f"{Succeeded.__name__} of {Operation.COMPENSATION} that is {OpStatus.DEFERRED}",
    }
)
"""What a suite of hundreds of histories may miss; one of thousands may not."""


SUITE: Final = 500
"""From so many histories on, a suite has to meet all but the rare."""

LARGE_SUITE: Final = 3000
"""... and from so many on, the rare too."""


def missed(met: Met) -> Sequence[str]:
    """What was never met."""
    return sorted(REQUIRED - met.keys())


def missed_by(histories: int, met: Met) -> Sequence[str]:
    """What so many histories should have met, and have not."""
    if histories < SUITE:
        return []
    return [what for what in missed(met) if histories >= LARGE_SUITE or what not in RARE]

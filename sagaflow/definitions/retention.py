"""How long what is over is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sagaflow.core.state import SagaStatus
from sagaflow.errors import DefinitionError

BARRIER_KEPT_MIN: Final = timedelta(days=7)
"""How long a participant remembers what it did, at the least, after the last thing that happened for a saga.

A message of a saga that has ended may still come: put back by a broker that was down, sent by a process that was
frozen, or replayed by a person. All of that takes hours at the most, or is in the hands of a person.
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long sagas are kept after they have ended, by how they ended, and messages that were put aside.

    What has no time is kept for ever, and so is every saga that has not ended, the stuck ones included. With a saga its
    key is forgotten: a start with that key is then a new saga.

    >>> Retention(completed=timedelta(days=30), compensated=timedelta(days=90)).kept_seconds[SagaStatus.COMPLETED]
    2592000.0

    Raises:
        DefinitionError: a time is negative.
    """

    completed: timedelta | None = None
    compensated: timedelta | None = None
    abandoned: timedelta | None = None
    put_aside: timedelta | None = None

    def __post_init__(self) -> None:
        for kept in (self.completed, self.compensated, self.abandoned, self.put_aside):
            if kept is not None and kept < timedelta(0):
                raise DefinitionError(f"what is over cannot be kept for {kept}; give a time of 0 or more")

    @property
    def kept_seconds(self) -> Mapping[SagaStatus, float]:
        """The seconds for each status of which anything is said."""
        kept = {
            SagaStatus.COMPLETED: self.completed,
            SagaStatus.COMPENSATED: self.compensated,
            SagaStatus.ABANDONED: self.abandoned,
        }
        return {status: time.total_seconds() for status, time in kept.items() if time is not None}


_DURATION: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration_of(text: str) -> timedelta:
    """A time as people write it.

    >>> duration_of("36h")
    datetime.timedelta(days=1, seconds=43200)

    Raises:
        DefinitionError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DefinitionError(f"{text!r} is no time; write a number and its unit, such as 90s, 15m, 36h or 30d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})

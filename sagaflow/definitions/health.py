"""How well a process does: whether it lives, whether it is ready, and what is in its way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sagaflow.definitions.surroundings import current


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be. It has no payload in it, and no password."""

    what: str
    """What has it: database, broker, queue ..., process."""
    why: str
    since: datetime
    """UTC, by the clock of this process."""


@dataclass(frozen=True, slots=True)
class Health:
    """How well a coordinator or a worker does.

    `live` is false if only a new process can help: it has stopped, or what should run for ever has ended. A database
    or a broker that is gone is no such thing. `ready` is false as long as there is any reason why sagas do not get on
    here.
    """

    live: bool
    ready: bool
    reasons: tuple[Trouble, ...] = ()

    def __and__(self, other: Health) -> Health:
        """The health of both, for a process that has more than one."""
        return Health(
            self.live and other.live,
            self.ready and other.ready,
            tuple(dict.fromkeys((*self.reasons, *other.reasons))),
        )


def now() -> datetime:
    """The time of day, for people to see since when something is so."""
    return datetime.fromtimestamp(current().time_ns() / 1e9, UTC)

"""What a process has of the world around it without any port: chance, the time of day, and a name of its own.

The runners have these from here and from nowhere else, so that a simulation can put others in their place.
"""

from __future__ import annotations

import os
import random
import socket
import time
from contextvars import ContextVar
from typing import Final


class Surroundings:
    """The real ones."""

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        """A number between two others, to spread load; it protects nothing."""
        return random.uniform(low, high)  # noqa: S311

    def time_ns(self) -> int:
        """The time of day in nanoseconds since 1970. It orders ids and decides nothing: the clock that counts is
        that of the store."""
        return time.time_ns()

    def host(self) -> str:
        """Where this process runs, for people to find it: host:pid."""
        return f"{socket.gethostname()}:{os.getpid()}"


_current: Final[ContextVar[Surroundings]] = ContextVar("surroundings", default=Surroundings())  # noqa: B039  # it has no state


def current() -> Surroundings:
    """Those of the running task."""
    return _current.get()


def surround(others: Surroundings) -> None:
    """Put others in their place, in this context and in those of the tasks that are begun in it."""
    _current.set(others)

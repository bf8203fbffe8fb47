"""Named places at which a process can be made to die as if it were killed, to see that nothing is lost by it.

They cost nothing while they are off: `crash_point` is then an empty function. They are on only in a process that was
started with `SAGAFLOW_CRASH_AT` in its environment, for tests: a point and, if it is not the first one, which passing
of it is the last: `SAGAFLOW_CRASH_AT=engine.committed` or `engine.committed:3`. Of several, with commas between them,
the first to be reached counts.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Literal, get_args

from sagaflow.definitions import logs
from sagaflow.errors import DefinitionError

VARIABLE: Final = "SAGAFLOW_CRASH_AT"

Point = Literal[
    "engine.before_transaction",
    "engine.before_commit",
    "engine.before_lone_write",
    "engine.committed",
    "engine.start_committed",
    "store.taken_over_page",
    "upkeep.claimed",
    "outbox.before_publish",
    "outbox.published",
    "worker.before_transaction",
    "barrier.before_commit",
    "barrier.refusal_recorded",
    "worker.committed",
]
"""Where a process can die. Those of the outbox are in coordinators and in participants."""

POINTS: Final[tuple[Point, ...]] = get_args(Point)

CrashPoint = Callable[[Point], None]


def goes_on(point: Point, /) -> None:
    """Nothing happens here."""


def die() -> None:
    """End this process at once, with no chance to tidy up."""
    os.kill(os.getpid(), signal.SIGKILL)


def crashing_at(order: str, die: Callable[[], None] = die) -> CrashPoint:
    """What `crash_point` is in a process that was told to die there.

    Raises:
        DefinitionError: the order is not understood.
    """
    last = _read(order)
    passed: Counter[str] = Counter()

    def crash_point(point: Point, /) -> None:
        passed[point] += 1
        if passed[point] == last.get(point):
            die()

    logs.CRASH_POINT_SET.write(variable=VARIABLE, point=order)
    return crash_point


def _read(order: str) -> Mapping[str, int]:
    last: dict[str, int] = {}
    for one in order.split(","):
        point, _, count = one.strip().partition(":")
        if point not in POINTS or not (count or "1").isdecimal() or int(count or 1) < 1:
            raise DefinitionError(
                f"{VARIABLE} has {one.strip()!r}; write POINT or POINT:COUNT, with one of {', '.join(POINTS)}"
            )
        last[point] = int(count or 1)
    return last


crash_point: CrashPoint = crashing_at(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else goes_on

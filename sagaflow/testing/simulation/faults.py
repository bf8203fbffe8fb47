"""What goes wrong in a world, and when.

A fault happens at a *point*: a place where a process meets the world (a commit, a publish, a handler), counted per
process; or at a time. Which, is either drawn from a seed or given as a list. What was drawn is written down, so that
every run can be told, repeated and made smaller.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class Kind(StrEnum):
    """The kinds of faults."""

    # When a process asks a server for something.
    CRASH_BEFORE = "crash-before"
    """The process dies; the server has not heard of it."""
    CRASH_AFTER = "crash-after"
    """It happens, and the process dies before it knows."""
    LOST_BEFORE = "lost-before"
    """The connection is lost; it has not happened."""
    LOST_AFTER = "lost-after"
    """The connection is lost; it has happened."""
    LOST_PARTLY = "lost-partly"
    """The connection is lost; some of the messages have arrived."""
    STOP_BEFORE = "stop-before"
    """The process stands still for a while, as after SIGSTOP, before it happens."""
    STOP_AFTER = "stop-after"
    """... after it has happened."""

    # On the way of a message.
    TWICE = "twice"
    LATE = "late"
    LOST = "lost"
    """The broker loses it, together with its data: what is confirmed is not lost otherwise."""

    # In a handler of a participant.
    REFUSE = "refuse"
    """A business no."""
    FAIL = "fail"
    """An exception, before anything is done."""
    FAIL_AFTER = "fail-after"
    """An exception, after everything is done: what is in the transaction is rolled back, what is outside stays."""
    HANG = "hang"
    """It takes longer than anybody waits."""
    GIVE_UP = "give-up"
    """An exception that the retry policy does not try again."""
    HANG_AFTER = "hang-after"
    """... after everything is done."""
    LATER = "later"
    """`RetryLater`."""

    # In a function of a saga.
    BUG = "bug"
    """The command cannot be made."""

    # At a time.
    STORE_DOWN = "store-down"
    BROKER_DOWN = "broker-down"
    DATABASE_DOWN = "database-down"
    """That of a participant."""
    BROKER_WIPED = "broker-wiped"
    """The broker loses its data."""
    CUT = "cut"
    """A process loses its connections."""
    KILL = "kill"
    RESTART = "restart"
    """A process is stopped in good order, and started again."""
    PAUSE = "pause"
    CLOCK_JUMP = "clock-jump"
    """The clock of the store jumps, forwards or backwards."""
    CANCEL = "cancel"
    """Somebody wants a saga undone."""
    PERSON = "person"
    """Somebody does whatever a person can do to a saga."""


CALL: Final = (
    Kind.CRASH_BEFORE,
    Kind.CRASH_AFTER,
    Kind.LOST_BEFORE,
    Kind.LOST_AFTER,
    Kind.STOP_BEFORE,
    Kind.STOP_AFTER,
)
CARRY: Final = (Kind.TWICE, Kind.LATE, Kind.LOST)
HANDLE: Final = (
    Kind.REFUSE,
    Kind.FAIL,
    Kind.FAIL_AFTER,
    Kind.HANG,
    Kind.HANG_AFTER,
    Kind.GIVE_UP,
    Kind.LATER,
    Kind.CRASH_BEFORE,
    Kind.CRASH_AFTER,
    Kind.STOP_BEFORE,
    Kind.STOP_AFTER,
)
HANDLE_UNDO: Final = HANDLE

POINTS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "store.write": CALL,
    "store.commit": CALL,
    "store.read": (Kind.CRASH_BEFORE, Kind.LOST_BEFORE, Kind.STOP_BEFORE),
    "store.claim": CALL,
    "store.lease": CALL,
    "broker.enter": (Kind.CRASH_BEFORE, Kind.LOST_BEFORE),
    "broker.publish": (*CALL, Kind.LOST_PARTLY),
    "broker.ack": CALL,
    "broker.carry": CARRY,
    "database.enter": (Kind.CRASH_BEFORE, Kind.LOST_BEFORE, Kind.STOP_BEFORE),
    "database.commit": CALL,
    "handler.action": HANDLE,
    "handler.compensation": HANDLE_UNDO,
    "saga.command": (Kind.BUG,),
}
"""Where faults happen, and which can."""

TIMED: Final = (
    Kind.STORE_DOWN,
    Kind.BROKER_DOWN,
    Kind.DATABASE_DOWN,
    Kind.BROKER_WIPED,
    Kind.CUT,
    Kind.KILL,
    Kind.RESTART,
    Kind.PAUSE,
    Kind.CLOCK_JUMP,
    Kind.CANCEL,
    Kind.PERSON,
)
"""What happens at a time."""

SECONDS: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.STOP_BEFORE: (0.5, 20.0),
    Kind.STOP_AFTER: (0.5, 20.0),
    Kind.LATE: (0.1, 12.0),
    Kind.LATER: (0.0, 2.0),
    Kind.STORE_DOWN: (0.1, 8.0),
    Kind.BROKER_DOWN: (0.1, 8.0),
    Kind.DATABASE_DOWN: (0.1, 8.0),
    Kind.PAUSE: (0.5, 20.0),
    Kind.CLOCK_JUMP: (-30.0, 30.0),
    Kind.CRASH_BEFORE: (0.0, 4.0),
    Kind.CRASH_AFTER: (0.0, 4.0),
    Kind.KILL: (0.0, 4.0),
    Kind.RESTART: (0.0, 2.0),
}
"""For how long: of a crash, until the process is started again; of a jump, how far."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `seconds` is how long, how late or how far.

    Example:
        >>> str(Fault(Kind.CRASH_AFTER, "store.commit", "coordinator-1", 3, 0.5))
        'crash-after store.commit coordinator-1 3 0.5'
    """

    kind: Kind
    point: str
    """Where; "time" if it happens at a time."""
    who: str
    """The process that meets it, or the target."""
    nth: float
    """At which of its visits to this point, from 1; of those that happen at a time, when in seconds."""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.point} {self.who} {self.nth:g} {self.seconds:g}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The fault that a text tells of.

        Raises:
            ValueError: it tells of none.
        """
        words = text.split()
        if len(words) != 5:
            raise ValueError(f"{text!r} is no fault; write: kind point who nth seconds")
        kind, point, who, nth, seconds = words
        return cls(Kind(kind), point, who, float(nth), float(seconds))


TIME: Final = "time"

INTERVALS_MAX: Final[Mapping[str, float]] = {
    "handler.action": 12.0,
    "handler.compensation": 2.0,
    "database.commit": 15.0,
}
"""How many visits to these points go well between two faults at most, on average. They are counted by themselves: there
are few of them, and of undos fewest."""

ELSEWHERE: Final = "elsewhere"

DRAWN_MAX: Final = 150
"""How many faults are drawn in one history."""


class Faults(Protocol):
    """Decides what goes wrong."""

    met: list[Fault]
    """What has gone wrong so far."""
    listener: Callable[[Fault], None]
    """Told of each."""

    def at(self, point: str, who: str) -> Fault | None:
        """What goes wrong now that a process has come to a point."""
        ...

    def meet(self, fault: Fault) -> None:
        """Something goes wrong now."""


class _Met:
    """What has gone wrong, and who came where how often."""

    def __init__(self) -> None:
        self.met: list[Fault] = []
        self.visits: Counter[tuple[str, str]] = Counter()
        self.listener: Callable[[Fault], None] = lambda fault: None

    def meet(self, fault: Fault) -> None:
        """Something goes wrong now."""
        self.met.append(fault)
        self.listener(fault)


class NoFaults(_Met):
    """Nothing goes wrong; counts who came where."""

    def at(self, point: str, who: str) -> Fault | None:
        """Nothing."""
        self.visits[point, who] += 1
        return None


class GivenFaults(_Met):
    """The faults of a list, and no others."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__()
        self._faults = {(fault.point, fault.who, int(fault.nth)): fault for fault in faults if fault.point != TIME}

    def at(self, point: str, who: str) -> Fault | None:
        """The one that was given for this visit."""
        self.visits[point, who] += 1
        fault = self._faults.get((point, who, self.visits[point, who])) if self._faults else None
        if fault is not None:
            self.meet(fault)
        return fault


class DrawnFaults(_Met):
    """Faults drawn from a seed, until `stop`.

    Args:
        chance: the source.
        kinds: those that may happen in this run.
        interval: how many visits to a point go well between two faults, on average.
    """

    def __init__(self, chance: random.Random, kinds: Sequence[Kind], interval: float) -> None:
        super().__init__()
        self._chance = chance
        self._interval = interval
        self._kinds = {point: [kind for kind in possible if kind in kinds] for point, possible in POINTS.items()}
        self._left = {where: self._gap(where) for where in (*INTERVALS_MAX, ELSEWHERE)}
        """How many visits go well before the next fault."""
        self._stopped = False

    def at(self, point: str, who: str) -> Fault | None:
        """What chance wants."""
        self.visits[point, who] += 1
        where = point if point in INTERVALS_MAX else ELSEWHERE
        self._left[where] -= 1
        if self._left[where] > 0 or self._stopped or not self._kinds[point]:
            return None
        if len(self.met) >= DRAWN_MAX:  # otherwise faults that beget work could go on for ever, in no time
            return None
        self._left[where] = self._gap(where)
        kind = self._chance.choice(self._kinds[point])
        fault = Fault(kind, point, who, self.visits[point, who], draw_seconds(self._chance, kind))
        self.meet(fault)
        return fault

    def stop(self) -> None:
        """Let everything go well from now on."""
        self._stopped = True

    def _gap(self, where: str) -> int:
        interval = min(self._interval, INTERVALS_MAX.get(where, math.inf))
        return 1 + int(self._chance.expovariate(1.0 / interval))


def draw_seconds(chance: random.Random, kind: Kind) -> float:
    """For how long a fault of this kind lasts."""
    if kind not in SECONDS:
        return 0.0
    low, high = SECONDS[kind]
    return round(low + (high - low) * chance.random() ** (1 if low < 0 else 2), 2)

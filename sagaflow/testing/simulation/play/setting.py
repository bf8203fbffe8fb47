"""All that a seed decides before the first step of a history."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sagaflow.testing.simulation.faults import TIME, TIMED, Fault, Kind, draw_seconds
from sagaflow.testing.simulation.play.cast import PARTICIPANTS, PATIENT, SHAPES

STORM_SECONDS: Final = 12.0
"""For how long faults happen."""

LOSSES: Final = frozenset({Kind.LOST, Kind.BROKER_WIPED})
"""What only the timeout of a step makes up for."""

PERSONS: Final = {Kind.CANCEL: 2, Kind.PERSON: 5}
"""How often they come, at least, where they come at all: most come too late, or where there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Order:
    """A saga that is to be started, and how."""

    key: str
    shape: int
    by: str
    """"client": over the broker; "coordinator": in its process; "within": in a transaction of the caller's own."""
    at_seconds: float


@dataclass(frozen=True)
class Setting:
    """All that a seed decides before the first step."""

    seed: int
    orders: Sequence[Order]
    coordinators: int
    workers: int
    shuffled: bool
    delay_seconds: float
    kinds: Sequence[Kind]
    interval: float
    timed: Sequence[Fault]
    without_code: bool
    """Whether the last coordinator has not got the code at first."""
    without_handlers: bool
    """Whether the last worker of a participant does not serve its external steps at first."""
    poll_seconds: float
    lease_seconds: float

    @classmethod
    def of(cls, seed: int, sagas: int) -> Setting:
        """The setting of a seed."""
        chance = random.Random(f"{seed} setting")  # noqa: S311  # it is meant to be repeated
        shapes = [chance.randrange(len(SHAPES)) for _ in range(2)]
        orders = [
            Order(
                key=f"order-{number}",
                shape=chance.choice(shapes),
                by=chance.choice(("client", "coordinator", "coordinator", "within")),
                at_seconds=round(chance.random() ** 2 * STORM_SECONDS / 2, 2),
            )
            for number in range(sagas)
        ]
        coordinators, workers = chance.choice((1, 1, 2, 3)), chance.choice((1, 1, 2))
        kinds = [kind for kind in _some_kinds(chance) if PATIENT not in shapes or kind not in LOSSES]
        setting = cls(
            seed=seed,
            orders=orders,
            coordinators=coordinators,
            workers=workers,
            shuffled=chance.random() < 0.9,
            delay_seconds=chance.choice((0.0, 0.0, 0.0, 0.02, 0.3)),
            kinds=kinds,
            interval=chance.choice((15.0, 40.0, 120.0, 400.0)),
            timed=(),
            without_code=coordinators > 1 and chance.random() < 0.15,
            without_handlers=chance.random() < 0.3,
            poll_seconds=chance.choice((0.5, 2.0)),
            lease_seconds=chance.choice((3.0, 10.0)),
        )
        return cls(**(setting.__dict__ | {"timed": _timed(chance, setting)}))

    @property
    def processes(self) -> Sequence[str]:
        """The names of all processes."""
        return [
            *(f"coordinator-{number}" for number in range(1, self.coordinators + 1)),
            *(f"worker-{name}-{number}" for name in PARTICIPANTS for number in range(1, self.workers + 1)),
            "client",
        ]


def _some_kinds(chance: random.Random) -> Sequence[Kind]:
    """Each run has some kinds of faults only, so that no kind hides another for ever."""
    share = chance.choice((0.15, 0.4, 0.8))
    return [kind for kind in Kind if chance.random() < share]


def _timed(chance: random.Random, setting: Setting) -> Sequence[Fault]:
    kinds = [kind for kind in TIMED if kind in setting.kinds]
    faults = []
    drawn = [chance.choice(kinds) for _ in range(chance.choice((0, 1, 2, 5)) if kinds else 0)]
    drawn += [kind for kind, times in PERSONS.items() if kind in kinds for _ in range(times)]
    for kind in drawn:
        who = chance.choice(_targets(kind, setting))
        seconds = draw_seconds(chance, kind)
        faults.append(Fault(kind, TIME, who, round(chance.random() * STORM_SECONDS, 2), seconds))
    return sorted(faults, key=lambda fault: fault.nth)


def _targets(kind: Kind, setting: Setting) -> Sequence[str]:
    match kind:
        case Kind.STORE_DOWN | Kind.CLOCK_JUMP:
            return ["store"]
        case Kind.BROKER_DOWN | Kind.BROKER_WIPED:
            return ["broker"]
        case Kind.DATABASE_DOWN:
            return PARTICIPANTS
        case Kind.CANCEL | Kind.PERSON:
            return [order.key for order in setting.orders]
        case _:
            return setting.processes

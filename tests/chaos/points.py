"""The crash points, hit one after the other in a living shop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from sagaflow.definitions.crash_points import POINTS, Point
from tests.chaos.shop.__main__ import COORDINATOR
from tests.chaos.stage import Stage

TRY_SECONDS: Final = 8.0
TRIES: Final = 10
"""A take-over comes by its point only if the dead process had sagas in flight that nobody touched meanwhile; so who has
not come by its point is killed again."""

Place = tuple[str, str]
"""A member of the crew, and the point at which a process there dies."""

OF_BOTH: Final[Sequence[Point]] = ("outbox.before_publish", "outbox.published")
OF_SERVICES: Final[Sequence[Point]] = (
    "worker.before_transaction",
    "barrier.before_commit",
    "barrier.refusal_recorded",
    "worker.committed",
)
OF_COORDINATORS: Final[Sequence[Point]] = [point for point in POINTS if point not in (*OF_BOTH, *OF_SERVICES)]

SERVICE: Final = "stock-1"
"""It refuses and undoes, and so passes all points of a service."""

PLACES: Final[Sequence[Place]] = [
    *((f"{COORDINATOR}-1", point) for point in (*OF_COORDINATORS, *OF_BOTH)),
    *((SERVICE, point) for point in (*OF_SERVICES, *OF_BOTH)),
]

PAIRS: Final[Sequence[tuple[Place, Place]]] = [
    (first, second) for first, second in combinations(PLACES, 2) if first[0] != second[0]
]

TWINS: Final[Sequence[tuple[Place, Place]]] = [
    ((name, first), (f"{name.removesuffix('1')}2", second))
    for name in (f"{COORDINATOR}-1", SERVICE)
    for first, second in combinations([point for place, point in PLACES if place == name], 2)
]
"""Two of a kind, each of which dies at a point of its own."""


class NotHit(Exception):
    """A process was armed, and did not come by its point."""


def die_next_at(stage: Stage, *places: Place, passing: int = 1) -> None:
    """Kill the processes there; those that take their places die when they come by their points."""
    for name, point in places:
        stage.crew.kill(name, then_armed_with=f"{point}:{passing}")


async def die_at(stage: Stage, *places: Place) -> None:
    """The same, again and again, until they have died there.

    Raises:
        NotHit: one of them has not come by.
    """
    before = {place: stage.crew.members[place[0]].died_at.count(place[1]) for place in places}
    die_next_at(stage, *places)
    for place in places:
        name, point = place
        for _ in range(TRIES):
            if await stage.crew.until_dead_at(name, point, before[place] + 1, TRY_SECONDS):
                break
            for twin in places:
                if twin != place and twin[0][:-1] == name[:-1]:  # so that this one may be who takes over from both
                    stage.crew.kill(twin[0])
            die_next_at(stage, place)
        else:
            raise NotHit(f"{name} was armed with {point}, and is alive; see {stage.crew.members[name].log}")

"""Plans for the tests: steps by name, and every shape that a plan of a few steps can have."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from sagaflow.core.plan import Budget, OnStuck, Plan, PlannedStep, StepKind

Arrows = frozenset[tuple[int, int]]
"""Which place comes directly after which: pairs of (before, after)."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What comes after what in a plan, as the tests understand it."""

    plan: Plan
    before: tuple[frozenset[int], ...]
    """For each step, the places of those that it directly comes after."""
    behind: tuple[frozenset[int], ...]
    """For each step, the places of all that come after it, directly or not."""
    twins: tuple[tuple[int, ...], ...]
    """The places of the steps, those together that differ in their names alone."""

    @classmethod
    def of(cls, plan: Plan) -> Layout:
        """The layout of a plan."""
        places = {step.name: place for place, step in enumerate(plan.steps)}
        before = tuple(frozenset(places[name] for name in step.after) for step in plan.steps)
        arrows = frozenset((earlier, later) for later, all_before in enumerate(before) for earlier in all_before)
        return cls(plan, before, tuple(_behind(len(places), arrows)), _twins(plan, before))


def _twins(plan: Plan, before: Sequence[frozenset[int]]) -> tuple[tuple[int, ...], ...]:
    groups: dict[Hashable, list[int]] = {}
    for place, step in enumerate(plan.steps):
        followers = frozenset(later for later, all_before in enumerate(before) if place in all_before)
        alike = (step.kind, before[place], followers, step.action, step.compensation)
        groups.setdefault(alike, []).append(place)
    return tuple(map(tuple, groups.values()))


def step(
    name: str, kind: StepKind = StepKind.COMPENSATABLE, after: Sequence[str] = (), attempts: int = 1
) -> PlannedStep:
    """A step that is tried so often, and whose compensation is tried as often."""
    return PlannedStep(name, "shop", name, kind, tuple(after), Budget(60.0, attempts), Budget(30.0, attempts))


def pivot(name: str, after: Sequence[str] = (), attempts: int = 1) -> PlannedStep:
    """A point of no return."""
    return step(name, StepKind.PIVOT, after, attempts)


def retriable(name: str, after: Sequence[str] = (), attempts: int = 1) -> PlannedStep:
    """A step after the pivot."""
    return step(name, StepKind.RETRIABLE, after, attempts)


def plan_of(*steps: PlannedStep, deadline_seconds: float | None = None, on_stuck: OnStuck = OnStuck.KEEP_ORDER) -> Plan:
    """A plan of these steps."""
    return Plan("trip", 1, steps, deadline_seconds, on_stuck)


def every_plan(size: int, attempts: int = 1, deadline_seconds: float | None = None) -> Iterator[Plan]:
    """Every plan of this many steps up to the names of the steps: each order, with each pivot it can have."""
    for arrows in _orders(size):
        behind = _behind(size, arrows)
        yield _plan(size, arrows, behind, None, attempts, deadline_seconds)
        for place in range(size):
            if all(place in behind[other] or other in behind[place] for other in range(size) if other != place):
                yield _plan(size, arrows, behind, place, attempts, deadline_seconds)


def _plan(
    size: int,
    arrows: Arrows,
    behind: Sequence[frozenset[int]],
    turning_point: int | None,
    attempts: int,
    deadline_seconds: float | None,
) -> Plan:
    def kind(place: int) -> StepKind:
        if turning_point is None or turning_point in behind[place]:
            return StepKind.COMPENSATABLE
        return StepKind.PIVOT if place == turning_point else StepKind.RETRIABLE

    names = "abcde"
    steps = [
        step(
            names[place], kind(place), [names[before] for before in range(size) if (before, place) in arrows], attempts
        )
        for place in range(size)
    ]
    return plan_of(*steps, deadline_seconds=deadline_seconds)


def _orders(size: int) -> list[Arrows]:
    """Every relation `after` on so many steps that does not say twice what comes after what, one of each that differ
    only in the names of the steps."""
    pairs = list(combinations(range(size), 2))
    different: dict[tuple[tuple[int, int], ...], Arrows] = {}
    for count in range(len(pairs) + 1):
        for chosen in combinations(pairs, count):
            if not _says_twice(size, frozenset(chosen)):
                different.setdefault(_nameless(size, chosen), frozenset(chosen))
    return list(different.values())


def _says_twice(size: int, arrows: Arrows) -> bool:
    return any(_behind(size, arrows - {arrow}) == _behind(size, arrows) for arrow in arrows)


def _nameless(size: int, arrows: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return min(tuple(sorted((name[a], name[b]) for a, b in arrows)) for name in permutations(range(size)))


def _behind(size: int, arrows: Arrows) -> list[frozenset[int]]:
    behind: list[frozenset[int]] = [frozenset()] * size
    for place in reversed(range(size)):
        for later in range(place + 1, size):
            if (place, later) in arrows:
                behind[place] |= behind[later] | {later}
    return behind

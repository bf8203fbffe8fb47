"""A plan: the steps of a saga as data, checked when it is built.

A plan is all that the machine knows of a saga. It can be drawn, compared and stored; it holds no code.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

from sagaflow.errors import PlanError


class StepKind(StrEnum):
    """What can be done about a step once it has happened."""

    COMPENSATABLE = "compensatable"
    """It can be undone by its compensation. Comes before the pivot."""
    PIVOT = "pivot"
    """The point of no return: when it has happened the saga only goes forward. At most one."""
    RETRIABLE = "retriable"
    """It must succeed in the end, and is tried until it does. Comes after the pivot."""


class OnStuck(StrEnum):
    """What the rollback of a saga does while one of its compensations is stuck."""

    HALT = "halt"
    """Nothing more is undone until a person has settled it."""
    KEEP_ORDER = "keep_order"
    """What has to be undone after it waits; what does not depend on it is undone meanwhile."""
    CONTINUE_OTHERS = "continue_others"
    """All others are undone meanwhile, also those that should have waited for it."""


class Operation(StrEnum):
    """The two things that a participant can be asked to do for a step."""

    __hash__ = str.__hash__  # that of enums is a call of Python

    ACTION = "action"
    COMPENSATION = "compensation"


@dataclass(frozen=True, slots=True)
class Budget:
    """How long an operation may be waited for, and how often it is tried.

    `timeout_seconds` is the time from sending one command to its reply; silence beyond it uses up the
    attempt. `attempts` bounds the attempts of one round, whoever caused them to fail; a person who
    retries a stuck step opens a new round.
    """

    timeout_seconds: float
    attempts: int


DEFAULT_BUDGET: Mapping[StepKind, Budget] = {
    StepKind.COMPENSATABLE: Budget(timeout_seconds=60.0, attempts=5),
    StepKind.PIVOT: Budget(timeout_seconds=60.0, attempts=20),
    StepKind.RETRIABLE: Budget(timeout_seconds=60.0, attempts=20),
}
"""The budget of an action, by kind: what can be undone gives up early, what must succeed does not."""

DEFAULT_COMPENSATION_BUDGET = Budget(timeout_seconds=60.0, attempts=50)
"""What has to be undone is tried longest."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: who does it, after which other steps, and what its failure means.

    `name` is unique in the saga and is written into the journal and the barriers of the participant;
    `participant` and `handler` say who does it and by which of its handlers.
    """

    name: str
    participant: str
    handler: str
    kind: StepKind
    after: tuple[str, ...] = ()
    action: Budget = DEFAULT_BUDGET[StepKind.COMPENSATABLE]
    compensation: Budget = DEFAULT_COMPENSATION_BUDGET

    def budget(self, operation: Operation) -> Budget:
        """The budget of one of the two operations."""
        return self.action if operation is Operation.ACTION else self.compensation


@dataclass(frozen=True)
class Plan:
    """The steps of one version of a saga, in an order in which each comes after those it depends on.

    Raises:
        PlanError: the plan is unsound. The message names the saga, the step and the mend.
    """

    saga: str
    version: int
    steps: tuple[PlannedStep, ...]
    deadline_seconds: float | None = None
    on_stuck: OnStuck = OnStuck.KEEP_ORDER

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The place of each step in `steps`, by name."""
        return {step.name: place for place, step in enumerate(self.steps)}

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the places of the steps that it directly comes after."""
        return tuple(tuple(self.index[name] for name in step.after) for step in self.steps)

    @cached_property
    def behind(self) -> tuple[frozenset[int], ...]:
        """For each step, the places of all steps that come after it, directly or not."""
        behind: list[frozenset[int]] = [frozenset()] * len(self.steps)
        for later in reversed(range(len(self.steps))):
            for place in self.before[later]:
                behind[place] |= behind[later] | {later}
        return tuple(behind)

    @cached_property
    def pivot(self) -> int | None:
        """The place of the pivot, if there is one."""
        return next((place for place, step in enumerate(self.steps) if step.kind is StepKind.PIVOT), None)

    @cached_property
    def hash(self) -> str:
        """A stable hash of all that decides how the saga moves (64 hexadecimal digits). A run is pinned to it."""
        fields = asdict(self)
        for name, default in _LATER_FIELDS.items():
            if fields[name] == default:
                del fields[name]
        return _digest(fields)

    @cached_property
    def shape(self) -> str:
        """A stable hash of the steps and their order, without budgets and deadline.

        Code that has the shape of a plan can make the commands of a run pinned to it.
        """
        steps = [(step.name, step.participant, step.handler, step.kind, step.after) for step in self.steps]
        return _digest([self.saga, self.version, steps])


_LATER_FIELDS: Mapping[str, object] = {"on_stuck": OnStuck.KEEP_ORDER}
"""Fields that plans have not had from the beginning. At its default, such a field is left out of the hash, so that a
plan which was stored before still has the hash under which it was stored."""


def _digest(value: object) -> str:
    floats = json.loads(json.dumps(value), parse_int=float)  # 60 and 60.0 seconds are the same
    canonical = json.dumps(floats, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*", re.ASCII)
"""What the name of a saga, a step, a participant or a coordinator may look like: it becomes part of queue
names, log lines and routing keys."""

NAME_LENGTH_MAX = 128


def is_name(text: str) -> bool:
    """Whether `text` may name a saga, a step, a participant or a coordinator."""
    return len(text) <= NAME_LENGTH_MAX and _looks_like_a_name(text)


@lru_cache(maxsize=4_096)  # asked of every message, about few names
def _looks_like_a_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def _check(plan: Plan) -> None:
    if not is_name(plan.saga):
        raise PlanError(f"saga {plan.saga!r}: {_NAME_RULE}")
    if plan.version < 1:
        raise PlanError(f"saga {plan.saga}: version is {plan.version}; count versions from 1")
    if not plan.steps:
        raise PlanError(f"saga {plan.saga}: it has no steps; add one with @{plan.saga}.step(...)")
    if plan.deadline_seconds is not None and not _is_duration(plan.deadline_seconds):
        raise PlanError(f"saga {plan.saga}: the deadline must be a positive number of seconds")
    _check_names(plan)
    for step in plan.steps:
        _check_budgets(plan, step)
    _check_order(plan)
    _check_kinds(plan)


_NAME_RULE = (
    "a name consists of lower case letters, digits, '_', '-' and single dots, begins with a letter or a digit, "
    f"and has at most {NAME_LENGTH_MAX} characters"
)


def _check_names(plan: Plan) -> None:
    seen: set[str] = set()
    for step in plan.steps:
        for text in (step.name, step.participant, step.handler):
            if not is_name(text):
                raise PlanError(f"saga {plan.saga}, step {step.name}: {text!r} is no name; {_NAME_RULE}")
        if step.name in seen:
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: there are two steps of this name; "
                "give one of them another with name=..."
            )
        seen.add(step.name)


def _check_budgets(plan: Plan, step: PlannedStep) -> None:
    for operation in Operation:
        budget = step.budget(operation)
        if not _is_duration(budget.timeout_seconds):
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: the timeout of its {operation} must be a positive "
                f"number of seconds, not {budget.timeout_seconds}"
            )
        if budget.attempts < 1:
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: its {operation} needs at least 1 attempt, not {budget.attempts}"
            )


def _check_order(plan: Plan) -> None:
    names = {step.name for step in plan.steps}
    placed: set[str] = set()
    for step in plan.steps:
        for name in step.after:
            if name not in names:
                raise PlanError(
                    f"saga {plan.saga}, step {step.name}: it comes after {name}, which is no step of this "
                    "saga; name one that is, or drop it from `after`"
                )
            if name not in placed:
                raise PlanError(
                    f"saga {plan.saga}, step {step.name}: it comes after {name}, which is not before it; "
                    "a cycle cannot be run: write each step below the steps that it comes after"
                )
        placed.add(step.name)


def _check_kinds(plan: Plan) -> None:
    pivots = [place for place, step in enumerate(plan.steps) if step.kind is StepKind.PIVOT]
    if len(pivots) > 1:
        first, second = (plan.steps[place].name for place in pivots[:2])
        raise PlanError(
            f"saga {plan.saga}, step {second}: it is a second pivot beside {first}; a saga has one point of no "
            "return: make one of them a step"
        )
    behind_pivot = plan.behind[pivots[0]] if pivots else frozenset()
    for place, step in enumerate(plan.steps):
        if step.kind is StepKind.PIVOT:
            continue
        if pivots and place not in behind_pivot and pivots[0] not in plan.behind[place]:
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: it runs beside the pivot {plan.steps[pivots[0]].name}, so "
                "nobody could say whether it is to be undone; put it before or after the pivot with `after`"
            )
        if step.kind is StepKind.COMPENSATABLE and place in behind_pivot:
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: it is compensatable but comes after the pivot "
                f"{plan.steps[pivots[0]].name}, where nothing is undone; put it before the pivot or make it retriable"
            )
        if step.kind is StepKind.RETRIABLE and place not in behind_pivot:
            raise PlanError(
                f"saga {plan.saga}, step {step.name}: it is retriable but does not come after a pivot, so it may "
                "have to be undone; put it after the pivot or make it compensatable"
            )


def _is_duration(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0

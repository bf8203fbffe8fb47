"""The state of a running saga: frozen values, changed by the machine alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sagaflow.core.plan import Operation, Plan


class SagaStatus(StrEnum):
    """Where a saga stands."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    COMPLETED = "COMPLETED"
    """All of it happened."""
    COMPENSATED = "COMPENSATED"
    """None of it remains."""
    STUCK = "STUCK"
    """A person has to decide about at least one operation. Goes on where it can meanwhile."""
    ABANDONED = "ABANDONED"
    """A person has ended it as it stood; what is owed is in the record."""


ENDED = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.ABANDONED})
"""The statuses that never change."""

SETTLED = ENDED | {SagaStatus.STUCK}
"""The statuses that those who wait for a saga want to hear of."""


class OpStatus(StrEnum):
    """Where one operation (the action or the compensation of a step) stands."""

    IDLE = "IDLE"
    """Not asked for."""
    SENT = "SENT"
    """A command is on its way; a reply or a timeout will come."""
    WAITING = "WAITING"
    """The attempt failed; the next one is due later."""
    DEFERRED = "DEFERRED"
    """Nobody serves it now; the same attempt is made again later, and does not count twice."""
    SUCCEEDED = "SUCCEEDED"
    REFUSED = "REFUSED"
    """A definite no (actions only): nothing is left behind."""
    UNKNOWN = "UNKNOWN"
    """It may or may not have happened (actions only), so it is to be undone."""
    STUCK = "STUCK"
    """It cannot go on by itself; a person decides."""
    SKIPPED = "SKIPPED"
    """A person has settled it by other means."""


DONE = frozenset({OpStatus.SUCCEEDED, OpStatus.SKIPPED})
"""What others may build upon."""

OPEN = frozenset({OpStatus.SENT, OpStatus.WAITING, OpStatus.DEFERRED, OpStatus.STUCK})
"""What an answer can still settle."""


class Cause(StrEnum):
    """Why a saga is rolled back."""

    REFUSED = "REFUSED"
    """A participant said no."""
    EXHAUSTED = "EXHAUSTED"
    """The attempts of an action are used up and its outcome is unknown."""
    CANCELLED = "CANCELLED"
    DEADLINE = "DEADLINE"


@dataclass(frozen=True, slots=True)
class OpState:
    """One operation of a step.

    `attempt` counts the commands sent in this round, from 1; `round` counts from 1 too and grows when a
    person retries. Both are 0 before the first.
    """

    status: OpStatus = OpStatus.IDLE
    round: int = 0
    attempt: int = 0
    again: bool = False
    """Nobody served this attempt when it was made before; it is made again under its number."""
    deferrals: int = 0
    """How often in a row it was deferred, as far as the delay still grows with it."""


@dataclass(frozen=True, slots=True)
class StepState:
    """Both operations of a step."""

    action: OpState = OpState()
    compensation: OpState = OpState()

    def op(self, operation: Operation) -> OpState:
        """One of the two."""
        return self.action if operation is Operation.ACTION else self.compensation


@dataclass(frozen=True, slots=True)
class SagaState:
    """A running saga: the status, the operations of each step in the order of the plan, and the cause of
    its rollback if it is rolled back."""

    status: SagaStatus
    steps: tuple[StepState, ...]
    cause: Cause | None = None

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self.status in ENDED


def initial(plan: Plan) -> SagaState:
    """The state before the first event."""
    return SagaState(SagaStatus.RUNNING, tuple(StepState() for _ in plan.steps))


def by_name(plan: Plan, state: SagaState) -> Mapping[str, StepState]:
    """The steps of a state by their names."""
    return {step.name: step_state for step, step_state in zip(plan.steps, state.steps, strict=True)}

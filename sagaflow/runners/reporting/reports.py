"""What a report of a saga says: public, typed, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sagaflow.core.plan import Operation
from sagaflow.core.state import Cause, OpStatus, SagaStatus
from sagaflow.definitions.messages import ErrorInfo

NO_ANSWER: Final = "NoAnswer"
"""The type of error of an operation that nobody answered."""


class AttemptOutcome(StrEnum):
    """How one attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNSERVED = "served by nobody"
    HELD = "could not be sent"
    NOT_MADE = "no command could be made"
    NO_ANSWER = "no answer in time"
    UNDER_WAY = "under way"
    LEFT = "left open, to be undone"


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt of one operation. Made again under its number, since nobody served it, it is one attempt."""

    step: str
    operation: Operation
    round: int
    attempt: int
    asked_at: datetime | None
    ended_at: datetime | None
    outcome: AttemptOutcome
    service: str
    host: str | None
    """Which process answered; None: nobody did."""
    error: ErrorInfo | None
    trace_id: str
    asked: int = 1
    """How often it was asked for under its number."""
    afterwards: str | None = None
    """What came of it too late to change anything."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong with a saga, and where."""

    what: str
    """One sentence."""
    at: datetime | None
    step: str | None = None
    operation: Operation | None = None
    round: int = 0
    attempt: int = 0
    service: str | None = None
    host: str | None = None
    error: ErrorInfo | None = None
    trace_id: str | None = None
    fingerprint: str | None = None
    """The same for all sagas that fail in this way; None: it is about no step."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A step that is undone."""

    step: str
    at: datetime | None
    by: str


@dataclass(frozen=True, slots=True)
class Owed:
    """An operation that is still to be done, why it is not, and when it is tried next."""

    step: str
    operation: Operation
    status: OpStatus
    why: str
    attempts: int = 0
    of_attempts: int = 0
    next_at: datetime | None = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class NotUndone:
    """A step that could not be undone, and why."""

    step: str
    why: str


@dataclass(frozen=True, slots=True)
class ByHand:
    """What a person had done, and for what reason."""

    at: datetime | None
    actor: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alike:
    """How many other sagas fail in the same way, by status, among those that were looked at."""

    fingerprint: str
    by_status: Mapping[SagaStatus, int]
    looked_at: int

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self.by_status.values())


class Again(StrEnum):
    """Whether to run what failed again."""

    NOT_NEEDED = "not needed"
    BY_ITSELF = "by itself"
    """It goes on without anybody."""
    SAME_INPUT = "same input"
    """... once what failed is well."""
    MENDED = "mended"
    """The same would fail again: mend the input, or the code."""


@dataclass(frozen=True, slots=True)
class Move:
    """A command that this state permits, and when it is the right one."""

    when: str
    words: tuple[str, ...]
    to_edit: bool = False
    """Whether something has to be put in before it is run."""


@dataclass(frozen=True, slots=True)
class SagaReport:
    """What happened to a saga, from its journal alone."""

    saga_id: UUID
    saga: str
    plan_version: int
    key: str
    coordinator: str
    status: SagaStatus
    cause: Cause | None
    trace_id: str
    started_at: datetime | None
    updated_at: datetime | None
    headline: str
    """How it stands, in one sentence."""
    first_cause: Failure | None
    """Why it is being, or was, undone; going forward, why it does not go on."""
    stuck: tuple[Failure, ...]
    """What a person has to decide about."""
    attempts: tuple[AttemptReport, ...]
    undone: tuple[Undone, ...]
    """In the order in which it happened."""
    owed: tuple[Owed, ...]
    not_undone: tuple[NotUndone, ...]
    by_hand: tuple[ByHand, ...]
    again: Again
    advice: str
    """Whether to run it again and with what, in a sentence or two."""
    moves: tuple[Move, ...]
    """The first is the one to try first."""
    alike: Alike | None = None

    @property
    def trouble(self) -> Failure | None:
        """What is wrong now: what is stuck, or else the first cause."""
        return self.stuck[0] if self.stuck else self.first_cause

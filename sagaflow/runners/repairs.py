"""What a person can have done about sagas, and whether it makes sense there. Pure; the operator does it.

A repair is about a saga as a whole (cancel, abandon) or about one of its operations that is open (retry, skip,
give a reply). Which operation is meant follows from what the person says, or from there being only one that is
stuck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sagaflow.core.effects import Ignored, IgnoredBecause
from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    Event,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
)
from sagaflow.core.machine import advance
from sagaflow.core.plan import Operation, Plan, StepKind
from sagaflow.core.state import ENDED, OPEN, OpStatus, SagaStatus, by_name
from sagaflow.definitions import payloads
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.payloads import NULL
from sagaflow.definitions.records import SagaFilter, SagaRecord
from sagaflow.errors import NotPossible


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have the saga undone."""

    done: ClassVar = "cancelled"


@dataclass(frozen=True, slots=True)
class RetryStep:
    """Try an operation again, now and with a fresh budget."""

    done: ClassVar = "retried"

    other_input: bytes | None = None
    """What is sent from now on, as JSON, if not the same as before. Only for what is stuck."""

    @classmethod
    def with_input(cls, other_input: object) -> RetryStep:
        """Send something else from now on.

        Raises:
            PayloadError: it cannot be encoded, or is over the limit of size or depth.
        """
        return cls(payloads.encode(other_input))


@dataclass(frozen=True, slots=True)
class SkipStep:
    """Go on as if a stuck operation were done: a person has settled it by other means."""

    done: ClassVar = "skipped"


@dataclass(frozen=True, slots=True)
class GiveReply:
    """Say by hand how an operation ended."""

    done: ClassVar = "given this reply"

    succeeded: bool
    result: bytes = NULL
    """What the action returned, as JSON."""

    @classmethod
    def of_success(cls, result: object = None) -> GiveReply:
        """It is done, with this result.

        Raises:
            PayloadError: it cannot be encoded, or is over the limit of size or depth.
        """
        return cls(True, payloads.encode(result))

    @classmethod
    def of_refusal(cls) -> GiveReply:
        """It is not done (actions only). A step that can be undone is undone all the same, should it be wrong."""
        return cls(False)


@dataclass(frozen=True, slots=True)
class Abandon:
    """End a stuck saga as it stands. What is owed stays in the record, and nobody will do it."""

    done: ClassVar = "abandoned"


OfStep = RetryStep | SkipStep | GiveReply
Repair = Cancel | OfStep | Abandon


@dataclass(frozen=True, slots=True)
class RepairFilter(SagaFilter):
    """Which sagas to repair. Without statuses, those that have not ended."""

    step: str | None = None
    """Only where an operation of this step is open, and that one is meant; with the name of its participant or
    without."""
    error: str | None = None
    """Only where the last error of the operation is of this type, such as `BankDown`."""

    @property
    def of_sagas(self) -> SagaFilter:
        """What the store can look for."""
        statuses = self.statuses or frozenset(SagaStatus) - ENDED
        return SagaFilter(self.saga, statuses, self.key, idle_seconds=self.idle_seconds)


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation that something can be done about, and what went wrong with it last."""

    step: str
    operation: Operation
    status: OpStatus
    error: ErrorInfo | None = None

    def __str__(self) -> str:
        return f"the {self.operation} of {self.step}"


@dataclass(frozen=True, slots=True)
class Prospect:
    """A saga that a repair would touch."""

    record: SagaRecord
    about: OpenOperation | None
    """The operation that is meant; for what is about the whole saga, the first of those that are open."""
    why_not: str | None = None
    """Why the repair makes no sense there, if so."""
    unneeded: bool = False
    """It is so already, which is why."""

    @property
    def saga_id(self) -> UUID:
        """Which saga."""
        return self.record.saga_id


class RepairOutcome(StrEnum):
    """What has become of a repair of one of many sagas."""

    DONE = "done"
    UNNEEDED = "unneeded"
    """It was so already."""
    REFUSED = "refused"
    """It makes no sense there."""
    CHANGED = "changed"
    """The saga went on meanwhile, and does not match any more; it was left alone."""
    FAILED = "failed"
    """It could not be done; nothing of it was."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """One of many sagas, after the repair or the attempt at it."""

    prospect: Prospect
    outcome: RepairOutcome
    status: SagaStatus
    """Where the saga stands now."""
    why: str | None = None
    """Why it was not done, if so."""


Errors = Mapping[tuple[str, Operation], ErrorInfo]
"""What went wrong last with the operations of one saga."""


def matches(record: SagaRecord, matching: RepairFilter) -> bool:
    """Whether a saga that was found before still is what a store would look for."""
    wanted = matching.of_sagas
    return (
        record.status in wanted.statuses
        and wanted.saga in (None, record.saga)
        and wanted.key in (None, record.key)
        and wanted.idle_seconds is None  # otherwise it has just been written
    )


def look(record: SagaRecord, plan: Plan, repair: Repair, matching: RepairFilter, errors: Errors) -> Prospect | None:
    """What a repair would touch of a saga; None: the saga does not match."""
    try:
        step = None if matching.step is None else step_named(plan, matching.step)
    except NotPossible as error:
        return Prospect(record, None, str(error)) if _is_known(plan, matching.step) else None
    found = [replace(one, error=errors.get((one.step, one.operation))) for one in open_operations(record, plan, step)]
    if matching.statuses == {SagaStatus.STUCK}:
        found = [one for one in found if one.status is OpStatus.STUCK]
    if matching.error is not None:
        found = [one for one in found if one.error is not None and one.error.type == matching.error]
    if not found and (step is not None or matching.error is not None):
        return None
    about = found[0] if found else None
    try:
        if isinstance(repair, OfStep):
            about = the_one(found, said=step is not None)
    except NotPossible as error:
        return Prospect(record, about, str(error))
    _, effects = advance(plan, record.state, event_of(repair, about))
    ignored = next((effect.because for effect in effects if isinstance(effect, Ignored)), None)
    if ignored is None:
        return Prospect(record, about)
    unneeded = is_unneeded(repair, record.status, ignored)
    return Prospect(record, about, why_not(plan, repair, about, ignored), unneeded)


def step_named(plan: Plan, said: str) -> str:
    """The step that a person means, with the name of its participant or without.

    Raises:
        NotPossible: there is none, or more than one.
    """
    if said in plan.index:
        return said
    meant = [step.name for step in plan.steps if step.name.endswith(f".{said}")]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise NotPossible(f"step {said!r} may be {' or '.join(meant)}; say which")
    raise NotPossible(f"saga {plan.saga} has no step {said!r}; it has {', '.join(plan.index)}")


def _is_known(plan: Plan, said: str | None) -> bool:
    return any(step.name.endswith(f".{said}") for step in plan.steps)


def open_operations(record: SagaRecord, plan: Plan, step: str | None = None) -> Sequence[OpenOperation]:
    """The operations of a saga, or of one of its steps, that something can be done about; what is stuck first."""
    found = [
        OpenOperation(name, operation, state.op(operation).status)
        for name, state in by_name(plan, record.state).items()
        for operation in Operation
        if step in (None, name) and state.op(operation).status in OPEN
    ]
    return sorted(found, key=lambda one: one.status is not OpStatus.STUCK)


def the_one(found: Sequence[OpenOperation], *, said: bool) -> OpenOperation:
    """The operation that is meant: of a step that a person has `said`, or else the only one that is stuck.

    Raises:
        NotPossible: there is none, or more than one.
    """
    stuck = [one for one in found if one.status is OpStatus.STUCK]
    if len(stuck) == 1 or (found and said):
        return found[0]
    if stuck:
        raise NotPossible(f"more than one step is stuck: {', '.join(one.step for one in stuck)}; say which")
    raise NotPossible("nothing of the step is open" if said else "nothing of it is stuck")


def event_of(repair: Repair, about: OpenOperation | None) -> Event:
    """The event of the machine that a repair is."""
    match repair:
        case Cancel():
            return CancelRequested()
        case Abandon():
            return AbandonRequested()
    assert about is not None, "an operation is meant"
    match repair:
        case RetryStep():
            return RetryRequested(about.step, about.operation, repair.other_input is not None)
        case SkipStep():
            return SkipRequested(about.step, about.operation)
        case GiveReply():
            return ReplyGiven(about.step, about.operation, repair.succeeded)


def is_unneeded(repair: Repair, status: SagaStatus, ignored: IgnoredBecause) -> bool:
    """Whether a repair was ignored because it is so already."""
    undone = ignored is IgnoredBecause.UNDOING or status is SagaStatus.COMPENSATED
    return isinstance(repair, Cancel) and undone


def why_not(plan: Plan, repair: Repair, about: OpenOperation | None, ignored: IgnoredBecause) -> str:
    """Why the machine has ignored a repair, in the words of the person who wants it."""
    if about is None or ignored is not IgnoredBecause.UNFIT:
        return "only a stuck saga can be abandoned" if isinstance(repair, Abandon) else _not_possible(repair, ignored)
    kind = plan.steps[plan.index[about.step]].kind
    match repair:
        case Abandon():
            return "only a stuck saga can be abandoned"
        case RetryStep(other_input=bytes()):
            return f"{about} is {about.status}, and only what is stuck can be given other input"
        case RetryStep():
            return f"{about} is under way; without an answer in time it is tried again by itself"
        case SkipStep() if about.operation is Operation.ACTION and kind is StepKind.PIVOT:
            return f"{about} cannot be skipped, for the saga turns on whether it happened; retry it, or give its reply"
        case SkipStep():
            return f"{about} is {about.status}, and only what is stuck can be skipped"
        case GiveReply():
            return f"{about} has to be done, a no is no answer to it; retry it, or skip it"
        case _:
            return _not_possible(repair, ignored)


def _not_possible(repair: Repair, ignored: IgnoredBecause) -> str:
    return f"it cannot be {repair.done}: {ignored}"

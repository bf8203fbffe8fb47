"""A saga played event by event, as a store would hold it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from sagaflow.core.events import CancelRequested, DeadlinePassed, Event, Failed, Refused, Started, Succeeded, TimerFired
from sagaflow.core.plan import Operation, Plan
from sagaflow.core.state import initial
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import JournalEntry, SagaRecord
from sagaflow.runners.reporting.making import make_report
from sagaflow.runners.reporting.reports import Alike, SagaReport
from sagaflow.runners.turns import Turn

SAGA_ID = UUID("01981f00-0000-7000-8000-000000000001")
BEGAN = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
TRACE = "5ab00eb2520ccec1c8acebdfa074be4d"
BANK_DOWN = ErrorInfo("BankDown", "order 1047: the bank is away", "Traceback:\n  pay\nBankDown")

ACTION, UNDO = Operation.ACTION, Operation.COMPENSATION


class Play:
    """A saga of a plan; each event is a second after the one before."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.journal: list[JournalEntry] = []
        self.record = SagaRecord(
            saga_id=SAGA_ID,
            saga=plan.saga,
            key="order-1047",
            coordinator="orders",
            plan_hash=plan.hash,
            secret=bytes(16),
            traceparent=f"00-{TRACE}-0123456789abcdef-01",
            input_digest=bytes(32),
            version=0,
            state=initial(plan),
            started_at=BEGAN,
        )
        self.happens(Started())

    def happens(self, event: Event, error: ErrorInfo | None = None, *, by: str | None = None, why: str = "why") -> Play:
        """One event, with its error, or by a person."""
        now = BEGAN + timedelta(seconds=len(self.journal))
        turn = Turn(self.record, self.plan, now)
        step: str = getattr(event, "step", "")
        service = "orders" if step not in self.plan.index else self.plan.steps[self.plan.index[step]].participant
        turn.apply(
            event,
            origin=f"{service}@host-1",
            error=error,
            actor=by,
            reason=why if by else None,
            traceparent=self.record.traceparent if isinstance(event, Succeeded | Refused | Failed) else None,
        )
        change = turn.change()
        self.record = change.record
        self.journal += [replace(entry, at=now) for entry in change.journal]
        return self

    def done(self, *steps: str, operation: Operation = ACTION) -> Play:
        """These steps are done, at the first attempt."""
        for step in steps:
            self.happens(Succeeded(step, operation, 1, 1))
        return self

    def undone(self, *steps: str) -> Play:
        """... are undone."""
        return self.done(*steps, operation=UNDO)

    def fails(self, step: str, operation: Operation = ACTION, error: ErrorInfo | None = BANK_DOWN) -> Play:
        """The step fails for good."""
        return self.happens(Failed(step, operation, 1, 1, None), error)

    def refused(self, step: str) -> Play:
        """The step is refused."""
        return self.happens(Refused(step, ACTION, 1, 1), ErrorInfo("StepRejected", "no money"))

    def times_out(self, step: str, attempts: int, operation: Operation = ACTION) -> Play:
        """Nobody answers, so often."""
        for attempt in range(1, attempts + 1):
            self.happens(TimerFired(step, operation, 1, attempt))
        return self

    def cancelled(self) -> Play:
        """A person cancels it."""
        return self.happens(CancelRequested(), by="anna", why="ordered twice")

    def deadline(self) -> Play:
        """Its time is over."""
        return self.happens(DeadlinePassed())

    def report(self, alike: Alike | None = None) -> SagaReport:
        """What is told of it."""
        return make_report(self.record, self.plan, self.journal, alike)


def verbs(report: SagaReport) -> Sequence[str]:
    """What is offered, in order."""
    return [move.words[0] for move in report.moves]

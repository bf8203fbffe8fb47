"""The journal in words: what holds a step up, and when it goes on."""

from __future__ import annotations

from uuid import UUID

from sagaflow.cli.timeline import timeline
from sagaflow.core.events import CommandDeferred, Event, Succeeded, TimerFired
from sagaflow.core.plan import Operation
from sagaflow.core.state import SagaStatus
from sagaflow.definitions.messages import ErrorInfo
from sagaflow.definitions.records import JournalEntry

ACTION = Operation.ACTION


def entry(seq: int, event: Event, error: ErrorInfo | None = None) -> JournalEntry:
    return JournalEntry(UUID(int=1), seq, event, SagaStatus.RUNNING, error=error)


def test_a_step_that_is_held_up_and_one_without_code_are_told_apart() -> None:
    journal = [
        entry(1, CommandDeferred("pay", ACTION, 1, 1, 1.0), ErrorInfo("NotReady", "nobody answers for airline")),
        entry(2, TimerFired("pay", ACTION, 1, 0)),
        entry(3, CommandDeferred("pay", ACTION, 1, 1, 1.0)),
        entry(4, TimerFired("pay", ACTION, 1, 0)),
        entry(5, TimerFired("book", ACTION, 1, 1)),
        entry(6, Succeeded("pay", ACTION, 1, 1)),
        entry(7, TimerFired("pay", ACTION, 1, 1)),
    ]
    assert [(line.what, line.why) for line in timeline(journal)] == [
        ("pay is held up", "NotReady: nobody answers for airline"),
        ("the pause before pay is over", ""),
        ("this coordinator has no code to make the command for pay", ""),
        ("the pause before pay is over", ""),
        ("book was not answered in time", ""),
        ("pay done", ""),
        ("pay was not answered in time", ""),
    ]

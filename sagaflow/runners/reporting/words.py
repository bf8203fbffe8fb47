"""Words that a report is told in."""

from __future__ import annotations

from collections.abc import Sequence

from sagaflow.core.events import (
    AbandonRequested,
    CancelRequested,
    Erased,
    Event,
    ReplyGiven,
    RetryRequested,
    SkipRequested,
)
from sagaflow.core.plan import Operation


def operation_words(step: str, operation: Operation) -> str:
    """An operation as people call it."""
    return step if operation is Operation.ACTION else f"undo of {step}"


def hand_words(event: Event) -> str:
    """What a person did."""
    match event:
        case CancelRequested():
            return "cancelled the saga"
        case AbandonRequested():
            return "abandoned the saga"
        case RetryRequested():
            other = " with other input" if event.other_input else ""
            return f"retried the {operation_words(event.step, event.operation)}{other}"
        case ReplyGiven():
            done = "done" if event.succeeded else "not done"
            return f"said that the {operation_words(event.step, event.operation)} is {done}"
        case SkipRequested():
            return f"skipped the {operation_words(event.step, event.operation)}"
        case Erased():
            return "erased its payloads"
        case _:
            return "asked for it"


def join(names: Sequence[str], word: str = "and") -> str:
    """Names in a row: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}" if names else ""


def times(count: int) -> str:
    """How often: once, 2 times."""
    return "once" if count == 1 else f"{count} times"


def seconds_words(seconds: float | None) -> str:
    """How long: 2.5 s; nothing of None."""
    return "" if seconds is None else f"{seconds:g} s"

"""Time: a SQLite file has no clock, so the process's is used, and times are kept as text that compares as time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Says what time it is (timezone aware). Processes that share a file should agree on it."""


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


def to_text(time: datetime) -> str:
    """A time as UTC text of fixed width: 2026-01-31T23:59:59.000000Z."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_time(text: str) -> datetime:
    """A time, from what `to_text` made of it."""
    return datetime.fromisoformat(text)

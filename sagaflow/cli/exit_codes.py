"""What a command says to the program that runs it; docs/operations.md has the same list, and a test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from sagaflow.core.state import SagaStatus


class ExitCode(IntEnum):
    """Stable: scripts depend on them."""

    DONE = 0
    FAILED = 1
    """It could not be done, or what was looked for is wrong."""
    WRONG_USAGE = 2
    """It was asked for in a wrong way; nothing was done."""
    COMPENSATED = 3
    """The saga that was waited for is undone."""
    STUCK = 4
    """... waits for a person."""
    ABANDONED = 5
    """... was ended as it stood."""
    STILL_OPEN = 6
    """... is still on its way, and was waited for no longer."""
    INTERRUPTED = 130
    """Ctrl-C."""


_CODES: Final[Mapping[SagaStatus, ExitCode]] = {
    SagaStatus.COMPLETED: ExitCode.DONE,
    SagaStatus.COMPENSATED: ExitCode.COMPENSATED,
    SagaStatus.STUCK: ExitCode.STUCK,
    SagaStatus.ABANDONED: ExitCode.ABANDONED,
    SagaStatus.RUNNING: ExitCode.STILL_OPEN,
    SagaStatus.COMPENSATING: ExitCode.STILL_OPEN,
}


def code_of(status: SagaStatus) -> ExitCode:
    """How the saga that was waited for has ended."""
    return _CODES[status]

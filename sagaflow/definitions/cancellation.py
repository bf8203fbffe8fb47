"""Who is being cancelled: a task, or what it waits for."""

from __future__ import annotations

import asyncio


def is_being_cancelled() -> bool:
    """Whether the current task was asked to end, rather than something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""Tasks that a runner has started and is answerable for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from sagaflow.definitions import logs


class Tasks:
    """Keeps tasks alive, logs those that fail, and waits for them in the end."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], None] = {}
        """In the order in which they began. A set would cancel them in the order of their addresses, so that two runs
        of the same would differ."""

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run in the background."""
        task = asyncio.create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout: float | None = None) -> None:
        """Wait until all have ended; after `timeout` seconds cancel those that have not."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        await self.cancel()

    async def cancel(self) -> None:
        """Cancel all that still run."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.WORK_FAILED.write(error=error, what=task.get_name())

"""Locks of a simulated database: a transaction has what it locked until it ends, and who wants the same waits."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final

from sagaflow.errors import Locked

LOCK_SECONDS: Final = 5.0
"""How long a lock is waited for."""


class Locks:
    """Who has locked what."""

    def __init__(self, seconds: float = LOCK_SECONDS) -> None:
        self._seconds = seconds
        self._holders: dict[Hashable, object] = {}
        self._waiting: dict[Hashable, list[asyncio.Future[None]]] = {}

    def is_free(self, key: Hashable, holder: object) -> bool:
        """Whether nobody else has it."""
        return self._holders.get(key, holder) is holder

    async def take(self, key: Hashable, holder: object) -> None:
        """Have it, waiting for who has it now.

        Raises:
            Locked: that takes too long.
        """
        if not self.is_free(key, holder):
            await self._wait(key, holder)
        self._holders[key] = holder

    def release(self, holder: object) -> None:
        """Give back all that a transaction has."""
        for key in [key for key, of in self._holders.items() if of is holder]:
            del self._holders[key]
            for waiting in self._waiting.pop(key, ()):
                if not waiting.done():
                    waiting.set_result(None)

    async def _wait(self, key: Hashable, holder: object) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        while not self.is_free(key, holder):
            left = until - loop.time()
            if left <= 0:
                raise Locked(f"{key!r} is locked by another transaction")
            free: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(key, []).append(free)
            await asyncio.wait([free], timeout=left)

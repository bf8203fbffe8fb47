"""A client: a process that orders over the broker and waits for the end of each order. Born again, it asks again for
what an earlier process was never told the end of.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from sagaflow import SagaClient
from tests.chaos.notebook import Note
from tests.chaos.scripts import moods_of
from tests.chaos.shop.messages import Order

CUSTOMERS: Final = 4
OUTCOME_SECONDS: Final = 6.0


class Client:
    """Orders, until it is cancelled. `write` notes what was asked and told."""

    def __init__(self, client: SagaClient, *, name: str, life: int, seed: int, write: Callable[[Note], None]) -> None:
        self._client = client
        self._name = f"{name}-{life}"
        self._seed = seed
        self._write = write
        self._numbers = itertools.count(1)

    async def order(self, *unsettled: str) -> None:
        """Order for ever; first again what an earlier process does not know the end of."""
        async with asyncio.TaskGroup() as group:
            for key in unsettled:
                group.create_task(self._order_once(key))
            for _ in range(CUSTOMERS):
                group.create_task(self._order_on())

    async def _order_on(self) -> None:
        while True:
            key = f"{self._name}-{next(self._numbers)}"
            self._write(Note(key, "asked"))
            await self._order_once(key)

    async def _order_once(self, key: str) -> None:
        saga_id = await self._client.start("order", Order(key, dict(moods_of(self._seed, key))), key=key)
        self._write(Note(key, "promised", str(saga_id)))
        try:
            status = await self._client.outcome(saga_id, timeout=OUTCOME_SECONDS)
        except TimeoutError:
            self._write(Note(key, "left", str(saga_id)))
        else:
            self._write(Note(key, "ended", str(saga_id), str(status)))

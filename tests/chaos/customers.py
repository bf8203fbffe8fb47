"""The load: customers who order over the broker, ask twice, and change their minds."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress

from sagaflow import SagaClient, SagaflowError
from tests.chaos.notebook import Note
from tests.chaos.scripts import ASKED_TWICE, CANCELLED, Moods, moods_of
from tests.chaos.shop.messages import Order

OUTCOME_SECONDS = 6.0
"""After this time a customer no longer waits for an order, and places the next."""

CANCEL_SECONDS = 5.0


class Customers:
    """So many customers, each with one order at a time. What they were told is kept."""

    def __init__(self, client: SagaClient, *, seed: int, count: int, moods: Moods | None = None) -> None:
        self.promised: dict[str, str] = {}
        self.moods: dict[str, Moods] = {}
        self.settled = 0
        """Orders of which a customer has heard the end."""
        self.notes: list[Note] = []
        """What they were told of the end."""
        self._client = client
        self._seed = seed
        self._count = count
        self._only = moods
        self._numbers = itertools.count(1)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to order."""
        self._tasks = [asyncio.create_task(self._order_on(), name=f"customer {n}") for n in range(self._count)]

    async def close(self) -> None:
        """Order no more; what was asked for is waited for."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _order_on(self) -> None:
        while not self._stopping:
            await self._order(next(self._numbers))

    async def _order(self, number: int) -> None:
        key = f"order-{number}"
        moods = moods_of(self._seed, number) if self._only is None else self._only
        self.moods[key] = moods
        draw = random.Random(f"{self._seed}/customer/{number}")
        times = 2 if draw.random() < ASKED_TWICE else 1
        order = Order(key, dict(moods))
        ids = await asyncio.gather(*(self._client.start("order", order, key=key) for _ in range(times)))
        assert len(set(ids)) == 1, f"{key} was asked for {times} times, and is {ids}"
        self.promised[key] = str(ids[0])
        if draw.random() < CANCELLED:
            await asyncio.sleep(draw.random() * 0.5)
            with suppress(SagaflowError, TimeoutError):  # it may be too late; then it goes on
                async with asyncio.timeout(CANCEL_SECONDS):
                    await self._client.cancel(ids[0], reason="changed my mind", actor="customer")
        with suppress(TimeoutError):
            status = await self._client.outcome(ids[0], timeout=OUTCOME_SECONDS)
            self.notes.append(Note(key, "ended", str(ids[0]), str(status)))
            self.settled += 1

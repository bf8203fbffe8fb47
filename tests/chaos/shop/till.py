"""A till: a process of the coordinator that sells, and starts each order in the transaction of its own sale.

The row of the sale and the order become true together, or neither does, whenever the process dies.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import asyncpg

from sagaflow import Coordinator, SagaflowError
from tests.chaos.notebook import Note
from tests.chaos.scripts import ASKED_TWICE, ROLLED_BACK, SALE, moods_of
from tests.chaos.shop.messages import Order
from tests.chaos.shop.saga import shop

SCHEMA: Final = """
CREATE SCHEMA till;
CREATE TABLE till.sale (
    n    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key  text NOT NULL,
    saga text NOT NULL
);
"""
INSERT: Final = "INSERT INTO till.sale (key, saga) VALUES ($1, $2)"

SELLERS: Final = 2
THINKING_SECONDS: Final = 0.2
"""At most so long a transaction stays open with its order in it."""
PAUSE_SECONDS: Final = 0.5
OUTCOME_SECONDS: Final = 6.0

FAILURES: Final = (
    SagaflowError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a statement is told after the server has said that it ends the connection
    OSError,
)


async def be_impatient(connection: Any) -> None:
    """For each loan of a connection: not when it connects, since a pooler would not let it in with settings."""
    await connection.execute("SET idle_in_transaction_session_timeout = '6s'")


class ChangedTheirMind(Exception):
    """The sale is rolled back."""


class Till:
    """Sells, until it is cancelled. `write` notes what was asked and told."""

    def __init__(
        self,
        coordinator: Coordinator,
        pool: asyncpg.Pool,
        *,
        name: str,
        life: int,
        seed: int,
        write: Callable[[Note], None],
    ) -> None:
        self._coordinator = coordinator
        self._pool = pool
        self._name = f"{SALE}{name}-{life}"
        self._seed = seed
        self._write = write
        self._numbers = itertools.count(1)

    async def sell(self, *unsettled: str) -> None:
        """Sell for ever; first again what an earlier process does not know the end of."""
        async with asyncio.TaskGroup() as group:
            for key in unsettled:
                group.create_task(self._sell_surely(key))
            for _ in range(SELLERS):
                group.create_task(self._sell_on())

    async def _sell_on(self) -> None:
        while True:
            key = f"{self._name}-{next(self._numbers)}"
            self._write(Note(key, "asked"))
            await self._sell_surely(key)

    async def _sell_surely(self, key: str) -> None:
        """Sell it until it is known how that ended: what failed may have been committed, so it is asked for again. Then
        wait for the order for a while."""
        draw = random.Random(f"{self._seed}/till/{key}")
        keeps, twice = draw.random() >= ROLLED_BACK, draw.random() < ASKED_TWICE
        while True:
            try:
                saga_id = await self._sell_once(key, keeps=keeps)
                if twice:
                    await self._sell_once(key, keeps=keeps)
            except ChangedTheirMind:
                self._write(Note(key, "rolled back"))
                return
            except FAILURES:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._write(Note(key, "committed", saga_id))
                await self._wait_for(key, saga_id)
                return

    async def _wait_for(self, key: str, saga_id: str) -> None:
        with suppress(TimeoutError, *FAILURES):
            outcome = await self._coordinator.outcome(UUID(saga_id), timeout=OUTCOME_SECONDS)
            self._write(Note(key, "ended", saga_id, str(outcome.status)))

    async def _sell_once(self, key: str, *, keeps: bool) -> str:
        order = Order(key, dict(moods_of(self._seed, key)))
        connection: Any
        async with self._pool.acquire() as connection, connection.transaction():
            run = await self._coordinator.start(shop, order, key=key, tx=connection)
            await connection.execute(INSERT, key, str(run.saga_id))
            await asyncio.sleep(THINKING_SECONDS * random.random())
            if not keeps:
                raise ChangedTheirMind
        return str(run.saga_id)

"""What a coordinator does by the clock: wake sagas whose time has come, keep its lease, take over from the dead."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from uuid import UUID

from sagaflow.definitions.ports import SagaStore
from sagaflow.errors import Unavailable
from sagaflow.runners.batches import Batcher
from sagaflow.runners.engine import Input, Woken

log = logging.getLogger("sagaflow.coordinator")

CLAIM_LIMIT = 200
CLAIM_HOLD_SECONDS = 10.0
NUDGED_POLLS_SECONDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""After a nudge the agenda is looked at often: the transaction that it waits for may take a moment."""


class Upkeep:
    """The loops of one process. They go on through failures of the store, which only delay them."""

    def __init__(
        self,
        *,
        name: str,
        process: UUID,
        store: SagaStore,
        inputs: Batcher[Input],
        poll_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._name = name
        self._process = process
        self._store = store
        self._inputs = inputs
        self._poll_seconds = poll_seconds
        self._lease_seconds = lease_seconds
        self._nudged = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Take the lease, take over what the dead have left, and begin."""
        await self._store.keep_lease(self._name, self._process, self._lease_seconds)
        await self._take_over()
        self._tasks = [
            asyncio.create_task(self._forever("agenda", self._wake_due), name="sagaflow agenda"),
            asyncio.create_task(self._forever("lease", self._keep_lease), name="sagaflow lease"),
            asyncio.create_task(self._forever("take over", self._look_after_others), name="sagaflow take over"),
        ]

    def nudge(self) -> None:
        """Something is due now."""
        self._nudged.set()

    async def close(self) -> None:
        """Stop the loops; the lease is not given back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _forever(self, what: str, once: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await once()
            except Unavailable as error:
                log.warning("%s: %s; trying again", what, error)
                await asyncio.sleep(self._jittered(self._poll_seconds))

    async def _wake_due(self) -> None:
        nudged = await self._pause()
        for seconds in NUDGED_POLLS_SECONDS if nudged else (0.0,):
            await asyncio.sleep(seconds)
            while await self._claim() == CLAIM_LIMIT:
                await self._inputs.has_room()

    async def _claim(self) -> int:
        due = await self._store.claim_due(self._name, CLAIM_LIMIT, CLAIM_HOLD_SECONDS)
        for saga in due:
            self._inputs.put(Woken(saga.saga_id, saga.resend))
        return len(due)

    async def _pause(self) -> bool:
        """Wait for the next look at the agenda; returns whether it was asked for."""
        try:
            await asyncio.wait_for(self._nudged.wait(), self._jittered(self._poll_seconds))
        except TimeoutError:
            return False
        self._nudged.clear()
        return True

    async def _keep_lease(self) -> None:
        await asyncio.sleep(self._lease_seconds / 3)
        await self._store.keep_lease(self._name, self._process, self._lease_seconds)

    async def _look_after_others(self) -> None:
        await asyncio.sleep(self._jittered(self._lease_seconds / 2))
        await self._take_over()

    async def _take_over(self) -> None:
        sagas = await self._store.take_over(self._name)
        if sagas:
            log.warning("took over %d sagas of a process that has died", sagas)
            self.nudge()

    def _jittered(self, seconds: float) -> float:
        return seconds * random.uniform(0.75, 1.25)  # noqa: S311  # spreads load, protects nothing

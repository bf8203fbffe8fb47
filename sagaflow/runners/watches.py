"""Who waits for sagas to end, in this process; and how they are told, without asking the database again.

A wait is written beside the saga's agenda, so that whichever process ends the saga knows whom to tell. It
sends a notice to the answers queue of the process that waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from sagaflow.core.state import ENDED, SETTLED, SagaStatus
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import SagaRecord, Watcher
from sagaflow.errors import SagaflowError, SagaNotFound, Unavailable
from sagaflow.runners.batches import Batcher, until_available
from sagaflow.runners.lookups import Found

WATCHES_BATCH_MAX = 500

FOLLOWED_MAX = 20_000
"""How many of the sagas that were started here are remembered."""

REGISTER_AGAIN_SECONDS = 30.0
"""A notice is sent once and may be lost with a connection; a wait is renewed in this interval."""


Settled = tuple[SagaStatus, Found | None]


class Watches:
    """The waits of one process. `address` is the name of its answers queue.

    A saga that was started here is followed from its first row on, so that to wait for it asks nothing of the
    database; what has become of it is remembered for a while, since it may end before anybody waits.
    """

    def __init__(self, store: SagaStore, address: str) -> None:
        self.address = address
        self._store = store
        self._waiting: dict[UUID, list[asyncio.Future[Settled]]] = {}
        self._followed: OrderedDict[UUID, SagaStatus | None] = OrderedDict()
        """Of sagas that were started here the latest, and how they have ended, if they have."""
        self._new: Batcher[UUID] = Batcher("watches", self._register, WATCHES_BATCH_MAX, forsake=self._forsake)

    def open(self) -> None:
        """Begin to register waits."""
        self._new.open()

    async def close(self) -> None:
        """Stop; those who still wait are told so."""
        await self._new.abort()
        for saga_id in self._waiting:
            self._forsake(saga_id)

    def follow(self, saga_id: UUID) -> None:
        """A saga has been started with this process as a watcher."""
        self._followed[saga_id] = None
        if len(self._followed) > FOLLOWED_MAX:
            self._followed.popitem(last=False)

    def is_awaited(self, saga_id: UUID) -> bool:
        """Whether anybody here waits for the saga just now."""
        return saga_id in self._waiting

    async def wait(self, saga_id: UUID) -> Settled:
        """The status of the saga once it has ended or is stuck, and the saga itself if who ended it has it at hand.

        Raises:
            SagaNotFound: there is no such saga.
        """
        if (known := self._followed.get(saga_id)) is not None:
            return known, None
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(saga_id, []).append(future)
        is_registered = saga_id in self._followed and self._new.is_open
        try:
            while not future.done():
                if not is_registered:
                    self._new.put(saga_id)
                is_registered = False
                await asyncio.wait([future], timeout=REGISTER_AGAIN_SECONDS)
            return future.result()
        finally:
            self._forget(saga_id, future)

    def settled(self, saga_id: UUID, status: SagaStatus, found: Found | None = None) -> None:
        """A saga has ended or is stuck. `found` is given to who waits, and not kept for who may come later."""
        if saga_id in self._followed:
            if status in ENDED:
                self._followed[saga_id] = status
            else:  # it may go on, and nobody watches it any more
                del self._followed[saga_id]
        for future in self._waiting.get(saga_id, ()):
            if not future.done():
                future.set_result((status, found))

    def _forget(self, saga_id: UUID, future: asyncio.Future[Settled]) -> None:
        futures = self._waiting.get(saga_id, [])
        if future in futures:
            futures.remove(future)
        if not futures:
            self._waiting.pop(saga_id, None)

    async def _register(self, saga_ids: Sequence[UUID]) -> None:
        watchers = [Watcher(saga_id, self.address) for saga_id in saga_ids]
        records = await until_available("the store", lambda: watch(self._store, watchers))
        found = {record.saga_id: record for record in records}
        for saga_id in saga_ids:
            record = found.get(saga_id)
            if record is None:
                self._fail(saga_id, SagaNotFound(f"there is no saga {saga_id}"))
            elif record.status in SETTLED:
                self.settled(saga_id, record.status)

    def _forsake(self, saga_id: UUID) -> None:
        self._fail(saga_id, Unavailable("the coordinator has stopped; ask another for the outcome"))

    def _fail(self, saga_id: UUID, error: SagaflowError) -> None:
        for future in self._waiting.get(saga_id, ()):
            if not future.done():
                future.set_exception(error)


async def watch(store: SagaStore, watchers: Sequence[Watcher]) -> Sequence[SagaRecord]:
    """Register waits in one transaction; returns the sagas that exist, as they stand."""
    async with store.transaction() as tx:
        return await tx.watch(watchers)

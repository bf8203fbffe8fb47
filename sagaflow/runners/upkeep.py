"""What a coordinator does by the clock: wake sagas whose time has come, keep its lease, take over from the dead, and
forget what is over for long enough."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from sagaflow.definitions import logs
from sagaflow.definitions.crash_points import crash_point
from sagaflow.definitions.ports import SagaStore
from sagaflow.definitions.records import Due
from sagaflow.definitions.retention import Retention
from sagaflow.definitions.surroundings import current
from sagaflow.errors import Unavailable
from sagaflow.runners.purging import purge_sagas
from sagaflow.runners.telling import UNOBSERVED, Guarded

CLAIM_LIMIT = 200
CLAIM_HOLD_SECONDS = 10.0
NUDGED_LOOKS_SECONDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""After a nudge the agenda is looked at often: the transaction that it waits for may take a moment."""

LOOKS_PER_SECOND_MAX = 100

COUNT_SECONDS = 15.0
"""How often what is open is counted for the observer, by one process of the name."""

PURGE_EVERY_SECONDS = 3600.0
"""How often what a retention does not keep is looked for."""


class Upkeep:
    """The loops of one process. They go on through failures of the store, which only delay them.

    `wake` is called for each saga whose time has come, and waits while the process has enough to do.
    """

    def __init__(
        self,
        *,
        name: str,
        process: UUID,
        store: SagaStore,
        wake: Callable[[Due], Awaitable[None]],
        poll_seconds: float,
        lease_seconds: float,
        observer: Guarded = UNOBSERVED,
        retention: Retention | None = None,
        purge_every_seconds: float = PURGE_EVERY_SECONDS,
    ) -> None:
        self._observer = observer
        self._name = name
        self._process = process
        self._store = store
        self._wake = wake
        self._poll_seconds = poll_seconds
        self._lease_seconds = lease_seconds
        self._retention = retention
        self._purge_every_seconds = purge_every_seconds
        self._looks: set[int] = set()
        self._sooner = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Take the lease, take over what the dead have left, and begin."""
        await self._take_over()
        self._tasks = [
            asyncio.create_task(self._forever("agenda", self._wake_due), name="sagaflow agenda"),
            asyncio.create_task(self._forever("lease", self._keep_lease), name="sagaflow lease"),
            asyncio.create_task(self._forever("take over", self._look_after_others), name="sagaflow take over"),
        ]
        if self._observer.is_anybody:
            self._tasks.append(
                asyncio.create_task(self._forever("open sagas", self._count_open), name="sagaflow open sagas")
            )
        if self._retention is not None:
            self._tasks.append(asyncio.create_task(self._forever("purge", self._purge), name="sagaflow purge"))

    @property
    def is_open(self) -> bool:
        """Whether all loops go on."""
        return not any(task.done() for task in self._tasks)

    def nudge(self) -> None:
        """Something is due now, or will be when the caller's transaction is committed."""
        for seconds in NUDGED_LOOKS_SECONDS:
            self.expect(seconds)

    def expect(self, seconds: float) -> None:
        """Something will be due then, which may be sooner than the next look at the agenda."""
        if seconds < self._poll_seconds:
            self._looks.add(math.ceil((self._time() + seconds) * LOOKS_PER_SECOND_MAX))
            self._sooner.set()

    async def close(self) -> None:
        """Stop the loops; the lease is not given back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _forever(self, what: str, once: Callable[[], Awaitable[None]]) -> None:
        known = ""
        while True:
            try:
                await once()
            except Unavailable as error:
                logs.SERVER_UNAVAILABLE.write(error=error, what=what, quietly=str(error) == known)
                known = str(error)
            except Exception as error:  # noqa: BLE001  # a loop that ended would leave a process that only looks alive
                logs.WORK_FAILED.write(error=error, what=what)
            else:
                if known:
                    logs.SERVER_BACK.write(what=what)
                known = ""
                continue
            await asyncio.sleep(self._jittered(self._poll_seconds))

    async def _wake_due(self) -> None:
        await self._until_next_look()
        claimed = CLAIM_LIMIT
        while claimed == CLAIM_LIMIT:
            claimed = await self._claim()

    async def _claim(self) -> int:
        due = await self._store.claim_due(self._name, CLAIM_LIMIT, CLAIM_HOLD_SECONDS)
        if due:
            crash_point("upkeep.claimed")
        for saga in due:
            await self._wake(saga)
        return len(due)

    async def _until_next_look(self) -> None:
        at_last = self._time() + self._jittered(self._poll_seconds)
        while (left := min(at_last, self._first_look()) - self._time()) > 0:
            self._sooner.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):  # before 3.12, `wait_for` swallows a cancellation now and then
                    await self._sooner.wait()
        self._looks = {look for look in self._looks if look / LOOKS_PER_SECOND_MAX > self._time()}

    def _first_look(self) -> float:
        return min(self._looks) / LOOKS_PER_SECOND_MAX if self._looks else math.inf

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    async def _keep_lease(self) -> None:
        await asyncio.sleep(self._lease_seconds / 3)
        await self._store.keep_lease(self._name, self._process, self._lease_seconds)

    async def _look_after_others(self) -> None:
        await asyncio.sleep(self._jittered(self._lease_seconds / 2))
        await self._take_over()

    async def _count_open(self) -> None:
        self._observer.open_sagas(await self._store.open_sagas(self._name, self._process))
        await asyncio.sleep(self._jittered(COUNT_SECONDS))

    async def _purge(self) -> None:
        assert self._retention is not None, "there is no such loop without one"
        await asyncio.sleep(self._jittered(self._purge_every_seconds))
        gone = await purge_sagas(self._store, self._retention)
        if gone.total():
            logs.SAGAS_PURGED.write(what=", ".join(f"{count} {what}" for what, count in sorted(gone.items()) if count))

    async def _take_over(self) -> None:
        await self._store.keep_lease(self._name, self._process, self._lease_seconds)  # not from ourselves
        sagas = await self._store.take_over(self._name)
        if sagas:
            logs.SAGAS_TAKEN_OVER.write(count=sagas)
            self._observer.taken_over(sagas)
            self.nudge()

    def _jittered(self, seconds: float) -> float:
        return seconds * current().uniform(0.75, 1.25)

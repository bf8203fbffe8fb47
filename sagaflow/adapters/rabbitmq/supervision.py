"""Keeps a connection up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never, wait_random_exponential

from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.rabbitmq.connection import Connection, connect
from sagaflow.definitions import logs
from sagaflow.definitions.health import Trouble, now
from sagaflow.errors import Unavailable

T = TypeVar("T")

FIRST_PAUSE_SECONDS_MAX = 0.2
PAUSE_SECONDS_MAX = 5.0
CANCEL_AGAIN_SECONDS = 1.0


class Link:
    """A connection that is made again whenever it is lost, until the link is closed."""

    def __init__(self, broker: Broker, purpose: str, heartbeat_seconds: int) -> None:
        self._broker = broker
        self._purpose = purpose
        self._heartbeat_seconds = heartbeat_seconds
        self._connection: Connection | None = None
        self._is_up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.trouble: Trouble | None = None
        """Why there is no connection, if there is none."""

    async def open(self) -> None:
        """Connect, and keep connected from now on.

        Raises:
            Unavailable: it cannot be done now.
        """
        connection = await self._connect()
        self._keeper = spawn(self._keep_up(connection), f"sagaflow {self._purpose} connection")

    async def close(self) -> None:
        """Disconnect, and do not connect again."""
        if self._keeper is not None:
            await stop(self._keeper)
        if self._connection is not None:
            await self._connection.close()

    @property
    def connection(self) -> Connection:
        """The connection.

        Raises:
            Unavailable: there is none at present.
        """
        if self._connection is None or self._connection.lost.is_set():
            raise Unavailable(f"RabbitMQ at {self._broker} is not connected at present; it is being tried again")
        return self._connection

    async def connected(self) -> Connection:
        """The connection, as soon as there is one."""
        await self._is_up.wait()
        return self.connection

    async def _connect(self) -> Connection:
        self._connection = await connect(self._broker, self._purpose, self._heartbeat_seconds)
        self._is_up.set()
        self.trouble = None
        return self._connection

    async def _keep_up(self, connection: Connection) -> None:
        what = f"the {self._purpose} connection to RabbitMQ at {self._broker}"
        while True:
            await connection.lost.wait()
            self._is_up.clear()
            lost_at = time.monotonic()
            self.trouble = Trouble("broker", f"{what} was lost: {connection.reason_lost}", now())
            logs.CONNECTION_LOST.write(what=what, why=connection.reason_lost)
            await connection.close()
            # All processes have lost it together; they should not all come back in the same moment.
            await asyncio.sleep(random.uniform(0.0, FIRST_PAUSE_SECONDS_MAX))  # noqa: S311 - nothing to guess
            connection = await persist(what, self._connect)
            logs.CONNECTION_BACK.write(what=what, seconds=time.monotonic() - lost_at)


async def persist(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Attempt it until it works, with growing random pauses. Each new reason why it does not is logged once.

    Whatever is raised is tried again: who gave up would leave a process that looks alive and hears nothing.
    """
    known = ""

    def note(state: RetryCallState) -> None:
        nonlocal known
        error = state.outcome.exception() if state.outcome else None
        logs.BROKER_UNAVAILABLE.write(error=error, what=what, quietly=str(error) == known)
        known = str(error)

    retrying = AsyncRetrying(
        stop=stop_never,
        wait=wait_random_exponential(multiplier=0.1, max=PAUSE_SECONDS_MAX),
        retry=retry_if_exception_type(Exception),
        before_sleep=note,
        reraise=True,
    )

    async def once() -> T:
        return await attempt()

    return await retrying(once)


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run in the background. The caller keeps the task; if it fails, that is logged."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report_failure)
    return task


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logs.WORK_FAILED.write(error=error, what=task.get_name())


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end. It is cancelled again and again: the driver may lose a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)

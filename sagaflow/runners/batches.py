"""Batches: while one is being dealt with, what arrives piles up, and the next takes all of it.

No delay is added when little arrives, and one commit or one publish serves many when much does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_never

from sagaflow.definitions import logs
from sagaflow.definitions.retry import GrowingDelay
from sagaflow.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")

RETRY_DELAY_SECONDS_MAX = 5.0


class Batcher(Generic[T]):
    """Gathers items and hands them over in batches, one batch at a time.

    `work` must deal with every item that it is given, whatever happens. Closing it deals with what is
    left first; aborting it gives what is left to `forsake`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], Awaitable[None]],
        count_max: int,
        *,
        forsake: Callable[[T], None] = lambda item: None,
    ) -> None:
        self._name = name
        self._work = work
        self._count_max = count_max
        self._forsake = forsake
        self._in_hand: Sequence[T] = ()
        self._items: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_open(self) -> bool:
        """Whether it works on what it is given."""
        return self._task is not None and not self._task.done()

    def open(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name=f"sagaflow {self._name}")

    def put(self, item: T) -> None:
        """Add an item; when nobody works any more it is forsaken."""
        if self._task is not None and self._task.done():
            self._forsake(item)
            return
        self._items.append(item)
        self._arrived.set()
        if len(self._items) >= self._count_max:
            self._room.clear()

    async def has_room(self) -> None:
        """Wait until less than one full batch is waiting; who does so before `put` keeps the pile small."""
        await self._room.wait()

    async def close(self) -> None:
        """Deal with what is left, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def abort(self) -> None:
        """Stop at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for item in [*self._in_hand, *self._items]:
            self._forsake(item)
        self._in_hand = ()
        self._items.clear()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._items and self._closing:
                return
            batch = [self._items.popleft() for _ in range(min(len(self._items), self._count_max))]
            if len(self._items) < self._count_max:
                self._room.set()
            if not self._items and not self._closing:
                self._arrived.clear()
            if batch:
                await self._deal_with(batch)

    async def _deal_with(self, batch: Sequence[T]) -> None:
        self._in_hand = batch
        try:
            await self._work(batch)
            self._in_hand = ()
        except Exception as error:  # noqa: BLE001  # a bug must not stop what comes after it
            logs.WORK_FAILED.write(error=error, what=f"{self._name}, a batch of {len(batch)},")


async def until_available(what: str, call: Callable[[], Awaitable[R]], *, but: type[Unavailable] | None = None) -> R:
    """Call until the server answers, with a growing random delay; the first failure and every tenth is logged.

    A failure of the kind `but` is not waited out.
    """
    failure: Unavailable | None
    try:
        return await call()  # nearly always: it costs a tenth of what tenacity does
    except Unavailable as error:
        failure = error

    def is_waited_out(error: BaseException) -> bool:
        return isinstance(error, Unavailable) and (but is None or not isinstance(error, but))

    def warn(state: RetryCallState) -> None:
        if state.attempt_number % 10 == 1 and state.outcome is not None:
            logs.SERVER_UNAVAILABLE.write(error=state.outcome.exception(), what=what)

    retrying = AsyncRetrying(
        stop=stop_never,
        wait=GrowingDelay(multiplier=0.05, max=RETRY_DELAY_SECONDS_MAX),
        retry=retry_if_exception(is_waited_out),
        before_sleep=warn,
        reraise=True,
    )

    async def attempt() -> R:
        nonlocal failure
        if failure is not None:
            told, failure = failure, None
            raise told
        return await call()

    return await retrying(attempt)

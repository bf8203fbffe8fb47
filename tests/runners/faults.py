"""Faults for the runners: ports that fail on demand, and a coordinator that dies without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from sagaflow import Coordinator
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.ports import (
    Address,
    DeadDelivery,
    Delivery,
    Letter,
    LoneTransaction,
    StoreTransaction,
    Subscription,
    Transport,
)
from sagaflow.errors import Unavailable


class Passing:
    """Passes everything on to a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._transport.__aexit__(*exc_info)

    @property
    def durable(self) -> bool:
        return self._transport.durable

    def troubles(self) -> Sequence[Trouble]:
        return self._transport.troubles()

    async def publish(self, letters: Sequence[Letter]) -> None:
        await self._transport.publish(letters)

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        return await self._transport.subscribe(address, receive, prefetch=prefetch)

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        return await self._transport.subscribe_dead(address, receive, prefetch=prefetch)


class Unreliable(Passing):
    """A transport whose publishing can be made to fail."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.failures = 0
        self.deaf = False
        self.blocked: Address | None = None
        """What nothing can be published to."""

    async def publish(self, letters: Sequence[Letter]) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        if any(letter.to == self.blocked for letter in letters):
            raise Unavailable("the test has filled this queue")
        if self.failures:
            self.failures -= 1
            raise Unavailable("the test cut the line")
        await super().publish(letters)


class Wiretap(Passing):
    """A transport that keeps a copy of all that is published, and may tamper with it.

    `tamper` is given each letter and returns the letters that are published in its place: itself, itself twice,
    or none. What it keeps back can be published later.
    """

    def __init__(self, transport: Transport, heard: list[Letter], tamper: Callable[[Letter], Sequence[Letter]]) -> None:
        super().__init__(transport)
        self._heard = heard
        self._tamper = tamper

    async def publish(self, letters: Sequence[Letter]) -> None:
        self._heard.extend(letters)
        await super().publish([passed for letter in letters for passed in self._tamper(letter)])


class CommitsInDoubt:
    """Passes everything on to a store, but now and then says that a commit failed which did not."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.doubts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[StoreTransaction]:
        async with self._store.transaction() as tx:
            yield tx
        self._doubt()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[LoneTransaction]:
        async with self._store.alone() as tx:
            yield tx
        self._doubt()

    def _doubt(self) -> None:
        if self.doubts:
            self.doubts -= 1
            raise Unavailable("the connection was lost during COMMIT")


async def die(coordinator: Coordinator) -> None:
    """Stop everything of a coordinator without a word, as SIGKILL would."""
    await coordinator._upkeep.close()
    await coordinator._roll_call.close()
    for part in (coordinator._engine.inputs, coordinator._outbox):
        await part.abort()
    for intake in (coordinator._asked, coordinator._replies):
        await intake.stop()

"""The intake: from bodies that arrive to single messages, each dealt with by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from sagaflow.definitions import logs
from sagaflow.definitions.limits import PUT_ASIDE_BYTES_MAX, REASON_LENGTH_MAX
from sagaflow.definitions.messages import Command, Message, Reader, Unreadable, printable, write
from sagaflow.definitions.ports import Address, Delivery, Letter, Subscription, Transport
from sagaflow.definitions.records import PutAside
from sagaflow.definitions.surroundings import current
from sagaflow.runners.batches import until_available
from sagaflow.runners.receipts import Receipt, Receipts
from sagaflow.runners.tasks import Tasks
from sagaflow.runners.telling import UNOBSERVED, Guarded

M = TypeVar("M", bound=Message)

Keep = Callable[[Sequence[PutAside]], Awaitable[None]]


class Intake(Generic[M]):
    """Reads the bodies of one queue and hands each message to `take`, with the receipt for it.

    What cannot be read is kept aside by `keep`, where a person finds it, and acknowledged. A body that has
    been delivered before is first taken apart: if one of its messages killed whoever had it, the others
    will not share its fate again. One that comes again alone waits for a random time, up to `suspect_pause_seconds`,
    before it is taken: so of several that died together, it is another one's turn to be first each time.
    """

    def __init__(
        self,
        kind: Any,
        address: Address,
        *,
        take: Callable[[M, Receipt], None],
        keep: Keep,
        transport: Transport,
        suspect_pause_seconds: float = 0.0,
        observer: Guarded = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._reader: Reader[M] = Reader(kind)
        self._address = address
        self._take = take
        self._keep = keep
        self._transport = transport
        self._suspect_pause_seconds = suspect_pause_seconds
        self._receipts = Receipts()
        self._tasks = Tasks()
        self._subscription: Subscription | None = None

    async def open(self, prefetch: int) -> None:
        """Begin to consume, with at most `prefetch` bodies unacknowledged."""
        self._subscription = await self._transport.subscribe(self._address, self._arrived, prefetch=prefetch)

    async def stop(self) -> None:
        """Take nothing more."""
        if self._subscription is not None:
            await self._subscription.cancel()

    async def settled(self) -> None:
        """Wait until all that was taken is acknowledged."""
        await self._receipts.settled()

    async def close(self) -> None:
        """Drop what is not acknowledged; it will be delivered again."""
        await self._tasks.cancel()
        await self._receipts.close()

    def put_aside(self, message: M, reason: str, receipt: Receipt) -> None:
        """Keep a message aside that could be read, but cannot be dealt with."""
        self._set_aside([Unreadable(write(message), reason)], receipt)

    def _arrived(self, delivery: Delivery) -> None:
        messages = self._reader.read(delivery.body)
        receipt = self._receipts.open(delivery, len(messages))
        if delivery.again and len(messages) > 1:
            self._tasks.spawn(self._take_apart(messages, receipt), f"sagaflow take apart {self._address}")
            return
        self._set_aside([message for message in messages if isinstance(message, Unreadable)], receipt)
        for message in messages:
            if isinstance(message, Unreadable):
                continue
            if delivery.again and self._suspect_pause_seconds:
                self._tasks.spawn(self._take_later(message, receipt), f"sagaflow suspect from {self._address}")
            else:
                self._take(message, receipt)

    async def _take_later(self, message: M, receipt: Receipt) -> None:
        await asyncio.sleep(current().uniform(0.0, self._suspect_pause_seconds))
        self._take(message, receipt)

    def _set_aside(self, messages: Sequence[Unreadable], receipt: Receipt) -> None:
        """Keep them aside in one transaction, however many a body holds."""
        if not messages:
            return
        bounded = [printable(message.reason[:REASON_LENGTH_MAX]) for message in messages]
        logs.MESSAGES_PUT_ASIDE.write(count=len(messages), address=str(self._address))
        aside = [
            PutAside(str(self._address), reason, message.raw[:PUT_ASIDE_BYTES_MAX])
            for message, reason in zip(messages, bounded, strict=True)
        ]
        self._tasks.spawn(self._keep_aside(aside, receipt), f"sagaflow put aside {self._address}")

    async def _keep_aside(self, aside: Sequence[PutAside], receipt: Receipt) -> None:
        await until_available("putting aside", lambda: self._keep(aside))
        self._observer.messages_put_aside(self._address, len(aside))
        for _ in aside:
            receipt.done()

    async def _take_apart(self, messages: Sequence[M | Unreadable], receipt: Receipt) -> None:
        self._set_aside([message for message in messages if isinstance(message, Unreadable)], receipt)
        for message in messages:
            if isinstance(message, Unreadable):
                continue
            expires_seconds = message.expires_seconds if isinstance(message, Command) else None
            alone = [Letter(self._address, write(message), expires_seconds)]
            await until_available("publishing", partial(self._transport.publish, alone))
            receipt.done()

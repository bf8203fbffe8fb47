"""The deliveries of one consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPChannelError
from aiormq.abc import AbstractChannel as DriverChannel
from aiormq.abc import DeliveredMessage

from sagaflow.adapters.rabbitmq.connection import close_channel
from sagaflow.adapters.rabbitmq.failures import reason, unavailable
from sagaflow.definitions import logs
from sagaflow.errors import Unavailable


class Stream:
    """One consumer on a channel of its own, from the first delivery to the last acknowledgement.

    Invariant: no call that waits for the broker's answer is made on the channel with a timeout while deliveries
    are out. The driver closes a channel on which such a call is given up, and all of them would come again.
    """

    def __init__(self, channel: AbstractChannel, receive: Callable[[RabbitDelivery], None], prefetch: int) -> None:
        self.received = 0
        """How many deliveries have come."""
        self.reason_ended = "its channel was closed"
        self.was_cut = False
        """Whether the whole connection has ended."""
        self._channel = channel
        self._receive = receive
        self._prefetch = prefetch
        self._ended = asyncio.Event()
        self._is_cancelled = False
        self._open: dict[int, None] = {}
        """The tags of deliveries that are out, in the order in which they came, which is the order of the tags."""
        self._settled: list[int] = []
        """... that are to be acknowledged by the next `_acknowledge`."""
        self._next: asyncio.Task[None] | None = None
        self._acknowledging: set[asyncio.Task[None]] = set()
        self._driver: DriverChannel | None = None
        self._tag: str | None = None

    @classmethod
    async def open(
        cls, channel: AbstractChannel, queue: str, receive: Callable[[RabbitDelivery], None], prefetch: int
    ) -> Stream:
        """Begin to consume on a new channel."""
        stream = cls(channel, receive, prefetch)
        try:
            await stream._consume(queue)
        except BaseException:
            await stream.close()
            raise
        return stream

    @property
    def has_room(self) -> bool:
        """Whether another delivery may come before one is acknowledged."""
        return len(self._open) < self._prefetch

    @property
    def is_idle(self) -> bool:
        """Whether all that has come is acknowledged."""
        return not self._open

    async def has_ended(self, within_seconds: float) -> bool:
        """Wait that long, or until it has ended; return whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._ended.wait()
        return self._ended.is_set()

    async def drain(self) -> None:
        """Have no more deliveries. The channel is closed when the last one that is out is acknowledged."""
        await self.cancel()
        await self._close_when_idle()

    async def cancel(self) -> None:
        """Have no more deliveries; those that are out can be acknowledged."""
        self._is_cancelled = True
        with suppress(Unavailable), unavailable("cancelling"):  # without a connection there is nothing to cancel
            if self._driver is not None and self._tag is not None:
                await self._driver.basic_cancel(self._tag)

    async def close(self) -> None:
        """Close the channel; what is not acknowledged comes again."""
        await close_channel(self._channel)

    async def _consume(self, queue: str) -> None:
        self._driver = driver = await self._channel.get_underlay_channel()
        driver.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._channel.close_callbacks.add(self._on_close)
        # The bound counts for the consumers that come after it.
        await driver.basic_qos(prefetch_count=self._prefetch)
        self._tag = (await driver.basic_consume(queue, self._on_message)).consumer_tag

    async def _on_message(self, message: DeliveredMessage) -> None:
        """Pass it on and be done: the driver cancels what still runs here when the connection is lost."""
        tag = message.delivery_tag
        assert tag is not None
        assert self._driver is not None
        if self._is_cancelled:
            with suppress(Unavailable), unavailable("returning"):
                await self._driver.basic_reject(tag, requeue=True)
            return
        self.received += 1
        self._open[tag] = None
        self._receive(RabbitDelivery(message, self._settle))

    async def _settle(self, tag: int) -> None:
        """Acknowledge it, together with whatever else is settled in the same moment."""
        self._settled.append(tag)
        if self._next is None:
            self._next = asyncio.create_task(self._acknowledge(), name="sagaflow acknowledges")
            self._acknowledging.add(self._next)
            self._next.add_done_callback(self._acknowledging.discard)
        await asyncio.shield(self._next)

    async def _acknowledge(self) -> None:
        settled, self._settled, self._next = sorted(self._settled), [], None
        for tag in settled:
            del self._open[tag]
        still_out = next(iter(self._open), None)
        all_until = [tag for tag in settled if still_out is None or tag < still_out]
        try:
            with unavailable("deliveries are not acknowledged"):
                assert self._driver is not None
                if all_until:
                    await self._driver.basic_ack(all_until[-1], multiple=len(all_until) > 1, wait=False)
                for tag in settled[len(all_until) :]:
                    await self._driver.basic_ack(tag, wait=False)
        except Unavailable as error:
            logs.DELIVERY_LOST.write(error=error)
        await self._close_when_idle()

    async def _close_when_idle(self) -> None:
        if self._is_cancelled and self.is_idle:
            await self.close()

    def _on_cancel(self, _: object) -> None:
        """The broker has ended the consumer. The driver waits for this, so that it may only take note."""
        self.reason_ended = "the broker has cancelled the consumer; was the queue deleted?"
        self._ended.set()

    def _on_close(self, _: object, error: BaseException | None) -> None:
        if error is not None:
            self.reason_ended = reason(error)
            self.was_cut = not isinstance(error, AMQPChannelError)
        self._ended.set()


class RabbitDelivery:
    """A body that has arrived."""

    __slots__ = ("_headers", "_is_settled", "_message", "_settle")

    def __init__(self, message: DeliveredMessage, settle: Callable[[int], Awaitable[None]]) -> None:
        self._message = message
        self._headers = message.header.properties.headers or {}
        self._settle = settle
        self._is_settled = False

    @property
    def body(self) -> bytes:
        """A JSON array of messages, unchecked."""
        return self._message.body

    @property
    def again(self) -> bool:
        """Whether the broker says that it has delivered it before."""
        count = self._headers.get("x-delivery-count")
        return bool(self._message.redelivered) or (isinstance(count, int) and count > 0)

    @property
    def reason(self) -> str:
        """Why the broker gave it up, in the broker's word; of one that it did not, "unknown"."""
        headers = self._headers
        deaths = headers.get("x-death")
        latest = (
            deaths[0].get("reason") if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None
        )
        # RabbitMQ 4 only promises the list to those who speak this protocol; the other two are older and newer.
        return str(latest or headers.get("x-last-death-reason") or headers.get("x-first-death-reason") or "unknown")

    async def ack(self) -> None:
        """It is dealt with. Does nothing the second time, nor when its channel is gone: it will come again."""
        if self._is_settled:
            return
        self._is_settled = True
        assert self._message.delivery_tag is not None
        await self._settle(self._message.delivery_tag)

"""Consumes a queue, through whatever happens to its connection, its channel and the queue itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sagaflow.adapters.rabbitmq.failures import unavailable
from sagaflow.adapters.rabbitmq.stream import RabbitDelivery, Stream
from sagaflow.adapters.rabbitmq.supervision import Link, persist, spawn, stop
from sagaflow.adapters.rabbitmq.topology import Topology
from sagaflow.definitions import logs
from sagaflow.definitions.health import Trouble, now
from sagaflow.definitions.ports import Address
from sagaflow.errors import Unavailable

DOUBTFUL_MAX: Final = 2
"""How many checks in a row must speak against a consumer: a message may just have come, and the broker, under load,
may count wrongly."""

QUIET_MAX: Final = 6
"""After how many checks without any delivery a consumer is replaced, whatever the broker says of it.

When a quorum queue is deleted and made again at once, as publishers do, RabbitMQ 3.10 does not tell its consumers.
It goes on to list them, and what it believes to have delivered to them reaches nobody."""


class Consumer:
    """A subscription: one stream of deliveries after another, until it is cancelled.

    With `dead`, it consumes not the queue of the address but its companion.
    """

    def __init__(
        self,
        link: Link,
        topology: Topology,
        address: Address,
        receive: Callable[[RabbitDelivery], None],
        *,
        dead: bool = False,
        prefetch: int,
        check_seconds: float,
        forget: Callable[[Consumer], None],
    ) -> None:
        self._link = link
        self._topology = topology
        self._address = address
        self._queue = topology.dead_queue(address) if dead else topology.queue(address)
        self._receive = receive
        self._prefetch = prefetch
        self._check_seconds = check_seconds
        self._forget = forget
        self._stream: Stream | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.trouble: Trouble | None = None
        """Why it consumes nothing at present, if so."""

    async def open(self) -> None:
        """Begin to consume, and go on from now on.

        Raises:
            Unavailable: it cannot be done now.
        """
        stream = await self._open_stream()
        self._keeper = spawn(self._keep_up(stream), f"sagaflow consumes {self._queue}")

    async def cancel(self) -> None:
        """No more deliveries; those that are out can still be acknowledged, and with the last the channel goes."""
        await self.abandon()
        if self._stream is not None:
            await self._stream.drain()
        self._forget(self)

    async def abandon(self) -> None:
        """Do not begin again when the stream ends, as it does with its connection."""
        if self._keeper is not None:
            await stop(self._keeper)

    async def _open_stream(self) -> Stream:
        connection = await self._link.connected()
        await self._topology.prepare(connection, [self._address])
        with unavailable(f"{self._queue} cannot be consumed"):
            channel = await connection.channel()
            self._stream = await Stream.open(channel, self._queue, self._receive, self._prefetch)
        return self._stream

    async def _keep_up(self, stream: Stream) -> None:
        while True:
            why, is_news = await self._until_ended(stream)
            self.trouble = Trouble(f"queue {self._queue}", f"it is not consumed at present: {why}", now())
            logs.QUEUE_LOST.write(queue=self._queue, why=why, quietly=not is_news)
            await stream.cancel()
            await stream.close()
            stream = await persist(f"consuming {self._queue}", self._open_stream)
            self.trouble = None
            logs.QUEUE_BACK.write(queue=self._queue, quietly=not is_news)

    async def _until_ended(self, stream: Stream) -> tuple[str, bool]:
        """Wait until it has ended or may have; why, and whether that is worth a line."""
        doubtful = quiet = 0
        while doubtful < DOUBTFUL_MAX and quiet < QUIET_MAX:
            received = stream.received
            if await stream.has_ended(self._check_seconds):
                # Of a lost connection there is a line already.
                return stream.reason_ended, not stream.was_cut
            is_doubtful = stream.has_room and await self._is_doubtful()
            is_quiet = stream.received == received
            doubtful = doubtful + 1 if is_quiet and is_doubtful else 0
            quiet = quiet + 1 if is_quiet and stream.is_idle else 0
        if doubtful == DOUBTFUL_MAX:
            return "the broker has lost the consumer", True
        return "nothing has come for a while, which may have any reason", False

    async def _is_doubtful(self) -> bool:
        """Whether the broker knows of no consumer, or has what it should have delivered."""
        try:
            queue = await self._topology.look_at(self._link.connection, self._queue)
        except Unavailable:  # nobody knows; if the connection is lost, the stream will end by itself
            return False
        return queue is None or queue.consumers == 0 or queue.waiting > 0

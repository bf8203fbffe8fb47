"""Consumes a queue, through whatever happens to its connection, its channel and the queue itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sagaflow.adapters.rabbitmq.failures import unavailable
from sagaflow.adapters.rabbitmq.stream import Stream
from sagaflow.adapters.rabbitmq.supervision import Link, persist, spawn, stop
from sagaflow.adapters.rabbitmq.topology import Topology
from sagaflow.definitions.ports import Address, Delivery
from sagaflow.errors import Unavailable

log = logging.getLogger("sagaflow.rabbitmq")

MISSED_MAX: Final = 2
"""How often in a row the consumer must be found missing: under load the broker may once count none in error."""


class Consumer:
    """A subscription: one stream of deliveries after another, until it is cancelled."""

    def __init__(
        self,
        link: Link,
        topology: Topology,
        address: Address,
        receive: Callable[[Delivery], None],
        *,
        prefetch: int,
        check_seconds: float,
        forget: Callable[[Consumer], None],
    ) -> None:
        self._link = link
        self._topology = topology
        self._address = address
        self._receive = receive
        self._prefetch = prefetch
        self._check_seconds = check_seconds
        self._forget = forget
        self._stream: Stream | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to consume, and go on from now on.

        Raises:
            Unavailable: it cannot be done now.
        """
        stream = await self._open_stream()
        self._keeper = spawn(self._keep_up(stream), f"sagaflow consumes {self._address}")

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
        with unavailable(f"{self._address} cannot be consumed"):
            channel = await connection.channel()
            self._stream = await Stream.open(
                channel, self._topology.queue(self._address), self._receive, self._prefetch
            )
        return self._stream

    async def _keep_up(self, stream: Stream) -> None:
        while True:
            why = await self._until_ended(stream)
            # Of a lost connection there is a line already.
            level = logging.DEBUG if stream.was_cut else logging.WARNING
            log.log(level, "%s is not consumed at present: %s", self._address, why)
            await stream.close()
            stream = await persist(f"consuming {self._address}", self._open_stream)
            log.log(level, "%s is consumed again", self._address)

    async def _until_ended(self, stream: Stream) -> str:
        """Why the stream has ended, when it has, or when the broker turns out to know nothing of it any more."""
        missed = 0
        while missed < MISSED_MAX:
            if await stream.has_ended(self._check_seconds):
                return stream.reason_ended
            missed = 0 if await self._is_consumed() else missed + 1
        return "the broker has lost the consumer"

    async def _is_consumed(self) -> bool:
        try:
            return await self._topology.count_consumers(self._link.connection, self._address) > 0
        except Unavailable:  # nobody knows; if the connection is lost, the stream will end by itself
            return True

"""Publishes bodies until the broker has them for good."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast
from uuid import uuid4

from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import PublishError
from aiormq import Channel as DriverChannel
from aiormq import spec

from sagaflow.adapters.parcels import Parcel, pack
from sagaflow.adapters.rabbitmq.connection import Connection, close_channel
from sagaflow.adapters.rabbitmq.failures import unavailable
from sagaflow.adapters.rabbitmq.supervision import Link, spawn, stop
from sagaflow.adapters.rabbitmq.topology import Topology
from sagaflow.definitions import logs
from sagaflow.definitions.ports import Address, Letter, QueueKind
from sagaflow.errors import Unavailable

UNCONFIRMED_MAX: Final = 256
"""Bodies on their way on one channel. More would not be faster, and each confirm would cost more."""

UNDRAINED_BYTES_MAX: Final = 65_536
"""A body that is larger waits until the socket has taken it before the next one is written; smaller ones are written
together. So what waits in the memory of the process is bounded, by this times `UNCONFIRMED_MAX`."""

EXPIRATION_SECONDS_MAX: Final = 4_294_967.0
"""The broker refuses, and with it the whole channel, what does not fit into 32 bits of milliseconds."""


class Publisher:
    """Publishes over one link.

    Invariant: nothing counts as published but by the broker's acknowledgement. A message returned twice, a
    refusal, a timeout, a lost connection: each raises `Unavailable`, and no later publish uses the channel on
    which that happened.
    """

    def __init__(self, link: Link, topology: Topology, timeout_seconds: float) -> None:
        self._link = link
        self._topology = topology
        self._timeout_seconds = timeout_seconds
        self._lane: Lane | None = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Publish them; on return all are in their queues. Fails at once when there is no connection.

        Raises:
            Unavailable: at least one may not be in its queue, or may.
        """
        parcels = [parcel for parcel in pack(letters) if self._has_destination(parcel)]
        if not parcels:
            return
        with unavailable("messages cannot be published"):
            connection = self._link.connection
            await connection.until_unblocked(self._timeout_seconds)
            with self._use(await self._lane_on(connection)) as lane:
                if len(parcels) == 1:
                    await lane.send(parcels[0])
                else:
                    await _all(lane.send(parcel) for parcel in parcels)

    async def close(self) -> None:
        """Wait for channels that are being closed; the link is closed by now."""
        for task in list(self._closing):
            await stop(task)

    def _has_destination(self, parcel: Parcel) -> bool:
        """Whether anyone can ever be waiting for it. Its address may come from a stranger's message."""
        if self._topology.is_possible(parcel.to):
            return True
        logs.MESSAGES_DROPPED.write(address=str(parcel.to)[:100])
        return False

    async def _lane_on(self, connection: Connection) -> Lane:
        if self._lane is not None and not self._lane.is_closed:
            return self._lane
        async with asyncio.timeout(self._timeout_seconds), self._opening:
            if self._lane is None or self._lane.is_closed:
                self._lane = await Lane.open(connection, self._topology, self._timeout_seconds)
            return self._lane

    @contextmanager
    def _use(self, lane: Lane) -> Iterator[Lane]:
        """Use a lane. After a failure it is given up, and closed when nobody else is on it any more."""
        lane.users += 1
        try:
            yield lane
        except BaseException:
            if lane is self._lane:
                self._lane = None
            raise
        finally:
            lane.users -= 1
            if lane is not self._lane and lane.users == 0:
                closing = spawn(lane.close(), "sagaflow closes a channel")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)


class Lane:
    """A channel with confirms, and the queues that were seen to be there since it was opened."""

    def __init__(
        self,
        connection: Connection,
        topology: Topology,
        channel: AbstractChannel,
        driver: DriverChannel,
        timeout_seconds: float,
    ) -> None:
        self.users = 0
        self._connection = connection
        self._topology = topology
        self._channel = channel
        self._driver = driver
        self._timeout_seconds = timeout_seconds
        self._known: set[Address] = set()
        self._preparing: defaultdict[Address, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._window = asyncio.Semaphore(UNCONFIRMED_MAX)

    @classmethod
    async def open(cls, connection: Connection, topology: Topology, timeout_seconds: float) -> Lane:
        """Open a channel; the exchange exists then, since publishing to none would end the connection."""
        await topology.prepare(connection, [])
        channel = await connection.channel(confirms=True)
        driver = cast(DriverChannel, await channel.get_underlay_channel())
        return cls(connection, topology, channel, driver, timeout_seconds)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be published here any more."""
        return self._channel.is_closed

    async def close(self) -> None:
        """Close the channel."""
        await close_channel(self._channel)

    async def send(self, parcel: Parcel) -> None:
        """Publish one body; if its queue is missing, make the queue and publish it once more."""
        with unavailable(f"messages to {parcel.to} cannot be published"):
            await self._prepare(parcel.to)
            try:
                await self._send(parcel)
            except PublishError:
                logs.QUEUE_MISSING.write(queue=self._topology.queue(parcel.to))
                self._known.discard(parcel.to)
                await self._prepare(parcel.to)
                await self._send(parcel)

    async def _prepare(self, address: Address) -> None:
        """See to it that the queue is there, unless it is for answers: those are made by who wants them."""
        if address in self._known or address.kind is QueueKind.ANSWERS:
            return
        async with asyncio.timeout(self._timeout_seconds), self._preparing[address]:
            if address not in self._known:
                await self._topology.prepare(self._connection, [address])
                self._known.add(address)

    async def _send(self, parcel: Parcel) -> None:
        has_to_arrive = parcel.to.kind is not QueueKind.ANSWERS
        properties = spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT if has_to_arrive else DeliveryMode.NOT_PERSISTENT,
            # The driver matches returned messages by this: of two with the same one it would lose the other.
            message_id=uuid4().hex,
            expiration=_expiration(parcel.expires_seconds),
        )
        async with self._window:
            confirmation = await self._driver.basic_publish(
                parcel.body,
                exchange=self._topology.exchange,
                routing_key=self._topology.queue(parcel.to),
                properties=properties,
                mandatory=has_to_arrive,
                timeout=self._timeout_seconds,
                wait=len(parcel.body) > UNDRAINED_BYTES_MAX,
            )
        if not isinstance(confirmation, spec.Basic.Ack):
            raise Unavailable(f"messages to {parcel.to} were not confirmed but answered with {confirmation!r:.100}")


def _expiration(seconds: float | None) -> str | None:
    """Whole milliseconds, rounded up; none if they are more than the broker can count."""
    if seconds is None or seconds > EXPIRATION_SECONDS_MAX:
        return None
    return str(max(1, math.ceil(seconds * 1_000)))


async def _all(sendings: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run them together, each to its end; then raise what the first of those raised that failed."""
    outcomes = await asyncio.gather(*sendings, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome

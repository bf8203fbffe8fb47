"""The transport over RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.rabbitmq.consuming import Consumer
from sagaflow.adapters.rabbitmq.publishing import Publisher
from sagaflow.adapters.rabbitmq.stream import RabbitDelivery
from sagaflow.adapters.rabbitmq.supervision import Link
from sagaflow.adapters.rabbitmq.topology import Topology
from sagaflow.definitions.health import Trouble
from sagaflow.definitions.ports import Address, DeadDelivery, Delivery, Letter, QueueKind, Subscription
from sagaflow.errors import Unavailable

_NOT_ENTERED: Final = "the transport is not connected: use it inside `async with transport:`"


class RabbitTransport:
    """Carries messages over RabbitMQ, 3.10 or newer.

    Enter it to connect and leave it to disconnect. The runners of a process may share one: the first to enter
    connects, the last to leave disconnects. Lost connections are made again by themselves, and consumption then
    goes on; publishing does not wait for that but raises `Unavailable`, since who publishes knows better when to
    try again. Two connections are used, because a broker that is short of memory stops to read from those that
    publish, and acknowledgements must not be held up by that.

    Args:
        url: amqp://user:password@host:5672/vhost, or amqps:// with `?cafile=` and, for a client certificate,
            `&certfile=` and `&keyfile=`.
        namespace: the first part of the names of all exchanges and queues.
        heartbeat_seconds: a peer that is silent for three times as long, and a little, is given up.
        publish_timeout_seconds: how long the broker may take to confirm a message.
        declare: make exchanges and queues as they are needed. Without it they must be there (`sagaflow broker
            apply` makes them), and the user of the URL may configure nothing but the answers queue of its own
            process, if it is a coordinator's or a client's.
        check_seconds: how often a subscription asks the broker whether all is well. After two doubtful answers, or six
            times without any delivery, it begins to consume anew.

    Example:
        async with RabbitTransport("amqp://guest:guest@localhost/") as transport:
            await transport.publish([Letter(Address(QueueKind.COMMANDS, "inventory"), b"{}")])
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "sagaflow",
        heartbeat_seconds: int = 10,
        publish_timeout_seconds: float = 10.0,
        declare: bool = True,
        check_seconds: float = 5.0,
    ) -> None:
        if heartbeat_seconds < 1:
            raise ValueError(
                "heartbeat_seconds must be 1 or more: without, a broker that fell silent is waited for forever"
            )
        self._url = url
        self._topology = Topology(namespace, declare=declare)
        self._heartbeat_seconds = heartbeat_seconds
        self._publish_timeout_seconds = publish_timeout_seconds
        self._check_seconds = check_seconds
        self._users = 0
        self._changing = asyncio.Lock()
        self._session: _Session | None = None

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            async with self._changing:
                if self._session is None:
                    self._session = await self._open()
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._users -= 1
        async with self._changing:
            if self._users == 0 and self._session is not None:
                session, self._session = self._session, None
                await session.close()

    @property
    def durable(self) -> bool:
        """Published messages are on the broker's disk."""
        return True

    @property
    def server_version(self) -> str:
        """The version of the broker, such as 3.10.8.

        Raises:
            Unavailable: it is not connected.
        """
        return self._entered.publishing.connection.server_version

    def troubles(self) -> Sequence[Trouble]:
        """Connections that are lost at present; or, of those that are not, queues that are not consumed."""
        return () if self._session is None else self._session.troubles()

    async def publish(self, letters: Sequence[Letter]) -> None:
        """Hand over messages; on return all are safe in their queues.

        Raises:
            Unavailable: at least one may not have arrived, or may; publish all of them again.
        """
        await self._entered.publisher.publish(letters)

    async def subscribe(self, address: Address, receive: Callable[[Delivery], None], *, prefetch: int) -> Subscription:
        """Consume a queue until the subscription is cancelled or the transport left.

        Raises:
            Unavailable: it cannot be consumed now.
            ValueError: `prefetch` is less than 1.
        """
        return await self._consume(address, receive, prefetch, dead=False)

    async def subscribe_dead(
        self, address: Address, receive: Callable[[DeadDelivery], None], *, prefetch: int
    ) -> Subscription:
        """Consume what the broker gave up instead of delivering it to this address.

        Raises:
            Unavailable: it cannot be consumed now.
            ValueError: the address is for answers, or `prefetch` is less than 1.
        """
        if address.kind is QueueKind.ANSWERS:
            raise ValueError(f"nothing is kept of what goes to {address}")
        return await self._consume(address, receive, prefetch, dead=True)

    async def _consume(
        self, address: Address, receive: Callable[[RabbitDelivery], None], prefetch: int, *, dead: bool
    ) -> Subscription:
        session = self._entered
        if prefetch < 1:  # to the broker, 0 is no bound at all
            raise ValueError(f"prefetch is {prefetch}; it must be 1 or more")
        consumer = Consumer(
            session.consuming,
            self._topology,
            address,
            receive,
            dead=dead,
            prefetch=prefetch,
            check_seconds=self._check_seconds,
            forget=session.consumers.discard,
        )
        await consumer.open()
        session.consumers.add(consumer)
        if self._session is not session:  # left meanwhile
            await consumer.abandon()
            raise Unavailable(_NOT_ENTERED)
        return consumer

    @property
    def _entered(self) -> _Session:
        if self._session is None:
            raise Unavailable(_NOT_ENTERED)
        return self._session

    async def _open(self) -> _Session:
        broker = Broker.at(self._url)
        publishing = Link(broker, "publishing", self._heartbeat_seconds)
        consuming = Link(broker, "consuming", self._heartbeat_seconds)
        publisher = Publisher(publishing, self._topology, self._publish_timeout_seconds)
        session = _Session(publishing, consuming, publisher)
        await session.open()
        return session


class _Session:
    """What there is between the first entry and the last exit. It holds whatever works in the background."""

    def __init__(self, publishing: Link, consuming: Link, publisher: Publisher) -> None:
        self.publishing = publishing
        self.consuming = consuming
        self.publisher = publisher
        self.consumers: set[Consumer] = set()
        self._closing = AsyncExitStack()

    async def open(self) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.publisher.close)
            for link in (self.publishing, self.consuming):
                stack.push_async_callback(link.close)
                await link.open()
            stack.push_async_callback(self._abandon_consumers)
            self._closing = stack.pop_all()

    async def close(self) -> None:
        await self._closing.aclose()

    def troubles(self) -> Sequence[Trouble]:
        lost = [link.trouble for link in (self.publishing, self.consuming) if link.trouble is not None]
        return lost or [consumer.trouble for consumer in self.consumers if consumer.trouble is not None]

    async def _abandon_consumers(self) -> None:
        for consumer in list(self.consumers):
            await consumer.abandon()

"""One connection to the broker, from its login to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aio_pika
from aio_pika.abc import AbstractChannel, ConnectionParameter
from aio_pika.connection import make_url
from aio_pika.exceptions import (
    AuthenticationError,
    ChannelClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq import TransportFactory
from aiormq.connection import TCPTransportFactory, TLSTransportFactory

from sagaflow.adapters.rabbitmq.broker import Broker
from sagaflow.adapters.rabbitmq.failures import reason, unavailable
from sagaflow.definitions.surroundings import current
from sagaflow.errors import NotPermitted, Unavailable

if TYPE_CHECKING:
    from yarl import URL

CONNECT_SECONDS = 20.0
CLOSE_SECONDS = 5.0
BRIEF_HEARTBEAT_SECONDS = 10


class Connection:
    """An open connection. `lost` is set when it ends, whoever ends it."""

    def __init__(self, amqp: aio_pika.Connection, wire: _Wire) -> None:
        self.lost = asyncio.Event()
        self.reason_lost = "it was closed"
        assert amqp.transport is not None
        self._amqp = amqp
        self._driver = amqp.transport.connection
        self._wire = wire
        amqp.close_callbacks.add(self._on_close)
        if self._driver.is_closed:  # so soon that there was nobody to be told
            self.lost.set()

    @property
    def server_version(self) -> str:
        """The version of the broker, such as 3.10.8."""
        return str((self._driver.server_properties or {}).get("version", "unknown"))

    async def until_unblocked(self, timeout_seconds: float) -> None:
        """Wait until the broker takes messages.

        Raises:
            Unavailable: it still does not after `timeout_seconds`.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._driver.ready()
        except TimeoutError:
            raise Unavailable("RabbitMQ takes no messages at present: it is short of memory or of disk space") from None

    def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A channel, to be awaited or entered. With `confirms`, a message without a queue raises `PublishError`."""
        return self._amqp.channel(publisher_confirms=confirms, on_return_raises=confirms)

    async def close(self) -> None:
        """Close it: in good order, or by force if that takes more than `CLOSE_SECONDS`."""
        force = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._wire.cut)
        try:
            with suppress(Unavailable), unavailable("closing a connection"):
                await self._amqp.close()
        finally:
            force.cancel()

    def _on_close(self, _: object, error: BaseException | None) -> None:
        if error is not None:
            self.reason_lost = reason(error)
        self.lost.set()


async def connect(broker: Broker, purpose: str, heartbeat_seconds: int) -> Connection:
    """Connect and log in. Operators see the connection by a name that tells its purpose, host and process.

    Raises:
        Unavailable: it cannot be done now; why not, in one line.
    """
    wire = _Wire()
    name = f"sagaflow {purpose} {current().host()}"
    amqp = _Connection(make_url(broker.url, name=name, heartbeat=heartbeat_seconds), transport_factory=wire)
    try:
        with unavailable(f"RabbitMQ cannot be reached at {broker}"):
            await amqp.connect(timeout=CONNECT_SECONDS)
    except Unavailable as error:
        raise _explained(error, broker) from error.__cause__
    return Connection(amqp, wire)


@asynccontextmanager
async def connected(broker: Broker, purpose: str) -> AsyncIterator[Connection]:
    """A connection for a short piece of work, closed when left. Raises as `connect` does."""
    connection = await connect(broker, purpose, BRIEF_HEARTBEAT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close()


async def close_channel(channel: AbstractChannel) -> None:
    """Close a channel. Who still waits for something on it gets an error of the driver."""
    with suppress(Unavailable), unavailable("closing a channel"):
        driver = await channel.get_underlay_channel()
        await driver.close(ChannelClosed(0, "closed by sagaflow"))


def _explained(error: Unavailable, broker: Broker) -> Unavailable:
    match error.__cause__:
        case ProbableAuthenticationError() | AuthenticationError():
            return Unavailable(
                f"RabbitMQ at {broker} refuses the login of user {broker.user!r}; is the password right?"
            )
        case InvalidFrameError():  # this is how the driver takes the broker's no to the virtual host
            return NotPermitted(
                f"RabbitMQ at {broker} does not let user {broker.user!r} into the virtual host "
                f"{broker.virtual_host!r}: it does not exist, or the user has no permission for it; "
                f"run: rabbitmqctl set_permissions -p {broker.virtual_host} {broker.user} CONFIGURE WRITE READ"
            )
        case _:
            return error


class _Wire(TransportFactory):
    """Opens the socket, and keeps hold of it so that it can be cut.

    When the driver closes a connection it waits until all that it wrote was read. A broker that is short of
    memory reads nothing, and then nothing else ends that wait, not even a timeout around it.
    """

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opener = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await opener.create(url, **kwargs)
        return reader, self._writer

    def cut(self) -> None:
        """End the connection now, whatever is still to be sent."""
        if self._writer is not None:
            self._writer.transport.abort()


class _Connection(aio_pika.Connection):
    """aio-pika's own connection, which hands `transport_factory` on to the driver beneath it."""

    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter(name="transport_factory", parser=lambda factory: factory, is_kwarg=True),
    )

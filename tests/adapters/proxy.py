"""A proxy before a RabbitMQ, which does to connections what networks and brokers do to them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536

FRAME_HEADER: Final = struct.Struct(">BHI")
"""Type, channel, length of the payload."""
FRAME_END: Final = b"\xce"
METHOD: Final = 1

Method = tuple[int, int]
"""The numbers of a method's class and of the method itself."""

BASIC_ACK: Final[Method] = (60, 80)
BASIC_CONSUME_OK: Final[Method] = (60, 21)
BASIC_CANCEL: Final[Method] = (60, 30)
CHANNEL_OPEN_OK: Final[Method] = (20, 11)
CHANNEL_CLOSE_OK: Final[Method] = (20, 41)
CONNECTION_BLOCKED: Final[Method] = (10, 60)
CONNECTION_UNBLOCKED: Final[Method] = (10, 61)


class Proxy:
    """Forwards between clients and the broker of a URL. Enter it to use it."""

    def __init__(self, broker_url: str) -> None:
        self.swallowed: set[Method] = set()
        """Methods of the broker that never reach a client."""
        self._broker = urlsplit(broker_url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        """The URL of the broker, by way of the proxy."""
        login = self._broker.netloc.rpartition("@")[0]
        return self._broker._replace(netloc=f"{login}@{LOOPBACK}:{self._port}").geturl()

    def lines(self, name: str = "") -> list[Line]:
        """The open connections with this in their name."""
        return [line for line in self._lines if name.encode() in line.hello]

    async def listen(self) -> None:
        """Take connections; again on the same port."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cut all connections, and take no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Reset all connections."""
        for line in self.lines():
            line.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker = await asyncio.open_connection(self._broker.hostname, self._broker.port)
        except OSError:
            writer.transport.abort()
            return
        line = Line((reader, writer), broker, is_swallowed=self.swallowed.__contains__)
        self._lines.add(line)
        await line.forward()
        self._lines.remove(line)


Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Line:
    """One connection of a client to the broker."""

    def __init__(self, client: Peer, broker: Peer, *, is_swallowed: Callable[[Method], bool]) -> None:
        self.hello = b""
        """What the client said first; its name is in it."""
        self.said: list[Method] = []
        """What the broker said."""
        self.client_may_speak = asyncio.Event()
        self.client_may_speak.set()
        self.broker_may_speak = asyncio.Event()
        self.broker_may_speak.set()
        self._from_client, self._to_client = client
        self._from_broker, self._to_broker = broker
        self._is_swallowed = is_swallowed

    async def forward(self) -> None:
        """Forward until one side ends the connection, then end it for the other."""
        pumps = [asyncio.create_task(self._forward_client()), asyncio.create_task(self._forward_broker())]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self.cut()
        await asyncio.gather(*pumps)

    def cut(self) -> None:
        """Reset it, towards both sides."""
        self.client_may_speak.set()
        self.broker_may_speak.set()
        self._to_client.transport.abort()
        self._to_broker.transport.abort()

    def say(self, method: Method, arguments: bytes = b"") -> None:
        """Tell the client something about the connection, in the broker's name."""
        payload = struct.pack(">HH", *method) + arguments
        self._to_client.write(FRAME_HEADER.pack(METHOD, 0, len(payload)) + payload + FRAME_END)

    async def _forward_client(self) -> None:
        with suppress(OSError):
            while chunk := await self._from_client.read(CHUNK_BYTES):
                await self.client_may_speak.wait()
                if len(self.hello) < CHUNK_BYTES:
                    self.hello += chunk
                self._to_broker.write(chunk)
                await self._to_broker.drain()

    async def _forward_broker(self) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                header = await self._from_broker.readexactly(FRAME_HEADER.size)
                kind, _, length = FRAME_HEADER.unpack(header)
                payload = await self._from_broker.readexactly(length + len(FRAME_END))
                await self.broker_may_speak.wait()
                if kind == METHOD:
                    self.said.append(struct.unpack_from(">HH", payload))
                    if self._is_swallowed(self.said[-1]):
                        continue
                self._to_client.write(header + payload)
                await self._to_client.drain()

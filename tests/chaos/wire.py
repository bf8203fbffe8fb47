"""A proxy before a server of any kind, which does to connections what networks do to them."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

from tests.chaos.frames import Frames, Place, Side

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536

AT_ONCE: Final = struct.pack("ii", 1, 0)
"""A socket that lingers for no time is reset when it is closed."""

FRAMED: Final = ("amqp", "postgresql")
"""The protocols of which frames are known."""

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """Forwards between clients and the server of a URL; of several, the first that takes the connection. Enter it to
    use it."""

    def __init__(self, *server_urls: str) -> None:
        self._servers = [urlsplit(url) for url in server_urls]
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for line in self.lines:
            line.cut()
        await asyncio.gather(*self._serving)
        await self._listener.wait_closed()

    @property
    def server_port(self) -> int | None:
        """The port of the first server itself."""
        return self._servers[0].port

    def prefer(self, server_url: str) -> None:
        """Have connections made to this server first, from now on."""
        self._servers.sort(key=lambda server: server.port != urlsplit(server_url).port)

    def through(self, url: str) -> str:
        """The URL of something on the server, by way of the wire."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{LOOPBACK}:{self._port}").geturl()

    @property
    def lines(self) -> list[Line]:
        """The open connections, the oldest first."""
        return sorted(self._lines, key=lambda line: line.number)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await self._reach()
        if server is None:
            writer.transport.abort()
            return
        number = len(self._serving) if not self._lines else self.lines[-1].number + 1
        line = Line(number, (reader, writer), server, scheme=self._servers[0].scheme)
        self._lines.add(line)
        await line.forward()
        self._lines.remove(line)

    async def _reach(self) -> Peer | None:
        for server in list(self._servers):
            with suppress(OSError):
                return await asyncio.open_connection(server.hostname, server.port)
        return None


class Line:
    """One connection of a client to the server."""

    def __init__(self, number: int, client: Peer, server: Peer, *, scheme: str) -> None:
        self.number = number
        self.was_cut_at = False
        """Whether it has ended at a place in a frame that it was to end at."""
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._open = asyncio.Event()
        self._open.set()
        self._left: dict[str, int] = {}
        self._place: dict[Side, Place] = {}
        self._frames: dict[Side, Frames] = {}
        if scheme in FRAMED:
            self._frames = {"client": Frames(scheme, "client"), "server": Frames(scheme, "server")}

    async def forward(self) -> None:
        """Forward until one side ends the connection, then end it for the other."""
        pumps = [
            asyncio.create_task(self._pump("client", self._from_client, self._to_server)),
            asyncio.create_task(self._pump("server", self._from_server, self._to_client)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        self._end()
        await asyncio.gather(*pumps)

    def cut(self) -> None:
        """Reset it, towards both sides: what they have not read yet is lost too."""
        for writer in (self._to_client, self._to_server):
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._end()

    def _end(self) -> None:
        self._open.set()
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    def stall(self) -> None:
        """Let nothing through any more, and tell nobody: it is half open, until one side gives it up."""
        self._open.clear()

    def cut_after(self, count: int, *, of: str) -> None:
        """Let through so many bytes more of what the `client` or the `server` says, and then end it."""
        self._left[of] = count

    def cut_at(self, place: Place, *, of: Side) -> None:
        """Let the next frame of the `client` or the `server` through up to this place, and end it there."""
        self._place[of] = place

    async def _pump(self, whose: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._open.wait()
                if whose in self._left:
                    chunk, self._left[whose] = chunk[: self._left[whose]], self._left[whose] - len(chunk)
                is_last = False
                if whose in self._frames:
                    chunk, is_last = self._frames[whose].take(chunk, self._place.get(whose))
                writer.write(chunk)
                await writer.drain()
                if is_last:
                    self.was_cut_at = True
                    return
                if self._left.get(whose, 1) <= 0:
                    return

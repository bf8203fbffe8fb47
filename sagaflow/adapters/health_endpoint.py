"""A small HTTP endpoint that says how well a process does, for Kubernetes and its like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import reduce
from http import HTTPStatus
from operator import and_
from typing import Any, Final

from sagaflow.definitions.health import Health

HEAD_BYTES_MAX: Final = 8_192
REQUEST_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 32


@asynccontextmanager
async def health_endpoint(
    *healths: Callable[[], Awaitable[Health]], host: str = "127.0.0.1", port: int
) -> AsyncIterator[int]:
    """Answer `GET /live` and `GET /ready` for as long as it is open: 200, or 503 if it is not so; the reasons in JSON.

    Args:
        healths: of the coordinators and workers of this process: `sagas.health, worker.health`.
        host: where to listen. The default is heard by nobody outside of this machine; a kubelet is outside of a pod.
        port: which port; 0 for any that is free.

    Gives the port. Raises `OSError` if it cannot be had.
    """
    endpoint = _Endpoint(healths)
    server = await asyncio.start_server(endpoint.serve, host, port, limit=HEAD_BYTES_MAX)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await endpoint.close()


class _Endpoint:
    def __init__(self, healths: tuple[Callable[[], Awaitable[Health]], ...]) -> None:
        self._healths = healths
        self._serving: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Leave those who are still being served."""
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; the connection is closed behind its answer."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._serving) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it is not HTTP, or nobody waits for the answer
        finally:
            self._serving.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET is answered"})
        if path not in (b"/live", b"/ready"):
            return _response(HTTPStatus.NOT_FOUND, {"error": "ask for /live or /ready"})
        health = reduce(and_, await asyncio.gather(*(one() for one in self._healths)))
        is_so = health.live if path == b"/live" else health.ready
        status = HTTPStatus.OK if is_so else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(status, _builtins(health), with_body=method == b"GET")


def _builtins(health: Health) -> dict[str, Any]:
    return {
        "live": health.live,
        "ready": health.ready,
        "reasons": [
            {"what": one.what, "why": one.why, "since": one.since.isoformat(timespec="seconds")}
            for one in health.reasons
        ],
    }


def _response(status: HTTPStatus, content: dict[str, Any], *, with_body: bool = True) -> bytes:
    body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")

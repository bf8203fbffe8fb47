"""A pooler between: of sessions it is served, of transactions it is refused. Here it is played; a real one is in
`tests/chaos/scenarios`."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest

from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, connect, pool, status
from sagaflow.adapters.postgres.database import AnyConnection
from sagaflow.errors import UnsupportedPooling

SETTINGS = {**pool.SERVER_SETTINGS, "statement_timeout": "25s"}
BACKEND_OF_POOLER = "SELECT pg_backend_pid() + 1"


async def settings_of(connection: AnyConnection) -> dict[str, str]:
    return {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SETTINGS}


async def test_a_pooler_that_ignores_our_settings_is_told_them_by_statement(
    side: asyncpg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They last, also where a connection is reset between two transactions."""
    monkeypatch.setattr(pool, "_SQL", {**pool._SQL, "backend": BACKEND_OF_POOLER})
    told: list[str] = []
    apply = pool._apply

    async def noted(connection: asyncpg.Connection, settings: dict[str, str]) -> None:
        told.append("told")
        await connection.execute("RESET ALL")  # as if what was said at the start had not been passed on
        await apply(connection, settings)

    monkeypatch.setattr(pool, "_apply", noted)
    async with AsyncpgTransactions.connect(url, max_size=2) as transactions:
        assert told
        for _ in range(3):
            async with transactions.begin() as transaction:
                assert await settings_of(transaction.tx) == SETTINGS
    async with PostgresStore.connect(url, max_size=2) as store:
        for _ in range(3):
            async with store._database.lend() as connection:
                assert await connection.fetchval("SELECT current_setting('enable_seqscan')") == "off"


async def test_a_pooler_of_transactions_is_refused(
    side: asyncpg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mixed in ("SELECT 7", "SELECT nextval('mixed')"):  # two share one process of the server; one has another
        await side.execute("CREATE SEQUENCE IF NOT EXISTS mixed")
        monkeypatch.setattr(pool, "_SQL", {**pool._SQL, "backend": mixed})
        with pytest.raises(UnsupportedPooling, match="have it pool sessions") as refused:
            await PostgresStore.connect(url).__aenter__()
        assert "\n" not in str(refused.value)
    await side.execute("DROP SEQUENCE mixed")


async def test_without_a_pooler_nothing_is_told_by_statement(
    side: asyncpg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_apply", None)
    async with PostgresStore.connect(url) as store:
        await store.check()


async def test_a_pooler_that_refuses_settings_at_the_start_is_asked_without_them(
    side: asyncpg.Connection, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_SQL", {**pool._SQL, "backend": BACKEND_OF_POOLER})
    async with refusing_settings(url) as through:
        async with connect(through) as connection:
            assert await settings_of(connection) == SETTINGS
            assert await status(connection, Line.COORDINATOR)
        async with PostgresStore.connect(through) as store:
            await store.check()
            async with store._database.lend() as lent:
                assert await settings_of(lent) == SETTINGS | {"idle_in_transaction_session_timeout": "15s"}


async def test_a_prepared_statement_that_is_gone_is_told_as_pooling_and_the_next_one_goes_on(
    side: asyncpg.Connection, url: str
) -> None:
    async with PostgresStore.connect(url, max_size=1) as store:
        await store.keep_lease("orders", UUID(int=1), 1.0)
        async with store._database.lend() as connection:
            names = await connection.fetch("SELECT name FROM pg_prepared_statements")
            await connection.execute("DEALLOCATE ALL")
        assert {row["name"][: len("__sagaflow_")] for row in names} == {"__sagaflow_"}
        with pytest.raises(UnsupportedPooling, match="pool_mode = session"):
            await store.keep_lease("orders", UUID(int=1), 1.0)
        await store.keep_lease("orders", UUID(int=1), 1.0)


@asynccontextmanager
async def refusing_settings(url: str) -> AsyncIterator[str]:
    """A way to the server on which nobody may say `jit` when connecting."""
    place = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(4)
        hello = head + await reader.readexactly(struct.unpack("!i", head)[0] - 4)
        if len(hello) == 8:  # whether it may be encrypted
            writer.write(b"N")
            head = await reader.readexactly(4)
            hello = head + await reader.readexactly(struct.unpack("!i", head)[0] - 4)
        if b"jit\0" in hello:
            said = b"SFATAL\0C08P01\0Munsupported startup parameter: jit\0\0"
            writer.write(b"E" + struct.pack("!i", 4 + len(said)) + said)
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection(place.hostname, place.port)
        to_server.write(hello)
        await asyncio.wait(
            [asyncio.create_task(pump(reader, to_server)), asyncio.create_task(pump(from_server, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        writer.close()
        to_server.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        port = listener.sockets[0].getsockname()[1]
        yield place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{port}").geturl()
    finally:
        listener.close()
        await asyncio.gather(*tasks)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()

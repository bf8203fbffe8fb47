"""How well a process does, by what it says while its servers go away and come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from sagaflow import Coordinator, Health, SchemaError, Trouble, Unavailable, Worker, serve
from sagaflow.adapters.health_endpoint import CONNECTIONS_MAX, HEAD_BYTES_MAX, health_endpoint
from sagaflow.adapters.inprocess import InProcessTransport
from sagaflow.adapters.postgres import AsyncpgTransactions, Line, PostgresStore, upgrade
from sagaflow.adapters.rabbitmq import RabbitTransport
from sagaflow.adapters.sqlite import SqliteStore, SqliteTransactions
from sagaflow.runners import health as rooms
from sagaflow.runners.health import Vitals
from tests.adapters.proxy import Proxy
from tests.runners.world import Agency, Trip, World, trip_saga, until
from tests.servers import Server

WELL = Health(live=True, ready=True)
SINCE = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)


def whats(health: Health) -> set[str]:
    return {trouble.what for trouble in health.reasons}


async def until_health(of: Coordinator | Worker, **wanted: object) -> Health:
    async def is_so() -> bool:
        health = await of.health()
        return all(getattr(health, name) == value for name, value in wanted.items())

    await until(is_so)
    return await of.health()


@pytest.fixture
async def embedded_files(tmp_path: Path) -> AsyncIterator[tuple[SqliteStore, SqliteTransactions]]:
    async with SqliteStore(tmp_path / "s.db") as store, SqliteTransactions(tmp_path / "p.db") as transactions:
        yield store, transactions


async def test_a_process_is_ready_between_its_start_and_its_stop(world: World) -> None:
    coordinator = world.coordinating(await world.store())
    worker = world.serving(None, await world.transactions())
    for one in (coordinator, worker):
        before = await one.health()
        assert (before.live, before.ready, before.reasons[0].why) == (True, False, "it has not started")
        async with one:
            assert await one.health() == WELL
        after = await one.health()
        assert (after.live, after.ready, after.reasons[0].why) == (False, False, "it has stopped")


async def test_while_it_stops_it_lives_and_is_not_ready(world: World) -> None:
    saga = trip_saga()
    sagas = world.coordinating(await world.store(), saga)
    gate = world.agency.hold("book_car")
    worker = world.serving(None, await world.transactions())
    async with sagas:
        await worker.__aenter__()
        await sagas.start(saga, Trip("Rome"), key="one")

        async def is_held() -> bool:
            return "book_car" in world.agency.attempts

        await until(is_held)
        leaving = asyncio.create_task(worker.__aexit__(None, None, None))
        health = await until_health(worker, ready=False)
        assert (health.live, health.reasons[0].why) == (True, "it is stopping")
        gate.set()
        await leaving


async def test_a_database_that_goes_away_and_comes_back(own_postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready meanwhile, and live: it goes on by itself."""
    url = own_postgres.url
    connection = await asyncpg.connect(url)
    for line in Line:
        await upgrade(connection, line)
    await connection.close()
    transport = InProcessTransport()
    async with (
        PostgresStore.connect(url) as store,
        AsyncpgTransactions.connect(url) as transactions,
        Coordinator([trip_saga()], store=store, transport=transport) as sagas,
        serve(Agency().participant(), transport=transport, transactions=transactions) as worker,
    ):
        both: list[Coordinator | Worker] = [sagas, worker]
        for one in both:
            assert await one.health() == WELL
        await asyncio.to_thread(own_postgres.stop)
        try:
            for one in both:
                gone = await until_health(one, ready=False)
                assert (gone.live, whats(gone)) == (True, {"database"})
                assert gone.reasons[0].why.startswith("PostgreSQL: ")
                monkeypatch.setattr(rooms, "PROBE_KEPT_SECONDS", -1.0)  # it is asked again
                later = await one.health()
                assert later.reasons[0].since == gone.reasons[0].since
        finally:
            await asyncio.to_thread(own_postgres.start)
        for one in both:
            assert await until_health(one, ready=True) == WELL


async def test_a_broker_that_goes_away_and_comes_back(
    embedded_files: tuple[SqliteStore, SqliteTransactions], rabbitmq: Server, broker_namespace: str
) -> None:
    store, transactions = embedded_files
    async with Proxy(rabbitmq.url) as proxy:
        transport = RabbitTransport(proxy.url, namespace=broker_namespace)
        async with (
            Coordinator([trip_saga()], store=store, transport=transport) as sagas,
            serve(Agency().participant(), transport=transport, transactions=transactions) as worker,
        ):
            assert (await sagas.health(), await worker.health()) == (WELL, WELL)
            await proxy.refuse()
            proxy.cut()
            gone = await until_health(sagas, ready=False)
            assert (gone.live, whats(gone)) == (True, {"broker"})
            assert "was lost" in gone.reasons[0].why
            assert proxy.url not in str(gone)
            await until_health(worker, ready=False)
            await proxy.listen()
            for one in (sagas, worker):
                assert await until_health(one, ready=True) == WELL


async def test_a_queue_that_cannot_be_consumed_is_a_reason(
    embedded_files: tuple[SqliteStore, SqliteTransactions], rabbitmq: Server, broker_namespace: str
) -> None:
    _, transactions = embedded_files
    transport = RabbitTransport(rabbitmq.url, namespace=broker_namespace)
    async with serve(Agency().participant(), transport=transport, transactions=transactions) as worker:
        assert transport._session is not None
        consumer = next(iter(transport._session.consumers))
        consumer.trouble = Trouble("queue x", "it is not consumed at present: why", SINCE)
        assert await worker.health() == Health(live=True, ready=False, reasons=(consumer.trouble,))


async def test_tables_that_do_not_fit_are_a_reason(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await upgrade(connection, Line.COORDINATOR)
    async with (
        PostgresStore.connect(database_url) as store,
        Coordinator([trip_saga()], store=store, transport=InProcessTransport()) as sagas,
    ):
        assert await sagas.health() == WELL
        await connection.execute(
            "delete from sagaflow.migration where number = (select max(number) from sagaflow.migration)"
        )
        late = await until_health(sagas, ready=False)
        assert "are too old" in late.reasons[0].why
        assert "sagaflow db upgrade coordinator" in late.reasons[0].why
    await connection.close()


async def test_a_loop_that_has_ended_is_mended_by_a_new_process_alone(world: World) -> None:
    sagas = await world.coordinator()
    sagas._upkeep._tasks[0].cancel()
    health = await until_health(sagas, live=False)
    assert (health.ready, health.reasons[0].why) == (False, "what should run for ever has ended: the upkeep")


# The question to the database.


class Asked:
    """A database that answers as it is told, and counts how often it was asked."""

    def __init__(self, answer: Callable[[], Awaitable[None]]) -> None:
        self.answer = answer
        self.times = 0
        self.vitals = Vitals(self._check, InProcessTransport(), {})
        self.vitals.started()

    async def _check(self) -> None:
        self.times += 1
        await self.answer()


async def nothing() -> None:
    pass


async def test_a_silent_database_is_answered_for_in_time_and_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PROBE_SECONDS", 0.01)
    asked = Asked(asyncio.Event().wait)  # type: ignore[arg-type]  # it never returns
    assert await asked.vitals.health() == WELL  # it may only be slow
    monkeypatch.setattr(rooms, "SILENT_SECONDS", 0.0)
    health = await asked.vitals.health()
    assert (health.live, health.ready, health.reasons[0].why) == (True, False, "it does not answer")
    assert asked.times == 1
    await asked.vitals.stopped()


async def test_it_is_not_asked_more_often_than_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(nothing)
    for _ in range(100):
        assert await asked.vitals.health() == WELL
    assert asked.times == 1
    monkeypatch.setattr(rooms, "PROBE_KEPT_SECONDS", -1.0)
    await asked.vitals.health()
    assert asked.times == 2


@pytest.mark.parametrize("error", [ValueError("hunter2"), Unavailable("hunter2"), SchemaError("hunter2")])
async def test_a_reason_has_no_text_that_is_not_ours(error: Exception) -> None:
    async def fail() -> None:
        raise error

    health = await Asked(fail).vitals.health()
    assert "hunter2" not in str(health)
    assert health.reasons[0].why.startswith(type(error).__name__)


# The endpoint.


async def ask(port: int, request: bytes) -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    if not answer:
        return 0, {}
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body or b"{}")


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_the_endpoint_says_whether_it_is_so_and_why_not() -> None:
    healths = [WELL, WELL]

    async def first() -> Health:
        return healths[0]

    async def second() -> Health:
        return healths[1]

    well = {"live": True, "ready": True, "reasons": []}
    async with health_endpoint(first, second, port=0) as port:
        assert await ask(port, get("/live")) == (200, well)
        assert await ask(port, get("/ready?verbose")) == (200, well)
        assert await ask(port, get("/ready", "HEAD")) == (200, {})
        healths[1] = Health(live=True, ready=False, reasons=(Trouble("broker", "gone", SINCE),))
        told = {"what": "broker", "why": "gone", "since": "2026-11-24T20:00:00+00:00"}
        unready = {"live": True, "ready": False, "reasons": [told]}
        assert await ask(port, get("/live")) == (200, unready)
        assert await ask(port, get("/ready")) == (503, unready)
        healths[0] = Health(live=False, ready=False)
        assert (await ask(port, get("/live")))[0] == 503
        assert (await ask(port, get("/")))[0] == 404
        assert (await ask(port, get("/live", "POST")))[0] == 405


async def test_the_endpoint_takes_no_more_than_it_has_to() -> None:
    async def well() -> Health:
        return WELL

    async with health_endpoint(well, port=0) as port:
        assert await ask(port, b"x" * (HEAD_BYTES_MAX * 3)) == (0, {})
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]

        async def is_full() -> bool:
            try:
                return (await ask(port, get("/live")))[0] == 0
            except ConnectionError:
                return True

        await until(is_full)
        for _, writer in idle:
            writer.close()

        async def is_answered() -> bool:
            try:
                return (await ask(port, get("/live")))[0] == 200
            except ConnectionError:
                return False

        await until(is_answered)

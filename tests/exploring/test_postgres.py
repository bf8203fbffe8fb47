"""The payment example with its own SQL on a real PostgreSQL, explored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from payment.inventory.steps import inventory
from payment.orders.checkout import checkout
from payment.orders.steps import orders
from payment.payments.steps import payments
from sagaflow import Participant
from sagaflow.testing import CounterExample, Service, explore
from sagaflow.testing.postgres import PostgresTables
from tests.exploring.shop import EXAMPLE, ORDER, all_or_nothing, gateway_in
from tests.servers import Server
from tests.servers.databases import create_database, drop_database
from tests.servers.handshake import run_apart

MUGS = "INSERT INTO stock VALUES ('mug', 9, 9, 0)"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """A database with the tables of all three services."""
    url = create_database(postgres.url)
    for name in ("orders", "inventory", "payments"):
        run_apart(_execute(url, (EXAMPLE / name / "schema.sql").read_text()))
    yield url
    drop_database(postgres.url, url)


async def _execute(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql) if sql.startswith("SELECT") else await connection.execute(sql)
    finally:
        await connection.close()


@contextmanager
def on_postgres(url: str) -> Iterator[Sequence[Service[Any]]]:
    """The three services, each with a connection of its own."""
    with ExitStack() as stack:
        services: list[Service[Any]] = []
        participants: Sequence[Participant[Any]] = (orders, inventory, payments)
        for participant in participants:
            rows = [MUGS] if participant is inventory else []
            tables = stack.enter_context(PostgresTables(url, rows=rows))
            services.append(Service(participant, tables=tables.begin_history))
        yield services


def test_the_payment_example_survives_on_postgres(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = gateway_in(tmp_path, monkeypatch)
    with on_postgres(url) as services:
        found = explore(checkout, ORDER, services=services, check=all_or_nothing, begin=begin, pairs=20)
    assert {str(status) for status in found.ended} == {"COMPLETED", "COMPENSATED"}
    assert run_apart(_execute(url, "SELECT 1 FROM orders UNION ALL SELECT 1 FROM stock")) == []  # nothing is left


def test_a_broken_undo_is_found_on_postgres_too(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(order: Any, reserved: Any, ctx: Any) -> None:
        await ctx.tx.execute("UPDATE reservations SET status = 'RELEASED'")

    monkeypatch.setattr(inventory.steps["reserve_stock"].undo, "_function", forget)
    begin = gateway_in(tmp_path, monkeypatch)
    with on_postgres(url) as services, pytest.raises(CounterExample, match="2 are still held"):
        explore(checkout, ORDER, services=services, check=all_or_nothing, begin=begin)


def test_what_a_server_refuses_at_commit_is_refused_here(url: str) -> None:
    with PostgresTables(url) as tables:
        tables.execute("CREATE TEMP TABLE one (id INT PRIMARY KEY)")
        tables.execute("CREATE TEMP TABLE two (id INT REFERENCES one DEFERRABLE INITIALLY DEFERRED)")
        history = tables.begin_history()
        tx = history.begin()
        tables.execute("INSERT INTO two VALUES (1)")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            history.commit(tx)
        history.roll_back(tx)
        assert history.query("SELECT id FROM two") == []
        history.close()


def test_a_connection_method_that_has_no_place_is_named(url: str) -> None:
    with PostgresTables(url) as tables:
        history = tables.begin_history()
        with pytest.raises(AttributeError, match="transaction of a connection has no place"):
            history.begin().transaction()
        history.close()

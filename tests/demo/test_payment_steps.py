"""The handlers of the example as plain functions, on both kinds of database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest

from payment.inventory import messages as inventory_messages
from payment.inventory import steps as inventory
from payment.orders import messages as orders_messages
from payment.orders import steps as orders
from payment.orders.checkout import checkout
from payment.payments import messages as payments_messages
from payment.payments import steps as payments
from payment.payments.gateway import BankDown, CardGateway, GatewayTimeout
from sagaflow import Operation, StepContext, StepRejected
from sagaflow.adapters import postgres
from sagaflow.adapters.sqlite import SqliteDatabase
from sagaflow.demo.stage import schema_of

SAGA_ID = UUID(int=1)


class AnyDatabase(Protocol):
    """What all services together use of a connection, and what the tests ask it."""

    async def execute(self, sql: str, /, *values: str | int) -> object: ...

    async def fetchval(self, sql: str, /, *values: str | int) -> Any: ...

    async def fetch(self, sql: str, /, *values: str | int) -> Sequence[Any]: ...


Opened = Callable[[str], Any]


@asynccontextmanager
async def in_sqlite(path: Path, service: str) -> AsyncIterator[AnyDatabase]:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(schema_of(service))
    async with SqliteDatabase(path) as opened, opened.transaction() as connection:
        yield connection


@asynccontextmanager
async def in_postgres(url: str, service: str) -> AsyncIterator[AnyDatabase]:
    async with postgres.connect(url) as connection:
        await connection.execute(schema_of(service))
        async with connection.transaction():
            yield connection


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens a fresh database with the tables of a service, and a transaction in it."""
    if request.param == "sqlite":
        return lambda service: in_sqlite(tmp_path / "service.sqlite", service)
    url = request.getfixturevalue("database_url")
    return lambda service: in_postgres(url, service)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardGateway:
    """A card gateway of this test's own, which payments uses."""
    gateway = CardGateway(tmp_path / "gateway.sqlite", answer_seconds=0)
    monkeypatch.setattr(payments, "gateway", gateway)
    return gateway


def context(tx: AnyDatabase, step: str = "step", attempt: int = 1) -> StepContext[Any]:
    """What a handler is given beside its command."""
    return StepContext(
        tx=tx,
        saga="checkout",
        saga_id=SAGA_ID,
        step=step,
        attempt=attempt,
        traceparent=f"00-{1:032x}-{1:016x}-01",
    )


def undoing(tx: AnyDatabase, attempt: int = 1) -> StepContext[Any]:
    """What a compensation is given beside the command."""
    return replace(context(tx, attempt=attempt), operation=Operation.COMPENSATION)


def rows(found: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in found]


async def test_an_order_is_placed_and_approved(opened: Opened) -> None:
    async with opened("orders") as tx:
        await orders.place_order(orders_messages.PlaceOrder("o-1", "teapot", 2, 500), context(tx))
        assert await tx.fetchval("SELECT status FROM orders") == "PENDING"
        await orders.approve_order(orders_messages.ApproveOrder("o-1"), context(tx))
        assert rows(await tx.fetch("SELECT * FROM orders")) == [("o-1", "teapot", 2, 500, "APPROVED")]


async def test_an_order_is_placed_and_cancelled(opened: Opened) -> None:
    async with opened("orders") as tx:
        order = orders_messages.PlaceOrder("o-1", "teapot", 2, 500)
        await orders.place_order(order, context(tx))
        await orders.cancel_order(order, context(tx))
        assert await tx.fetchval("SELECT status FROM orders") == "CANCELLED"


async def test_stock_is_held_and_released(opened: Opened) -> None:
    async with opened("inventory") as tx:
        await tx.execute("INSERT INTO stock VALUES ('teapot', 5, 5, 0)")
        order = inventory_messages.ReserveStock("o-1", "teapot", 3)
        reserved = await inventory.reserve_stock(order, context(tx))
        assert rows(await tx.fetch("SELECT available, held FROM stock")) == [(2, 3)]
        await inventory.release_stock(order, reserved, context(tx))
        assert rows(await tx.fetch("SELECT available, held FROM stock")) == [(5, 0)]
        assert await tx.fetchval("SELECT status FROM reservations") == "RELEASED"


@pytest.mark.parametrize(("sku", "quantity"), [("teapot", 6), ("moon rock", 1)])
async def test_what_is_not_there_is_refused(opened: Opened, sku: str, quantity: int) -> None:
    async with opened("inventory") as tx:
        await tx.execute("INSERT INTO stock VALUES ('teapot', 5, 5, 0)")
        with pytest.raises(StepRejected, match=f"{sku} is out of stock"):
            await inventory.reserve_stock(inventory_messages.ReserveStock("o-1", sku, quantity), context(tx))
        assert await tx.fetchval("SELECT count(*) FROM reservations") == 0


async def test_a_card_is_authorized_and_captured(opened: Opened, gateway: CardGateway) -> None:
    async with opened("payments") as tx:
        authorized = await payments.authorize_card(authorize("good"), context(tx, "authorize"))
        assert rows(await tx.fetch("SELECT * FROM payments")) == [("o-1", authorized.authorization, 500, "AUTHORIZED")]
        await payments.capture_card(payments_messages.CaptureCard(authorized.authorization), context(tx, "capture"))
        assert await tx.fetchval("SELECT status FROM payments") == "CAPTURED"
        assert at(gateway) == {"set aside": [(500, "CAPTURED")], "charged": [500]}


async def test_a_card_is_authorized_and_voided(opened: Opened, gateway: CardGateway) -> None:
    async with opened("payments") as tx:
        authorized = await payments.authorize_card(authorize("good"), context(tx))
        await payments.void_authorization(authorize("good"), authorized, undoing(tx))
        assert await tx.fetchval("SELECT status FROM payments") == "VOIDED"
        assert at(gateway) == {"set aside": [(500, "VOIDED")], "charged": []}


async def test_a_declined_card_is_a_business_no(opened: Opened, gateway: CardGateway) -> None:
    async with opened("payments") as tx:
        with pytest.raises(StepRejected, match="the bank declined card declined-1"):
            await payments.authorize_card(authorize("declined"), context(tx))
        assert await tx.fetchval("SELECT count(*) FROM payments") == 0
        assert at(gateway) == {"set aside": [], "charged": []}


async def test_asking_again_after_a_timeout_does_not_pay_twice(opened: Opened, gateway: CardGateway) -> None:
    async with opened("payments") as tx:
        with pytest.raises(GatewayTimeout):
            await payments.authorize_card(authorize("flaky"), context(tx, "authorize"))
        authorized = await payments.authorize_card(authorize("flaky"), context(tx, "authorize", attempt=2))
        capture = payments_messages.CaptureCard(authorized.authorization)
        with pytest.raises(GatewayTimeout):
            await payments.capture_card(capture, context(tx, "capture"))
        await payments.capture_card(capture, context(tx, "capture", attempt=2))
        assert at(gateway) == {"set aside": [(500, "CAPTURED")], "charged": [500]}


async def test_what_may_have_been_set_aside_is_given_back(opened: Opened, gateway: CardGateway) -> None:
    """The answer was lost, and payments has no row: the key is enough."""
    async with opened("payments") as tx:
        with pytest.raises(GatewayTimeout):
            await payments.authorize_card(authorize("flaky"), context(tx))
        await payments.void_authorization(authorize("flaky"), None, undoing(tx))
        assert at(gateway) == {"set aside": [(500, "VOIDED")], "charged": []}


async def test_nothing_is_set_aside_once_it_was_given_back(opened: Opened, gateway: CardGateway) -> None:
    """The call that was given up is still on its way, and comes after its undoing."""
    async with opened("payments") as tx:
        await payments.void_authorization(authorize("good"), None, undoing(tx))
        with pytest.raises(StepRejected, match="was voided before"):
            await payments.authorize_card(authorize("good"), context(tx))
        assert at(gateway) == {"set aside": [(0, "VOIDED")], "charged": []}


async def test_a_bank_that_gives_nothing_back_until_it_is_repaired(opened: Opened, gateway: CardGateway) -> None:
    async with opened("payments") as tx:
        authorized = await payments.authorize_card(authorize("norefunds"), context(tx))
        for attempt in (1, 2, 3):
            with pytest.raises(BankDown, match="gives no money back today"):
                await payments.void_authorization(authorize("norefunds"), authorized, undoing(tx, attempt=attempt))
        await gateway.repair()
        await gateway.repair()
        await payments.void_authorization(authorize("norefunds"), authorized, undoing(tx, attempt=4))
        assert at(gateway) == {"set aside": [(500, "VOIDED")], "charged": []}


def authorize(mood: str) -> payments_messages.AuthorizeCard:
    return payments_messages.AuthorizeCard("o-1", f"{mood}-1", 500)


def at(gateway: CardGateway) -> dict[str, list[Any]]:
    """The books of the gateway."""
    with closing(sqlite3.connect(gateway.path)) as books:
        return {
            "set aside": books.execute("SELECT cents, status FROM authorizations").fetchall(),
            "charged": [cents for (cents,) in books.execute("SELECT cents FROM charges")],
        }


def test_the_services_serve_what_the_checkout_asks_for_and_can_undo_it() -> None:
    """No server is needed to see that. A service that forgets a compensation fails here, not in production."""
    checkout.check([orders.orders, inventory.inventory, payments.payments])

"""The payment example as it is explored: its services with their tables, and what must be true in the end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import payment
from payment.inventory.steps import inventory
from payment.orders.messages import Checkout
from payment.orders.steps import orders
from payment.payments import steps
from payment.payments.gateway import CardGateway
from payment.payments.steps import payments
from sagaflow import Participant
from sagaflow.testing import End, Service

EXAMPLE = Path(str(payment.__file__)).parent

ORDER = Checkout("order-1", "mug", 2, "good-4242", 4200)


def services(of_payments: Participant[Any] = payments) -> Sequence[Service[Any]]:
    """The three services, each with its tables."""
    return [
        Service(orders, schema=EXAMPLE / "orders/schema.sql"),
        Service(
            inventory,
            schema=EXAMPLE / "inventory/schema.sql",
            rows=["INSERT INTO stock VALUES ('mug', 9, 9, 0)"],
        ),
        Service(of_payments, schema=EXAMPLE / "payments/schema.sql"),
    ]


def gateway_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], CardGateway]:
    """Opens a gateway with empty books, and has payments use it."""
    books = folder / "gateway.sqlite"

    def begin() -> CardGateway:
        books.unlink(missing_ok=True)
        gateway = CardGateway(books, answer_seconds=0.0)
        monkeypatch.setattr(steps, "gateway", gateway)
        return gateway

    return begin


def all_or_nothing(end: End) -> None:
    """Either everything happened, in all three services and at the bank, or nothing remains."""
    order = end.value("orders", "SELECT status FROM orders")
    available, held = end.rows("inventory", "SELECT available, held FROM stock")[0]
    open_cents, charged_cents = _at_the_bank(end.outside)
    assert available + held == 9, f"{available} available and {held} held make no 9"
    if end.completed:
        assert (order, held) == ("APPROVED", 2), f"the order is {order}, {held} are held"
        assert charged_cents == 4200, f"the card was charged {charged_cents} cents"
    else:
        assert order in (None, "CANCELLED"), f"the order is {order}"
        assert held == 0, f"{held} are still held"
        assert charged_cents == 0, f"the card was charged {charged_cents} cents"
    assert open_cents == 0, f"{open_cents} cents are still set aside on the card"


def _at_the_bank(gateway: CardGateway) -> tuple[int, int]:
    """The cents that are set aside, and those that were taken."""
    if not Path(gateway.path).exists():
        return 0, 0
    with closing(sqlite3.connect(gateway.path)) as books:
        (open_cents,) = books.execute(
            "SELECT coalesce(sum(cents), 0) FROM authorizations WHERE status = 'OPEN'"
        ).fetchone()
        (charged,) = books.execute("SELECT coalesce(sum(cents), 0) FROM charges").fetchone()
    return int(open_cents), int(charged)

"""The audit: whether the books of the three services and of the card gateway agree, now that all is over.

It asks the services' own databases in plain SQL and knows nothing of sagas: what it finds is what a customer
would have found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Sequence[Any]
Query = Callable[[str], Awaitable[Sequence[Row]]]
"""Asks one database."""

ORDERS: Final = "SELECT order_id, status, cents, quantity, sku FROM orders"
PAYMENTS: Final = "SELECT order_id, status, cents, authorization_id FROM payments"
RESERVATIONS: Final = "SELECT order_id, status, quantity, sku FROM reservations"
STOCK: Final = "SELECT sku, delivered, available, held FROM stock"
AUTHORIZATIONS: Final = "SELECT id, status, cents FROM authorizations"
CHARGES: Final = "SELECT authorization_id, cents FROM charges"


@dataclass(frozen=True)
class Order:
    """A row of orders."""

    order_id: str
    status: str
    cents: int
    quantity: int
    sku: str


@dataclass(frozen=True)
class Payment:
    """A row of payments."""

    order_id: str
    status: str
    cents: int
    authorization_id: str


@dataclass(frozen=True)
class Reservation:
    """A row of reservations."""

    order_id: str
    status: str
    quantity: int
    sku: str


@dataclass(frozen=True)
class Stock:
    """A row of stock."""

    sku: str
    delivered: int
    available: int
    held: int


@dataclass(frozen=True)
class Authorization:
    """What the gateway has set aside, once."""

    id: str
    status: str
    cents: int


@dataclass(frozen=True)
class Charge:
    """What the gateway has taken."""

    authorization_id: str
    cents: int


@dataclass(frozen=True)
class Books:
    """What the databases hold when all is over."""

    orders: Sequence[Order]
    payments: Sequence[Payment]
    reservations: Sequence[Reservation]
    stock: Sequence[Stock]
    authorizations: Sequence[Authorization]
    charges: Sequence[Charge]


async def read_books(*, orders: Query, payments: Query, inventory: Query, gateway: Query) -> Books:
    """Read everything that the audit looks at."""
    return Books(
        orders=[Order(*row) for row in await orders(ORDERS)],
        payments=[Payment(*row) for row in await payments(PAYMENTS)],
        reservations=[Reservation(*row) for row in await inventory(RESERVATIONS)],
        stock=[Stock(*row) for row in await inventory(STOCK)],
        authorizations=[Authorization(*row) for row in await gateway(AUTHORIZATIONS)],
        charges=[Charge(*row) for row in await gateway(CHARGES)],
    )


def findings(books: Books) -> Sequence[str]:
    """What does not agree, one sentence each; empty if all is well."""
    return [*_undecided(books), *_money(books), *_gateway(books), *_goods(books), *_shelves(books)]


def _undecided(books: Books) -> Iterator[str]:
    for order in books.orders:
        if order.status == "PENDING":
            yield f"{order.order_id} is still PENDING"


def _money(books: Books) -> Iterator[str]:
    """No money is taken for an order that is not approved, and all of it for one that is."""
    taken: dict[str, int] = defaultdict(int)
    for charge in books.charges:
        taken[charge.authorization_id] += charge.cents
    order_of = {payment.authorization_id: payment.order_id for payment in books.payments}
    taken_for = {order_of.get(number, f"nobody ({number})"): cents for number, cents in taken.items()}
    due = {order.order_id: order.cents for order in books.orders if order.status == "APPROVED"}
    for order_id in sorted(taken_for.keys() | due.keys()):
        if taken_for.get(order_id, 0) != due.get(order_id, 0):
            yield f"{order_id}: {due.get(order_id, 0)} cents are due, {taken_for.get(order_id, 0)} were taken"


def _gateway(books: Books) -> Iterator[str]:
    """Nothing is left set aside, and payments believes what the gateway has in its books."""
    believed = {payment.authorization_id: payment.status for payment in books.payments}
    for authorization in books.authorizations:
        if authorization.status == "OPEN":
            yield f"{authorization.cents} cents are still set aside under {authorization.id}"
        known = believed.pop(authorization.id, "VOIDED")  # one whose answer was lost was undone without a row
        if known != authorization.status:
            yield f"{authorization.id} is {authorization.status} at the gateway and {known} in payments"
    for number in believed:
        yield f"payments has {number}, of which the gateway knows nothing"


def _goods(books: Books) -> Iterator[str]:
    """Goods are held for approved orders, all of what was ordered, and for no other."""
    held = [(r.order_id, r.sku, r.quantity) for r in books.reservations if r.status == "HELD"]
    due = [(order.order_id, order.sku, order.quantity) for order in books.orders if order.status == "APPROVED"]
    for order_id, sku, quantity in sorted(set(held) - set(due)):
        yield f"{quantity} x {sku} are held for {order_id}, which is not approved or ordered something else"
    for order_id, sku, quantity in sorted(set(due) - set(held)):
        yield f"{quantity} x {sku} are not held for {order_id}, which is approved"
    if len(set(held)) != len(held):
        yield "the same goods are held twice for one order"


def _shelves(books: Books) -> Iterator[str]:
    """What was delivered is available or held, and what is held is held for somebody."""
    reserved: dict[str, int] = defaultdict(int)
    for reservation in books.reservations:
        reserved[reservation.sku] += reservation.quantity if reservation.status == "HELD" else 0
    for stock in books.stock:
        if stock.available + stock.held != stock.delivered:
            yield f"{stock.sku}: {stock.delivered} were delivered, {stock.available} + {stock.held} are there"
        if reserved[stock.sku] != stock.held:
            yield f"{stock.sku}: {stock.held} are held, reservations speak of {reserved[stock.sku]}"
